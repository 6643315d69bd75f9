"""OpenTelemetry spans for a memory: one for each call, node and tier call, with counts and without content."""

from __future__ import annotations

import contextvars
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any

from rag2_memory.errors import MissingExtraError
from rag2_memory.memory import Memory
from rag2_memory.tiers.base import CacheTier, GraphTier, LexicalTier, RegistryTier, VectorTier

VERBS = ("search", "recall", "facts", "document", "ingest", "remember", "forget", "remove", "verify", "repair", "rebuild")

TIERS: Mapping[str, type] = {"registry": RegistryTier, "vector": VectorTier, "lexical": LexicalTier, "graph": GraphTier, "cache": CacheTier}

UNTRACED = frozenset({"close", "ids", "states", "entries"})
"""Tier methods without a span: they end a tier, or return an iterator whose work is done as it is consumed."""

COUNTED = ("added", "updated", "unchanged", "removed", "skipped", "pending", "citations", "dropped", "blocks", "facts", "tiers")
"""Collections in what a memory returns, told by their length."""

NUMBERS = ("chunks", "embedded", "tokens", "seconds")


class Tracing:
    """Spans for one memory, until it is stopped. A context manager that stops at its end."""

    def __init__(self, memory: Memory, *, tracer_provider: Any = None, content: bool = False) -> None:
        """Start tracing; `trace_memory` does it for you.

        Raises:
            MissingExtraError: If opentelemetry is not installed.
        """
        try:
            from opentelemetry import trace
        except ImportError as missing:
            raise MissingExtraError(package="opentelemetry-api", extra="otel", purpose="tracing a memory") from missing
        self._tracer = trace.get_tracer("rag2_memory", tracer_provider=tracer_provider)
        self._status = trace.Status(trace.StatusCode.ERROR)
        self._content = content
        self._memory = memory
        self._patched: list[tuple[Any, str]] = []
        self._start()

    def __enter__(self) -> Tracing:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Trace no longer. Idempotent."""
        self._memory.services.hook.around = None
        while self._patched:
            owner, name = self._patched.pop()
            vars(owner).pop(name, None)

    def _start(self) -> None:
        services = self._memory.services
        for verb in VERBS:
            self._wrap(self._memory, verb, f"rag2.{verb}", {})
        for kind, base in TIERS.items():
            tier = getattr(services, kind)
            for name in sorted(getattr(base, "__abstractmethods__", frozenset()) - UNTRACED) if tier is not None else ():
                self._wrap(tier, name, f"rag2.{kind}.{name}", {"rag2.engine": type(tier).__name__})
        for owner, name in ((services.embedder, "embed"), (services.reranker, "rerank")):
            if owner is not None:
                self._wrap(owner, name, f"rag2.{name}", {"rag2.engine": type(owner).__name__})
        submit = services.workers.submit
        self._replace(
            services.workers, "submit", lambda call, *given, **named: submit(contextvars.copy_context().run, call, *given, **named)
        )
        services.hook.around = self._node

    def _wrap(self, owner: Any, name: str, span_name: str, attributes: Mapping[str, Any]) -> None:
        call = getattr(owner, name)

        @functools.wraps(call)
        def traced(*given: Any, **named: Any) -> Any:
            with self._span(span_name, attributes) as span:
                if span.is_recording():
                    span.set_attributes(self._asked(given, named))
                result = call(*given, **named)
                if span.is_recording():
                    span.set_attributes(dict(_told(result)))
                return result

        self._replace(owner, name, traced)

    def _replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        """Put a call in front of a method of one object; objects that take no attributes stay untraced."""
        try:
            setattr(owner, name, call)
        except AttributeError:
            return
        self._patched.append((owner, name))

    def _node(self, name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._span(f"rag2.node.{name}", {}) as span:
            update = call()
            if span.is_recording():
                for record in update.get("trace", ()):
                    span.set_attributes(dict(_counts("rag2", record)))
                    if self._content:
                        span.set_attribute("rag2.content", json.dumps(record, ensure_ascii=False, default=str))
            return update

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, Any]) -> Iterator[Any]:
        with self._tracer.start_as_current_span(
            name, attributes=dict(attributes), record_exception=self._content, set_status_on_exception=self._content
        ) as span:
            try:
                yield span
            except Exception as exc:
                span.set_attribute("error.type", type(exc).__name__)  # a message may quote what was asked or stored
                if not self._content:
                    span.set_status(self._status)
                raise

    def _asked(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {f"rag2.asked.{key}": value for key, value in named.items() if isinstance(value, (int, float))}
        sized = [len(value) for value in (*given, *named.values()) if isinstance(value, Sized) and not isinstance(value, (str, bytes))]
        if sized:
            asked["rag2.items"] = sized[0]
        if self._content and given and isinstance(given[0], str):
            asked["rag2.content"] = given[0]
        return asked


def trace_memory(memory: Memory, *, tracer_provider: Any = None, content: bool = False) -> Tracing:
    """Have every call of a memory, every node of its graphs and every tier call make an OpenTelemetry span.

    A memory that is not traced pays for none of it. Spans carry counts, sizes, engines and the type of an error.

    Args:
        memory: The memory; trace it before it is shared between threads.
        tracer_provider: Where spans go; default: OpenTelemetry's global one.
        content: Whether spans also carry queries, plans and messages of errors.

    Returns:
        What stops it.

    Raises:
        MissingExtraError: If opentelemetry is not installed.
    """
    return Tracing(memory, tracer_provider=tracer_provider, content=content)


def _told(result: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a result says in numbers."""
    if isinstance(result, bool | int | float):
        yield "rag2.result", result
    elif isinstance(result, Sized) and not isinstance(result, (str, bytes)):
        yield "rag2.results", len(result)
    for name in COUNTED:
        if isinstance(value := getattr(result, name, None), Sized):
            yield f"rag2.{name}", len(value)
    for name in NUMBERS:
        if isinstance(value := getattr(result, name, None), (int, float)):
            yield f"rag2.{name}", value


def _counts(prefix: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the numbers in a trace record, and the lengths of its lists; no text."""
    for key, value in record.items():
        if isinstance(value, bool | int | float):
            yield f"{prefix}.{key}", value
        elif isinstance(value, Mapping):
            yield from _counts(f"{prefix}.{key}", value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield f"{prefix}.{key}", len(value)
        elif key == "degraded":
            yield f"{prefix}.degraded", True
