"""Measures context compilation: 1,000 candidates, start-up, the offline counter's surplus, and the budget's invariants 10,000 times.

Run: python -m tests.benchmarks.bench_context [--data ../shared/bench] [--examples 10000]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag2_memory.context import compile_context
from rag2_memory.context.counter_tiktoken import OfflineCounter, TiktokenCounter, vocabulary_is_local
from rag2_memory.types import Fact, Passage, utc

ROOT = Path(__file__).resolve().parents[2]
VOCABULARIES = ROOT.parent / "shared" / "tiktoken"
CANDIDATES = 1_000
WINDOWS = (8_192, 32_768, 128_000)
BAR_MS = 20.0
"""What compiling 1,000 candidates may take."""

ROUNDS = 15


def texts_of(data: Path) -> Iterator[tuple[str, str]]:
    """Yield every text of the evaluation data with the name of its set."""
    for corpus in sorted(data.glob("*/corpus.jsonl")):
        for line in corpus.read_text(encoding="utf-8").splitlines():
            yield corpus.parent.name, json.loads(line)["text"]
    for path in sorted(data.glob("*/docs/**/*.md")):
        yield path.relative_to(data).parts[0], path.read_text(encoding="utf-8")


def candidates(data: Path) -> list[Passage]:
    """Return 1,000 passages of about 128 tokens, from HotpotQA where it is there."""
    found = [text for name, text in texts_of(data) if name == "hotpotqa"][:CANDIDATES] or invented(CANDIDATES)
    return [
        Passage(
            chunk_id=f"k{number}",
            document_id=f"document {number // 2}",
            title=f"Title of document {number // 2}",
            text=text,
            heading_path=(f"Title of document {number // 2}", "Details"),
            score=1 / (60 + number),
            tokens=128,
            ordinal=number % 2 * 3,
            parent_id=f"p{number}",
            modified_at=utc("2026-03-15"),
        )
        for number, text in enumerate(found)
    ]


def invented(number: int) -> list[str]:
    """Return texts of made-up words, for where no data is at hand."""
    source = random.Random(0)
    syllables = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "an", "er", "in", "or")]
    words = ["".join(source.choices(syllables, k=source.randint(1, 3))) for _ in range(3_000)]
    return [" ".join(source.choices(words, k=60)).capitalize() + "." for _ in range(number)]


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and CPU time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1_000, (time.process_time() - cpu) * 1_000


def assembly(data: Path) -> None:
    """Compile 1,000 candidates under several windows, with an empty and with a warm count cache."""
    passages = candidates(data)
    facts = [Fact(subject=f"Person {n}", predicate="works_on", object=f"Project {n % 7}", valid_from=utc("2024-01-01")) for n in range(50)]
    history = [(role, f"This is what was said in turn {n}.") for n in range(10) for role in ("user", "assistant")]
    exact = vocabulary_is_local()
    print(
        f"{CANDIDATES:,} candidates, 50 facts, 20 messages; counted by {'o200k_base' if exact else 'the offline counter'}; bar {BAR_MS:.0f} ms"
    )

    def fresh() -> TiktokenCounter:
        counter = TiktokenCounter() if exact else OfflineCounter()
        counter.count("loaded")
        return counter

    for window in WINDOWS:
        compiled = partial(
            compile_context, passages=passages, facts=facts, history=history, guidelines="Answer briefly.", budget=window, parents=None
        )
        cold, warm = [], []
        for number in range(ROUNDS):
            counter = fresh()
            cold.append(milliseconds(partial(compiled, f"first {number}", counter=counter)))
            warm.append(milliseconds(partial(compiled, f"second {number}", counter=counter)))
        context = compiled("last", counter=fresh())
        alone = [milliseconds(partial(fresh().count, context.text)) for _ in range(ROUNDS)]
        print(f"  window {window:7,}: {len(context.blocks)} blocks, {context.tokens:,} tokens, {len(context.dropped)} dropped")
        for name, times in (("nothing counted before", cold), ("counts of the chunks cached", warm), ("counting that text alone", alone)):
            print(f"    {name:28s}{summary(times)}", flush=True)


def summary(times: Sequence[tuple[float, float]]) -> str:
    """Return median and best wall time and median CPU time."""
    walls, cpus = [wall for wall, _ in times], [cpu for _, cpu in times]
    return f"p50 {statistics.median(walls):6.1f} ms, best {min(walls):6.1f}, CPU {statistics.median(cpus):6.1f}"


def offline_surplus(data: Path) -> None:
    """Compare the offline counter with o200k_base on every text of the evaluation data."""
    if not vocabulary_is_local():
        print("offline counter: not compared, tiktoken's vocabulary is not on this machine")
        return
    exact, bound = TiktokenCounter(), OfflineCounter()
    sums: dict[str, list[int]] = {}
    for name, text in texts_of(data):
        pair = (exact.count(text), bound.count(text))
        row = sums.setdefault(name, [0, 0, 0, 0])
        row[0] += pair[0]
        row[1] += pair[1]
        row[2] += 1
        row[3] += pair[1] < pair[0]
    for name, (counted, bounded, texts, undercounted) in sums.items():
        print(f"offline counter on {name:16s} {bounded / counted - 1:+7.1%} over {texts:,} texts, {undercounted} undercounted", flush=True)


def imports() -> None:
    """Time the import of the package in fresh processes."""
    code = (
        "import time, rag2_memory.protocols; t = time.perf_counter(); import rag2_memory.context; print((time.perf_counter() - t) * 1000)"
    )
    taken = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout) for _ in range(5)
    ]
    print(f"import rag2_memory.context, after protocols (numpy): p50 {statistics.median(taken):.1f} ms")


def invariants(examples: int) -> None:
    """Check the invariants of `tests/context/test_invariants.py` that many times, half for one context and half for two windows."""
    checks = loaded(ROOT / "tests" / "context" / "test_invariants.py")
    plan = settings(max_examples=(examples + 1) // 2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    seconds = time.perf_counter()

    @plan
    @given(checks.requests())
    def one_context(request: dict[str, Any]) -> None:
        checks.check_a_context(request)

    @plan
    @given(checks.requests(), st.integers(0, 40) | st.integers(0, 4_000))
    def two_windows(request: dict[str, Any], more: int) -> None:
        checks.check_that_more_budget_keeps_more(request, more)

    one_context()
    two_windows()
    print(f"budget invariants: {examples:,} examples without a failure, {time.perf_counter() - seconds:.0f} s")


def loaded(path: Path) -> ModuleType:
    """Load a test module from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "bench", help="folder of the evaluation data")
    parser.add_argument("--examples", type=int, default=10_000, help="hypothesis examples; 0 leaves them out")
    options = parser.parse_args()
    if VOCABULARIES.is_dir():
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(VOCABULARIES))
    imports()
    assembly(options.data)
    offline_surplus(options.data)
    if options.examples:
        invariants(options.examples)


if __name__ == "__main__":
    main()
