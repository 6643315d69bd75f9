"""Communities of a memory's documents: formed over the registry among documents with the same readers, stored, and shown to who sees every member."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.knowledge.communities import (
    DocumentProfile,
    communities_of,
    extractive_community_summary,
    model_community_summary,
    shared_names,
)
from rag2_memory.records import Community, CommunityMember, DocumentState
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Scope

logger = logging.getLogger(__name__)

CHUNKS_PER_DOCUMENT = 32
"""Chunks that a document is known by; a book's first pages say what it is about."""

SUBJECT_WEIGHT, MENTION_WEIGHT = 1.0, 0.5
"""What a document is about ties it more firmly than what it mentions."""


@dataclass(frozen=True, slots=True)
class CommunityChange:
    """What forming communities anew comes to."""

    kept: tuple[Community, ...]
    """Stored ones that stay as they are."""
    formed: tuple[Community, ...]
    """New ones, without a summary yet."""
    dropped: tuple[str, ...]
    """Ids of stored ones that no longer hold."""


@dataclass(frozen=True, slots=True)
class CommunityBuilder:
    """Forms the communities of namespaces."""

    registry: RegistryTier
    embedder: str
    """Name of the embedder whose cached vectors are used."""
    clock: Callable[[], datetime]
    model: Any = None
    """A LangChain chat model that summarises; `None`: extractive."""

    @property
    def summariser(self) -> str:
        """Name of what summarises; part of a community's id, so that another one summarises anew."""
        if self.model is None:
            return "extractive"
        return str(getattr(self.model, "model_name", None) or getattr(self.model, "model", None) or type(self.model).__name__)

    def plan(self, namespace: str) -> CommunityChange:
        """Return how the stored communities would change; writes nothing."""
        stored = {community.id: community for community in self.registry.communities(namespace)}
        chunks = self.registry.live_chunks(namespace)
        readers = (states for states in self._readers(namespace) if len(states) > 1)
        found = {community.id: community for states in readers for community in self._among(namespace, states, chunks)}
        return CommunityChange(
            kept=tuple(stored[key] for key in found if key in stored),
            formed=tuple(community for key, community in found.items() if key not in stored),
            dropped=tuple(sorted(stored.keys() - found.keys())),
        )

    def store(self, community: Community) -> Community | None:
        """Summarise and store a new community; `None` where a member changed since it was planned. The memory's writer calls it."""
        scope = self._scope(community)
        chunks = self.registry.chunks([member.chunk_id for member in community.members], scope)
        if len(chunks) < len(community.members):
            return None
        summarised = self._summarised(community, {member.id: chunks[member.chunk_id].text for member in community.members})
        self.registry.change_communities(add=[summarised], now=self.clock())
        return summarised

    def _readers(self, namespace: str) -> Iterator[Sequence[DocumentState]]:
        """Yield the published documents of a namespace, those with the same readers together."""
        groups: dict[frozenset[str], list[DocumentState]] = defaultdict(list)
        for state in self.registry.states(namespace=namespace):
            if state.state == "live" and state.live_version is not None and state.pending_version is None:
                groups[state.acl].append(state)
        for acl in sorted(groups, key=sorted):
            yield groups[acl]

    def _among(self, namespace: str, states: Sequence[DocumentState], chunks: Mapping[str, Sequence[str]]) -> Iterator[Community]:
        held = {state.key: chunks[state.key][:CHUNKS_PER_DOCUMENT] for state in states if chunks.get(state.key)}
        vectors = self.registry.chunk_vectors([chunk_id for ids in held.values() for chunk_id in ids], self.embedder)
        names, forms = self._names(namespace, held)
        means = {key: _mean([vectors[chunk_id] for chunk_id in ids if chunk_id in vectors]) for key, ids in held.items()}
        profiles = {key: DocumentProfile(key=key, names=names.get(key, {}), vector=means[key]) for key in held}
        by_key = {state.key: state for state in states}
        for keys in communities_of(list(profiles.values())):
            members = tuple(
                CommunityMember(
                    id=f"m{position}",
                    document_id=by_key[key].document_id,
                    document_key=key,
                    chunk_id=held[key][0],
                    title=by_key[key].title,
                )
                for position, key in enumerate(keys, start=1)
            )
            common = shared_names([profiles[key] for key in keys])
            told = tuple(_most_common(form for key in keys for form in forms[key].get(entity, ())) for entity in common)
            identity = self._id(namespace, members)
            yield Community(id=identity, namespace=namespace, members=members, names=told, summarised_by=self.summariser)

    def _id(self, namespace: str, members: Sequence[CommunityMember]) -> str:
        parts = [namespace, self.summariser, *sorted(member.chunk_id for member in members)]
        return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def _names(
        self, namespace: str, held: Mapping[str, Sequence[str]]
    ) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, list[str]]]]:
        """Return the canonical entities that each document names, with their weights, and the words in which it does."""
        document_of = {chunk_id: key for key, ids in held.items() for chunk_id in ids}
        mentions = self.registry.mentions_in(list(document_of))
        canonical = self.registry.canonical(namespace, {mention.entity_id for mention in mentions})
        found: dict[str, dict[str, float]] = defaultdict(dict)
        forms: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for mention in mentions:
            names, entity = found[document_of[mention.chunk_id]], canonical[mention.entity_id]
            weight = mention.weight * (SUBJECT_WEIGHT if mention.kind == "subject" else MENTION_WEIGHT)
            names[entity] = max(names.get(entity, 0.0), weight)
            forms[document_of[mention.chunk_id]][entity].append(mention.name)
        return found, forms

    def _scope(self, community: Community) -> Scope:
        """Return a scope that sees the members; what it sees besides is of no concern, chunks are asked for by id."""
        state = next(self.registry.states(namespace=community.namespace, document_ids=[community.members[0].document_id]), None)
        return _scope_of(community.namespace, state.acl if state is not None else frozenset())

    def _summarised(self, community: Community, texts: Mapping[str, str]) -> Community:
        """Summarise the chunks that stand for the members; without a model, or when it fails, extractively."""
        summary, by = "", self.summariser
        if self.model is not None:
            try:
                summary = model_community_summary(self.model, texts)
            except Exception as exc:  # whatever a provider's client raises; it is asked again once the community changes
                logger.warning("the chat model failed to summarise a community: %s: %s", type(exc).__name__, exc)
        if not summary:
            summary, by = extractive_community_summary(texts), "extractive"
        return replace(community, summary=summary, summarised_by=by)


def visible_communities(registry: RegistryTier, scope: Scope) -> list[Community]:
    """Return the communities of which the scope sees every member as it was when summarised, the largest first."""
    stored = registry.communities(scope.namespace)
    seen = registry.visible({member.chunk_id for community in stored for member in community.members}, scope)
    return [community for community in stored if all(member.chunk_id in seen for member in community.members)]


def _scope_of(namespace: str, acl: frozenset[str]) -> Scope:
    """Return a scope that an ACL lets in."""
    kind, _, name = min(acl, default="").partition(":")
    return Scope(namespace=namespace, user=name if kind == "user" else None, groups=frozenset({name}) if kind == "group" else frozenset())


def _most_common(forms: Iterable[str]) -> str:
    counts = Counter(forms)
    return min(counts, key=lambda form: (-counts[form], form))


def _mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    if not vectors:
        return None
    mean = np.mean(np.stack(vectors), axis=0)
    norm = float(np.linalg.norm(mean))
    return None if norm == 0.0 else np.asarray(mean / norm, dtype=np.float32)
