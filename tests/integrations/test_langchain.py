"""Retriever and tools against LangChain's standard suites, and what they promise beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import RetrieversIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pydantic import ValidationError

from rag2_memory import ClosedMemoryError, Document, InvalidRequestError, Memory, Scope
from rag2_memory.integrations.langchain import MemoryRetriever, memory_tools
from rag2_memory.testing.fakes import FakeEmbedder

DOCUMENTS = [Document(id=f"d{i}", text=f"Giraffe number {i} eats leaves.") for i in range(8)]


@pytest.fixture(scope="module")
def filled() -> Iterator[Memory]:
    """A memory with some documents, one of them restricted."""
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest([*DOCUMENTS, Document(id="hidden", text="The secret giraffe eats cake.", acl=frozenset({"user:ada"}))])
        memory.ingest(Document(id="lead", text="Priya Raman leads Project Alpha since 1 February 2026."))
        yield memory


class TestRetrieverStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def use(self, filled: Memory) -> None:
        self.memory = filled

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return MemoryRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"memory": self.memory, "k": 2}

    @property
    def retriever_query_example(self) -> str:
        return "Which giraffe eats leaves?"


class TestToolStandardUnit(ToolsUnitTests):
    searching: ClassVar[BaseTool]

    @pytest.fixture(autouse=True)
    def use(self, filled: Memory) -> None:
        type(self).searching = memory_tools(filled)[0]

    @property
    def tool_constructor(self) -> BaseTool:
        return self.searching

    @property
    def tool_invoke_params_example(self) -> dict[str, object]:
        return {"query": "giraffe", "k": 2}


class TestToolStandardIntegration(ToolsIntegrationTests):
    searching: ClassVar[BaseTool]

    @pytest.fixture(autouse=True)
    def use(self, filled: Memory) -> None:
        type(self).searching = memory_tools(filled)[0]

    @property
    def tool_constructor(self) -> BaseTool:
        return self.searching

    @property
    def tool_invoke_params_example(self) -> dict[str, object]:
        return {"query": "giraffe", "k": 2}


def test_the_runs_scope_decides_what_is_found(filled: Memory) -> None:
    retriever = MemoryRetriever(memory=filled, k=20)
    assert "hidden" not in [found.metadata["document_id"] for found in retriever.invoke("secret cake")]
    ada = {"configurable": {"user": "ada"}}
    assert "hidden" in [found.metadata["document_id"] for found in retriever.invoke("secret cake", config=ada)]  # type: ignore[arg-type]
    assert "hidden" in [found.metadata["document_id"] for found in retriever.with_config(ada).invoke("secret cake")]  # type: ignore[arg-type]
    whole = {"configurable": {"scope": Scope(namespace="elsewhere")}}
    assert retriever.invoke("secret cake", config=whole) == []  # type: ignore[arg-type]


async def test_async_and_batch_answer_alike(filled: Memory) -> None:
    retriever = MemoryRetriever(memory=filled, k=2)
    one = retriever.invoke("giraffe number 3")
    assert await retriever.ainvoke("giraffe number 3") == one
    assert retriever.batch(["giraffe number 3", "cake"])[0] == one


def test_a_document_tells_where_it_comes_from(filled: Memory) -> None:
    (found,) = MemoryRetriever(memory=filled, k=1).invoke("giraffe number 3")
    assert found.page_content == "Giraffe number 3 eats leaves."
    assert {"document_id", "chunk_id", "score", "source", "citation", "found_by"} <= set(found.metadata)


def test_a_bad_scope_is_refused(filled: Memory) -> None:
    with pytest.raises(InvalidRequestError, match="scope"):
        MemoryRetriever(memory=filled).invoke("x", config={"configurable": {"scope": "ada"}})


def test_the_tools_act_for_their_scope_and_no_model_can_change_it(filled: Memory) -> None:
    tools = {tool.name: tool for tool in memory_tools(filled, scope=Scope(user="bob"))}
    assert not [name for tool in tools.values() for name in tool.args if name in ("scope", "user", "groups", "namespace", "config")]
    assert "hidden" not in tools["search_memory"].invoke({"query": "secret cake", "k": 20})
    (fact,) = json.loads(tools["memory_facts"].invoke({"entity": "Project Alpha"}))
    assert (fact["source"], fact["predicate"]) == ("Priya Raman", "LEAD_ARCHITECT_OF")
    assert "2026-02-01" in tools["memory_timeline"].invoke({"entity": "Project Alpha"})


def test_an_agent_forgets_its_own_notes_only(memory: Memory) -> None:
    memory.ingest(Document(id="policy", text="Logs are kept for thirty days."))
    tools = {tool.name: tool for tool in memory_tools(memory, scope=Scope(user="bob"))}
    tools["remember"].invoke({"text": "The user prefers tea."})
    assert [passage.document_id for passage in memory.search("tea", scope=Scope(user="bob"), k=1)] == ["notes/0"]
    assert "no note" in tools["forget"].invoke({"document_id": "policy"})
    assert "Forgot" in tools["forget"].invoke({"document_id": "notes/0"})
    assert memory.search("tea", scope=Scope(user="bob"), k=1)[0].document_id == "policy"


def test_a_reader_gets_no_writing_tools(filled: Memory) -> None:
    assert {tool.name for tool in memory_tools(filled, writable=False)} == {"search_memory", "memory_facts", "memory_timeline"}


def test_a_bad_call_tells_the_model_what_was_wrong(filled: Memory) -> None:
    tools = {tool.name: tool for tool in memory_tools(filled)}
    assert "ISO 8601" in tools["memory_facts"].invoke({"entity": "Project Alpha", "as_of": "yesterday"})
    message = tools["memory_facts"].invoke({"type": "tool_call", "id": "1", "name": "memory_facts", "args": {"entity": " "}})
    assert message.status == "error"
    for arguments in ({"query": ""}, {"query": "x", "k": 0}, {"query": "x" * 10_001}, {}):
        with pytest.raises(ValidationError):
            tools["search_memory"].invoke(arguments)
    with pytest.raises(ValidationError):
        tools["remember"].invoke({"text": "x" * 20_001})


def test_what_others_see_as_well_is_not_forgotten_for_one(memory: Memory) -> None:
    bob = {tool.name: tool for tool in memory_tools(memory, scope=Scope(user="bob"))}
    bob["remember"].invoke({"text": "The user prefers tea."})
    memory.set_acl("notes/0", ["user:bob", "user:ada"])
    assert "others can see" in bob["forget"].invoke({"document_id": "notes/0"})
    assert memory.search("tea", scope=Scope(user="ada"), k=1)


def test_tools_of_a_closed_memory_and_a_run_without_a_scope_raise(memory: Memory) -> None:
    tool = memory_tools(memory)[0]
    with pytest.raises(InvalidRequestError, match="scope"):
        tool.invoke({"query": "x"}, config={"configurable": {"scope": "ada"}})
    memory.close()
    with pytest.raises(ClosedMemoryError):
        tool.invoke({"query": "x"})
    with pytest.raises(ClosedMemoryError):
        MemoryRetriever(memory=memory).invoke("x")


class _Loader(BaseLoader):
    """Yields two pages of one source."""

    def lazy_load(self) -> Iterator[LangChainDocument]:
        for page in (1, 2):
            yield LangChainDocument(page_content=f"Page {page} is about the moat.", metadata={"source": "castle.pdf", "page": page})


class _PrefersPageTwo(BaseDocumentCompressor):
    """Leaves everything out but the second page."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> list[LangChainDocument]:
        return [document for document in documents if "Page 2" in document.page_content]


