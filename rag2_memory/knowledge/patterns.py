"""How English states the default schema's edges: one table of patterns over shapes.

A shape of "On 2 March Ada Lovelace took over Project Alpha from V. Shah" is "On D N took over N from N", so a pattern speaks of grammar alone. The
groups of a pattern: `s` and `o` are the edge's ends as the words give them, `x` is who or what is left behind, `a` the auxiliaries and adverbs, `v`
the verb.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rag2_memory.knowledge.grammar import (
    ADVERB,
    AS_LEAD,
    AUX,
    AUXILIARY,
    BE,
    BUILT,
    DONE_BY,
    FILL,
    GAP,
    KEPT,
    LEAD,
    LEAD_ROLE,
    LEADERSHIP,
    LEFT,
    LIST,
    OBJ,
    OWN_ROLE,
    OWNED,
    OWNERSHIP,
    RETIRED,
    SUBJ,
    THINGS,
    UPDATED,
    UPDATES,
    USE,
    WORKS,
    D,
    N,
    Rule,
    rule,
)


@lru_cache(maxsize=1)
def rules() -> dict[str, tuple[Rule, ...]]:
    """Return the rules by family; within one the first rule that reads a place in the sentence wins."""
    return {
        "lead": (*_handover_rules(), *_lead_rules()),
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
    ordered = [(family, order, each) for family, table in rules().items() for order, each in enumerate(table)]
    by_word: dict[str, list[int]] = {}
    for place, (_, _, listed) in enumerate(ordered):
        for word in listed.words:
            by_word.setdefault(word, []).append(place)
    return ordered, by_word


def _handover_rules() -> tuple[Rule, ...]:
    over = r"(?:takes?|took|taken|taking) (?:over|on|charge of)|assumes?|assumed|inherits?|inherited"
    gives = r"hands?|handed|passes|passed|gives|gave|transfers?|transferred|handing|passing"
    charge = rf"(?:{LEADERSHIP})?"
    return (
        rule(pattern=rf"{SUBJ}(?P<v>{over}) {OWNERSHIP}{OBJ}(?: from {LEFT})?", kind="change", left="DEVELOPED_BY", role="owner", **OWNED),
        rule(
            pattern=rf"{SUBJ}(?P<v>{over}) {charge}{OBJ}(?: (?:team|work))?(?: from {LEFT})?",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            owner_if_component=True,
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>{over}) from {LEFT} (?:{AS_LEAD} (?:of|for|on)|on|at|for) {OBJ}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **LEAD,
        ),
        rule(
            pattern=rf"{LEFT}{GAP}{AUX}(?P<v>{gives}) {OWNERSHIP}{OBJ}(?: over)? to (?P<s>{N})",
            kind="change",
            left="DEVELOPED_BY",
            role="owner",
            **OWNED,
        ),
        rule(
            pattern=rf"{LEFT}{GAP}{AUX}(?P<v>{gives})(?: over)? {charge}{OBJ}(?: over)? to (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            owner_if_component=True,
            **LEAD,
        ),
        rule(
            pattern=rf"(?:lead(?:ership)?|direction|running|responsibility) (?:of|for) {OBJ} {AUX}(?P<v>moved|moves|passed|passes|went|goes"
            rf"|transferred|transfers|handed|changed|falls|fell)(?: over)?(?: (?:hands )?from {LEFT})? to (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **LEAD,
        ),
        rule(
            pattern=rf"(?:ownership|maintenance|care) of {OBJ} {AUX}(?P<v>moved|moves|passed|passes|went|goes|transferred|transfers|handed|changed)"
            rf"(?: over)?(?: (?:hands )?from {LEFT})? to (?P<s>{N})",
            kind="change",
            left="DEVELOPED_BY",
            role="owner",
            **OWNED,
        ),
        rule(
            pattern=rf"(?P<s>{N}){GAP}{AUX}(?P<v>replaces?|replaced|succeeds?|succeeded|follows?|followed) {LEFT},?"
            rf" (?:{AS_LEAD} (?:of|for|on)|at the head of) {OBJ}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **LEAD,
        ),
        rule(
            pattern=rf"{LEFT}{GAP}{AUX}(?P<v>replaced|succeeded|followed),? (?:{AS_LEAD} (?:of|for|on)|at the head of) {OBJ} by (?P<s>{N})",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **LEAD,
        ),
        rule(
            pattern=rf"{LEFT}{GAP}{AUX}(?P<v>replaced|succeeded|followed) by (?P<s>{N}),? (?:{AS_LEAD} (?:of|for|on)|at the head of) {OBJ}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>step(?:s|ped|ping)? (?:down|back|aside)|resign(?:s|ed)|stop(?:s|ped) leading|left|leaves|gives? up|gave up)"
            rf"(?: (?:{AS_LEAD} (?:of|for|on)|from (?:leading |{LEADERSHIP})?|{LEADERSHIP}))? ?{OBJ}(?! to lead)",
            kind="end",
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>left|leaves|leaving|moves? from|moved from|goes from|went from) {LEFT} to (?:lead|head|run|take over|take on) {OBJ}",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            leaves="held",
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>moves?|moved|goes|went|switche[sd]|transfers?|transferred)(?: over)?(?: from {LEFT})? to {OBJ},?"
            rf" (?:{AS_LEAD}|to (?:lead|head|run) (?:it|{N})|where (?:he|she|they) (?:leads?|heads?|will lead))",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            leaves="held",
            **LEAD,
        ),
    )


def _lead_rules() -> tuple[Rule, ...]:
    return (
        rule(
            pattern=rf"{SUBJ}(?:as )?(?P<v>appointed|named|made|chosen|elected|confirmed|announced|promoted)(?: as| to| to be)? {LEAD_ROLE} (?:of|for|on) {OBJ}",
            kind="change",
            **LEAD,
        ),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>led|headed|run|spearheaded) by (?P<s>{LIST})", **LEAD),
        rule(
            pattern=rf"(?P<o>{N}),? (?:which|that|whom) (?P<s>{N}) (?:[a-z]+ed and )?{AUX}(?P<v>leads?|led|heads?|headed|runs?|ran)\b",
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>leads?|led|leading|heads?|headed|heading|spearheads?|spearheaded|in charge of|runs?|ran){FILL}{OBJ}",
            **LEAD,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>takes?|took|taking) {OBJ} over(?: from {LEFT})?",
            kind="change",
            left="LEAD_ARCHITECT_OF",
            owner_if_component=True,
            **LEAD,
        ),
        rule(pattern=rf"{SUBJ}(?P<v>(?:{BE} )?{LEAD_ROLE}) (?:of|for|on|at) {OBJ}", **LEAD),
        rule(
            pattern=rf"(?P<v>{LEAD_ROLE}) (?:of|for|on) {OBJ},? (?:{BE}|since|:|,)? ?(?:as of {D} |since {D} |from {D} |in {D} |on {D} )?(?P<s>{N})",
            **LEAD,
        ),
        rule(pattern=rf"{OBJ}['’]s (?P<v>{LEAD_ROLE}),? (?:{BE} |: )?(?:(?:now|currently|still|then) )?(?P<s>{N})", **LEAD),
        rule(pattern=rf"{SUBJ}(?P<v>{BE} {OBJ}['’]s {LEAD_ROLE})", **LEAD),
        rule(pattern=rf"{SUBJ}(?P<v>(?:{BE} )?(?:the )?(?:acting|interim|new|current) lead),? (?:of|for|on) {OBJ}", **LEAD),
    )


def _own_rules() -> tuple[Rule, ...]:
    return (
        rule(
            pattern=rf"{OBJ}{GAP}{AUX}(?P<v>{BUILT})(?: and {KEPT})?(?: [a-z]+ly)? by (?P<s>{LIST})",
            kind="result",
            role="author",
            **OWNED,
        ),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>{KEPT})(?: and {KEPT})? by (?P<s>{LIST})", role="owner", **OWNED),
        rule(
            pattern=rf"{SUBJ}(?P<v>{BUILT}|develops|builds|wrote|writes|creates|designs|authors|implements|co-?authored|co-?wrote){FILL}{OBJ}",
            kind="result",
            role="author",
            **OWNED,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>maintains?|maintained|owns?|owned|manages?|managed|operates|operated|looks? after|looked after|takes? care of"
            rf"|took care of|(?:is |was )?responsible for|keeps running){FILL}{OBJ}",
            role="owner",
            **OWNED,
        ),
        rule(
            pattern=rf"(?P<o>{N}),? (?:which|that) (?P<s>{N}) (?:[a-z]+ed and )?{AUX}(?P<v>maintains?|maintained|owns?|owned)\b",
            role="owner",
            **OWNED,
        ),
        rule(pattern=rf"{SUBJ}(?P<v>(?:{BE} )?{OWN_ROLE}) (?:of|for) {OBJ}", role="owner", **OWNED),
        rule(pattern=rf"(?P<v>{OWN_ROLE}) (?:of|for) {OBJ},? (?:{BE}|:) (?P<s>{LIST})", role="owner", **OWNED),
        rule(pattern=rf"{OBJ}['’]s (?P<v>{OWN_ROLE}),? (?:{BE} |: )?(?P<s>{N})", role="owner", **OWNED),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>belongs?|belonged) to (?P<s>{N})", role="owner", **OWNED),
        rule(pattern=rf"{OBJ}{GAP}(?P<a>(?:{AUXILIARY} )+)(?P<v>)(?P<s>{N})['’]s(?= since|[.,;]|$)", role="owner", **OWNED),
    )


def _work_rules() -> tuple[Rule, ...]:
    role = r"(?: team)?(?: as (?:the |an? )?(?P<r>[a-z][a-z -]{2,40}[a-z]))?"
    return (
        rule(
            pattern=rf"{SUBJ}(?P<v>moves?|moved|goes|went|switche[sd]|transfers?|transferred) (?:over )?from {LEFT}(?: team)? to {OBJ}{role}",
            kind="change",
            left="CONTRIBUTES_TO",
            leaves="held",
            **WORKS,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>moves?|moved|goes|went|transfers|transferred|assigned) (?:over )?to {OBJ}{role}", kind="change", **WORKS
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>joins?|joined|joining|started (?:work )?(?:on|at)|starts (?:work )?on|begins on){FILL}{OBJ}{role}",
            kind="change",
            **WORKS,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>(?:contributes?|contributed|contributing|commits|committed) to|(?:works?|worked|working)(?: (?:full|part)[- ]time)?"
            rf" (?:on|for|in)|helps? (?:out )?(?:with|on)|helped (?:out )?(?:with|on)){FILL}{OBJ}{role}",
            **WORKS,
        ),
        rule(
            pattern=rf"{SUBJ}(?:an? |the |one of the )?(?:[a-z]+ ){{0,2}}?(?P<v>member|contributor|engineer|developer|committer) (?:of|on|to|at|in|for) {OBJ}",
            **WORKS,
        ),
        rule(
            pattern=rf"{SUBJ}(?P<v>left|leaves|leaving|quits?|moved off|moves off|rolled off|stopped working on) {OBJ}", kind="end", **WORKS
        ),
    )


def _update_rules() -> tuple[Rule, ...]:
    updated: dict[str, Any] = {"predicate": "UPDATED_BY", "kind": "event"}
    return (
        rule(
            pattern=rf"{OBJ}{GAP}{AUX}(?P<v>{UPDATED})\b(?:[^;]{{0,80}}?),? by (?P<s>{LIST})",
            flip=True,
            subject="person",
            object="thing",
            **updated,
        ),
        rule(pattern=rf"{SUBJ}(?P<v>{UPDATES}){FILL}{OBJ}", flip=True, subject="person", object="thing", **updated),
        rule(
            pattern=rf"{SUBJ}(?P<v>made|did|carried out|applied|completed) (?:the|this|an?) (?:update|change|fix|patch|upgrade|rotation|migration) (?:to|of|in|on|for) {OBJ}",
            flip=True,
            subject="person",
            object="thing",
            **updated,
        ),
        rule(
            pattern=rf"(?P<o>{LIST}) (?P<a>(?:{ADVERB} )?(?:was|were|has been|have been|got) (?:{ADVERB} )*)(?P<v>{UPDATED})\b(?! by)(?P<s>)",
            flip=True,
            object="thing",
            **updated,
        ),
    )


def _depend_rules() -> tuple[Rule, ...]:
    needs: dict[str, Any] = {"predicate": "DEPENDS_ON", **THINGS}
    return (
        rule(
            pattern=rf"{SUBJ}(?P<v>switche[sd]|migrate[sd]|moved|moves|ported|converted)(?: over)?(?: away)? from {LEFT} to {OBJ}",
            kind="change",
            left="DEPENDS_ON",
            leaves="held",
            **needs,
        ),
        rule(pattern=rf"{SUBJ}(?P<v>{USE}){FILL}{OBJ}", **needs),
        rule(
            pattern=rf"{SUBJ}(?P<v>(?:depends?|depended|relies|relied|rely|runs?|builds?) (?:on|upon)) [^.;]{{1,80}}? and (?:on|upon){FILL}{OBJ}",
            **needs,
        ),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>used|required|needed|called|consumed|imported|queried) by (?P<s>{LIST})", **needs),
        rule(
            pattern=rf"(?P<s>{N})['’]s (?:only |main |direct |other )?(?P<v>dependenc(?:y|ies)) (?:is|are|:|include|includes) {OBJ}",
            **needs,
        ),
        rule(pattern=rf"(?P<v>dependenc(?:y|ies)) of (?P<s>{N}) (?:is|are|:|include|includes) {OBJ}", **needs),
        rule(pattern=rf"{SUBJ}(?:a |an? (?:hard|soft|direct|optional) )?(?P<v>dependency) on {OBJ}", **needs),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?:a |an? (?:hard|soft|direct|optional) )?(?P<v>dependency) of (?P<s>{LIST})", **needs),
    )


def _export_rules() -> tuple[Rule, ...]:
    offers: dict[str, Any] = {"predicate": "EXPORTS", **THINGS}
    return (
        rule(
            pattern=rf"{SUBJ}(?P<v>exports?|exported|exposes?|exposed|publishes|published|provides?|provided|offers?|offered|serves?|served|emits?){FILL}{OBJ}",
            **offers,
        ),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>exported|exposed|published|offered|emitted) by (?P<s>{LIST})", **offers),
    )


def _retire_rules() -> tuple[Rule, ...]:
    retires: dict[str, Any] = {"predicate": "DEPRECATED", "kind": "event"}
    return (
        rule(
            pattern=rf"(?P<v>replac(?:e|es|ed|ing)|swap(?:s|ped|ping)?|substituted?) {OBJ} (?:by|with|for) (?P<s>{N})",
            subject="thing",
            object="thing",
            **retires,
        ),
        rule(
            pattern=rf"{OBJ}{GAP}{AUX}(?P<v>{RETIRED})[^;,]{{0,40}}? (?:in favou?r of|by|with) (?P<s>{N})",
            subject="thing",
            object="thing",
            **retires,
        ),
        rule(pattern=rf"{OBJ}{GAP}{AUX}(?P<v>{RETIRED})[^;,]{{0,40}}?(?:;|,) use (?P<s>{N})", subject="thing", object="thing", **retires),
        rule(
            pattern=rf"{SUBJ}(?P<v>deprecates|deprecated|supersedes|superseded|superseding|replaces|replaced|retires|retired|obsoletes|obsoleted|sunsets|drops|removes)"
            rf"{FILL}{OBJ}",
            object="thing",
            **retires,
        ),
        rule(pattern=rf"(?P<v>use|call|prefer) (?P<s>{N}) instead of {OBJ}", subject="thing", object="thing", **retires),
        rule(
            pattern=rf"(?P<s>{N}),? (?:is |as )?(?:the |a )?(?P<v>replacement) (?:for|of) {OBJ}", subject="thing", object="thing", **retires
        ),
        rule(
            pattern=rf"{OBJ}{GAP}(?P<a>(?:(?:{AUXILIARY}|{ADVERB}),? )+)(?P<v>{RETIRED})\b(?: (?:in|with|as of|since|from) (?P<s>{N})(?= |[.,;:]|$))?",
            subject="document",
            object="thing",
            **retires,
        ),
    )


def _refer_rules() -> tuple[Rule, ...]:
    points: dict[str, Any] = {"predicate": "REFERENCES", "object": "document"}
    return (
        rule(pattern=rf"(?P<s>)(?P<v>[Ss]ee)(?: also)?:?(?: [a-z'’-]+){{0,2}}? {OBJ}", **points),
        rule(
            pattern=rf"(?P<s>)(?P<v>refers? (?:back )?to|references|cites|links? to|points? to|(?:described|documented|explained|defined|specified|decided|recorded|set out|listed) in"
            rf"|according to|follows from|details (?:are )?in){FILL}{OBJ}",
            **points,
        ),
    )


def _relate_rules() -> tuple[Rule, ...]:
    ties: dict[str, Any] = {"predicate": "RELATED_TO"}
    return (
        rule(
            pattern=rf"{SUBJ}(?P<v>part of|integrates? with|integrated with|communicates with|a subsidiary of|a partner of){FILL}{OBJ}",
            **ties,
        ),
        rule(pattern=rf"(?P<s>{LIST}){GAP}{AUX}(?P<v>(?:{DONE_BY}) by) (?P<o>{LIST})", **ties),
    )
