"""Entity resolution: which entities are one, by name, type, known aliases, neighbourhood and embedding. Pure over values.

Nothing is rewritten: a decision is a row that maps an absorbed entity to the kept one, so undoing it restores exactly what was. What is
likely but not safe, and what is safe for two incompatible partners at once, is proposed for review instead of merged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.lexicon import form_type, looks_like_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.name_matching import (
    NameMatch,
    bare_tokens,
    excluded,
    is_acronym,
    is_person_like,
    match_names,
    person_name,
    thing_tokens,
)
from rag2_memory.knowledge.nicknames import related_initials
from rag2_memory.records import Entity

Decision = Literal["merge", "review"]

MAX_BLOCK = 200
"""A blocking key shared by more entities is too common to say anything and is not compared."""


STATED_ALIAS = "a source gives one as another name of the other"
"""Reason of a merge that rests on what documents say; without them it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An entity with what resolution may know of it."""

    entity: Entity
    names: tuple[str, ...] = ()
    """Other surface forms; those of entities merged into it belong here."""
    aliases: frozenset[str] = frozenset()
    """Normalised names that a source says are other names of it."""
    neighbours: frozenset[str] = frozenset()
    """Canonical ids of entities that share an edge or a passage with it."""
    mentions: int = 1
    vector: NDArray[np.float32] | None = field(default=None, compare=False)
    """Embedding of the name, unit length; `None` where there is none."""

    @property
    def forms(self) -> tuple[str, ...]:
        """All surface forms, its name first."""
        return tuple(dict.fromkeys((self.entity.name, *self.names)))

    @property
    def declared_type(self) -> str:
        """Its node type, or the one that its name contains: `Project Alpha`, `ledger-db`."""
        return self.entity.type or form_type(self.entity.name)

    @property
    def type(self) -> str:
        """Its node type, declared or guessed from a given name."""
        return self.declared_type or ("Developer" if is_person_like(self.entity.name) else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeProposal:
    """A decision about two entities."""

    kept_id: str
    absorbed_id: str
    score: float
    """In [0, 1], higher is surer."""
    reason: str
    decision: Decision
    """`merge`: safe; `review`: a person should decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionConfig:
    """Where the lines are drawn; the curve stands in tests/benchmarks/bench_resolution.py."""

    merge_score: float = 0.9
    """At least this is merged: precision 0.999 at recall 0.90 on 2,508 pairs of author names."""
    review_score: float = 0.75
    neighbour_bonus: float = 0.12
    """Added for a shared neighbourhood, times its overlap; enough to lift a first name alone (0.80) over the line."""
    min_cosine: float = 0.6
    """Where both have embeddings, things with merely similar names must be this close to be merged."""


def blocking_keys(profile: Profile) -> frozenset[str]:
    """Return the keys of which two names share at least one if they can be the same; indexable, one row per key."""
    keys = {f"a:{alias}" for alias in profile.aliases}
    for name in profile.forms:
        keys.update(_name_keys(name, profile.declared_type))
    return frozenset(keys)


def resolve(
    new: Sequence[Profile],
    existing: Sequence[Profile] = (),
    *,
    rejected: Collection[frozenset[str]] = frozenset(),
    config: ResolutionConfig | None = None,
) -> list[MergeProposal]:
    """Propose which entities are one. Pure; the order of the profiles does not matter.

    Args:
        new: Entities that have not been compared yet; all of one namespace.
        existing: Canonical entities to compare the new ones with, found by `blocking_keys`; they are not compared among themselves.
        rejected: Pairs of entity ids that a person has refused or undone; they are neither merged nor proposed again.
        config: Thresholds.

    Returns:
        Proposals ordered by score, at most one per absorbed entity with decision `merge`. Entities of unlike known types are never paired.

    Raises:
        InvalidRequestError: If the profiles are of several namespaces.
    """
    settings = config or ResolutionConfig()
    profiles = {profile.entity.id: profile for profile in (*existing, *new)}
    namespaces = {profile.entity.namespace for profile in profiles.values()}
    if len(namespaces) > 1:
        raise InvalidRequestError(f"got entities of the namespaces {sorted(namespaces)}; needed those of one, names mean nothing across.")
    fresh = {profile.entity.id for profile in new}
    pairs = [
        (pair, match)
        for pair in _candidates(profiles, fresh)
        if frozenset(pair) not in rejected
        and (match := _judged(profiles[pair[0]], profiles[pair[1]], settings)).score >= settings.review_score
    ]
    pairs.sort(key=lambda each: (-each[1].score, each[0]))
    return _decide(pairs, profiles, fresh, frozenset(rejected), settings)


