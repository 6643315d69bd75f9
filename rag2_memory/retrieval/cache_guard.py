"""Whether a cached context may answer another wording of its question. Pure; the trace keeps every verdict with its reason.

A vector tells what a question is about, not what it asks: "enable" and "disable" are neighbours, so are "euros to dollars" and
"dollars to euros". A near vector therefore only proposes. `guard` refuses on any difference that changes what is asked; how much
the wording differs otherwise decides how near the vectors must be (`required_cosine`). Below that, the two questions' own dense
results may speak for the hit (`evidence_agrees`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from rag2_memory.retrieval import cache_lexicon as lexicon
from rag2_memory.retrieval.cache_reading import Reading, read, stem
from rag2_memory.types import Hit

Difference = Literal["none", "added", "reworded"]
"""How the content words differ: not at all, by words that one question has more, or by several words."""

_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti", "re", "pre", "post", "sub", "super", "over", "under", "multi", "semi")
_SYMMETRIC = frozenset("and or vs versus between compare compared comparison difference differences both & with".split())
_SIDES = tuple((frozenset(one.split("|")), frozenset(other.split("|"))) for one, other in lexicon.ANTONYMS)
_OPPOSITES = tuple((one | frozenset(map(stem, one)), other | frozenset(map(stem, other))) for one, other in _SIDES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether two questions may share an answer as far as their words tell."""

    allowed: bool
    rule: str = ""
    """The rule that refused, such as `numbers`; empty where allowed."""
    reason: str = ""
    """In words, for the trace."""
    difference: Difference = "none"


def guard(a: str, b: str) -> Verdict:
    """Compare what two questions ask; symmetric.

    Returns:
        Not allowed where numbers, dates, identifiers, quoted strings, names, polarity, direction, scope, tense or the kind of question differ, where one word
        stands for another that is no synonym, or where one has a word more that narrows it. Otherwise allowed, with how the wording differs.
    """
    if a == b:
        return Verdict(allowed=True, reason="the same text")
    one, other = read(a), read(b)
    for rule, check in _RULES:
        if reason := check(one, other):
            return Verdict(allowed=False, rule=rule, reason=reason)
    return _wording(one, other)


def _wording(one: Reading, other: Reading) -> Verdict:
    only_one, only_other = one.subjects - other.subjects, other.subjects - one.subjects
    fewer, more = sorted((len(only_one), len(only_other)))
    shown = f"{_shown(only_one)} / {_shown(only_other)}"
    if not more:
        return Verdict(allowed=True, reason="the same words")
    if not one.subjects & other.subjects and not one.names & other.names:
        return Verdict(allowed=False, rule="wording", reason=f"no word in common: {shown}")
    if more == 1 and fewer == 1:
        return Verdict(allowed=False, rule="substitution", reason=f"one word replaced: {shown}")
    if more == 1:
        return Verdict(allowed=True, reason=f"one word more: {shown}", difference="added")
    return Verdict(allowed=True, reason=f"reworded: {shown}", difference="reworded")


def _differing(what: str, one: frozenset[str], other: frozenset[str]) -> str:
    return "" if one == other else f"{what} differ: {_shown(one - other)} / {_shown(other - one)}"


def _shown(words: frozenset[str]) -> str:
    return ", ".join(sorted(words)) or "none"


def _numbers(one: Reading, other: Reading) -> str:
    return _differing("numbers", one.numbers, other.numbers)


def _calendar(one: Reading, other: Reading) -> str:
    return _differing("dates", one.calendar, other.calendar)


def _identifiers(one: Reading, other: Reading) -> str:
    return _differing("identifiers", one.identifiers, other.identifiers)


def _quoted(one: Reading, other: Reading) -> str:
    missing = {string for string in one.quoted if string not in other.text} | {string for string in other.quoted if string not in one.text}
    return f"quoted strings differ: {_shown(frozenset(missing))}" if missing else ""


def _names(one: Reading, other: Reading) -> str:
    missing = (one.names - other.subjects - other.forms) | (other.names - one.subjects - one.forms)
    return f"names differ: {_shown(missing)}" if missing else ""


def _negation(one: Reading, other: Reading) -> str:
    return "one is negated" if one.negated != other.negated else ""


