"""How English states the default schema's edges: one table of patterns over shapes, sentences in which names and dates are single characters.

A shape of "On 2 March Ada Lovelace took over Project Alpha from V. Shah" is "On D N took over N from N", so a pattern speaks of grammar alone. The
groups of a pattern: `s` and `o` are the edge's ends as the words give them, `x` is who or what is left behind, `a` the auxiliaries and adverbs, `v`
the verb. An auxiliary that is not listed (`not`, `should`, `might`) makes a pattern fail, so denials and wishes state nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from rag2_memory.knowledge.triggers import TRIGGERS

NAME_BASE, DATE_BASE = 0xE000, 0xF000
"""Private-use characters that stand for the n-th name and the n-th date of a sentence."""
N = "[\ue000-\uefff]"
D = "[\uf000-\uf8ff]"

Kind = Literal["state", "result", "change", "end", "event"]
"""`state` lasts while it is said (leads), `result` is over once done and stays true (built), `change` begins (took over), `end` ends, `event`
happens at a moment (updated)."""
Slot = Literal["person", "thing", "document", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way of saying an edge."""

    predicate: str
    pattern: re.Pattern[str]
    kind: Kind = "state"
    flip: bool = False
    """Whether the edge runs from `o` to `s`."""
    subject: Slot = "any"
    """What the group `s` must be."""
    object: Slot = "any"
    left: str = ""
    """The predicate that ends for `x` (or, for a person who moves, on `x`)."""
    leaves: Literal["holder", "held"] = "holder"
    """Whether `x` is a former holder of `o`, or what `s` held before."""
    role: str = ""
    """Value of the edge's `role` or `type` property."""
    owner_if_component: bool = False
    """Whether a component has an owner where a project has a lead."""
    words: frozenset[str] = frozenset()
    """Of these at least one is in every sentence that it can match; derived from its verbs."""


_LIST = rf"{N}(?:(?:, ?{N})*,?(?: and| &| as well as| plus| or) {N}|(?:, {N})+(?=[.;)]|$))?"
_ADVERB = (
    r"(?:also|now|currently|still|directly|mainly|mostly|primarily|officially|formally|then|later|recently|already|jointly|again|previously"
    r"|formerly|originally|initially|since|today|just|only|partly|always|heavily|once|first|both|therefore|soon|finally|completely|fully|"
    r"temporarily|no longer|together|internally|subsequently|eventually|successfully|meanwhile|used to|each|all)"
)
_AUXILIARY = r"(?:has|have|had|is|are|was|were|been|being|be|will|got|gets|get|does|did|do|['’]s|['’]re|['’]ve|['’]ll|am|['’]m|going to)"
_AUX = rf"(?P<a>(?:(?:{_AUXILIARY}|{_ADVERB}),? )*)"
_GAP = r"(?:(?:(?!['’]s )[^;:.]{0,90}?(?:,|\band|\bbut|\bthen|\bwho|\bwhich|\bthat))? |(?=['’](?:s|re|ve|ll|m) ))"
"""Between a subject and its verb: nothing, a relative clause, an apposition, or the verbs before in a series."""
_S = rf"(?P<s>{_LIST})(?: (?:of|in|at) {N})?{_GAP}{_AUX}"
_FILL = r"(?: (?!(?:not|no|and|or|but|who|that|which|by|from|to|if|when|because|than|before|after|without|until|since|as|through|into|onto|about|over|up|out|down|off|like|against|nothing|of|in|at|for|with|between|behind|under)\b)[a-z'’-]+,?){0,3}? "
"""Up to three plain words between a verb and its object."""
_O = rf"(?P<o>{_LIST})"
_X = rf"(?P<x>{N})"

