"""The semantic cache passes the cache's contract, survives damage and threads, and searches a large cache as a full scan would."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.records import Dependencies
from rag2_memory.testing.cache import CacheContract, PersistentCacheContract, direction, entry, keys_of
from rag2_memory.tiers import cache_columns
from rag2_memory.tiers.cache_columns import CacheColumns, ColumnEntry
from rag2_memory.tiers.cache_semantic import SemanticCache
from rag2_memory.types import Hit


class TestOnDisk(PersistentCacheContract):
    @pytest.fixture
    def open_cache(self, tmp_path: Path) -> Iterator[Callable[..., SemanticCache]]:
        opened: list[SemanticCache] = []

        def open_at(**bounds: Any) -> SemanticCache:
            opened.append(SemanticCache(tmp_path / "cache.sqlite", **bounds))
            return opened[-1]

        yield open_at
        for cache in opened:
            cache.close()


class TestInMemory(CacheContract):
    @pytest.fixture
    def open_cache(self) -> Iterator[Callable[..., SemanticCache]]:
        opened: list[SemanticCache] = []

        def open_new(**bounds: Any) -> SemanticCache:
            opened.append(SemanticCache(None, **bounds))
            return opened[-1]

        yield open_new
        for cache in opened:
            cache.close()


@pytest.mark.parametrize(
    "bounds", [{"max_entries": 0}, {"max_bytes": -1}, {"ttl_seconds": 0.0}, {"puts_per_write": 0}], ids=lambda bounds: next(iter(bounds))
)
def test_a_bound_that_is_not_positive_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(bounds))):
        SemanticCache(None, **bounds)


def test_a_file_that_is_no_database_is_reported_and_can_be_cleared(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database, but it is longer than a header" * 50)
    cache = SemanticCache(path)
    with pytest.raises(CorruptIndexError, match="rebuild cache"):
        cache.get("a")
    cache.clear()
    cache.put(entry("a"))
    assert keys_of(cache) == {"a"}
    cache.close()


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    cache = SemanticCache(tmp_path / "nowhere" / "cache.sqlite")
    with pytest.raises(BackendUnavailableError, match="nowhere"):
        cache.get("a")


def test_a_file_of_another_release_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE entries (something TEXT)")
        db.execute("PRAGMA user_version = 99")
    db.close()
    cache = SemanticCache(path)
    cache.put(entry("a"))
    assert keys_of(cache) == {"a"}
    cache.close()


def test_vectors_of_another_length_empty_the_cache(tmp_path: Path) -> None:
    cache = SemanticCache(None)
    cache.put(entry("old"))
    cache.put(entry("new", vector=(1.0, 0.0, 0.0)))
    assert keys_of(cache) == {"new"}
    assert cache.nearest(direction(0), partition="p", k=1) == []
    cache.close()


def test_a_killed_process_loses_no_invalidation(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    script = (
        "import os, sys\n"
        "from rag2_memory.testing.cache import entry\n"
        "from rag2_memory.tiers.cache_semantic import SemanticCache\n"
        "cache = SemanticCache(sys.argv[1])\n"
        "for key in 'abc': cache.put(entry(key))\n"
        "cache.invalidate(['b'])\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    cache = SemanticCache(path)
    assert keys_of(cache) <= {"a", "c"}
    cache.close()


def test_what_is_not_yet_written_is_found_and_replaced_and_can_be_invalidated(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = SemanticCache(path)
    cache.put(entry("a", payload="old"))
    cache.close()
    cache = SemanticCache(path, puts_per_write=10)
    cache.put(entry("a", payload="new"))
    cache.put(entry("b"))
    found = cache.get("a")
    assert found is not None
    assert found.payload == "new"
    assert {each.key for each, _ in cache.nearest(direction(0), partition="p", k=5)} == {"a", "b"}
    assert cache.invalidate(["a"]) == 1
    assert cache.get("a") is None
    cache.close()
    cache = SemanticCache(path)
    assert keys_of(cache) == {"b"}
    cache.close()


def test_an_entry_reads_the_same_before_and_after_it_was_written(tmp_path: Path) -> None:
    cache = SemanticCache(tmp_path / "cache.sqlite", puts_per_write=10)
    depends = Dependencies(generation=3, floors={"chunks": 0.5}, watches=(1, 2), principals=frozenset({"ada"}), nearest=(Hit("c", 0.25),))
    cache.put(entry("a", dependencies=depends, evidence=("c",), created_at=datetime.fromtimestamp(time.time() - 5.5, timezone.utc)))
    before = cache.get("a")
    assert cache.statistics().entries == 1
    assert cache.get("a") == before
    cache.close()


def test_an_invalidation_takes_evicted_entries_out_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = SemanticCache(path, max_entries=2, puts_per_write=10)
    for key in "ab":
        cache.put(entry(key))
    cache.statistics()
    cache.put(entry("c"))  # evicts a; its row is still there
    cache.invalidate([])
    with sqlite3.connect(path) as db:
        assert {key for (key,) in db.execute("SELECT key FROM entries")} == {"b", "c"}
    db.close()
    cache.close()


def test_what_was_invalidated_or_cleared_is_in_no_file(tmp_path: Path) -> None:
    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    cache = SemanticCache(tmp_path / "cache.sqlite")
    for key in "abc":
        cache.put(entry(key, query=f"question {key}?", payload=f"secret {key} " * 1_000))
    assert b"secret a" in on_disk()
    cache.invalidate(["a"])
    assert b"secret a" not in on_disk()
    assert b"question a" not in on_disk()
    assert b"secret b" in on_disk()
    cache.clear()
    assert b"secret" not in on_disk()
    cache.close()


def test_many_threads_may_use_one_cache() -> None:
    cache = SemanticCache(None, max_entries=50)
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(60):
                key = f"{thread}-{number}"
                cache.put(entry(key, degrees=number, dependencies=Dependencies(watches=(number,))))
                cache.get(key)
                cache.nearest(direction(number), partition="p", k=3)
                if number % 7 == 0:
                    cache.invalidate([key])
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(keys_of(cache)) == cache.statistics().entries <= 50
    cache.close()


def test_a_screened_search_finds_what_a_full_scan_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_columns, "SCREENED_FROM_ROWS", 500)
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, 96))
    vectors = (centres[rng.integers(0, 40, 3_000)] + 0.6 * rng.normal(size=(3_000, 96))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = CacheColumns()
    for number, vector in enumerate(vectors):
        columns.add(_column(number, vector, partition="p" if number % 3 else "other"))
        if number == 1_500:
            columns.nearest(vector, partition="p", k=1, minimum=0.0, now=0.0)  # makes the screen, which then has to grow
    for number in range(0, 3_000, 7):
        columns.discard(str(number))
    kept = [number for number in range(3_000) if number % 7 and number % 3]
    for number in range(0, 3_000, 101):
        cosines = vectors[kept] @ vectors[number]
        best = np.argsort(-cosines)[:5]
        found = columns.nearest(vectors[number], partition="p", k=5, minimum=0.5, now=0.0)
        assert [key for key, _ in found] == [str(kept[at]) for at in best if cosines[at] >= 0.5]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.lists(st.integers(0, 9), max_size=6, unique=True)), max_size=60))
def test_columns_hold_what_was_added_and_not_discarded(steps: list[tuple[int, bool, list[int]]]) -> None:
    columns, expected = CacheColumns(), dict[str, list[int]]()
    for number, keep, watches in steps:
        columns.discard(str(number))
        expected.pop(str(number), None)
        if keep:
            columns.add(_column(number, direction(number), watches=watches))
            expected[str(number)] = sorted(watches)
    watchlist = columns.watchlist()
    held = {key: sorted(watchlist.codes[watchlist.rows == row].tolist()) for row, key in enumerate(watchlist.keys) if key}
    assert held == expected
    assert columns.total_bytes == len(expected)
    assert {key for key, _ in columns.nearest(direction(0), partition="p", k=99, minimum=-1.0, now=0.0)} == set(expected)


def _column(number: int, vector: np.ndarray, *, watches: list[int] | None = None, partition: str = "p") -> ColumnEntry:
    return ColumnEntry(
        key=str(number),
        namespace="default",
        partition=partition,
        used=number,
        expires=1.0,
        size=1,
        vector=vector,
        watches=np.asarray(watches or (), dtype=np.uint32),
        floors={"chunks": 0.5},
    )
