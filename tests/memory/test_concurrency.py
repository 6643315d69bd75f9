"""Many read while one writes: a reader sees a document whole or not at all; writers queue; closing waits."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from rag2_memory import AsOf, ClosedMemoryError, Document, Memory, MemoryConfig

Open = Callable[..., Memory]

PARTS = 4
VERSIONS = 6
MARK = re.compile(r"mark(\d+)of(\w+?)part(\d+)")


def report_of(name: str, version: int) -> Document:
    """Return a document of several parents, each of which carries the mark of its version."""
    parts = [
        f"# Part {part}\n\n" + f"The {name} report states mark{version}of{name}part{part} about giraffes. " * 6 + "\n"
        for part in range(PARTS)
    ]
    return Document(id=name, text="\n".join(parts))


def marks(text: str) -> dict[str, set[tuple[int, int]]]:
    """Return version and part of every mark, by document."""
    found: dict[str, set[tuple[int, int]]] = {}
    for version, name, part in MARK.findall(text):
        found.setdefault(name, set()).add((int(version), int(part)))
    return found


def torn(text: str, *, names: tuple[str, ...]) -> list[str]:
    """Say which documents a text holds in part, or in two versions."""
    held = marks(text)
    return [
        f"{name}: {sorted(held.get(name, ()))}"
        for name in names
        if {part for _, part in held.get(name, ())} != set(range(PARTS)) or len({version for version, _ in held[name]}) != 1
    ]


@contextmanager
def reading(*readers: Callable[[], None]) -> Iterator[list[int]]:
    """Run readers over and over in threads of their own; what one raises is raised here. Yields how often each read."""
    stop, turns = threading.Event(), [0] * len(readers)

    def run(number: int) -> None:
        while not stop.is_set():
            readers[number]()
            turns[number] += 1

    with ThreadPoolExecutor(len(readers)) as pool:
        done = [pool.submit(run, number) for number in range(len(readers))]
        try:
            yield turns
        finally:
            stop.set()
    for future in done:
        future.result()


NAMES = ("north", "south")
CONFIG = MemoryConfig(parent_tokens=60, child_tokens=30)
"""Small enough that every part of a report is a parent of its own."""


@pytest.mark.parametrize("keep_versions", [5, 0], ids=["old versions kept", "old versions dropped"])
def test_no_reader_sees_two_versions_or_a_part_of_one(open_memory: Open, keep_versions: int) -> None:
    memory = open_memory(config=CONFIG.but(keep_versions=keep_versions))
    memory.ingest([report_of(name, 0) for name in NAMES])
    wrong: list[str] = []

    def check(kind: str, text: str) -> None:
        wrong.extend(f"{kind}: {problem}" for problem in torn(text, names=NAMES))

    def search(route: str) -> None:
        check(route, " ".join(p.text for p in memory.search("What does the report state about giraffes?", k=40, route=route)))

    def recall() -> None:
        check("recall", memory.recall("What does the report state about giraffes?", budget=16_000).text)

    def whole() -> None:
        for name in NAMES:
            problems = torn(memory.document(name), names=(name,))
            wrong.extend(f"document: {problem}" for problem in problems)

    search("auto")
    recall()
    assert wrong == []
    with reading(lambda: search("auto"), lambda: search("lexical"), lambda: search("dense"), recall, whole) as turns:
        for version in range(1, VERSIONS):
            memory.ingest([report_of(name, version) for name in NAMES])
    assert min(turns) > 0
    assert wrong == []
    assert memory.verify().ok


def test_writers_queue(open_memory: Open) -> None:
    memory = open_memory()
    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(lambda number: memory.ingest(Document(id=f"d{number}", text=f"Giraffe {number} eats.")), range(12)))
    assert sorted(name for report in reports for name in report.added) == sorted(f"d{number}" for number in range(12))
    assert memory.verify().ok


def test_closing_waits_for_work_in_flight_and_refuses_what_comes_after(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    memory.ingest(Document(id="a", text="Giraffes eat leaves."))
    begun, search = threading.Event(), memory.services.vector.search

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        time.sleep(0.3)
        return search(*args, **options)

    monkeypatch.setattr(memory.services.vector, "search", slow)
    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(memory.search, "giraffes")
        assert begun.wait(10)
        closers = [pool.submit(memory.close) for _ in range(3)]
        assert [passage.document_id for passage in reader.result()] == ["a"]
        for closer in closers:
            closer.result()
    with pytest.raises(ClosedMemoryError):
        memory.search("giraffes")
    assert open_memory().verify().ok


def test_closing_during_an_ingest_lets_it_finish(open_memory: Open) -> None:
    memory = open_memory()
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        documents = [Document(id=f"d{number}", text=f"Giraffe {number} eats.") for number in range(20)]

        def yielded() -> Iterator[Document]:
            begun.set()
            yield from documents

        writer = pool.submit(memory.ingest, yielded())
        assert begun.wait(10)
        memory.close()
        assert len(writer.result().added) == 20
    assert open_memory().status()["counts"]["live_documents"] == 20


def test_the_past_stands_still_while_documents_change(open_memory: Open, clock: Any) -> None:
    memory = open_memory(config=CONFIG)
    memory.ingest([report_of(name, 0) for name in NAMES])
    then, clocked = clock.now, count(1)
    clock.advance(days=1)
    wrong: list[str] = []

    def past() -> None:
        text = " ".join(p.text for p in memory.search("What does the report state about giraffes?", k=40, as_of=AsOf(recorded=then)))
        wrong.extend(torn(text, names=NAMES))
        wrong.extend(name for name, held in marks(text).items() if {version for version, _ in held} != {0})

    with reading(past, past):
        for version in range(1, 4):
            clock.advance(hours=next(clocked))
            memory.ingest([report_of(name, version) for name in NAMES])
    assert wrong == []