_QUALITY = r"(?:(?:the|a|an|our|its|their|new|acting|interim|current|sole|joint|overall|first|former|previous|old|permanent|deputy) )*"
_FIELD = r"(?:(?:technical|tech|project|engineering|product|team|programme|program|development|software|chief|principal|lead|systems?|solutions?) )*"
LEAD_ROLE = rf"(?:{_QUALITY}{_FIELD}(?:lead(?:er)?|architect|head))"
_OWN_ROLE = rf"(?:{_QUALITY}(?:main |lead |principal |original |primary |core )?(?:owner|maintainer|author|creator|developer|designer))"
_BE = r"(?:is|was|are|were|became|becomes|remains|stays|has been|will be|serves as|served as|acts as|acted as)"
_AS_LEAD = rf"as {LEAD_ROLE}"
_LEADERSHIP = (
    rf"(?:(?:the )?(?:lead|leadership|reins|helm|direction|role of {LEAD_ROLE}|responsibility) (?:of|for|on) |{LEAD_ROLE} (?:of|for|on) )"
)
_OWNERSHIP = r"(?:(?:the )?(?:ownership|maintenance|care|development|support|operation) of )"

_USE = (
    r"(?:depends?|depended|depending|relies|relied|rely|relying|runs?|ran|builds?|sits?|is built|is based|is hosted|hosted) (?:on(?: top of)?|upon)"
    r"|requires?|required|needs?|needed|uses?|used|using|consumes?|consumed|calls?|imports?|imported|queries|queried|reads? from"
    r"|writes to|wrote to|talks to|connects? to|subscribes? to|(?:is |are |was )?(?:backed|powered) by|wraps?|invokes?"
    r"|stores? (?:its |their |all )?[a-z]+ in|keeps? (?:its |their )?[a-z]+ in"
)
_UPDATED = (
    r"(?:updated|upgraded|patched|rotated|modified|refactored|rewritten|bumped|hardened|fixed|revised|reissued|renewed|rebuilt|redeployed"
    r"|reconfigured|changed|migrated|reworked|corrected|amended)"
)
_UPDATES = (
    r"(?:updat|upgrad|patch|rotat|modif|refactor|harden|fix|revis|renew|rework|migrat|amend)(?:es|s|ed|ied|ies)|rewr(?:ites|ote)|bump(?:s|ed)"
    r"|rebuil(?:ds|t)|redeploy(?:s|ed)|reissue[sd]|merged? changes (?:in)?to"
)
_RETIRED = r"(?:deprecated|superseded|replaced|retired|obsoleted|decommissioned|sunset|discontinued|phased out|removed|dropped)"
_BUILT = r"(?:developed|built|written|created|designed|authored|implemented|engineered|prototyped|coded|programmed)"
_KEPT = r"(?:maintained|owned|run|operated|managed|looked after|supported|kept)"
_DONE_BY = (
    r"supplied|provided|conducted|carried out|sponsored|audited|funded|hosted|published|acquired|approved|reviewed|tested|certified|performed"
    r"|chaired|organi[sz]ed|discovered|reported|proposed"
)


def _rule(predicate: str, pattern: str, **options: Any) -> Rule:
    return Rule(predicate=predicate, pattern=re.compile(pattern), words=_needed_words(pattern), **options)


def _needed_words(pattern: str) -> frozenset[str]:
    """Return the trigger words with which the pattern's verb can begin or end; generous, since it only saves matching in vain."""
    begin = pattern.index("(?P<v>") + len("(?P<v>")
    depth, end = 1, begin
    while depth:
        depth += {"(": 1, ")": -1}.get(pattern[end], 0)
        end += 1
    stems = {token[:-1] for token in re.findall(r"[a-z]{3,}", pattern[begin : end - 1])}
    if not stems:
        return frozenset({"since"})
    return frozenset(word for word in TRIGGERS if any(word.startswith(stem) for stem in stems))


_PEOPLE: dict[str, Any] = {"subject": "person", "object": "thing"}
_THINGS: dict[str, Any] = {"subject": "thing", "object": "thing"}
_LEAD: dict[str, Any] = {"predicate": "LEAD_ARCHITECT_OF", **_PEOPLE}
_OWNED: dict[str, Any] = {"predicate": "DEVELOPED_BY", "flip": True, **_PEOPLE}
_WORKS: dict[str, Any] = {"predicate": "CONTRIBUTES_TO", **_PEOPLE}


