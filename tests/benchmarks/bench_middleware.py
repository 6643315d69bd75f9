"""What `MemoryMiddleware` adds to an agent over calling `memory.recall` directly: `python -m tests.benchmarks.bench_middleware [--runs 200]`.

Each question is asked three ways, in turn: recalled directly, answered by an agent without memory, and by one with the middleware, in which the time inside `memory.recall` is
taken apart. What is left of the third's time beyond that and the second's is the middleware's own: its hooks, counting the request, extending the system message. Every
question is new, so that no recall comes from the cache. Nothing is remembered: keeping a turn is the memory's work, after the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage

from rag2_memory import Context, Memory
from rag2_memory.integrations.langchain import memory_tools
from rag2_memory.integrations.middleware import MemoryMiddleware
from rag2_memory.testing.fakes import FakeEmbedder
from tests.scripted import Scripted

CORPUS = Path(__file__).parent.parent.parent / "examples" / "corpus"
BUDGET_TOKENS = 8_000
WINDOW_TOKENS = 128_000
DOCUMENTS = 20
WARM_UP_RUNS = 5
TARGET_MS = 5.0


Times = tuple[float, float, float, float]
"""Seconds of a direct recall, the agent without memory, the agent with it, and the recall within."""


class TimedMemory(Memory):
    """A memory that knows how long its latest recall took."""

    seconds = 0.0

    def recall(self, query: str, **options: Any) -> Context:
        """Recall, and take the time."""
        started = time.perf_counter()
        context = super().recall(query, **options)
        self.seconds = time.perf_counter() - started
        return context


def main() -> None:
    """Measure and print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    with TimedMemory.in_memory(cache=False, embedder=FakeEmbedder()) as memory:
        assert isinstance(memory, TimedMemory)
        memory.ingest(sorted(CORPUS.rglob("*.md"))[:DOCUMENTS])
        print(f"p50 in ms over {runs} runs; at most {TARGET_MS:g} may be added")
        print(f"{'':10}{'recall':>10}{'agent':>10}{'agent with memory':>20}{'recall within':>16}{'added':>10}")
        for name, measure in (("invoke", _sync), ("ainvoke", _async)):
            rows = measure(memory, runs)
            columns = [statistics.median(column) * 1000 for column in zip(*rows, strict=True)]
            added = statistics.median(whole - plain - within for _, plain, whole, within in rows) * 1000
            direct, plain, whole, within = columns
            verdict = "within the target" if added <= TARGET_MS else "MISSED"
            print(f"{name:10}{direct:10.2f}{plain:10.2f}{whole:20.2f}{within:16.2f}{added:10.2f}  {verdict}")


def _agents(memory: Memory) -> tuple[Any, Any]:
    tools = memory_tools(memory)
    middleware = MemoryMiddleware(memory, budget=BUDGET_TOKENS, window_tokens=WINDOW_TOKENS, remember=False)
    options: dict[str, Any] = {"tools": tools, "system_prompt": "Answer from the context."}
    return create_agent(Scripted("ok"), **options), create_agent(Scripted("ok"), middleware=[middleware], **options)


def _conversation(number: int) -> tuple[str, dict[str, Any]]:
    question = f"Who was leading Project Alpha when the database migration number {number} occurred in March?"
    history = [(HumanMessage if at % 2 == 0 else AIMessage)(f"Remark {at} of a conversation about projects. " * 5) for at in range(20)]
    return question, {"messages": [*history, HumanMessage(question)]}


def _timed(agent: Any, state: Any) -> float:
    started = time.perf_counter()
    agent.invoke(state)
    return time.perf_counter() - started


def _sync(memory: TimedMemory, runs: int) -> list[Times]:
    plain, both = _agents(memory)
    rows = []
    for number in range(runs + WARM_UP_RUNS):
        question, state = _conversation(number)
        memory.recall(question, budget=BUDGET_TOKENS)
        direct = memory.seconds
        rows.append((direct, _timed(plain, state), _timed(both, state), memory.seconds))
    return rows[WARM_UP_RUNS:]


def _async(memory: TimedMemory, runs: int) -> list[Times]:
    async def timed(work: Any) -> float:
        started = time.perf_counter()
        await work
        return time.perf_counter() - started

    async def measured() -> list[Times]:
        plain, both = _agents(memory)
        rows = []
        for number in range(runs + WARM_UP_RUNS):
            question, state = _conversation(number)
            direct = await timed(memory.arecall(question, budget=BUDGET_TOKENS))
            rows.append((direct, await timed(plain.ainvoke(state)), await timed(both.ainvoke(state)), memory.seconds))
        return rows[WARM_UP_RUNS:]

    return asyncio.run(measured())


if __name__ == "__main__":
    main()