def _antonyms(one: Reading, other: Reading) -> str:
    only_one, only_other = one.forms - other.forms, other.forms - one.forms
    for side, opposite in _OPPOSITES:
        for left, right in ((side, opposite), (opposite, side)):
            if (x := only_one & left) and (y := only_other & right):
                return f"opposites: {_shown(x)} / {_shown(y)}"
    for word in only_one:
        for found in only_other:
            short, long = sorted((word, found), key=len)
            if long.endswith(short) and long[: -len(short)].rstrip("-") in _PREFIXES and len(short) > 2:
                return f"opposites: {word} / {found}"
    return ""


def _kinds(one: Reading, other: Reading) -> str:
    known = "none" not in (one.kind, other.kind)
    if known and one.kind != other.kind and {one.kind, other.kind} != {"how", "how_to"}:
        return f"asks {one.kind} / {other.kind}"
    return _differing("second questions", one.further, other.further)


def _tense(one: Reading, other: Reading) -> str:
    if not one.tense or not other.tense or one.tense == other.tense:
        return ""
    if "future" not in (one.tense, other.tense) and one.subject_asked != other.subject_asked:
        return ""  # "who wrote it" asks the same as "who is its author"
    return f"asks of the {one.tense} / {other.tense}"


def _scope(one: Reading, other: Reading) -> str:
    only_one, only_other = one.scope - other.scope, other.scope - one.scope
    strict = one.strict_scope ^ other.strict_scope or one.kind in ("yes_no", "can", "should", "will")
    if (only_one and only_other) or (strict and only_one | only_other):
        return f"scope differs: {_lines(only_one)} / {_lines(only_other)}"
    return ""


def _lines(scope: frozenset[int]) -> str:
    return ", ".join(lexicon.SCOPE[line][0] for line in sorted(scope)) or "none"


def _direction(one: Reading, other: Reading) -> str:
    for marker in {marker for marker, _ in one.roles} & {marker for marker, _ in other.roles}:
        in_one = {word for at, word in one.roles if at == marker}
        in_other = {word for at, word in other.roles if at == marker}
        swapped = ((in_one - in_other) & set(other.content), (in_other - in_one) & set(one.content))
        if all(swapped):
            return f"direction differs: {marker} {_shown(frozenset(swapped[0]))} / {marker} {_shown(frozenset(swapped[1]))}"
    if one.subjects == other.subjects and one.subject_asked != other.subject_asked and one.kind == other.kind:
        if {"do", "does", "did"} & (one.forms | other.forms):
            return "one asks for the subject, the other for the object"
    return _exchanged(one, other) or _passive(one, other) or _passive(other, one)


def _exchanged(one: Reading, other: Reading) -> str:
    """Two words have changed places around a third, and nothing says that order is free."""
    if len(one.content) != len(other.content) or sorted(one.content) != sorted(other.content):
        return ""
    if _SYMMETRIC & one.forms and _SYMMETRIC & other.forms:
        return ""
    moved = [at for at, (x, y) in enumerate(zip(one.content, other.content, strict=True)) if x != y]
    if len(moved) == 2 and (moved[1] - moved[0] > 1 or {one.content[at] for at in moved} <= one.names & other.names):
        return f"places exchanged: {one.content[moved[0]]}, {one.content[moved[1]]}"
    return ""


def _passive(passive: Reading, active: Reading) -> str:
    """`X is owned by Y` asks the same as `Y owns X`, not as `X owns Y`."""
    agent = passive.passive_agent
    if not agent or agent in {word for _, word in active.roles} or agent not in active.content or agent not in passive.content:
        return ""
    before = passive.content[: passive.content.index(agent)][:-1]
    patients = [active.content.index(word) for word in before if word in active.content]
    if patients and active.content.index(agent) > max(patients) and not active.before_do.intersection(before):
        return f"{agent} acts in one question and is acted upon in the other"
    return ""


_RULES: tuple[tuple[str, Callable[[Reading, Reading], str]], ...] = (
    ("numbers", _numbers),
    ("dates", _calendar),
    ("identifiers", _identifiers),
    ("quoted strings", _quoted),
    ("names", _names),
    ("negation", _negation),
    ("antonyms", _antonyms),
    ("question type", _kinds),
    ("tense", _tense),
    ("scope", _scope),
    ("direction", _direction),
)
"""In this order; the first that finds a difference refuses."""