@lru_cache(maxsize=1)
def rules() -> dict[str, tuple[Rule, ...]]:
    """Return the rules by family; within one the first rule that reads a place in the sentence wins."""
    return {
        "lead": _lead_rules(),
        "own": _own_rules(),
        "work": _work_rules(),
        "update": _update_rules(),
        "depend": _depend_rules(),
        "export": _export_rules(),
        "retire": _retire_rules(),
        "refer": _refer_rules(),
        "relate": _relate_rules(),
    }


def rules_for(words: frozenset[str]) -> list[tuple[str, int, Rule]]:
    """Return the rules that can match a sentence with these words, as (family, order, rule)."""
    ordered, by_word = _ordered()
    return [ordered[place] for place in sorted({place for word in words for place in by_word.get(word, ())})]


@lru_cache(maxsize=1)
def _ordered() -> tuple[list[tuple[str, int, Rule]], dict[str, list[int]]]:
    ordered = [(family, order, rule) for family, table in rules().items() for order, rule in enumerate(table)]
    by_word: dict[str, list[int]] = {}
    for place, (_, _, rule) in enumerate(ordered):
        for word in rule.words:
            by_word.setdefault(word, []).append(place)
    return ordered, by_word


def _lead_rules() -> tuple[Rule, ...]:
    over = r"(?:takes?|took|taken|taking) (?:over|on|charge of)|assumes?|assumed|inherits?|inherited"
    gives = r"hands?|handed|passes|passed|gives|gave|transfers?|transferred|handing|passing"
    charge = rf"(?:{_LEADERSHIP})?"
    return (
        _rule(pattern=rf"{_S}(?P<v>{over}) {_OWNERSHIP}{_O}(?: from {_X})?", kind="change", left="DEVELOPED_BY", role="owner", **_OWNED),
        _rule(
            pattern=rf"{_S}(?P<v>{over}) {charge}{_O}(?: (?:team|work))?(?: from {_X})?",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            owner_if_component=True,
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>{over}) from {_X} (?:{_AS_LEAD} (?:of|for|on)|on|at|for) {_O}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_X}{_GAP}{_AUX}(?P<v>{gives}) {_OWNERSHIP}{_O}(?: over)? to (?P<s>{N})",
            kind="change",
            left="DEVELOPED_BY",
            role="owner",
            **_OWNED,
        ),
        _rule(
            pattern=rf"{_X}{_GAP}{_AUX}(?P<v>{gives})(?: over)? {charge}{_O}(?: over)? to (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            owner_if_component=True,
            **_LEAD,
        ),
        _rule(
            pattern=rf"(?:lead(?:ership)?|direction|running|responsibility) (?:of|for) {_O} {_AUX}(?P<v>moved|moves|passed|passes|went|goes"
            rf"|transferred|transfers|handed|changed|falls|fell)(?: over)?(?: (?:hands )?from {_X})? to (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **_LEAD,
        ),
        _rule(
            pattern=rf"(?:ownership|maintenance|care) of {_O} {_AUX}(?P<v>moved|moves|passed|passes|went|goes|transferred|transfers|handed|changed)"
            rf"(?: over)?(?: (?:hands )?from {_X})? to (?P<s>{N})",
            kind="change",
            left="DEVELOPED_BY",
            role="owner",
            **_OWNED,
        ),
        _rule(
            pattern=rf"(?P<s>{N}){_GAP}{_AUX}(?P<v>replaces?|replaced|succeeds?|succeeded|follows?|followed) {_X},?"
            rf" (?:{_AS_LEAD} (?:of|for|on)|at the head of) {_O}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_X}{_GAP}{_AUX}(?P<v>replaced|succeeded|followed),? (?:{_AS_LEAD} (?:of|for|on)|at the head of) {_O} by (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_X}{_GAP}{_AUX}(?P<v>replaced|succeeded|followed) by (?P<s>{N}),? (?:{_AS_LEAD} (?:of|for|on)|at the head of) {_O}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>step(?:s|ped|ping)? (?:down|back|aside)|resign(?:s|ed)|stop(?:s|ped) leading|left|leaves|gives? up|gave up)"
            rf"(?: (?:{_AS_LEAD} (?:of|for|on)|from (?:leading |{_LEADERSHIP})?|{_LEADERSHIP}))? ?{_O}(?! to lead)",
            kind="end",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>left|leaves|leaving|moves? from|moved from|goes from|went from) {_X} to (?:lead|head|run|take over|take on) {_O}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            leaves="held",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>moves?|moved|goes|went|switche[sd]|transfers?|transferred)(?: over)?(?: from {_X})? to {_O},?"
            rf" (?:{_AS_LEAD}|to (?:lead|head|run) (?:it|{N})|where (?:he|she|they) (?:leads?|heads?|will lead))",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            leaves="held",
            **_LEAD,
        ),
        _rule(
            pattern=rf"{_S}(?:as )?(?P<v>appointed|named|made|chosen|elected|confirmed|announced|promoted)(?: as| to| to be)? {LEAD_ROLE} (?:of|for|on) {_O}",
            kind="change",
            **_LEAD,
        ),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?P<v>led|headed|run|spearheaded) by (?P<s>{_LIST})", **_LEAD),
        _rule(
            pattern=rf"(?P<o>{N}),? (?:which|that|whom) (?P<s>{N}) (?:[a-z]+ed and )?{_AUX}(?P<v>leads?|led|heads?|headed|runs?|ran)\b",
            **_LEAD,
        ),
        _rule(pattern=rf"{_S}(?P<v>leads?|led|leading|heads?|headed|heading|spearheads?|spearheaded|in charge of){_FILL}{_O}", **_LEAD),
        _rule(pattern=rf"{_S}(?P<v>(?:{_BE} )?{LEAD_ROLE}) (?:of|for|on|at) {_O}", **_LEAD),
        _rule(
            pattern=rf"(?P<v>{LEAD_ROLE}) (?:of|for|on) {_O},? (?:{_BE}|since|:|,)? ?(?:as of {D} |since {D} |from {D} |in {D} |on {D} )?(?P<s>{N})",
            **_LEAD,
        ),
        _rule(pattern=rf"{_O}['’]s (?P<v>{LEAD_ROLE}),? (?:{_BE} |: )?(?:(?:now|currently|still|then) )?(?P<s>{N})", **_LEAD),
        _rule(pattern=rf"{_S}(?P<v>{_BE} {_O}['’]s {LEAD_ROLE})", **_LEAD),
        _rule(pattern=rf"{_S}(?P<v>(?:{_BE} )?(?:the )?(?:acting|interim|new|current) lead),? (?:of|for|on) {_O}", **_LEAD),
    )


