"""Spans around calls, nodes and tier calls: what they count, what they keep to themselves, and that nothing is paid for while nobody traces."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer

from rag2_memory import Document, InvalidRequestError, Memory
from rag2_memory.integrations.langchain import MemoryRetriever, memory_tools
from rag2_memory.integrations.tracing import trace_memory
from rag2_memory.testing.fakes import FakeEmbedder

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
processing = pytest.importorskip("opentelemetry.sdk.trace.export")

ROOT = Path(__file__).resolve().parents[2]

SECRETS = ("Zanzibar", "zanzibar", "Raman", "moat", "user:ada")
"""What documents, queries and permissions of these tests say; no span may repeat it."""


@pytest.fixture
def exported() -> Any:
    """An exporter that keeps spans, and its provider."""
    exporter = export.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(processing.SimpleSpanProcessor(exporter))
    exporter.provider = provider
    return exporter


@pytest.fixture
def filled(memory: Memory) -> Memory:
    memory.ingest(
        [
            Document(id="gate", text="The moat of Zanzibar is deep.", acl=frozenset({"user:ada"})),
            Document(id="lead", text="Priya Raman leads Project Zanzibar since 1 February 2026."),
        ]
    )
    return memory


def by_name(spans: Sequence[Any]) -> dict[str, Any]:
    return {span.name: span for span in spans}


def sources() -> list[Path]:
    """Return every file of the library."""
    return [path for folder in ("rag2_memory", "graphs", "integrations") for path in (ROOT / folder).rglob("*.py")]


def ancestors(span: Any, spans: Sequence[Any]) -> Iterator[str]:
    """Yield the names of the spans that a span lies in."""
    known = {each.context.span_id: each for each in spans}
    while span.parent is not None and span.parent.span_id in known:
        span = known[span.parent.span_id]
        yield span.name


def test_a_recall_is_one_tree_of_nodes_and_tier_calls(filled: Memory, exported: Any) -> None:
    with trace_memory(filled, tracer_provider=exported.provider):
        filled.recall("Who leads Project Zanzibar?", budget=2_000)
    spans = exported.get_finished_spans()
    found = by_name(spans)
    nodes = {name.removeprefix("rag2.node.") for name in found if name.startswith("rag2.node.")}
    assert nodes == {
        "cache_lookup", "plan", "search_dense", "search_lexical", "walk_graph", "fuse_arms", "follow_links", "rerank_passages", "fit_budget", "cache_store"
    }  # fmt: skip
    assert {"rag2.embed", "rag2.vector.search", "rag2.lexical.search", "rag2.graph.neighbourhood", "rag2.registry.outlines"} <= set(found)
    assert [span.name for span in spans if span.parent is None] == ["rag2.recall"]
    assert list(ancestors(found["rag2.vector.search"], spans)) == ["rag2.node.search_dense", "rag2.recall"]
    assert found["rag2.recall"].attributes["rag2.tokens"] > 0
    assert found["rag2.lexical.search"].attributes["rag2.engine"] == type(filled.services.lexical).__name__
    assert 2 in [span.attributes["rag2.results"] for span in spans if span.name == "rag2.lexical.search"]
    assert found["rag2.node.search_lexical"].attributes["rag2.found.lexical"] == 2


def test_every_verb_has_its_span_with_counts(memory: Memory, exported: Any) -> None:
    with trace_memory(memory, tracer_provider=exported.provider):
        memory.ingest([Document(id="a", text="The moat is deep."), Document(id="b", text="The tower is high.")])
        assert len(memory.search("moat")) == 2
        memory.remember([("user", "The moat again.")], thread_id="t")
        memory.facts("Zanzibar")
        memory.forget("a")
    found = by_name(exported.get_finished_spans())
    assert found["rag2.ingest"].attributes["rag2.added"] == 2
    assert found["rag2.ingest"].attributes["rag2.embedded"] == 2
    assert found["rag2.search"].attributes["rag2.results"] == 2
    assert found["rag2.remember"].attributes["rag2.added"] == 1
    assert {"rag2.facts", "rag2.forget", "rag2.vector.upsert", "rag2.registry.purge", "rag2.node.search_arms"} <= set(found)
    assert found["rag2.vector.upsert"].attributes["rag2.items"] >= 1


def test_no_content_leaves_with_a_span_unless_asked_for(filled: Memory, exported: Any) -> None:
    with trace_memory(filled, tracer_provider=exported.provider):
        filled.search("Where is Zanzibar's moat?")
        filled.recall("Who leads Project Zanzibar?", budget=2_000)
        filled.ingest(Document(id="more", text="Priya Raman likes the moat."))
        with pytest.raises(InvalidRequestError):
            filled.document("zanzibar-secret")
    spans = exported.get_finished_spans()
    told = "\n".join(span.to_json() for span in spans)
    assert not [secret for secret in SECRETS if secret in told]
    failed = by_name(spans)["rag2.document"]
    assert (failed.attributes["error.type"], failed.status.is_ok, failed.events) == ("UnknownDocumentError", False, ())
    exported.clear()
    with trace_memory(filled, tracer_provider=exported.provider, content=True):
        filled.search("Where is Zanzibar's moat?")
    assert "Where is Zanzibar's moat?" in by_name(exported.get_finished_spans())["rag2.search"].attributes["rag2.content"]


def test_a_stopped_trace_leaves_nothing_behind(filled: Memory, exported: Any) -> None:
    before = filled.search("moat")
    tracing = trace_memory(filled, tracer_provider=exported.provider)
    assert filled.search("moat") == before
    tracing.stop()
    tracing.stop()
    exported.clear()
    filled.search("moat")
    assert exported.get_finished_spans() == ()
    assert "search" not in vars(filled) and "search" not in vars(filled.services.vector) and "submit" not in vars(filled.services.workers)


def test_two_memories_are_traced_each_for_itself(filled: Memory, exported: Any) -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as other, trace_memory(filled, tracer_provider=exported.provider):
        other.ingest(Document(id="x", text="Something else."))
        other.search("else")
    assert exported.get_finished_spans() == ()


async def test_the_graph_run_alone_and_async_calls_are_traced(filled: Memory, exported: Any) -> None:
    with trace_memory(filled, tracer_provider=exported.provider):
        filled.graph.invoke({"query": "Who leads Project Zanzibar?"})
        await filled.asearch("moat")
    found = by_name(exported.get_finished_spans())
    assert {"rag2.node.plan", "rag2.search"} <= set(found)


class _Runs(BaseTracer):
    """Keeps the runs that LangChain's callbacks tell of, as LangSmith's tracer does."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.found.append(run)


