"""The review queue of entity resolution as a scope may see it: pairs of names that are likely one, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.resolution import Profile, compare
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.records import Entity, SurfaceName
from rag2_memory.retrieval.facts import facts_about
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Scope

FACTS_SHOWN = 3
"""Facts that each side is shown with: enough to tell two people of one name apart, few enough to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedEntity:
    """One side of a pair, as the scope knows it."""

    names: tuple[str, ...]
    """The names that the scope has read, most frequent first."""
    type: str = ""
    facts: tuple[str, ...] = ()
    """A few facts about it, one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReview:
    """Two entities that are likely one, which a person should decide."""

    merge_id: int
    kept: ReviewedEntity
    absorbed: ReviewedEntity
    """What would go under the name of `kept`."""
    score: float
    """In [0, 1], higher is surer."""
    reason: str
    """Why they may be one, judged by the names that the scope has read."""


def merge_reviews(registry: RegistryTier, schema: GraphSchema, scope: Scope) -> list[MergeReview]:
    """Return the pairs that wait for a decision, surest first.

    A pair of which the scope does not know both sides does not exist for it, nor does a name that it has not read. Left out are pairs that other
    merges have joined meanwhile, and those whose names such merges have made exclude each other: V. Shah, once he is Viktor, is not Vatsal.
    """
    waiting = registry.merges(scope.namespace, decision="review")
    roots = registry.canonical(scope.namespace, {entity for record in waiting for entity in (record.kept_id, record.absorbed_id)})
    surfaces = registry.surface_ids(scope.namespace, set(roots.values()))
    names: dict[str, list[SurfaceName]] = {}
    for name in registry.surface_names(surfaces, scope):
        names.setdefault(surfaces[name.entity_id], []).append(name)
    reviews = []
    for record in sorted(waiting, key=lambda each: (-each.score, each.merge_id)):
        kept, absorbed = roots.get(record.kept_id, record.kept_id), roots.get(record.absorbed_id, record.absorbed_id)
        if kept == absorbed or kept not in names or absorbed not in names:
            continue
        if any(
            compare(_profile(scope, kept, [one]), _profile(scope, absorbed, [other])).excluded
            for one in names[kept]
            for other in names[absorbed]
        ):
            continue
        match = compare(_profile(scope, kept, names[kept]), _profile(scope, absorbed, names[absorbed]))
        reviews.append(
            MergeReview(
                merge_id=record.merge_id,
                kept=_reviewed(registry, schema, scope, kept, names[kept]),
                absorbed=_reviewed(registry, schema, scope, absorbed, names[absorbed]),
                score=record.score,
                reason=match.reason,
            )
        )
    return reviews


def _reviewed(registry: RegistryTier, schema: GraphSchema, scope: Scope, entity: str, names: Sequence[SurfaceName]) -> ReviewedEntity:
    facts = facts_about(registry, schema, [entity], scope=scope)
    return ReviewedEntity(names=_forms(names), type=_type(names), facts=tuple(str(fact) for fact in facts[:FACTS_SHOWN]))


def _profile(scope: Scope, entity: str, names: Sequence[SurfaceName]) -> Profile:
    forms = _forms(names)
    own = Entity(id=entity, namespace=scope.namespace, key=normalize_name(forms[0]), name=forms[0], type=_type(names))
    return Profile(entity=own, names=forms)


def _forms(names: Sequence[SurfaceName]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.name for name in names))


def _type(names: Sequence[SurfaceName]) -> str:
    return next((name.type for name in names if name.type), "")
