"""Whether a cached context may answer another wording of its question. Pure; the trace keeps every verdict with its reason.

A vector tells what a question is about, not what it asks: "enable" and "disable" are neighbours, so are "euros to dollars" and
"dollars to euros". A near vector therefore only proposes. `guard` refuses on any difference that changes what is asked; how much
the wording differs otherwise decides how near the vectors must be (`required_cosine`). Below that, the two questions' own dense
results may speak for the hit (`evidence_agrees`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Literal

from rag2_memory.protocols import Reranker
from rag2_memory.retrieval import cache_lexicon as lexicon
from rag2_memory.retrieval.cache_reading import YES_NO_KINDS, Reading, read, stem
from rag2_memory.types import Hit

Difference = Literal["none", "added", "reworded"]
"""How the content words differ: not at all, by words that one question has more, or by several words."""

REQUIRED_ABOVE_SIMILARITY: dict[Difference, float] = {"none": -0.01, "reworded": -0.05, "added": 0.03}
"""Cosine needed, relative to `cache_similarity`. A high cosine in spite of several other words means a paraphrase; a single word more narrows a question
and hardly moves its vector. Fitted on one half of 8,000 Quora pairs (MiniLM, similarity 0.92), confirmed on the other: precision 0.92 and 0.91 at
recall 0.25 and 0.27, where cosine alone reaches 0.87 at 0.21."""

EVIDENCE_COSINE = 0.6
"""Below this two questions are not brought together, whatever they find."""

EVIDENCE_SHARED = ((5, 4), (10, 7))
"""(depth, hits in common) that agreeing takes. On the example corpus 66 of 100 rephrasings are served, none of 474 opposites and near-twins, and 5 of 20,631
pairs of different questions."""

EVIDENCE_NEAR_COSINE = 0.75
EVIDENCE_SHARED_NEAR = ((5, 3), (10, 6))
"""The same for questions that are near one another already, or of the same words."""

EVIDENCE_LIKENESS = 0.6
"""Share of words in common order up to which agreeing results say anything: questions that are edits of one another (opposites, most of all) find the same
anyway. Of 244 opposites and near-twins 9 % are below, of 100 rephrasings 99 %."""

ARGUABLE_RULES = frozenset({"extent", "particles", "question type", "substitution", "wording"})
"""Refusals that agreeing evidence may overrule; a differing number, name or direction is never overruled."""

_PREFIXES = frozenset("un in im il ir dis non de mis anti re pre post sub super over under multi semi".split())
_SUFFIXES = frozenset("er or r ment ion ation al ance ence ure age ing".split())
_SYMMETRIC = frozenset("and or vs versus between compare difference differ both same similar equal together".split())
_DO = frozenset({"do", "does", "did"})
_ONE_SIDED = frozenset({"from", "than", "before", "after", "by", "against", "over", "'s"})
"""Markers whose word alone tells who is on which side."""

_SIDES: dict[str, set[tuple[int, bool]]] = {}
"""Per word and stem the (line of `cache_lexicon.ANTONYMS`, side) where it stands."""
for _line, _sides in enumerate(lexicon.ANTONYMS):
    for _side, _words in enumerate(_sides):
        for _word in _words.split("|"):
            for _form in (_word, stem(_word)):
                _SIDES.setdefault(_form, set()).add((_line, bool(_side)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether two questions may share an answer as far as their words tell."""

    allowed: bool
    rule: str = ""
    """The rule that refused, such as `numbers`; empty where allowed."""
    reason: str = ""
    """In words, for the trace."""
    difference: Difference = "none"
    likeness: float = 1.0
    """Share of words that stand in both in the same order, in [0, 1]; 1 where nothing could overrule the refusal."""

    @property
    def arguable(self) -> bool:
        """Whether evidence may decide: worded differently as a whole, and nothing contradicts."""
        return self.likeness <= EVIDENCE_LIKENESS and (self.allowed or self.rule in ARGUABLE_RULES)

    def required_cosine(self, similarity: float) -> float:
        """Return the cosine from which words that are allowed suffice; 2, which none reaches, where they are not.

        Args:
            similarity: `MemoryConfig.cache_similarity`, in [0, 1].
        """
        return min(1.0, similarity + REQUIRED_ABOVE_SIMILARITY[self.difference]) if self.allowed else 2.0


