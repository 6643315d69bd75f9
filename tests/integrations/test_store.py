"""The LangGraph store on a memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, Op, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from rag2_memory import InvalidRequestError, Memory, Scope
from rag2_memory.integrations.langgraph import MemoryStore
from rag2_memory.testing.clock import FakeClock


@pytest.fixture
def store(memory: Memory) -> MemoryStore:
    """An empty store."""
    return MemoryStore(memory)


def test_what_was_put_is_got_until_it_is_deleted(store: MemoryStore) -> None:
    store.put(("users", "ada"), "likes", {"drink": "tea", "cups": 3, "nested": {"a": [1, 2.5, None, True]}})
    item = store.get(("users", "ada"), "likes")
    assert item is not None
    assert (item.namespace, item.key) == (("users", "ada"), "likes")
    assert item.value == {"drink": "tea", "cups": 3, "nested": {"a": [1, 2.5, None, True]}}
    assert store.get(("users",), "likes") is None
    store.delete(("users", "ada"), "likes")
    assert store.get(("users", "ada"), "likes") is None
    assert store.search(("users",)) == []


def test_an_update_keeps_when_the_item_was_made(store: MemoryStore, clock: FakeClock) -> None:
    store.put(("a",), "k", {"v": 1})
    made = store.get(("a",), "k")
    clock.advance(hours=1)
    store.put(("a",), "k", {"v": 2})
    now = store.get(("a",), "k")
    assert made is not None
    assert now is not None
    assert now.value == {"v": 2}
    assert now.created_at == made.created_at < now.updated_at


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"kind": "x"}, ["a", "b"]),
    ({"n": {"$gt": 1}}, ["b", "c"]),
    ({"n": {"$gte": 1, "$lt": 3}}, ["a", "b"]),
    ({"n": {"$ne": 2}}, ["a", "c"]),
    ({"kind": "x", "n": {"$eq": 2}}, ["b"]),
    ({"deep": {"er": 1}}, ["a"]),
    ({"missing": None}, ["a", "b", "c"]),
]


@pytest.mark.parametrize(("wanted", "keys"), FILTERS)
def test_filters_choose_as_the_in_memory_store_does(store: MemoryStore, wanted: dict[str, Any], keys: list[str]) -> None:
    reference = InMemoryStore()
    for each in (store, reference):
        each.put(("t",), "a", {"kind": "x", "n": 1, "deep": {"er": 1}})
        each.put(("t",), "b", {"kind": "x", "n": 2})
        each.put(("t",), "c", {"kind": "y", "n": 3})
    assert sorted(item.key for item in store.search(("t",), filter=wanted)) == keys
    assert sorted(item.key for item in reference.search(("t",), filter=wanted)) == keys


def test_an_unknown_operator_is_refused(store: MemoryStore) -> None:
    store.put(("t",), "a", {"n": 1})
    with pytest.raises(InvalidRequestError, match="near"):
        store.search(("t",), filter={"n": {"$near": 1}})


def test_a_query_ranks_by_meaning_and_unindexed_items_come_last(store: MemoryStore) -> None:
    store.put(("n",), "tea", {"text": "The user drinks green tea."})
    store.put(("n",), "dog", {"text": "The dog is called Rex."})
    store.put(("n",), "none", {"text": "green tea"}, index=False)
    found = store.search(("n",), query="green tea")
    assert [item.key for item in found] == ["tea", "dog", "none"]
    assert found[0].score is not None
    assert found[1].score is not None
    assert found[0].score > found[1].score
    assert found[2].score is None
    assert [item.key for item in store.search(("n",), query="green tea", limit=1, offset=1)] == ["dog"]


def test_only_the_named_fields_are_found(memory: Memory) -> None:
    store = MemoryStore(memory, index={"fields": ["title"]})
    store.put(("n",), "a", {"title": "zebra", "body": "giraffe"})
    store.put(("n",), "b", {"title": "giraffe", "body": "zebra"})
    assert store.search(("n",), query="giraffe")[0].key == "b"
    store.put(("n",), "a", {"title": "zebra", "body": "giraffe giraffe"}, index=["body"])
    assert store.search(("n",), query="giraffe giraffe")[0].score == pytest.approx(1.0, abs=1e-3)


def test_namespaces_are_listed_by_prefix_suffix_and_depth(store: MemoryStore) -> None:
    for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("z", "b", "c")):
        store.put(namespace, "k", {"v": 1})
    assert store.list_namespaces(prefix=("a",)) == [("a", "b", "c"), ("a", "b", "d"), ("a", "x")]
    assert store.list_namespaces(suffix=("c",)) == [("a", "b", "c"), ("z", "b", "c")]
    assert store.list_namespaces(prefix=("*", "b")) == [("a", "b", "c"), ("a", "b", "d"), ("z", "b", "c")]
    assert store.list_namespaces(max_depth=2) == [("a", "b"), ("a", "x"), ("z", "b")]
    assert store.list_namespaces(limit=1, offset=1) == [("a", "b", "d")]


def test_a_prefix_is_made_of_whole_labels(store: MemoryStore) -> None:
    for namespace in (("ab",), ("a", "b"), ("a",)):
        store.put(namespace, "k", {"v": 1})
    assert {item.namespace for item in store.search(("a",))} == {("a",), ("a", "b")}


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("langgraph",)])
def test_a_bad_namespace_is_refused_as_everywhere(store: MemoryStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "k", {"v": 1})


def test_an_item_expires_unless_it_is_read(store: MemoryStore, clock: FakeClock) -> None:
    store.put(("t",), "read", {"v": 1}, ttl=10)
    store.put(("t",), "unread", {"v": 1}, ttl=10)
    store.put(("t",), "lasting", {"v": 1})
    clock.advance(minutes=6)
    assert store.get(("t",), "read") is not None
    assert store.get(("t",), "unread", refresh_ttl=False) is not None
    clock.advance(minutes=6)
    assert {item.key for item in store.search(("t",))} == {"read", "lasting"}
    assert store.get(("t",), "unread") is None
    assert store.sweep_ttl() == 1


def test_a_default_time_to_live_holds(memory: Memory, clock: FakeClock) -> None:
    store = MemoryStore(memory, ttl={"default_ttl": 5})
    store.put(("t",), "k", {"v": 1})
    clock.advance(minutes=5)
    assert store.get(("t",), "k") is None


def test_a_batch_reads_before_it_writes_and_the_last_write_counts(store: MemoryStore) -> None:
    store.put(("b",), "k", {"v": 0})
    operations: list[Op] = [
        PutOp(("b",), "k", {"v": 1}),
        GetOp(("b",), "k"),
        PutOp(("b",), "k", {"v": 2}),
        SearchOp(("b",)),
        ListNamespacesOp(),
    ]
    put, got, put_again, found, namespaces = store.batch(operations)
    assert put is put_again is None
    assert got.value == {"v": 0}  # type: ignore[union-attr]
    assert [item.value for item in found] == [{"v": 0}]  # type: ignore[union-attr]
    assert namespaces == [("b",)]
    item = store.get(("b",), "k")
    assert item is not None
    assert item.value == {"v": 2}


async def test_async_twins_do_the_same(store: MemoryStore) -> None:
    await asyncio.gather(*(store.aput(("c",), f"k{i}", {"v": i}) for i in range(5)))
    assert {item.key for item in await store.asearch(("c",))} == {f"k{i}" for i in range(5)}
    assert (await store.aget(("c",), "k3")).value == {"v": 3}  # type: ignore[union-attr]
    await store.adelete(("c",), "k3")
    assert await store.aget(("c",), "k3") is None
    assert await store.alist_namespaces() == [("c",)]


def test_stores_of_other_namespaces_and_scopes_share_nothing(memory: Memory) -> None:
    plain, other = MemoryStore(memory), MemoryStore(memory, namespace="other")
    ada, bob = (
        MemoryStore(memory, namespace="people", scope=Scope(user="ada")),
        MemoryStore(memory, namespace="people", scope=Scope(user="bob")),
    )
    for each in (plain, ada):
        each.put(("s",), "k", {"text": "zanzibar"})
    assert other.get(("s",), "k") is bob.get(("s",), "k") is None
    assert bob.search((), query="zanzibar") == []
    assert bob.list_namespaces() == []
    assert memory.search("zanzibar") == []


def test_a_value_that_is_not_json_is_refused_unwritten(store: MemoryStore) -> None:
    with pytest.raises(InvalidRequestError, match="JSON"):
        store.put(("t",), "k", {"v": object()})
    assert store.get(("t",), "k") is None


def test_a_graph_uses_it_as_its_store(store: MemoryStore) -> None:
    def node(state: MessagesState, *, store: BaseStore) -> dict[str, Any]:
        store.put(("notes",), "n", {"text": state["messages"][-1].content})
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.compile(store=store).invoke({"messages": [HumanMessage("I like tea.")]})
    item = store.get(("notes",), "n")
    assert item is not None
    assert item.value == {"text": "I like tea."}


def test_items_outlive_the_process(open_memory: Any) -> None:
    memory = open_memory()
    MemoryStore(memory).put(("a",), "k", {"text": "tea"})
    memory.close()
    again = MemoryStore(open_memory())
    assert [item.key for item in again.search(("a",), query="tea")] == ["k"]
