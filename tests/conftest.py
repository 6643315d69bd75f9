"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag2_memory import Memory
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

SHARED = Path(__file__).parent.parent.parent / "shared" / "bench"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> Iterator[Memory]:
    """A memory in the process alone, with the fake embedder."""
    with Memory.in_memory(embedder=FakeEmbedder(), clock=clock) as opened:
        yield opened


@pytest.fixture
def open_memory(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Memory]]:
    """Opens memories in one folder of this test and closes what is left open."""
    opened: list[Memory] = []

    def open_at(name: str = "memory", **options: Any) -> Memory:
        defaults: dict[str, Any] = {"embedder": FakeEmbedder(), "clock": clock}
        memory = Memory.open(tmp_path / name, **(defaults | options))
        opened.append(memory)
        return memory

    yield open_at
    for memory in opened:
        memory.close()


@pytest.fixture
def bench() -> Path:
    """The shared evaluation data; skips where it is not beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared evaluation data is not at {SHARED}; this test needs it")
    return SHARED