def guard(a: str, b: str) -> Verdict:
    """Compare what two questions ask; symmetric.

    Returns:
        Not allowed where numbers, dates, identifiers, quoted strings, names, polarity, direction, scope, tense or the kind of question differ, where one word
        stands for another that is no synonym, or where one has a word more that narrows it. Otherwise allowed, with how the wording differs.
    """
    if a == b:
        return Verdict(allowed=True, reason="the same text")
    one, other = read(a), read(b)
    refused = ((rule, reason) for rule, check in _RULES if (reason := check(one, other)))
    rule, reason = next(refused, ("", ""))
    verdict = Verdict(allowed=False, rule=rule, reason=reason) if rule else _wording(one, other)
    if rule and rule not in ARGUABLE_RULES:
        return verdict
    return replace(verdict, likeness=SequenceMatcher(None, one.words, other.words, autojunk=False).ratio())


def judge(
    query: str,
    cached: str,
    *,
    cosine: float,
    similarity: float,
    nearest: Sequence[Hit] = (),
    search: Callable[[], Sequence[Hit]] | None = None,
    reranker: Reranker | None = None,
    reranker_minimum: float = 0.5,
) -> Verdict:
    """Decide whether a cached question's context may answer another question.

    Args:
        query: The new question.
        cached: The entry's question.
        cosine: Of the two.
        similarity: `MemoryConfig.cache_similarity`, in [0, 1].
        nearest: `Dependencies.nearest` of the entry.
        search: Returns the new question's dense hits, at least ten where there are as many; called only where they can decide, so it may search.
        reranker: A cross-encoder for pairs of questions that must agree as well, such as one trained on Quora pairs.
        reranker_minimum: Its least score, in its own units.

    Returns:
        The guard's verdict, `allowed` being final; `rule` is `cosine` where only that was missing, `evidence` where the results disagree, `reranker` where that
        refused.
    """
    verdict = guard(query, cached)
    if cosine < verdict.required_cosine(similarity):
        if not verdict.arguable or search is None or cosine < EVIDENCE_COSINE:
            return (
                verdict
                if not verdict.allowed
                else replace(verdict, allowed=False, rule="cosine", reason=f"cosine {cosine:.2f}, {verdict.reason}")
            )
        near = cosine >= EVIDENCE_NEAR_COSINE or (verdict.allowed and verdict.difference == "none")
        if not evidence_agrees(search(), nearest, near=near):
            return replace(verdict, allowed=False, rule="evidence", reason=f"other passages are nearest; {verdict.reason}")
        verdict = replace(verdict, allowed=True, rule="", reason=f"the same passages are nearest; {verdict.reason}")
    if reranker is not None and (score := float(reranker.rerank(query, [cached])[0])) < reranker_minimum:
        return replace(verdict, allowed=False, rule="reranker", reason=f"the reranker gives {score:.2f}")
    return verdict


def evidence_agrees(found: Sequence[Hit], cached: Sequence[Hit], *, near: bool = False) -> bool:
    """Return whether two questions' dense hits are nearly the same: an `arguable` pair may then share its context.

    Args:
        found: The new question's dense hits, best first; at least ten where there are as many.
        cached: `Dependencies.nearest` of the entry.
        near: Whether the questions themselves are near; less is asked for then.

    Returns:
        True if `EVIDENCE_SHARED` of the best hits are the same; False where either question found nothing.
    """
    return bool(found and cached) and all(
        len({hit.id for hit in found[:depth]} & {hit.id for hit in cached[:depth]}) >= shared * min(1.0, len(found) / depth)
        for depth, shared in (EVIDENCE_SHARED_NEAR if near else EVIDENCE_SHARED)
    )