def compare(one: Profile, other: Profile, config: ResolutionConfig | None = None) -> NameMatch:
    """Compare two entities: their best-matching names, corrected by type, aliases, neighbourhood and embedding."""
    settings = config or ResolutionConfig()
    if one.type and other.type and one.type != other.type:
        return excluded(f"a {one.type} and a {other.type}")
    if one.entity.key in other.aliases or other.entity.key in one.aliases:
        return NameMatch(0.99, STATED_ALIAS)
    kinds = {one.declared_type, other.declared_type} - {""}
    people = "Developer" in kinds if kinds else None
    best = max(
        (match_names(first, second, people=people) for first in one.forms for second in other.forms),
        key=lambda match: (match.score, match.reason),
    )
    if best.score == 0:
        return best
    if best.partial and not people and one.declared_type != other.declared_type:
        best = replace(
            best,
            score=min(best.score, settings.merge_score - 0.01),
            reason=f"{best.reason}, but only one is known to be a {'/'.join(kinds)}",
        )
    overlap = _overlap(one.neighbours, other.neighbours)
    if overlap and best.score < 0.98:
        lifted = min(0.98, best.score + settings.neighbour_bonus * overlap)
        best = replace(best, score=round(lifted, 3), reason=f"{best.reason}; they share neighbours", partial=best.partial and overlap < 0.5)
    if not overlap and kinds == {"Document"} and one.neighbours and other.neighbours:
        capped = min(best.score, settings.merge_score - 0.01)
        best = replace(best, score=capped, reason=f"{best.reason}, but they have no author or subject in common")
    if not people and best.score < 0.97 and one.vector is not None and other.vector is not None:
        cosine = float(one.vector @ other.vector)
        if cosine < settings.min_cosine:
            best = replace(
                best, score=min(best.score, settings.merge_score - 0.01), reason=f"{best.reason}; their embeddings differ ({cosine:.2f})"
            )
    return best


def _judged(one: Profile, other: Profile, config: ResolutionConfig) -> NameMatch:
    """Compare with caution: where nothing says what two names are, only other writings of the same words are safe.

    `Venezuela` and `Venezuelan` are one slip apart, `Google Energy` and `GE Energy` agree like a name and its initials.
    """
    match = compare(one, other, config)
    if match.reason == STATED_ALIAS and not _alias_holds(one, other):
        return replace(match, score=round(config.merge_score - 0.01, 3), reason=f"{match.reason}, but the names have nothing in common")
    if one.declared_type or other.declared_type or one.neighbours & other.neighbours:
        return match
    if match.score >= 0.95 and not match.partial:
        return match
    if match.score < config.merge_score:
        return replace(match, score=0.0)
    return replace(match, score=round(config.merge_score - 0.01, 3), reason=f"{match.reason}, but nothing says what they are")


def _alias_holds(one: Profile, other: Profile) -> bool:
    """Whether something besides the statement speaks for it: one type, a common word, or initials in capitals.

    Alone it is often misread: of `Ana Lee (born March 1981), also known as Grace` the name before the words is a month, and a museum's SAM is no Sam.
    """
    if one.type and one.type == other.type:
        return True
    short, long = sorted((one.entity.name, other.entity.name), key=len)
    if " " not in short and is_acronym(short, long):
        return short.isupper()
    return any(len(word) > 2 for word in set(thing_tokens(short)) & set(thing_tokens(long)))


def canonical_ids(proposals: Iterable[MergeProposal]) -> dict[str, str]:
    """Return absorbed id → kept id of the merges, followed to the end of each chain."""
    parents = {proposal.absorbed_id: proposal.kept_id for proposal in proposals if proposal.decision == "merge"}
    roots = {}
    for absorbed in parents:
        root = absorbed
        while root in parents:
            root = parents[root]
        roots[absorbed] = root
    return roots


def _candidates(profiles: Mapping[str, Profile], fresh: set[str]) -> list[tuple[str, str]]:
    blocks: dict[str, list[str]] = defaultdict(list)
    for identity, profile in profiles.items():
        for key in blocking_keys(profile):
            blocks[key].append(identity)
    pairs = {
        (min(pair), max(pair))
        for members in blocks.values()
        if len(members) <= MAX_BLOCK
        for pair in combinations(members, 2)
        if pair[0] in fresh or pair[1] in fresh
    }
    return sorted(pairs)


def _decide(
    pairs: Sequence[tuple[tuple[str, str], NameMatch]],
    profiles: Mapping[str, Profile],
    fresh: set[str],
    rejected: frozenset[frozenset[str]],
    config: ResolutionConfig,
) -> list[MergeProposal]:
    """Merge from the surest pair down; a cluster never takes in what one of its members excludes."""
    clusters = {identity: [identity] for identity in profiles}
    rivals = _rivals(pairs, profiles, config)
    proposals: list[MergeProposal] = []
    for (one, other), match in pairs:
        first, second = clusters[one], clusters[other]
        if first is second:
            continue
        kept, absorbed = _kept(one, other, first, second, profiles, fresh)
        reason = _obstacle(first, second, profiles, rejected, config) or (rivals.get(one) or rivals.get(other) if match.partial else "")
        if match.score < config.merge_score or reason or absorbed not in fresh | {one, other}:
            proposals.append(_proposal(kept, absorbed, match, f"{match.reason}; {reason}" if reason else match.reason, "review"))
            continue
        joined = first + second
        clusters.update(dict.fromkeys(joined, joined))
        proposals.append(_proposal(kept, absorbed, match, match.reason, "merge"))
    return _resolved_reviews(proposals)