def _own_rules() -> tuple[Rule, ...]:
    return (
        _rule(
            pattern=rf"{_O}{_GAP}{_AUX}(?P<v>{_BUILT})(?: and {_KEPT})?(?: [a-z]+ly)? by (?P<s>{_LIST})",
            kind="result",
            role="author",
            **_OWNED,
        ),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?P<v>{_KEPT})(?: and {_KEPT})? by (?P<s>{_LIST})", role="owner", **_OWNED),
        _rule(
            pattern=rf"{_S}(?P<v>{_BUILT}|develops|builds|wrote|writes|creates|designs|authors|implements|co-?authored|co-?wrote){_FILL}{_O}",
            kind="result",
            role="author",
            **_OWNED,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>maintains?|maintained|owns?|owned|manages?|managed|operates|operated|looks? after|looked after|takes? care of"
            rf"|took care of|(?:is |was )?responsible for|keeps running){_FILL}{_O}",
            role="owner",
            **_OWNED,
        ),
        _rule(
            pattern=rf"(?P<o>{N}),? (?:which|that) (?P<s>{N}) (?:[a-z]+ed and )?{_AUX}(?P<v>maintains?|maintained|owns?|owned)\b",
            role="owner",
            **_OWNED,
        ),
        _rule(pattern=rf"{_S}(?P<v>(?:{_BE} )?{_OWN_ROLE}) (?:of|for) {_O}", role="owner", **_OWNED),
        _rule(pattern=rf"(?P<v>{_OWN_ROLE}) (?:of|for) {_O},? (?:{_BE}|:) (?P<s>{_LIST})", role="owner", **_OWNED),
        _rule(pattern=rf"{_O}['’]s (?P<v>{_OWN_ROLE}),? (?:{_BE} |: )?(?P<s>{N})", role="owner", **_OWNED),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?P<v>belongs?|belonged) to (?P<s>{N})", role="owner", **_OWNED),
        _rule(pattern=rf"{_O}{_GAP}(?P<a>(?:{_AUXILIARY} )+)(?P<v>)(?P<s>{N})['’]s(?= since|[.,;]|$)", role="owner", **_OWNED),
    )


