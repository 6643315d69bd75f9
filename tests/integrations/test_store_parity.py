"""The store against LangGraph's own: the same operations, the same answers; then what the durable ones do beyond."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from rag2_memory import ClosedMemoryError, InvalidRequestError, Memory
from rag2_memory.config import MemoryConfig
from rag2_memory.integrations.langgraph import MemoryStore
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder


class LetterEmbeddings(Embeddings):
    """Counts of characters, projected by a fixed random matrix: similar letters, near vectors of differing lengths."""

    dims = 64

    def __init__(self) -> None:
        self._projection = np.random.default_rng(7).normal(size=(512, self.dims)) / 8

    def embed_query(self, text: str) -> list[float]:
        counts = np.zeros(512)
        for letter in text:
            counts[ord(letter) % 512] += 1
        return list((counts / max(len(text), 1)) @ self._projection)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


@pytest.fixture
def pair(memory: Memory) -> Callable[..., tuple[MemoryStore, InMemoryStore]]:
    """Opens our store and the reference with one index configuration."""

    def opened(**index: Any) -> tuple[MemoryStore, InMemoryStore]:
        config: Any = {"dims": LetterEmbeddings.dims, "embed": LetterEmbeddings(), **index}
        return MemoryStore(memory, index=config), InMemoryStore(index=config)

    return opened


def filled(ours: MemoryStore, theirs: InMemoryStore, values: Iterable[tuple[tuple[str, ...], str, dict[str, Any]]]) -> None:
    """Put values into both; one by one into the reference, which cannot take equal texts in one batch."""
    entries = list(values)
    ours.batch([PutOp(*entry) for entry in entries])
    for entry in entries:
        theirs.put(*entry)


def ranked(store: BaseStore, query: str | None, **options: Any) -> list[tuple[str, float | None]]:
    """Return keys and rounded scores, best first."""
    found = store.search(("t",), query=query, **options)
    return [(item.key, None if item.score is None else round(item.score, 5)) for item in found]


VALUES: dict[str, dict[str, Any]] = {
    "apple": {"text": "red apple", "color": "red", "score": 4.5, "tags": ["fruit"]},
    "car": {"text": "red car", "color": "red", "score": 3.0, "owner": {"name": "Ada", "access-level": 2}},
    "green": {"text": "green apple", "color": "green", "score": 4.0},
    "blue": {"text": "blue car", "color": "blue", "score": 3.5, "notes": [{"text": "fast"}, {"text": "loud"}]},
    "中文": {"text": "这是中文", "color": "red", "score": 1},
}

FIELDS: list[list[str]] = [["$"], ["text"], ["text", "color"], ["notes[*].text", "owner.name"], ["missing"]]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("query", ["apple", "car", "bbbbluuu", "这是中文", "test!@#$%^&*()", "test " * 100])
def test_a_query_ranks_and_scores_as_the_reference_does(
    pair: Callable[..., tuple[MemoryStore, InMemoryStore]], fields: list[str], query: str
) -> None:
    ours, theirs = pair(fields=fields)
    filled(ours, theirs, ((("t",), key, value) for key, value in VALUES.items()))
    found, expected = ranked(ours, query), ranked(theirs, query)
    assert dict(found) == dict(expected)
    assert [score for _, score in found] == [score for _, score in expected]
    assert ranked(ours, query, limit=2, offset=1) == found[1:3]


def test_each_text_of_an_item_counts_for_itself(pair: Callable[..., tuple[MemoryStore, InMemoryStore]]) -> None:
    ours, theirs = pair(fields=["a", "b", "d"])
    for each in (ours, theirs):
        each.put(("t",), "one", {"b": "xxx", "c": "yyy", "d": "zzz"})
        each.put(("t",), "two", {"a": "uuu", "b": "vvv", "c": "www", "d": "xxx"})
        each.put(("t",), "three", {"a": "hhh", "c": "iii"}, index=["c"])
        each.put(("t",), "none", {"a": "xxx"}, index=False)
    for query in ("xxx", "uuu", "zzz", "www", "iii", "hhh"):
        assert dict(ranked(ours, query)) == dict(ranked(theirs, query))
    assert [score for _, score in ranked(ours, "xxx")[:2]] == [1.0, 1.0]
    assert ranked(ours, "uuu")[0] == ("two", 1.0)
    assert ranked(ours, "iii")[0] == ("three", 1.0)
    assert ranked(ours, "xxx")[-1] == ("none", None)


FILTERS: list[dict[str, Any]] = [
    {"color": "red"},
    {"score": {"$gt": 3.2}},
    {"score": {"$gte": 3.0, "$lt": 4.0}, "color": "red"},
    {"score": {"$ne": 3.0}},
    {"score": {"$lt": float("inf")}},
    {"score": {"$eq": float("nan")}},
    {"score": {"$lte": 10**100}},
    {"tags": ["fruit"]},
    {"tags": ["fruit", "more"]},
    {"owner": {"name": "Ada"}},
    {"owner": {"name": {"$eq": "Ada"}}},
    {"color": "red' OR '1'='1"},
    {"nowhere": None},
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_filters_choose_as_the_reference_does(pair: Callable[..., tuple[MemoryStore, InMemoryStore]], wanted: dict[str, Any]) -> None:
    ours, theirs = pair()
    filled(ours, theirs, ((("t",), key, value) for key, value in VALUES.items()))
    assert dict(ranked(ours, None, filter=wanted)) == dict(ranked(theirs, None, filter=wanted))
    assert dict(ranked(ours, "apple", filter=wanted)) == dict(ranked(theirs, "apple", filter=wanted))


def test_numbers_compare_as_numbers_texts_as_texts_and_dots_lead_inside(memory: Memory) -> None:
    store = MemoryStore(memory)
    store.batch([PutOp(("s",), str(score), {"score": score, "name": name}) for score, name in ((2, "fig"), (9, "apple"), (10, "banana"))])
    assert {item.key for item in store.search(("s",), filter={"score": {"$gte": 9}})} == {"9", "10"}
    assert {item.key for item in store.search(("s",), filter={"name": {"$gt": "apple"}})} == {"2", "10"}
    store.put(("s",), "deep", {"user": {"access-level": "nested"}, "a.b": 1})
    assert [item.key for item in store.search(("s",), filter={"user.access-level": "nested"})] == ["deep"]
    assert [item.key for item in store.search(("s",), filter={"a.b": 1})] == ["deep"]
    assert store.search(("s",), filter={"user.access-level.more": "nested"}) == []


NAMESPACES = [
    ("a", "b", "c"),
    ("a", "b", "d", "e"),
    ("a", "b", "d", "i"),
    ("a", "c", "f"),
    ("b", "a", "f"),
    ("users", "123"),
    ("users", "456", "settings"),
    ("ab",),
    ("star*", "x"),
    ("starX", "x"),
    ("user_1",),
    ("a%b",),
    ("q?m", "br[a]"),
    ("users", "123\n"),
    ("Users", "123"),
]

LISTINGS: list[dict[str, Any]] = [
    {},
    {"prefix": ("a", "b")},
    {"suffix": ("f",)},
    {"prefix": ("a",), "suffix": ("f",)},
    {"prefix": ("a", "b"), "max_depth": 3},
    {"prefix": ("a", "*", "f")},
    {"suffix": ("*", "f")},
    {"prefix": ("users", "123")},
    {"prefix": ("star*",)},
    {"prefix": ("*", "b"), "max_depth": 2},
    {"prefix": ("a", "b", "c", "d", "e")},
    {"max_depth": 1, "limit": 3, "offset": 2},
    {"limit": 100, "offset": 4},
    {"limit": 0},
]


@pytest.mark.parametrize("listing", LISTINGS, ids=str)
def test_namespaces_are_listed_as_the_reference_lists_them(
    pair: Callable[..., tuple[MemoryStore, InMemoryStore]], listing: dict[str, Any]
) -> None:
    ours, theirs = pair()
    filled(ours, theirs, ((namespace, "k", {"v": 1}) for namespace in NAMESPACES))
    assert ours.list_namespaces(**listing) == theirs.list_namespaces(**listing)
    for namespace in NAMESPACES:
        assert {item.namespace for item in ours.search(namespace, limit=100)} == {
            item.namespace for item in theirs.search(namespace, limit=100)
        }


async def test_a_namespace_must_be_one_as_everywhere(memory: Memory) -> None:
    store = MemoryStore(memory)
    bad: Sequence[Any] = [(), ("the", "thing.about"), ("some", ""), ("langgraph", "foo"), (1, "x")]
    for namespace in bad:
        with pytest.raises(InvalidNamespaceError):
            store.put(namespace, "k", {"v": 1})
        with pytest.raises(InvalidNamespaceError):
            await store.aput(namespace, "k", {"v": 1})
    await store.abatch([PutOp(("langgraph", "foo"), "bar", {"v": 1})])  # the root label is kept for LangGraph itself, which goes this way
    assert [item.value for item in await store.asearch(("langgraph",))] == [{"v": 1}]
    for namespace in (("a", 1), "text"):
        with pytest.raises(InvalidNamespaceError):
            store.batch([PutOp(namespace, "k", {"v": 1})])  # type: ignore[arg-type]


def test_a_batch_answers_in_the_order_of_its_operations(memory: Memory) -> None:
    store = MemoryStore(memory)
    store.put(("test", "foo"), "key1", {"data": "value1"})
    store.put(("test", "bar"), "key2", {"data": "value2"})
    operations: list[Op] = [
        SearchOp(("test",), filter={"data": "value1"}),
        GetOp(("test", "bar"), "key2"),
        ListNamespacesOp(match_conditions=(MatchCondition("suffix", ("foo",)),)),
        PutOp(("test",), "key3", {"data": "value3"}),
        GetOp(("test", "nowhere"), "key"),
        PutOp(("test", "foo"), "key1", None),
    ]
    found, got, namespaces, put, missing, deleted = store.batch(operations)
    assert [item.key for item in found] == ["key1"]  # type: ignore[union-attr]
    assert got.value == {"data": "value2"}  # type: ignore[union-attr]
    assert namespaces == [("test", "foo")]
    assert put is missing is deleted is None
    assert store.get(("test",), "key3") is not None and store.get(("test", "foo"), "key1") is None


async def test_many_at_once_do_not_lose_anything(memory: Memory) -> None:
    store = MemoryStore(memory)
    await asyncio.gather(*(store.aput(("t",), f"k{number % 10}", {"n": number}) for number in range(30)))
    found = await asyncio.gather(*(store.aget(("t",), f"k{number}") for number in range(10)))
    assert all(item is not None and item.value["n"] % 10 == number for number, item in enumerate(found))


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ("cosine", [("near", 1.0), ("long", 0.99875), ("far", 0.0)]),
        ("l2", [("near", 0.0), ("long", -1.00499), ("far", -1.41421)]),
        ("inner_product", [("long", 2.0), ("near", 1.0), ("far", 0.0)]),
    ],
)
def test_each_distance_ranks_the_nearest_first(memory: Memory, distance: str, expected: list[tuple[str, float]]) -> None:
    vectors = {"near": [1.0, 0.0, 0.0], "long": [2.0, 0.1, 0.0], "far": [0.0, 0.0, 1.0]}
    index: Any = {"dims": 3, "embed": lambda texts: [vectors[text] for text in texts], "fields": ["text"], "distance_type": distance}
    store = MemoryStore(memory, index=index)
    store.batch([PutOp(("t",), name, {"text": name}) for name in vectors])
    assert ranked(store, "near") == expected


async def test_embeddings_may_be_an_async_function(memory: Memory) -> None:
    async def embed(texts: Sequence[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return LetterEmbeddings().embed_documents(list(texts))

    store = MemoryStore(memory, index={"dims": 64, "embed": embed})
    await store.aput(("t",), "a", {"text": "zebra"})
    assert (await store.asearch(("t",), query='{"text": "zebra"}'))[0].score == pytest.approx(1.0, abs=1e-5)


def test_vectors_outlive_the_process_and_other_embeddings_are_told_apart(open_memory: Any) -> None:
    index: Any = {"dims": 64, "embed": LetterEmbeddings(), "fields": ["text"]}
    memory = open_memory()
    MemoryStore(memory, index=index).put(("t",), "a", {"text": "zebra"})
    memory.close()
    again = open_memory()
    assert ranked(MemoryStore(again, index=index), "zebra") == [("a", 1.0)]
    other: Any = {"dims": 2, "embed": lambda texts: [[1.0, 0.0] for _ in texts]}
    with pytest.raises(InvalidRequestError, match="64 dimensions"):
        MemoryStore(again, index=other).search(("t",), query="zebra")


def test_times_to_live_start_again_when_read_unless_told_not_to(memory: Memory, clock: FakeClock) -> None:
    store = MemoryStore(memory, ttl={"default_ttl": 1, "refresh_on_read": False})
    store.put(("t",), "default", {"v": 1})
    store.put(("t",), "never", {"v": 1}, ttl=None)
    store.put(("t",), "long", {"v": 1}, ttl=3)
    clock.advance(seconds=40)
    assert store.get(("t",), "default", refresh_ttl=True) is not None
    clock.advance(seconds=40)
    assert store.get(("t",), "default") is not None
    clock.advance(seconds=40)
    assert store.get(("t",), "default") is None
    assert {item.key for item in store.search(("t",), query="v", refresh_ttl=True)} == {"never", "long"}
    clock.advance(minutes=2, seconds=50)
    assert {item.key for item in store.search(("t",))} == {"never", "long"}
    clock.advance(minutes=2)
    assert [item.key for item in store.search(("t",))] == ["never"]
    assert store.list_namespaces() == [("t",)]
    assert store.sweep_ttl() == 2
    assert [state.state for state in memory.documents() if state.document_id.endswith('"never"]')] == ["live"]


def test_the_sweeper_removes_what_expired_until_it_is_stopped() -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        ttl: Any = {"default_ttl": 0.002, "sweep_interval_minutes": 0.002}
        store = MemoryStore(memory, ttl=ttl)
        store.put(("t",), "k", {"v": 1})
        done = store.start_ttl_sweeper()
        deadline = time.monotonic() + 10
        while any(state.state == "live" for state in memory.documents()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not [state for state in memory.documents() if state.state == "live"]
        assert store.stop_ttl_sweeper(timeout=5)
        assert done.result(timeout=1) is None
        assert MemoryStore(memory).start_ttl_sweeper().done()


TAXI: Any = {"dims": 1, "embed": len, "distance_type": "taxi"}

BAD: list[tuple[str, Callable[[MemoryStore], Any]]] = [
    ("mapping", lambda store: store.put(("t",), "k", ["no", "mapping"])),  # type: ignore[arg-type]
    ("max_file_bytes", lambda store: store.put(("t",), "k", {"text": "x" * 2_000})),
    ("non-empty string", lambda store: store.put(("t",), "", {"v": 1})),
    ("limit", lambda store: store.search(("t",), limit=-1)),
    ("offset", lambda store: store.list_namespaces(offset=-1)),
    ("filter", lambda store: store.search(("t",), filter=["no"])),  # type: ignore[arg-type]
    ("operator", lambda store: store.search(("seen",), filter={"v": {"$near": 1}})),
    ("operation", lambda store: store.batch(["get"])),  # type: ignore[list-item]
    ("distance_type", lambda store: MemoryStore(store._memory, index=TAXI)),
]


@pytest.mark.parametrize(("problem", "call"), BAD, ids=[problem for problem, _ in BAD])
def test_a_bad_call_is_refused_and_changes_nothing(problem: str, call: Callable[[MemoryStore], Any]) -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), config=MemoryConfig(max_file_bytes=1_000)) as memory:
        store = MemoryStore(memory)
        store.put(("seen",), "k", {"v": 1})
        with pytest.raises(InvalidRequestError, match=problem):
            call(store)
        assert [item.value for item in store.search(())] == [{"v": 1}]


def test_a_batch_with_one_bad_write_writes_nothing(memory: Memory) -> None:
    store = MemoryStore(memory)
    store.put(("t",), "old", {"v": 1})
    with pytest.raises(InvalidRequestError):
        store.batch([PutOp(("t",), "new", {"v": 1}), PutOp(("t",), "old", None), PutOp(("t",), "bad", {"v": object()})])
    assert [item.key for item in store.search(("t",))] == ["old"]


async def test_a_closed_memory_is_an_error_of_ours(memory: Memory) -> None:
    store = MemoryStore(memory)
    memory.close()
    for call in (lambda: store.get(("t",), "k"), lambda: store.search(("t",)), lambda: store.put(("t",), "k", {"v": 1}), store.sweep_ttl):
        with pytest.raises(ClosedMemoryError):
            call()
    with pytest.raises(ClosedMemoryError):
        await store.aget(("t",), "k")


async def test_langmems_tools_work_unchanged(memory: Memory) -> None:
    langmem = pytest.importorskip("langmem")
    store = MemoryStore(memory)
    manage = langmem.create_manage_memory_tool(namespace=("memories", "{user}"), store=store)
    search = langmem.create_search_memory_tool(namespace=("memories", "{user}"), store=store)
    ada: Any = {"configurable": {"user": "ada"}}
    bob: Any = {"configurable": {"user": "bob"}}
    made = manage.invoke({"content": "Ada drinks green tea.", "action": "create"}, config=ada)
    await manage.ainvoke({"content": "Bob has a dog called Rex.", "action": "create"}, config=bob)
    (found,) = json.loads(search.invoke({"query": "green tea"}, config=ada))
    assert found["value"] == {"content": "Ada drinks green tea."}
    manage.invoke({"content": "Ada drinks oolong.", "action": "update", "id": made.split()[-1]}, config=ada)
    (found,) = json.loads(await search.ainvoke({"query": "tea"}, config=ada))
    assert found["value"] == {"content": "Ada drinks oolong."}
    assert "Rex" in search.invoke({"query": "dog", "limit": 1}, config=bob)
    manage.invoke({"action": "delete", "id": made.split()[-1]}, config=ada)
    assert json.loads(search.invoke({"query": "tea"}, config=ada)) == []


def test_an_agents_tools_reach_the_store(memory: Memory) -> None:
    agents = pytest.importorskip("langchain.agents")
    langmem = pytest.importorskip("langmem")
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    class Scripted(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

    call = {"name": "manage_memory", "args": {"content": "The user drinks tea.", "action": "create"}, "id": "1"}
    model = Scripted(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Noted.")]))
    store = MemoryStore(memory)
    agent = agents.create_agent(model, tools=[langmem.create_manage_memory_tool(namespace=("notes",))], store=store)
    assert agent.invoke({"messages": [HumanMessage("I drink tea.")]})["messages"][-1].content == "Noted."
    assert [item.value for item in store.search(("notes",), query="tea")] == [{"content": "The user drinks tea."}]


def test_what_is_put_while_an_item_is_read_stays(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(memory)
    store.put(("t",), "k", {"v": 1}, ttl=5)
    look, looks = store._records, 0

    def put_in_between(**options: Any) -> dict[str, Any]:
        nonlocal looks
        looks += 1
        found = look(**options)
        if looks == 1:
            store.put(("t",), "k", {"v": 2}, ttl=5)
        return found

    monkeypatch.setattr(store, "_records", put_in_between)
    assert store.get(("t",), "k").value == {"v": 1}  # type: ignore[union-attr]
    assert store.get(("t",), "k").value == {"v": 2}  # type: ignore[union-attr]


def test_reading_and_writing_at_once_loses_nothing(memory: Memory) -> None:
    store = MemoryStore(memory, ttl={"default_ttl": 60})
    store.put(("t",), "k", {"n": -1})
    failures: list[BaseException] = []

    def work(action: Callable[[int], Any]) -> None:
        try:
            for number in range(15):
                action(number)
        except BaseException as exc:
            failures.append(exc)

    actions: list[Callable[[int], Any]] = [
        lambda number: store.get(("t",), "k"),
        lambda number: store.search((), query="n"),
        lambda number: store.put(("t",), "k", {"n": number}),
        lambda number: store.sweep_ttl(),
    ]
    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert store.get(("t",), "k").value == {"n": 14}  # type: ignore[union-attr]
