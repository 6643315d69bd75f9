"""Communities of a memory: formed by night, seen only by who sees every member, gone with what they were made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel

from rag2_memory import Document, Memory, Scope
from rag2_memory.knowledge.communities import cited_members
from rag2_memory.testing.fakes import FakeEmbedder

Open = Callable[..., Memory]
HR = Scope(groups=frozenset({"hr"}))


def tea(number: int, **options: Any) -> Document:
    return Document(id=f"tea{number}", text=f"Green tea from Uji, harvest number {number}, is sold in Kyoto.", **options)


def rail(number: int, **options: Any) -> Document:
    return Document(id=f"rail{number}", text=f"Platform {number} of Harbour Station serves the express train to Vienna.", **options)


def members(memory: Memory, scope: Scope | None = None) -> set[frozenset[str]]:
    return {frozenset(member.document_id for member in community.members) for community in memory.communities(scope=scope)}


def test_related_documents_are_grouped_and_summarised_with_citations(memory: Memory) -> None:
    memory.ingest([*map(tea, range(4)), *map(rail, range(3))])
    report = memory.consolidate()
    assert len(report.formed) == 2
    assert members(memory) == {frozenset(f"tea{n}" for n in range(4)), frozenset(f"rail{n}" for n in range(3))}
    for community in memory.communities():
        assert community.summarised_by == "extractive"
        assert set(cited_members(community.summary)) <= {member.id for member in community.members}
        assert len(cited_members(community.summary)) == len(community.members)
    assert "Uji" in memory.communities()[0].names


def test_what_did_not_change_is_not_summarised_again(open_memory: Open) -> None:
    model = FakeListChatModel(responses=["First. [m1]", "Second. [m1]", "Third. [m1]"])
    memory = open_memory(summarizer=model)
    memory.ingest([*map(tea, range(4)), *map(rail, range(3))])
    memory.consolidate()
    told = {community.id: community.summary for community in memory.communities()}
    assert sorted(told.values()) == ["First. [m1]", "Second. [m1]"]
    again = memory.consolidate()
    assert (again.kept, again.dropped, again.formed) == (2, 0, ())
    memory.ingest(rail(3))
    third = memory.consolidate()
    assert (third.kept, third.dropped, len(third.formed)) == (1, 1, 1)
    assert sum(told.get(community.id) == community.summary for community in memory.communities()) == 1


def test_documents_with_other_readers_are_never_grouped_together(memory: Memory) -> None:
    memory.ingest([tea(0), tea(1), *(tea(number, acl=frozenset({"group:hr"})) for number in (2, 3))])
    memory.consolidate()
    assert members(memory) == {frozenset({"tea0", "tea1"})}
    assert members(memory, HR) == {frozenset({"tea0", "tea1"}), frozenset({"tea2", "tea3"})}
    assert members(memory, Scope(namespace="other", groups=frozenset({"hr"}))) == set()


def test_a_member_that_is_restricted_takes_the_community_from_everybody_else_at_once(memory: Memory) -> None:
    memory.ingest([*map(tea, range(3))])
    memory.consolidate()
    memory.set_acl("tea1", ["group:hr"])
    assert members(memory) == set()
    assert members(memory, HR) == {frozenset({"tea0", "tea1", "tea2"})}
    memory.consolidate()
    assert members(memory) == members(memory, HR) == {frozenset({"tea0", "tea2"})}


def test_a_changed_removed_or_archived_member_takes_it_too(memory: Memory) -> None:
    memory.ingest([*map(tea, range(3))])
    memory.consolidate()
    memory.archive("tea0")
    assert members(memory) == set()
    memory.restore("tea0")
    assert members(memory) == {frozenset({"tea0", "tea1", "tea2"})}
    memory.ingest(Document(id="tea1", text="Coffee comes from Ethiopia."))
    assert members(memory) == set()
    memory.consolidate()
    assert members(memory) == {frozenset({"tea0", "tea2"})}
    memory.remove(["tea0"])
    assert members(memory) == set()


def test_names_are_those_that_the_members_themselves_use(memory: Memory) -> None:
    """Ada sees both kinds of page; what she reads on her own must not name what she shares with Bob."""
    both = frozenset({"user:ada", "user:bob"})
    memory.ingest([Document(id=f"d{n}", text=f"Sales of Zenith Phone in quarter {n} were high.", acl=both) for n in range(3)])
    secret = [
        Document(id=f"s{n}", text="ZENITH PHONE, also known as Codename Quokka, is late.", acl=frozenset({"user:ada"})) for n in range(5)
    ]
    memory.ingest(secret)
    memory.consolidate()
    (community,) = memory.communities(scope=Scope(user="bob"))
    assert "Quokka" not in str(community)
    assert "ZENITH" not in str(community)


ACLS = st.sampled_from([frozenset[str](), frozenset({"user:ada"}), frozenset({"user:bob"}), frozenset({"user:ada", "user:bob"})])
SCOPES = [Scope(), Scope(user="ada"), Scope(user="bob"), Scope(namespace="other", user="ada")]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACLS, min_size=3, max_size=8), st.lists(st.tuples(st.integers(0, 7), ACLS), max_size=3))
def test_no_scope_reads_a_word_of_a_document_that_it_cannot_see(acls: list[frozenset[str]], changes: list[tuple[int, Any]]) -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        for number, acl in enumerate(acls):
            memory.ingest(Document(id=f"d{number}", text=f"The secret{number}word of Project Tanganyika stands here.", acl=acl))
        memory.consolidate()
        current = dict(enumerate(acls))
        for number, acl in changes:
            if number in current:
                memory.set_acl(f"d{number}", acl)
                current[number] = acl
        for scope in SCOPES:
            told = str(memory.communities(scope=scope))
            for number, acl in current.items():
                sees = scope.namespace == "default" and (not acl or acl & scope.principals)
                assert sees or (f"secret{number}word" not in told and f"'d{number}'" not in told)


def test_a_failing_model_leaves_an_extract() -> None:
    class Failing(FakeListChatModel):
        def _call(self, *args: Any, **kwargs: Any) -> str:
            raise ConnectionError("no route")

    with Memory.in_memory(embedder=FakeEmbedder(), summarizer=Failing(responses=[])) as memory:
        memory.ingest([*map(tea, range(3))])
        memory.consolidate()
        (community,) = memory.communities()
        assert community.summarised_by == "extractive"
        assert "Uji" in community.summary


def test_communities_outlive_the_process(open_memory: Open) -> None:
    memory = open_memory()
    memory.ingest([*map(tea, range(3))])
    memory.consolidate()
    before = memory.communities()
    memory.close()
    assert open_memory().communities() == before != []


@pytest.mark.parametrize("size", [1, 0])
def test_a_memory_with_nothing_to_group_has_none(memory: Memory, size: int) -> None:
    memory.ingest([*map(tea, range(size))])
    assert memory.consolidate().formed == ()
    assert memory.communities() == []