def _work_rules() -> tuple[Rule, ...]:
    role = r"(?: team)?(?: as (?:the |an? )?(?P<r>[a-z][a-z -]{2,40}[a-z]))?"
    return (
        _rule(
            pattern=rf"{_S}(?P<v>moves?|moved|goes|went|switche[sd]|transfers?|transferred) (?:over )?from {_X}(?: team)? to {_O}{role}",
            kind="change",
            left="CONTRIBUTES_TO",
            leaves="held",
            **_WORKS,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>moves?|moved|goes|went|transfers|transferred|assigned) (?:over )?to {_O}{role}", kind="change", **_WORKS
        ),
        _rule(
            pattern=rf"{_S}(?P<v>joins?|joined|joining|started (?:work )?(?:on|at)|starts (?:work )?on|begins on){_FILL}{_O}{role}",
            kind="change",
            **_WORKS,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>(?:contributes?|contributed|contributing|commits|committed) to|(?:works?|worked|working)(?: (?:full|part)[- ]time)?"
            rf" (?:on|for|in)|helps? (?:out )?(?:with|on)|helped (?:out )?(?:with|on)){_FILL}{_O}{role}",
            **_WORKS,
        ),
        _rule(
            pattern=rf"{_S}(?:an? |the |one of the )?(?:[a-z]+ ){{0,2}}?(?P<v>member|contributor|engineer|developer|committer) (?:of|on|to|at|in|for) {_O}",
            **_WORKS,
        ),
        _rule(
            pattern=rf"{_S}(?P<v>left|leaves|leaving|quits?|moved off|moves off|rolled off|stopped working on) {_O}", kind="end", **_WORKS
        ),
    )


def _update_rules() -> tuple[Rule, ...]:
    updated: dict[str, Any] = {"predicate": "UPDATED_BY", "kind": "event"}
    return (
        _rule(
            pattern=rf"{_O}{_GAP}{_AUX}(?P<v>{_UPDATED})\b(?:[^;]{{0,80}}?),? by (?P<s>{_LIST})",
            flip=True,
            subject="person",
            object="thing",
            **updated,
        ),
        _rule(pattern=rf"{_S}(?P<v>{_UPDATES}){_FILL}{_O}", flip=True, subject="person", object="thing", **updated),
        _rule(
            pattern=rf"{_S}(?P<v>made|did|carried out|applied|completed) (?:the|this|an?) (?:update|change|fix|patch|upgrade|rotation|migration) (?:to|of|in|on|for) {_O}",
            flip=True,
            subject="person",
            object="thing",
            **updated,
        ),
        _rule(
            pattern=rf"(?P<o>{_LIST}) (?P<a>(?:{_ADVERB} )?(?:was|were|has been|have been|got) (?:{_ADVERB} )*)(?P<v>{_UPDATED})\b(?! by)(?P<s>)",
            flip=True,
            object="thing",
            **updated,
        ),
    )


def _depend_rules() -> tuple[Rule, ...]:
    needs: dict[str, Any] = {"predicate": "DEPENDS_ON", **_THINGS}
    return (
        _rule(
            pattern=rf"{_S}(?P<v>switche[sd]|migrate[sd]|moved|moves|ported|converted)(?: over)?(?: away)? from {_X} to {_O}",
            kind="change",
            left="DEPENDS_ON",
            leaves="held",
            **needs,
        ),
        _rule(pattern=rf"{_S}(?P<v>{_USE}){_FILL}{_O}", **needs),
        _rule(
            pattern=rf"{_S}(?P<v>(?:depends?|depended|relies|relied|rely|runs?|builds?) (?:on|upon)) [^.;]{{1,80}}? and (?:on|upon){_FILL}{_O}",
            **needs,
        ),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?P<v>used|required|needed|called|consumed|imported|queried) by (?P<s>{_LIST})", **needs),
        _rule(
            pattern=rf"(?P<s>{N})['’]s (?:only |main |direct |other )?(?P<v>dependenc(?:y|ies)) (?:is|are|:|include|includes) {_O}", **needs
        ),
        _rule(pattern=rf"(?P<v>dependenc(?:y|ies)) of (?P<s>{N}) (?:is|are|:|include|includes) {_O}", **needs),
        _rule(pattern=rf"{_S}(?:a |an? (?:hard|soft|direct|optional) )?(?P<v>dependency) on {_O}", **needs),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?:a |an? (?:hard|soft|direct|optional) )?(?P<v>dependency) of (?P<s>{_LIST})", **needs),
    )


