"""The grammar that sentence patterns share: what stands for names and dates, auxiliaries, lists, roles and verbs.

Patterns are matched against shapes, sentences in which every name and date is one private-use character. An auxiliary that is not listed (`not`,
`should`, `might`) makes a pattern fail, so denials and wishes state nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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


LIST = rf"{N}(?:(?:, ?{N})*,?(?: and| &| as well as| plus| or) {N}|(?:, {N})+(?=[.;)]|$))?"
ADVERB = (
    r"(?:also|now|currently|still|directly|mainly|mostly|primarily|officially|formally|then|later|recently|already|jointly|again|previously"
    r"|formerly|originally|initially|since|today|just|only|partly|always|heavily|once|first|both|therefore|soon|finally|completely|fully|"
    r"temporarily|no longer|together|internally|subsequently|eventually|successfully|meanwhile|used to|each|all)"
)
AUXILIARY = r"(?:has|have|had|is|are|was|were|been|being|be|will|got|gets|get|does|did|do|['’]s|['’]re|['’]ve|['’]ll|am|['’]m|going to)"
AUX = rf"(?P<a>(?:(?:{AUXILIARY}|{ADVERB}),? )*)"
GAP = r"(?:(?:(?!['’]s )[^;:.]{0,90}?(?:,|\band|\bbut|\bthen|\bwho|\bwhich|\bthat))? |(?=['’](?:s|re|ve|ll|m) ))"
"""Between a subject and its verb: nothing, a relative clause, an apposition, or the verbs before in a series."""
SUBJ = rf"(?P<s>{LIST})(?: (?:of|in|at) {N})?{GAP}{AUX}"
FILL = r"(?: (?!(?:not|no|and|or|but|who|that|which|by|from|to|if|when|because|than|before|after|without|until|since|as|through|into|onto|about|over|up|out|down|off|like|against|nothing|of|in|at|for|with|between|behind|under)\b)[a-z'’-]+,?){0,3}? "
"""Up to three plain words between a verb and its object."""
OBJ = rf"(?P<o>{LIST})"
LEFT = rf"(?P<x>{N})"

QUALITY = r"(?:(?:the|a|an|our|its|their|new|acting|interim|current|sole|joint|overall|first|former|previous|old|permanent|deputy) )*"
FIELD = r"(?:(?:technical|tech|project|engineering|product|team|programme|program|development|software|chief|principal|lead|systems?|solutions?) )*"
LEAD_ROLE = rf"(?:{QUALITY}{FIELD}(?:lead(?:er)?|architect|head))"
OWN_ROLE = rf"(?:{QUALITY}(?:main |lead |principal |original |primary |core )?(?:owner|maintainer|author|creator|developer|designer))"
BE = r"(?:is|was|are|were|became|becomes|remains|stays|has been|will be|serves as|served as|acts as|acted as)"
AS_LEAD = rf"as {LEAD_ROLE}"
LEADERSHIP = (
    rf"(?:(?:the )?(?:lead|leadership|reins|helm|direction|role of {LEAD_ROLE}|responsibility) (?:of|for|on) |{LEAD_ROLE} (?:of|for|on) )"
)
OWNERSHIP = r"(?:(?:the )?(?:ownership|maintenance|care|development|support|operation) of )"

USE = (
    r"(?:depends?|depended|depending|relies|relied|rely|relying|runs?|ran|builds?|sits?|is built|is based|is hosted|hosted) (?:on(?: top of)?|upon)"
    r"|requires?|required|needs?|needed|uses?|used|using|consumes?|consumed|calls?|imports?|imported|queries|queried|reads? from"
    r"|writes to|wrote to|talks to|connects? to|subscribes? to|(?:is |are |was )?(?:backed|powered) by|wraps?|invokes?"
    r"|asks?|reads? (?:(?:a|the|its) )?(?:replica|copy|snapshot|stream|feed|mirror) of"
    r"|(?:gets?|builds?|pulls?|receives?|fetch(?:es)?|loads?) [^.;,]{1,40}? from"
    r"|stores? (?:its |their |all )?[a-z]+ in|keeps? (?:its |their )?[a-z]+ in"
)
UPDATED = (
    r"(?:updated|upgraded|patched|rotated|modified|refactored|rewritten|bumped|hardened|fixed|revised|reissued|renewed|rebuilt|redeployed"
    r"|reconfigured|changed|migrated|reworked|corrected|amended)"
)
UPDATES = (
    r"(?:updat|upgrad|patch|rotat|modif|refactor|harden|fix|revis|renew|rework|migrat|amend)(?:es|s|ed|ied|ies)|rewr(?:ites|ote)|bump(?:s|ed)"
    r"|rebuil(?:ds|t)|redeploy(?:s|ed)|reissue[sd]|merged? changes (?:in)?to"
)
RETIRED = r"(?:deprecated|superseded|replaced|retired|obsoleted|decommissioned|sunset|discontinued|phased out|removed|dropped)"
BUILT = r"(?:developed|built|written|created|designed|authored|implemented|engineered|prototyped|coded|programmed)"
KEPT = r"(?:maintained|owned|run|operated|managed|looked after|supported|kept)"
DONE_BY = (
    r"supplied|provided|conducted|carried out|sponsored|audited|funded|hosted|published|acquired|approved|reviewed|tested|certified|performed"
    r"|chaired|organi[sz]ed|discovered|reported|proposed"
)


def rule(predicate: str, pattern: str, **options: Any) -> Rule:
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


PEOPLE: dict[str, Any] = {"subject": "person", "object": "thing"}
THINGS: dict[str, Any] = {"subject": "thing", "object": "thing"}
LEAD: dict[str, Any] = {"predicate": "LEAD_ARCHITECT_OF", **PEOPLE}
OWNED: dict[str, Any] = {"predicate": "DEVELOPED_BY", "flip": True, **PEOPLE}
WORKS: dict[str, Any] = {"predicate": "CONTRIBUTES_TO", **PEOPLE}
