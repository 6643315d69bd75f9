"""How much a fact has to do with a question: which relation it asks for, and what else it names. A pure function of words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.types import Fact

EVIDENCE_WEIGHT = 0.5
"""Lift of the passage that states the most relevant fact, on the scale of calibrated fusion (as `graph_ranking.NAMED_WEIGHT`)."""

_QUANTITY = re.compile(r"[^\W\d_]{0,8} ?\d[\d.,]* ?(?P<unit>[^\W\d_]+)")
_AMOUNT = re.compile(
    r"\b(?:for|after|on|at|limit|size|number|count|population|port|price|cost|costs|age|length|height|weight|capacity|timeout)\b"
)
_WHICH = re.compile(r"\b(?:which|what)(?P<words>(?: [a-z-]+){1,3})", re.IGNORECASE)
_HOW_MANY = re.compile(r"\b(?:how (?:many|much|long|often|far|big|old|large|high|fast)|which|what)\b", re.IGNORECASE)

ASKED = 0.5
"""Least relevance of a fact whose relation the question asks for."""

UNASKED = 0.1
"""Relevance of a fact whose relation the question does not ask for."""

OPEN_PREDICATE = "RELATED_TO"
"""The predicate that says nothing by itself: its edges carry a phrase."""

ROLE_WORDS = {
    "owner": "own owner owns owned maintain maintainer maintains responsible",
    "author": "author wrote written design designed designer build built create created creator develop developed made invented",
}
"""By which words a question asks for one of the two roles that the same predicate has."""

PERSON_TYPES = frozenset({"Developer", "Person"})
"""Node types that answer a question that begins with `who`."""


def relevance(fact: Fact, question: str, *, asks_who: bool, schema: GraphSchema, nearby: str = "") -> float:
    """Return how relevant a fact is, in [0, 1].

    Half is for the relation: a word by which its predicate is asked for, or of its own role or phrase, occurs in the question (stems compared), half of
    that if only in the text nearby. A fifth is for a person at one end where the question asks who, the rest for naming its ends, and for still holding.
    """
    asked = _stems(question)
    relation = _relation_stems(fact.predicate, schema) | _stems(
        " ".join(str(value) for value in fact.properties.values() if isinstance(value, str))
    )
    score = UNASKED
    if relation & asked or _has_unit_asked_for(fact.object, question):
        score += 0.5 if _fits_role(fact, asked) else 0.15
    elif relation & _stems(nearby):
        score += 0.25
    if (asks_who and has_person(fact)) or _has_type_asked_for(fact, question):
        score += 0.2
    words = f" {normalize_name(question)} "
    named = [f" {normalize_name(end)} " in words for end in (fact.subject, fact.object)]
    score += 0.15 if all(named) else 0.1 if any(named) else 0.0
    return score + (0.05 if fact.valid_to is None else 0.0)


def _has_type_asked_for(fact: Fact, question: str) -> bool:
    """Whether an end is of the type that a question asks for: `which component …`."""
    match = _WHICH.search(question)
    return match is not None and bool(_stems(match["words"]) & (_stems(fact.subject_type) | _stems(fact.object_type)))


def _fits_role(fact: Fact, asked: Collection[str]) -> bool:
    """Whether the fact's role is the one that the question asks for, where it asks for one: who owns a thing need not have made it."""
    wanted = {role for role, words in ROLE_WORDS.items() if _stems(words).intersection(asked)}
    return not wanted or fact.properties.get("role") not in ROLE_WORDS or fact.properties["role"] in wanted


def _has_unit_asked_for(value: str, question: str) -> bool:
    """Whether a value is a number with the unit that a question asks for: `14 days`, "after how many days"."""
    match = _QUANTITY.match(value)
    return match is not None and bool(_stems(match["unit"]) & _stems(question)) and bool(_HOW_MANY.search(question))


def has_person(fact: Fact) -> bool:
    """Whether a person stands at one end."""
    return bool({fact.subject_type, fact.object_type} & PERSON_TYPES)


def ranked_facts(
    facts: Sequence[Fact], question: str, *, asks_who: bool, schema: GraphSchema, nearby: str = ""
) -> list[tuple[Fact, float]]:
    """Return facts with their relevance, most relevant first; equals keep their order."""
    scored = [(fact, relevance(fact, question, asks_who=asks_who, schema=schema, nearby=nearby)) for fact in facts]
    return sorted(scored, key=lambda item: -item[1])


def evidence_lifts(ranked: Sequence[tuple[Fact, float]]) -> dict[str, float]:
    """Return, by chunk id, what stating a relevant fact adds to a passage's score; facts that were not asked for add nothing."""
    lifts: dict[str, float] = {}
    for fact, score in ranked:
        if score >= ASKED:
            for chunk_id in fact.evidence:
                lifts[chunk_id] = max(lifts.get(chunk_id, 0.0), EVIDENCE_WEIGHT * score / len(fact.evidence) ** 0.5)
    return lifts


def asks_for_relation(question: str, schema: GraphSchema) -> bool:
    """Whether a question has a word by which some declared relation is asked for."""
    return any(_relation_stems(predicate.name, schema) & _stems(question) for predicate in schema.predicates)


def without_relation(words: Iterable[str], facts: Iterable[Fact], schema: GraphSchema, *, covered: str = "") -> list[str]:
    """Return the words of a question that neither ask for the relations of facts, nor name their ends, nor stand in a text that covers them."""
    used: set[str] = set(_stems(covered))
    for fact in facts:
        used |= _relation_stems(fact.predicate, schema) | _stems(fact.subject) | _stems(fact.object)
    return [word for word in words if not _stems(word) <= used]


def says(fact: Fact, phrase: str) -> bool:
    """Whether the phrase of an open fact has all words of another, or the other all of its."""
    own, other = _stems(str(fact.properties.get("phrase", ""))), _stems(phrase)
    return bool(own and other) and (own <= other or other <= own)


def may_ask_for(predicate: str, question: str, schema: GraphSchema) -> bool:
    """Whether a question may ask for edges of a predicate; of the open one only the edge itself can tell."""
    return predicate == OPEN_PREDICATE or bool(_relation_stems(predicate, schema) & _stems(question))


def phrase_asked_for(phrase: str, question: str) -> bool:
    """Whether a word of an open edge's phrase occurs in a question, or a quantity may answer it."""
    return bool(_stems(phrase) & _stems(question)) or bool(_HOW_MANY.search(question) and _AMOUNT.search(phrase))


def _relation_stems(predicate: str, schema: GraphSchema) -> frozenset[str]:
    declared = schema.predicate(predicate)
    if declared is None:
        return _stems(predicate.replace("_", " ").lower())
    return _stems(" ".join((predicate.replace("_", " ").lower(), *declared.aliases, *declared.asked_by)))


@lru_cache(maxsize=1)
def _analyzer() -> Analyzer:
    return Analyzer()


@lru_cache(maxsize=4_096)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_analyzer().terms(text))