def _export_rules() -> tuple[Rule, ...]:
    offers: dict[str, Any] = {"predicate": "EXPORTS", **_THINGS}
    return (
        _rule(
            pattern=rf"{_S}(?P<v>exports?|exported|exposes?|exposed|publishes|published|provides?|provided|offers?|offered|serves?|served|emits?){_FILL}{_O}",
            **offers,
        ),
        _rule(pattern=rf"{_O}{_GAP}{_AUX}(?P<v>exported|exposed|published|offered|emitted) by (?P<s>{_LIST})", **offers),
    )


def _retire_rules() -> tuple[Rule, ...]:
    retires: dict[str, Any] = {"predicate": "DEPRECATED", "kind": "event"}
    return (
        _rule(
            pattern=rf"{_O}{_GAP}{_AUX}(?P<v>{_RETIRED})[^;,]{{0,40}}? (?:in favou?r of|by|with) (?P<s>{N})",
            subject="thing",
            object="thing",
            **retires,
        ),
        _rule(
            pattern=rf"{_O}{_GAP}{_AUX}(?P<v>{_RETIRED})[^;,]{{0,40}}?(?:;|,) use (?P<s>{N})", subject="thing", object="thing", **retires
        ),
        _rule(
            pattern=rf"{_S}(?P<v>deprecates|deprecated|supersedes|superseded|superseding|replaces|replaced|retires|retired|obsoletes|obsoleted|sunsets|drops|removes)"
            rf"{_FILL}{_O}",
            object="thing",
            **retires,
        ),
        _rule(pattern=rf"(?P<v>use|call|prefer) (?P<s>{N}) instead of {_O}", subject="thing", object="thing", **retires),
        _rule(
            pattern=rf"(?P<s>{N}),? (?:is |as )?(?:the |a )?(?P<v>replacement) (?:for|of) {_O}", subject="thing", object="thing", **retires
        ),
        _rule(
            pattern=rf"{_O}{_GAP}(?P<a>(?:(?:{_AUXILIARY}|{_ADVERB}),? )+)(?P<v>{_RETIRED})\b(?: (?:in|with|as of|since|from) (?P<s>{N})(?= |[.,;:]|$))?",
            subject="document",
            object="thing",
            **retires,
        ),
    )


def _refer_rules() -> tuple[Rule, ...]:
    points: dict[str, Any] = {"predicate": "REFERENCES", "object": "document"}
    return (
        _rule(pattern=rf"(?P<s>)(?P<v>[Ss]ee)(?: also)?:?(?: [a-z'’-]+){{0,2}}? {_O}", **points),
        _rule(
            pattern=rf"(?P<s>)(?P<v>refers? (?:back )?to|references|cites|links? to|points? to|(?:described|documented|explained|defined|specified|decided|recorded|set out|listed) in"
            rf"|according to|follows from|details (?:are )?in){_FILL}{_O}",
            **points,
        ),
    )


def _relate_rules() -> tuple[Rule, ...]:
    ties: dict[str, Any] = {"predicate": "RELATED_TO"}
    return (
        _rule(
            pattern=rf"{_S}(?P<v>part of|integrates? with|integrated with|communicates with|a subsidiary of|a partner of){_FILL}{_O}",
            **ties,
        ),
        _rule(pattern=rf"(?P<s>{_LIST}){_GAP}{_AUX}(?P<v>(?:{_DONE_BY}) by) (?P<o>{_LIST})", **ties),
    )
