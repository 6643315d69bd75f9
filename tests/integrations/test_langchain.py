"""Retriever and tools against LangChain's standard suites, and what they promise beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import RetrieversIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from rag2_memory import Document, InvalidRequestError, Memory, Scope
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
