"""How much a fact has to do with a question: which relation it asks for, and what else it names. A pure function of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.types import Fact

EVIDENCE_WEIGHT = 0.5
"""Lift of the passage that states the most relevant fact, on the scale of calibrated fusion (as `graph_ranking.NAMED_WEIGHT`)."""

UNASKED = 0.1
"""Relevance of a fact whose relation the question does not ask for."""

PERSON_TYPES = frozenset({"Developer", "Person"})
"""Node types that answer a question that begins with `who`."""


def relevance(fact: Fact, question: str, *, asks_who: bool, schema: GraphSchema) -> float:
    """Return how relevant a fact is, in [0, 1].

    Half is for the relation: a word of the predicate, of one of its aliases or of its stated role occurs in the question (stems compared). A quarter is for a
    person at one end where the question asks who, a quarter for naming both ends.
    """
    asked = _stems(question)
    relation = _relation_stems(fact.predicate, schema) | _stems(
        " ".join(str(value) for value in fact.properties.values() if isinstance(value, str))
    )
    score = UNASKED
    if relation & asked:
        score += 0.5
    if asks_who and ({fact.subject_type, fact.object_type} & PERSON_TYPES):
        score += 0.2
    if all(_stems(end) and _stems(end) <= asked for end in (fact.subject, fact.object)):
        score += 0.2
    return score


def ranked_facts(facts: Sequence[Fact], question: str, *, asks_who: bool, schema: GraphSchema) -> list[tuple[Fact, float]]:
    """Return facts with their relevance, most relevant first; equals keep their order."""
    scored = [(fact, relevance(fact, question, asks_who=asks_who, schema=schema)) for fact in facts]
    return sorted(scored, key=lambda item: -item[1])


def evidence_lifts(ranked: Sequence[tuple[Fact, float]]) -> Mapping[str, float]:
    """Return, by chunk id, what stating a relevant fact adds to a passage's score; facts that were not asked for add nothing."""
    lifts: dict[str, float] = {}
    for fact, score in ranked:
        if score >= 0.5:
            for chunk_id in fact.evidence:
                lifts[chunk_id] = max(lifts.get(chunk_id, 0.0), EVIDENCE_WEIGHT * score / len(fact.evidence) ** 0.5)
    return lifts


def _relation_stems(predicate: str, schema: GraphSchema) -> frozenset[str]:
    declared = schema.predicate(predicate)
    return _stems(" ".join((predicate.replace("_", " ").lower(), *(declared.aliases if declared else ()))))


@lru_cache(maxsize=1)
def _analyzer() -> Analyzer:
    return Analyzer()


@lru_cache(maxsize=4_096)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_analyzer().terms(text))
