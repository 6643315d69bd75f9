"""Engines that fail, a disk that is full: nothing acknowledged is lost, the report names what is pending, and repair mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag2_memory import BackendUnavailableError, Document, Memory, MemoryConfig, Rag2MemoryError
from rag2_memory.errors import CorruptIndexError
from rag2_memory.ingestion import sync

Open = Callable[..., Memory]

TIERS = ("vector", "lexical", "graph")
OLD = Document(id="policy", text="Project Zanzibar: logs are kept for thirty days.")
NEW = Document(id="policy", text="Project Zanzibar: logs are kept for fourteen days.")
QUESTION = "How long are logs kept?"
DISK_BYTES = 12 * 1024 * 1024


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries follow at once."""
    monkeypatch.setattr(sync, "FIRST_PAUSE_SECONDS", 0.0)


def fail(
    monkeypatch: pytest.MonkeyPatch, engine: object, name: str, error: Exception, *, times: int | None = None, late: bool = False
) -> None:
    """Have a method raise, always or some times; `late`: after it did its work."""
    work, left = getattr(engine, name), [times]

    def failing(*args: Any, **options: Any) -> Any:
        if left[0] == 0:
            return work(*args, **options)
        if left[0] is not None:
            left[0] -= 1
        if late:
            work(*args, **options)
        raise error

    monkeypatch.setattr(engine, name, failing)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("engine lost")], ids=["OSError", "RuntimeError"])
@pytest.mark.parametrize("tier", TIERS)
def test_the_old_version_answers_until_a_failing_index_is_mended(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, tier: str, error: Exception
) -> None:
    memory.ingest([OLD, Document(id="tea", text="Tea is in the kitchen.")])
    with monkeypatch.context() as broken:
        fail(broken, getattr(memory.services, tier), "upsert", error)
        report = memory.ingest(NEW)
        assert (report.pending, report.updated, report.added) == (("policy",), (), ())
        assert memory.search(QUESTION)[0].text == memory.document("policy") == OLD.text
        assert memory.status()["pending"][tier] >= 1
        assert not memory.verify().ok
        assert [passage.document_id for passage in memory.search("Where is tea?", k=1)] == ["tea"]
    assert memory.repair().ok
    assert memory.search(QUESTION)[0].text == memory.document("policy") == NEW.text
    assert memory.status()["pending"] == {}


@pytest.mark.parametrize("late", [False, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize("tier", TIERS)
def test_an_engine_that_fails_once_is_tried_again(memory: Memory, monkeypatch: pytest.MonkeyPatch, tier: str, late: bool) -> None:
    fail(monkeypatch, getattr(memory.services, tier), "upsert", RuntimeError("hiccup"), times=1, late=late)
    assert memory.ingest(OLD).added == ("policy",)
    assert memory.verify().ok


@pytest.mark.parametrize("tier", TIERS)
def test_what_was_removed_stays_away_while_an_index_cannot_delete(memory: Memory, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    memory.ingest([OLD, Document(id="tea", text="Tea is in the kitchen.")])
    with monkeypatch.context() as broken:
        fail(broken, getattr(memory.services, tier), "delete", OSError(5, "Input/output error"))
        memory.forget("policy")
        assert [passage.document_id for passage in memory.search(QUESTION)] == ["tea"]
        assert not memory.verify().ok
    assert memory.repair().ok


@pytest.mark.parametrize("tier", TIERS)
def test_a_failing_engine_is_mended_by_the_next_open(open_memory: Open, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    memory = open_memory()
    memory.ingest(OLD)
    with monkeypatch.context() as broken:
        fail(broken, getattr(memory.services, tier), "upsert", OSError(28, "No space left on device"))
        memory.ingest(NEW)
        memory.close()
    memory = open_memory()
    assert memory.verify().ok
    assert memory.document("policy") == NEW.text


@pytest.mark.parametrize("step", ["write", "publish", "settle"])
def test_a_failing_registry_loses_nothing_that_it_acknowledged(memory: Memory, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    memory.ingest(OLD)
    with monkeypatch.context() as broken:
        fail(broken, memory.services.registry, step, BackendUnavailableError("the registry's database failed: disk full."))
        with pytest.raises(BackendUnavailableError, match="disk full"):
            memory.ingest(NEW)
        assert memory.document("policy") == OLD.text
        assert memory.search(QUESTION)[0].text == OLD.text
    assert memory.repair().ok
    memory.ingest(NEW)
    assert memory.search(QUESTION)[0].text == memory.document("policy") == NEW.text
    assert memory.verify().ok


@pytest.mark.parametrize("folder", ["vector", "lexical", "graph.kuzu"])
@pytest.mark.parametrize("damage", ["missing", "overwritten"])
def test_a_damaged_index_is_rebuilt_when_the_memory_opens(open_memory: Open, tmp_path: Path, folder: str, damage: str) -> None:
    memory = open_memory()
    memory.ingest([OLD, *(Document(id=f"d{number}", text=f"Anna Schmidt leads Project Number{number}.") for number in range(8))])
    memory.close()
    for path in (tmp_path / "memory").glob(f"{folder}*"):
        if damage == "missing":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                file.write_bytes(b"\x00broken" * 512)
    memory = open_memory()
    assert memory.verify().ok
    assert memory.search(QUESTION)[0].text == OLD.text
    assert memory.status()["counts"]["documents"] == 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root; run this test as root, for instance in a container that may mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path, open_memory: Open) -> None:
    config = MemoryConfig(journal_attempts=1)
    memory = open_memory("disk/memory", config=config)
    memory.ingest(OLD)
    ballast, acknowledged = small_disk / "ballast", ["policy"]
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(max(0, free - 600_000)))
    failures = 0
    for number in range(60):
        try:
            report = memory.ingest(Document(id=f"d{number}", text=f"The giraffe number {number} eats leaves. " * 300))
            acknowledged += report.added
            failures += bool(report.pending)
        except (Rag2MemoryError, OSError):
            failures += 1
        if failures >= 3:
            break
    assert failures >= 3
    for name in acknowledged:
        assert memory.document(name)
    ballast.unlink()
    assert memory.repair().ok
    assert memory.ingest(NEW).updated == ("policy",)
    memory.close()
    memory = open_memory("disk/memory", config=config)
    assert memory.verify().ok
    assert memory.search(QUESTION)[0].text == NEW.text
    for name in acknowledged:
        assert memory.document(name)


def test_an_index_that_turns_out_unreadable_while_it_is_written_is_rebuilt(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.ingest([Document(id=f"d{number}", text=f"Zebra number {number}.") for number in range(3)])
    lexical, failing = memory.services.lexical, {"now": True}
    delete, clear = lexical.delete, lexical.clear

    def broken(ids: Sequence[str]) -> None:
        if failing["now"]:
            raise CorruptIndexError(tier="lexical", problem="a leftover of a killed commit")
        delete(ids)

    def emptied() -> None:
        failing["now"] = False
        clear()

    monkeypatch.setattr(lexical, "delete", broken)
    monkeypatch.setattr(lexical, "clear", emptied)
    assert memory.ingest(Document(id="d3", text="Zebra number 3.")).added == ("d3",)
    assert memory.verify().ok
    assert len(memory.search("zebra", k=10, route="lexical")) == 4