def test_graph_runs_have_a_name_and_a_tag(filled: Memory) -> None:
    runs = _Runs()
    filled.graph.invoke({"query": "Who leads Project Zanzibar?"}, config={"callbacks": [runs], "tags": ["mine"]})
    (run,) = runs.found
    assert run.name == "rag2_recall"
    assert {"rag2_memory", "mine"} <= set(run.tags)
    assert {"plan", "fuse", "fit_budget"} <= {child.name for child in run.child_runs}
    assert all("rag2_memory" in child.tags for child in run.child_runs)


def test_retrievers_and_tools_carry_the_tag_as_well(filled: Memory) -> None:
    runs = _Runs()
    MemoryRetriever(memory=filled).invoke("moat", config={"callbacks": [runs]})
    memory_tools(filled)[0].invoke({"query": "moat"}, config={"callbacks": [runs]})
    assert [(run.name, "rag2_memory" in run.tags) for run in runs.found] == [("MemoryRetriever", True), ("search_memory", True)]


def test_opentelemetry_is_loaded_by_tracing_alone() -> None:
    code = "import sys, rag2_memory, rag2_memory.cli; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.strip() == "[]"
    importing = {
        path.name: path.read_text(encoding="utf-8") for path in sources() if "opentelemetry import" in path.read_text(encoding="utf-8")
    }
    assert set(importing) == {"tracing.py"}
    assert not re.search(r"^(from|import) opentelemetry", importing["tracing.py"], re.MULTILINE)


def test_logging_happens_under_our_name_only(caplog: pytest.LogCaptureFixture) -> None:
    loggers = {found for path in sources() for found in re.findall(r"getLogger\((.*?)\)", path.read_text(encoding="utf-8"))}
    assert loggers <= {
        "__name__",
        "name",
        "",
    }  # `name` and the root: the command line quietens engines, and a server keeps the root as it was
    assert not [
        path
        for path in sources()
        if re.search(r"^\s*logging\.(debug|info|warning|error|exception)\(", path.read_text(encoding="utf-8"), re.M)
    ]
    before = list(logging.getLogger().handlers)
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest(Document(id="a", text="The moat is deep."))
        memory.recall("moat", budget=2_000)
    assert logging.getLogger().handlers == before
    assert not logging.getLogger("rag2_memory").handlers