def _wording(one: Reading, other: Reading) -> Verdict:
    only_one = frozenset(word for word in one.subjects - other.subjects if not _derived(word, other.subjects))
    only_other = frozenset(word for word in other.subjects - one.subjects if not _derived(word, one.subjects))
    fewer, more = sorted((len(only_one), len(only_other)))
    shown = f"{_shown(only_one)} / {_shown(only_other)}"
    if not more:
        return Verdict(allowed=True, reason="the same words")
    if not one.subjects & other.subjects and not one.names & other.names:
        return Verdict(allowed=False, rule="wording", reason=f"no word in common: {shown}")
    if (_one_place(one, other) and (fewer or _one_word(one, other))) or (more == 1 and fewer):
        return Verdict(allowed=False, rule="substitution", reason=f"one place replaced: {shown}")
    if more == 1:
        return Verdict(allowed=True, reason=f"one word more: {shown}", difference="added")
    return Verdict(allowed=True, reason=f"reworded: {shown}", difference="reworded")


def _one_place(one: Reading, other: Reading) -> bool:
    """Whether all that differs stands in one place, with the same words before or after it."""
    steps = SequenceMatcher(None, one.content, other.content, autojunk=False).get_opcodes()
    return sum(step[0] != "equal" for step in steps) == 1


def _one_word(one: Reading, other: Reading) -> bool:
    """Whether one word stands for one other, be it a filler: `the value of x` against `the type of x`."""
    steps = [step for step in SequenceMatcher(None, one.words, other.words, autojunk=False).get_opcodes() if step[0] != "equal"]
    if len(steps) != 1:
        return False
    _, start, end, other_start, other_end = steps[0]
    replaced = {*one.words[start:end], *other.words[other_start:other_end]}
    return end - start == other_end - other_start == 1 and lexicon.FUNCTION_WORDS.isdisjoint(replaced)


def _derived(word: str, others: frozenset[str]) -> bool:
    """Whether a word is derived from one of the others or the reverse: `own` and `owner`, `pay` and `payment`."""
    return any(
        long.startswith(short) and len(short) >= 3 and long[len(short) :] in _SUFFIXES
        for short, long in (sorted((word, other), key=len) for other in others)
    )


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
    sides = {side: word for word in only_one for side in _SIDES.get(word, ())}
    for word in only_other:
        for line, side in _SIDES.get(word, ()):
            if (opposite := sides.get((line, not side))) is not None:
                return f"opposites: {opposite} / {word}"
    for both, single in ((one.forms, other.forms), (other.forms, one.forms)):
        for word in both - single:
            for line, side in _SIDES.get(word, ()):
                if any((line, not side) in _SIDES.get(found, ()) for found in both & single):
                    return f"only one asks for {word} as well"
    for word in only_one:
        for found in only_other:
            short, long = sorted((word, found), key=len)
            if long.endswith(short) and long[: -len(short)] in _PREFIXES and len(short) > 2:
                return f"opposites: {word} / {found}"
    return ""


def _modality(one: Reading, other: Reading) -> str:
    """Whether something is, can be, should be or will be so are different questions."""
    if one.kind != other.kind and {one.kind, other.kind} <= YES_NO_KINDS:
        return f"asks {one.kind} / {other.kind}"
    return f"asks what {one.modal} / {other.modal} be" if {one.modal, other.modal} == {"may", "must"} else ""


def _kinds(one: Reading, other: Reading) -> str:
    if one.kind != other.kind and "none" not in (one.kind, other.kind) and {one.kind, other.kind} != {"how", "how_to"}:
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
    return f"scope differs: {_lines(only_one)} / {_lines(only_other)}" if only_one and only_other else ""


def _extent(one: Reading, other: Reading) -> str:
    differs = one.strict_scope ^ other.strict_scope
    return f"only one says {_lines(differs)}" if differs else ""