def test_parts_of_langchain_can_be_used_as_they_are() -> None:
    model = GenericFakeChatModel(
        messages=iter([AIMessage('{"passages": [{"id": "p1", "entities": [], "relations": []}]}') for _ in range(9)])
    )
    parts: dict[str, Any] = {
        "embedder": DeterministicFakeEmbedding(size=16),
        "splitter": RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0),
        "reranker": _PrefersPageTwo(),
        "extractor": model,
    }
    with Memory.in_memory(**parts) as memory:
        assert memory.ingest(_Loader()).added == ("castle.pdf#page=1", "castle.pdf#page=2")
        memory.ingest(LangChainDocument(id="lc", page_content="The tower has a bell. The bell is loud. The gate is shut at night."))
        for query in ("moat", "page 1", "bell"):
            assert memory.search(query, k=3)[0].document_id == "castle.pdf#page=2"
        assert all(len(passage.text) <= 40 for passage in memory.search("bell", k=5, route="lexical"))
        assert memory.services.embedder.dimensions == 16


def test_a_chat_model_reads_what_the_patterns_cannot() -> None:
    relation = {
        "subject": "Priya Raman",
        "predicate": "LEAD_ARCHITECT_OF",
        "object": "Project Alpha",
        "quote": "Alpha answers to Priya Raman now.",
    }
    answer = {"passages": [{"id": "p1", "entities": [{"name": "Project Alpha", "type": "Project"}], "relations": [relation]}]}
    model = GenericFakeChatModel(messages=iter([AIMessage(json.dumps(answer))]))
    with Memory.in_memory(embedder=FakeEmbedder(), extractor=model) as memory:
        memory.ingest(Document(id="note", text="Project Alpha has a new lead. Alpha answers to Priya Raman now."))
        assert [(fact.subject, fact.predicate) for fact in memory.facts("Project Alpha")] == [("Priya Raman", "LEAD_ARCHITECT_OF")]


def test_what_reads_nothing_is_no_extractor() -> None:
    with pytest.raises(InvalidRequestError, match="extractor"):
        Memory.in_memory(embedder=FakeEmbedder(), extractor="gpt")
