"""Entity resolution: merges that are safe, reviews where they are not, the same whatever the order, and undone without a trace."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.assembly import entity_id
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.resolution import MergeProposal, Profile, blocking_keys, canonical_ids, compare, resolve
from rag2_memory.records import Entity


def profile(name: str, node_type: str = "", *, namespace: str = "n", neighbours: str = "", **fields: object) -> Profile:
    key = normalize_name(name)
    entity = Entity(id=entity_id(namespace, key), namespace=namespace, key=key, name=name, type=node_type)
    return Profile(entity=entity, neighbours=frozenset(neighbours.split()), **fields)  # type: ignore[arg-type]


def people(*names: str) -> list[Profile]:
    return [profile(name, "Developer") for name in names]


def decisions(proposals: list[MergeProposal], profiles: list[Profile]) -> dict[frozenset[str], str]:
    names = {each.entity.id: each.entity.name for each in profiles}
    return {frozenset((names[each.kept_id], names[each.absorbed_id])): each.decision for each in proposals}


def groups(profiles: list[Profile], proposals: list[MergeProposal]) -> set[frozenset[str]]:
    roots = canonical_ids(proposals)
    found: dict[str, set[str]] = {}
    for each in profiles:
        found.setdefault(roots.get(each.entity.id, each.entity.id), set()).add(each.entity.name)
    return {frozenset(names) for names in found.values()}


def test_forms_of_one_name_become_one_entity_under_the_fullest() -> None:
    everyone = people("V. Shah", "Shah, Vatsal", "Vatsal Shah", "Meera Shah")
    proposals = resolve(everyone)
    assert groups(everyone, proposals) == {frozenset({"V. Shah", "Shah, Vatsal", "Vatsal Shah"}), frozenset({"Meera Shah"})}
    assert {each.kept_id for each in proposals if each.decision == "merge"} == {entity_id("n", "vatsal shah")}
    assert all(each.reason for each in proposals)


def test_a_name_that_may_be_either_of_two_is_left_for_review() -> None:
    everyone = people("V. Shah", "Vatsal Shah", "Viktor Shah")
    found = decisions(resolve(everyone), everyone)
    assert set(found.values()) == {"review"}
    assert frozenset({"Vatsal Shah", "Viktor Shah"}) not in found


def test_neighbours_decide_between_two_that_a_name_may_stand_for() -> None:
    everyone = [
        profile("V. Shah", "Developer", neighbours="alpha beta"),
        profile("Vatsal Shah", "Developer", neighbours="alpha beta gamma"),
        profile("Viktor Shah", "Developer", neighbours="zeta"),
    ]
    assert groups(everyone, resolve(everyone)) == {frozenset({"V. Shah", "Vatsal Shah"}), frozenset({"Viktor Shah"})}


def test_a_first_name_alone_needs_shared_neighbours() -> None:
    alone = people("Vatsal", "Vatsal Shah")
    assert decisions(resolve(alone), alone) == {frozenset({"Vatsal", "Vatsal Shah"}): "review"}
    together = [profile("Vatsal", "Developer", neighbours="alpha"), profile("Vatsal Shah", "Developer", neighbours="alpha")]
    assert decisions(resolve(together), together) == {frozenset({"Vatsal", "Vatsal Shah"}): "merge"}


@pytest.mark.parametrize(("one", "other"), [("Developer", "Project"), ("Component", "Project"), ("Document", "Component")])
def test_entities_of_unlike_types_are_never_paired(one: str, other: str) -> None:
    assert resolve([profile("Mercury Core", one), profile("MercuryCore", other)]) == []
    match = compare(profile("Mercury Core", one, aliases=frozenset({"mercurycore"})), profile("MercuryCore", other))
    assert match.excluded


def test_where_nothing_says_what_names_are_only_other_writings_are_merged() -> None:
    everyone = [profile(name) for name in ("Venezuela", "Venezuelan", "Google Energy", "GE Energy", "South East Asia", "Southeast Asia")]
    found = decisions(resolve(everyone), everyone)
    assert {pair for pair, decision in found.items() if decision == "merge"} == {frozenset({"South East Asia", "Southeast Asia"})}


def test_a_stated_alias_is_believed() -> None:
    everyone = [profile("ADR 0004", "Document", aliases=frozenset({"graphql for partners"})), profile("GraphQL for partners", "Document")]
    assert list(decisions(resolve(everyone), everyone).values()) == ["merge"]


def test_a_project_with_and_without_the_word_is_one_if_both_are_known_as_projects() -> None:
    known = [profile("Project Alpha", "Project"), profile("Alpha", "Project")]
    open_question = [profile("Project Alpha", "Project"), profile("Alpha")]
    assert list(decisions(resolve(known), known).values()) == ["merge"]
    assert list(decisions(resolve(open_question), open_question).values()) == ["review"]


def test_embeddings_far_apart_keep_similar_things_apart() -> None:
    near, far = np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
    names = ("Customer billing engine", "Customer billing engines")
    for vector, decision in ((near, "merge"), (far, "review")):
        pair = [profile(names[0], "Component", vector=near), profile(names[1], "Component", vector=vector)]
        assert list(decisions(resolve(pair), pair).values()) == [decision]


def test_a_cluster_takes_in_nobody_whom_one_of_its_members_excludes() -> None:
    everyone = people("J. Smith", "John A. Smith", "John B. Smith", "John Smith")
    for group in groups(everyone, resolve(everyone)):
        assert not {"John A. Smith", "John B. Smith"} <= group


def test_a_refused_pair_is_not_proposed_again() -> None:
    everyone = people("V. Shah", "Vatsal Shah")
    refused = {frozenset(each.entity.id for each in everyone)}
    assert resolve(everyone, rejected=refused) == []


def test_names_of_two_namespaces_are_not_compared() -> None:
    with pytest.raises(InvalidRequestError, match="'a', 'b'"):
        resolve([profile("X Y", namespace="a"), profile("X Y", namespace="b")])


def test_existing_entities_are_not_compared_among_themselves() -> None:
    assert resolve([], people("V. Shah", "Vatsal Shah")) == []


NAMES = [
    ("Vatsal Shah", "Developer"), ("V. Shah", "Developer"), ("Shah, Vatsal", "Developer"), ("Viktor Shah", "Developer"), ("Vatsal", "Developer"),
    ("Bob Ashdown", "Developer"), ("R. Ashdown", "Developer"), ("Robert Ashdown", "Developer"), ("John A. Smith", "Developer"),
    ("John B. Smith", "Developer"), ("J. Smith", "Developer"), ("John Smith", ""), ("ingest-gateway", "Component"), ("Ingest Gateway", ""),
    ("IngestGateway", "Component"), ("Project Alpha", "Project"), ("Alpha", "Project"), ("Alpha", "Component"), ("X-402-V2", "Component"),
    ("X402-V3", "Component"), ("Tesla", ""), ("Tesla Inc", ""), ("Venezuela", ""), ("Venezuelan", ""),
]  # fmt: skip
some_names = st.lists(st.sampled_from(NAMES), max_size=14, unique_by=lambda each: normalize_name(each[0]))


@settings(deadline=None)
@given(some_names, st.randoms(use_true_random=False))
def test_the_order_of_the_entities_does_not_matter(chosen: list[tuple[str, str]], chance: random.Random) -> None:
    profiles = [profile(*each) for each in chosen]
    once = resolve(profiles)
    chance.shuffle(profiles)
    assert resolve(profiles) == once


@settings(deadline=None)
@given(some_names)
def test_no_merged_group_holds_two_that_exclude_each_other_or_unlike_types(chosen: list[tuple[str, str]]) -> None:
    profiles = [profile(*each) for each in chosen]
    by_name = {each.entity.name: each for each in profiles}
    for group in groups(profiles, resolve(profiles)):
        for one, other in combinations(sorted(group), 2):
            assert not compare(by_name[one], by_name[other]).excluded
        assert len({by_name[name].entity.type for name in group} - {""}) <= 1


@settings(deadline=None)
@given(some_names, st.data())
def test_undoing_a_merge_restores_exactly_what_was(chosen: list[tuple[str, str]], data: st.DataObject) -> None:
    """Merges are rows that map ids: without the row the mapping is as before, and a refused pair stays apart when resolved again."""
    profiles = [profile(*each) for each in chosen]
    merges = [each for each in resolve(profiles) if each.decision == "merge"]
    if not merges:
        return
    undone = data.draw(st.sampled_from(merges))
    before = canonical_ids(merges)
    without = canonical_ids([each for each in merges if each is not undone])
    assert undone.absorbed_id not in without
    assert canonical_ids([*[each for each in merges if each is not undone], undone]) == before
    pair = frozenset((undone.kept_id, undone.absorbed_id))
    again = canonical_ids(resolve(profiles, rejected={pair}))
    assert again.get(undone.absorbed_id, undone.absorbed_id) != again.get(undone.kept_id, undone.kept_id)


@settings(deadline=None)
@given(some_names)
def test_whatever_is_merged_shares_a_blocking_key(chosen: list[tuple[str, str]]) -> None:
    profiles = [profile(*each) for each in chosen]
    for one, other in combinations(profiles, 2):
        if (one.declared_type or other.declared_type) and compare(one, other).score >= 0.9:
            assert blocking_keys(one) & blocking_keys(other)
