"""What the graphs' nodes work with. It reaches them as LangGraph's runtime context, or as the default that a graph was built with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from rag2_memory.config import MemoryConfig
from rag2_memory.context.summary import RunningSummarizer
from rag2_memory.graphs.reach import Reach
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.protocols import Embedder, Reranker, TokenCounter
from rag2_memory.tiers.base import CacheTier, GraphTier, LexicalTier, RegistryTier, VectorTier

MODEL_NAMES = ("name", "model_name", "model", "model_name_or_path")
"""Attributes by which rerankers and their like tell their model; a component with other ways should have a `name`."""

RUN_TAG = "rag2_memory"
"""Tag of every run of ours, by which LangSmith and other listeners find them among an agent's own."""

Router = Callable[[str], str]
"""Chooses a route for a query, for instance by asking a language model."""


Around = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Runs a node, given its name and a call without arguments, and returns what the node returned."""


class NodeHook:
    """Where a memory's nodes are watched from, for instance by tracing; empty as a rule."""

    around: Around | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallServices:
    """The tiers, models and settings of one memory."""

    registry: RegistryTier
    vector: VectorTier
    lexical: LexicalTier
    graph: GraphTier
    cache: CacheTier | None
    embedder: Embedder
    counter: TokenCounter
    config: MemoryConfig
    clock: Callable[[], datetime]
    """Returns now as aware UTC; temporal expressions and ages are read against it."""
    schema: GraphSchema = field(default_factory=GraphSchema)
    reranker: Reranker | None = None
    router: Router | None = None
    summarizer: RunningSummarizer | None = None
    """Summarises what leaves the history's window; `None`: extractively."""
    workers: ThreadPoolExecutor
    """Where arms run, so that one that hangs can be left behind."""
    cache_lock: Lock = field(default_factory=Lock)
    """Held while a context is stored at the generation it was compiled at, and while a write's entries are dropped, so that none slips in between."""
    reach: Reach = field(default_factory=Reach, compare=False)
    """How deep to search first for whom."""
    hook: NodeHook = field(default_factory=NodeHook, compare=False)
    fingerprint: str = field(init=False, default="")
    """Names everything but the request that a context depends on: release, settings, models, schema and engines."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", "|".join(_parts(self)))


def _parts(services: RecallServices) -> Iterator[str]:
    yield version("rag2-memory")
    yield services.config.fingerprint
    yield from (services.embedder.name, services.counter.name, services.schema.fingerprint)
    yield services.summarizer.name if services.summarizer is not None else ""
    yield from (_named(tier) for tier in (services.vector, services.lexical, services.graph))
    yield from (_named(part) for part in (services.reranker, services.router))


def _named(part: Any) -> str:
    """Name a component by its class, or a function by itself, and by its model where it tells one."""
    if part is None:
        return ""
    kind = part if hasattr(part, "__qualname__") else type(part)
    model = next((str(value) for name in MODEL_NAMES if isinstance(value := getattr(part, name, None), str | Path)), "")
    return f"{kind.__module__}.{kind.__qualname__}:{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallContext:
    """LangGraph's runtime context of one run; every field may be left out."""

    services: RecallServices | None = None
    """The memory to work on instead of the one that the graph was built with."""
    scope: Any = None
    """Who asks, set by the application: goes before the `scope` of the input, which a caller from outside may choose."""
    looked_up: Any = None
    """A `LookedUp` of this very request where the cache was asked before the graph was entered; anything else is passed over."""


def run_node(node: Callable[[Any, RecallServices], dict[str, Any]], state: Any, services: RecallServices) -> dict[str, Any]:
    """Call a node, watched where somebody watches."""
    around = services.hook.around
    return node(state, services) if around is None else around(node.__name__, lambda: node(state, services))


class Stage:
    """A trace record under construction."""

    def __init__(self, name: str) -> None:
        self.record: dict[str, Any] = {"stage": name}

    def note(self, **details: Any) -> None:
        """Add JSON values to the record."""
        self.record.update(details)


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Time a stage; its record gets `ms`."""
    started = time.perf_counter()
    current = Stage(name)
    yield current
    current.record["ms"] = round((time.perf_counter() - started) * 1000, 3)