def _resolved_reviews(proposals: Sequence[MergeProposal]) -> list[MergeProposal]:
    """Drop reviews of pairs that the merges have joined anyway, and repeated ones."""
    roots = canonical_ids(proposals)
    seen: set[frozenset[str]] = set()
    kept = []
    for proposal in proposals:
        if proposal.decision == "review":
            pair = frozenset(roots.get(each, each) for each in (proposal.kept_id, proposal.absorbed_id))
            if len(pair) == 1 or pair in seen:
                continue
            seen.add(pair)
        kept.append(proposal)
    return kept


def _proposal(kept: str, absorbed: str, match: NameMatch, reason: str, decision: Decision) -> MergeProposal:
    return MergeProposal(kept_id=kept, absorbed_id=absorbed, score=match.score, reason=reason, decision=decision)


def _rivals(
    pairs: Sequence[tuple[tuple[str, str], NameMatch]], profiles: Mapping[str, Profile], config: ResolutionConfig
) -> dict[str, str]:
    """For each name that leaves much out, say if it could equally stand for two others that are not one."""
    partners: dict[str, list[str]] = defaultdict(list)
    for (one, other), match in pairs:
        if match.partial and match.score >= config.merge_score - 0.15:
            shorter, longer = sorted((one, other), key=lambda each: (len(profiles[each].entity.key), each))
            partners[shorter].append(longer)
    rivals = {}
    for short, longs in partners.items():
        for first, second in combinations(sorted(longs), 2):
            if compare(profiles[first], profiles[second], config).score < config.review_score:
                names = " or ".join(repr(profiles[each].entity.name) for each in (first, second))
                rivals[short] = f"{profiles[short].entity.name!r} may be {names}"
                break
    return rivals


def _obstacle(
    first: Sequence[str],
    second: Sequence[str],
    profiles: Mapping[str, Profile],
    rejected: frozenset[frozenset[str]],
    config: ResolutionConfig,
) -> str:
    """Why two clusters may not become one: a refused pair, unlike types, or two names that exclude each other."""
    for one in first:
        for other in second:
            if frozenset((one, other)) in rejected:
                return "the pair was refused before"
            match = compare(profiles[one], profiles[other], config)
            if match.excluded:
                return f"{profiles[one].entity.name!r} and {profiles[other].entity.name!r} exclude each other: {match.reason}"
    return ""


def _kept(
    one: str, other: str, first: Sequence[str], second: Sequence[str], profiles: Mapping[str, Profile], fresh: set[str]
) -> tuple[str, str]:
    """Return the roots of two clusters, the one to keep first: what existed before, then the fuller name, then the more frequent."""
    roots = [max(cluster, key=lambda each: _rank(profiles[each], each not in fresh)) for cluster in (first, second)]
    ranked = sorted(roots, key=lambda each: _rank(profiles[each], each not in fresh), reverse=True)
    return ranked[0], ranked[1]


def _rank(profile: Profile, existed: bool) -> tuple[bool, int, int, int, str]:
    words = re.findall(r"[^\W\d_]{2,}", profile.entity.name)
    ordered = "," not in profile.entity.name
    return existed, len(words), int(ordered), profile.mentions, profile.entity.id


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Overlap coefficient of two neighbourhoods, in [0, 1]."""
    return len(one & other) / min(len(one), len(other)) if one and other else 0.0


def _name_keys(name: str, node_type: str) -> Iterator[str]:
    """Yield the keys of one name: few for a name of unknown kind, of which a large corpus has many and which merges with other writings alone."""
    tokens = thing_tokens(name)
    yield f"a:{normalize_name(name)}"
    yield "t:" + "".join(tokens)
    yield "s:" + " ".join(sorted(tokens))
    if node_type == "Developer" or (not node_type and looks_like_person(name)):
        yield from _person_keys(name)
    elif node_type:
        yield "t:" + "".join(bare_tokens(tokens))
        yield from (f"w:{token}" for token in tokens if len(token) >= 4)
        if len(tokens) >= 2:
            yield "t:" + "".join(token[0] for token in tokens)


def _person_keys(name: str) -> Iterator[str]:
    person = person_name(name)
    if not person.surname:
        return
    skeleton = _skeleton(person.surname)
    for initial in related_initials(person.given[0]) if person.given else ():
        yield f"p:{skeleton}:{initial}"
    yield f"t:{person.surname}"
    yield from (f"t:{given}" for given in person.given[:1] if len(given) > 2)


def _skeleton(word: str) -> str:
    """First letter and the next consonants, doubled ones once: equal for most slips (`wierzbicki`, `wierzbiki`)."""
    rest = re.sub(r"(.)\1+", r"\1", re.sub(r"[aeiouyhw]", "", word[1:]).replace("ck", "k"))
    return word[0] + rest[:3]
