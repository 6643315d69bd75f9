"""The vector store and the embeddings against LangChain's standard suites, and what they promise beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from rag2_memory import ClosedMemoryError, Document, InvalidRequestError, Memory, Scope
from rag2_memory.integrations.langchain import MemoryEmbeddings, MemoryVectorStore
from rag2_memory.testing.fakes import FakeEmbedder


class TestVectorStoreStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        with Memory.in_memory(embedder=self.get_embeddings()) as memory:
            yield MemoryVectorStore(memory)


class TestEmbeddingsStandardUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MemoryEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": FakeEmbedder()}


class TestEmbeddingsStandardIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MemoryEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": FakeEmbedder()}


@pytest.fixture
def store(memory: Memory) -> MemoryVectorStore:
    """A store with a few documents that have metadata."""
    store = MemoryVectorStore(memory)
    store.add_texts(
        ["red apple pie", "red fast car", "green apple tree", "blue slow car"],
        [{"color": "red", "n": 1}, {"color": "red", "n": 2}, {"color": "green", "n": 3}, {"color": "blue", "n": 4}],
        ids=["pie", "fast", "tree", "slow"],
    )
    return store


def test_the_nearest_come_first_with_their_cosine(store: MemoryVectorStore) -> None:
    (first, score), *others = store.similarity_search_with_score("red apple pie", k=4)
    assert (first.id, first.page_content, first.metadata) == ("pie", "red apple pie", {"color": "red", "n": 1})
    assert score == pytest.approx(1.0, abs=1e-5)
    assert [score for _, score in others] == sorted((score for _, score in others), reverse=True)
    vector = store.embeddings.embed_query("red apple pie")
    assert [found.id for found in store.similarity_search_by_vector([7 * number for number in vector], k=1)] == ["pie"]
    assert store.similarity_search_with_relevance_scores("red apple pie", k=1)[0][1] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"color": "red"}, {"pie", "fast"}),
        ({"n": {"$gt": 2}}, {"tree", "slow"}),
        ({"color": "red", "n": {"$ne": 1}}, {"fast"}),
        ({"color": "x"}, set()),
    ],
)
def test_a_filter_is_met_by_all_and_costs_no_result(store: MemoryVectorStore, wanted: dict[str, Any], ids: set[str]) -> None:
    store.add_texts([f"red apple pie {number}" for number in range(30)], ids=[f"more{number}" for number in range(30)])
    assert {found.id for found in store.similarity_search("red apple pie", k=2, filter=wanted)} == ids


def test_what_others_may_see_does_not_take_up_room(memory: Memory) -> None:
    memory.ingest([Document(id=f"secret{n}", text="The moat is deep.", acl=frozenset({"user:ada"})) for n in range(30)])
    memory.ingest(Document(id="open", text="The tower is high."))
    assert [found.id for found in MemoryVectorStore(memory).similarity_search("moat deep", k=1)] == ["open"]
    ada = MemoryVectorStore(memory, scope=Scope(user="ada"))
    assert "secret" in str(ada.similarity_search("moat deep", k=1)[0].id)
    ada.add_texts(["Ada's own."], ids=["own"])
    assert MemoryVectorStore(memory).get_by_ids(["own", "secret1", "open"]) == [
        LangChainDocument(id="open", page_content="The tower is high.")
    ]
    MemoryVectorStore(memory).delete(["own"])
    assert ada.get_by_ids(["own"]) != []


def test_a_long_document_comes_back_whole_and_once(memory: Memory) -> None:
    text = "\n\n".join(
        f"Paragraph {number} speaks of gate {number} and its keeper, who has many words to say about it. " * 4 for number in range(40)
    )
    store = MemoryVectorStore(memory)
    store.add_texts([text, "Something else."], ids=["long", "short"])
    found = store.similarity_search("gate keeper", k=5)
    assert [document.id for document in found] == ["long", "short"]
    assert found[0].page_content == text


def test_diverse_results_and_retrievers(store: MemoryVectorStore) -> None:
    store.add_texts(["red apple pie", "red apple pie"], ids=["copy1", "copy2"])
    texts = [found.page_content for found in store.max_marginal_relevance_search("red apple pie", k=3, fetch_k=6, lambda_mult=0.1)]
    assert len(set(texts)) == 3
    assert store.as_retriever(search_type="mmr", search_kwargs={"k": 2}).invoke("red car")
    strict = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99, "k": 5})
    assert {found.page_content for found in strict.invoke("red apple pie")} == {"red apple pie"}


async def test_async_twins_answer_alike(store: MemoryVectorStore) -> None:
    assert await store.asimilarity_search("red car", k=2) == store.similarity_search("red car", k=2)
    await store.adelete(["fast"])
    assert await store.aget_by_ids(["fast", "slow"]) == store.get_by_ids(["slow"])


def test_it_is_built_from_texts_alone_or_on_a_memory(memory: Memory) -> None:
    own = MemoryVectorStore.from_texts(["a moat", "a tower"], MemoryEmbeddings(FakeEmbedder()), ids=["1", "2"])
    assert own.similarity_search("moat", k=1)[0].id == "1"
    own.memory.close()
    MemoryVectorStore.from_texts(["a gate"], MemoryEmbeddings(FakeEmbedder()), memory=memory, namespace="acme")
    assert memory.search("gate", scope=Scope(namespace="acme"))[0].text == "a gate"


def test_deleting_without_ids_empties_what_the_scope_sees(store: MemoryVectorStore) -> None:
    assert store.delete()
    assert store.similarity_search("red", k=5) == []


BAD: list[tuple[str, Callable[[MemoryVectorStore], Any]]] = [
    ("not empty", lambda store: store.add_texts(["  "])),
    ("as many", lambda store: store.add_texts(["a", "b"], ids=["1"])),
    ("as many", lambda store: store.add_texts(["a", "b"], [{}])),
    ("k=0", lambda store: store.similarity_search("a", k=0)),
    ("shape", lambda store: store.similarity_search_by_vector([1.0])),
    ("filter", lambda store: store.similarity_search("a", filter=["no"])),  # type: ignore[arg-type]
    ("not known", lambda store: store.similarity_search("a", where={"a": 1})),
]


@pytest.mark.parametrize(("problem", "call"), BAD, ids=[f"{place}-{problem}" for place, (problem, _) in enumerate(BAD)])
def test_a_bad_call_is_refused(store: MemoryVectorStore, problem: str, call: Callable[[MemoryVectorStore], Any]) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        call(store)
    assert len(store.similarity_search("a", k=10)) == 4


def test_a_closed_memory_is_an_error(memory: Memory) -> None:
    store = MemoryVectorStore(memory)
    memory.close()
    for call in (lambda: store.similarity_search("a"), lambda: store.add_texts(["a"]), lambda: store.get_by_ids(["a"])):
        with pytest.raises(ClosedMemoryError):
            call()