def _particles(one: Reading, other: Reading) -> str:
    return _differing("particles", lexicon.PARTICLES & one.forms, lexicon.PARTICLES & other.forms)


def _lines(scope: frozenset[int]) -> str:
    return ", ".join(lexicon.SCOPE[line][0] for line in sorted(scope)) or "none"


def _direction(one: Reading, other: Reading) -> str:
    for before, marker, after in one.roles:
        for other_before, other_marker, other_after in other.roles:
            if marker != other_marker or after == other_after or after not in other.canonical or other_after not in one.canonical:
                continue
            alone = marker in _ONE_SIDED and not _has(one, marker, other_after) and not _has(other, marker, after)
            if alone or (before == other_after and after == other_before):
                return f"direction differs: {marker} {after} / {marker} {other_after}"
    return _voices(one, other) or _repeated(one, other) or _exchanged(one, other) or _passive(one, other) or _passive(other, one)


def _voices(one: Reading, other: Reading) -> str:
    """`Who reports to Ada` against `who does Ada report to`; `we asked them` against `they asked us`."""
    same = one.subjects == other.subjects and one.kind == other.kind
    if same and one.subject_asked != other.subject_asked and not _DO.isdisjoint(one.words + other.words):
        return "one asks for the subject, the other for the object"
    for acts, suffers in (("i", "me"), ("we", "us"), ("he", "him"), ("they", "them")):
        for x, y in ((one, other), (other, one)):
            if acts in x.words and suffers in y.words and acts not in y.words and suffers not in x.words:
                return f"{acts} acts in one question and is acted upon in the other"
    return ""


def _has(reading: Reading, marker: str, after: str) -> bool:
    return any((found, word) == (marker, after) for _, found, word in reading.roles)


def _repeated(one: Reading, other: Reading) -> str:
    """`A or B for A` against `A or B for B`."""
    counts, other_counts = Counter(one.content), Counter(other.content)
    more, less = counts - other_counts, other_counts - counts
    if one.subjects == other.subjects and more and less:
        return f"repeats {_shown(frozenset(more))} / {_shown(frozenset(less))}"
    return ""


def _exchanged(one: Reading, other: Reading) -> str:
    """Two groups of words have changed places around a third (`A depends on B`), and nothing says that order is free."""
    x, y = list(one.content), list(other.content)
    if x == y or sorted(x) != sorted(y) or _SYMMETRIC & one.forms & other.forms or len(set(one.words) ^ set(other.words)) > 3:
        return ""
    if sorted(one.canonical) == sorted(other.canonical):
        return "the same words in another order"
    while x[0] == y[0]:
        del x[0], y[0]
    while x[-1] == y[-1]:
        del x[-1], y[-1]
    last = y[: len(y) - y[::-1].index(x[0])]  # y must read: what x ends with, the middle, what x starts with
    head = len(y) - len(last) + 1
    tail = x[::-1].index(y[0]) + 1
    if y != x[len(x) - tail :] + x[head : len(x) - tail] + x[:head]:
        return ""
    names = one.names & other.names
    if head + tail < len(x) or (names.issuperset(x[:head]) and names.issuperset(x[head:])):
        return f"places exchanged: {' '.join(x[:head])}, {' '.join(x[len(x) - tail :])}"
    return ""


def _passive(passive: Reading, active: Reading) -> str:
    """`X is owned by Y` asks the same as `Y owns X`, not as `X owns Y`."""
    agent = passive.passive_agent
    if not agent or agent in {after for _, _, after in active.roles} or agent not in active.content or agent not in passive.content:
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
    ("modality", _modality),
    ("tense", _tense),
    ("scope", _scope),
    ("direction", _direction),
    ("extent", _extent),
    ("particles", _particles),
    ("question type", _kinds),
)
"""The first that finds a difference refuses; those that evidence may overrule (`ARGUABLE_RULES`) come last."""
