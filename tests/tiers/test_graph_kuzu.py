"""The Kuzu tier: the contract on disk and in memory, and what is its own: files, locks, crashes. `test_graph_ladybug.py` runs this file again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError, MemoryInUseError, MissingExtraError
from rag2_memory.records import GraphPassage
from rag2_memory.testing.graph import GraphTierContract
from rag2_memory.testing.graph_cases import SPACE, edge, link, passage
from rag2_memory.tiers.graph_kuzu import Driver, KuzuGraphTier

DRIVER: Driver = "ladybug" if os.environ.get("RAG2_GRAPH_DRIVER") == "ladybug" else "kuzu"
OTHER: Driver = "kuzu" if DRIVER == "ladybug" else "ladybug"

opened = partial(KuzuGraphTier, driver=DRIVER)


class TestOnDisk(GraphTierContract):
    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[KuzuGraphTier]:
        tier = opened(tmp_path / "graph")
        yield tier
        tier.close()


class TestInMemory(GraphTierContract):
    @pytest.fixture
    def tier(self) -> Iterator[KuzuGraphTier]:
        tier = opened(None)
        yield tier
        tier.close()


def some(count: int = 40) -> list[GraphPassage]:
    """Return passages that share entities."""
    return [
        passage(
            f"p{n}", link(f"p{n}", f"e{n % 7}", "subject", 0.5), link(f"p{n}", "hub"), edge(f"p{n}", f"e{n % 7}", f"e{n % 5}", 2000 + n % 9)
        )
        for n in range(count)
    ]


def read(tier: KuzuGraphTier) -> dict[str, GraphPassage]:
    """Return all that is stored."""
    return dict(tier.passages(sorted(tier.ids())))


def test_the_engine_is_named(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    assert tier.engine == DRIVER
    assert DRIVER in sys.modules
    assert OTHER not in sys.modules
    tier.close()


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    tier.upsert(some())
    tier.delete(["p3"])
    around = tier.neighbourhood(namespace=SPACE, passages=["p1", "p2"], entities=["hub"], hops=2)
    stored = read(tier)
    for _ in range(2):
        tier.close()
        tier = opened(tmp_path / "graph")
        assert read(tier) == stored == {item.id: item for item in some() if item.id != "p3"}
        again = tier.neighbourhood(namespace=SPACE, passages=["p1", "p2"], entities=["hub"], hops=2)
        assert (set(again.links), set(again.edges), again.degrees) == (set(around.links), set(around.edges), around.degrees)
    tier.upsert([passage("p3", link("p3", "e1"))])
    tier.close()
    tier = opened(tmp_path / "graph")
    assert "p3" in set(tier.ids())
    tier.close()


def test_a_path_is_open_once_in_a_process(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    with pytest.raises(MemoryInUseError, match="another graph tier of this process"):
        opened(tmp_path / "graph")
    other = opened(tmp_path / "graph2")
    other.close()
    tier.close()
    opened(tmp_path / "graph").close()


def test_a_dropped_tier_frees_its_path(tmp_path: Path) -> None:
    opened(tmp_path / "graph").upsert(some(3))
    again = opened(tmp_path / "graph")
    assert len(read(again)) == 3
    again.close()


def test_another_process_is_refused(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    script = f"""
from rag2_memory.errors import MemoryInUseError
from rag2_memory.tiers.graph_kuzu import KuzuGraphTier
try:
    KuzuGraphTier({str(tmp_path / "graph")!r}, driver={DRIVER!r})
except MemoryInUseError:
    print("refused")
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout.strip() == "refused"
    tier.close()


def test_after_closing_calls_say_so(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    tier.close()
    with pytest.raises(BackendUnavailableError, match="closed"):
        tier.upsert(some(1))
    with pytest.raises(BackendUnavailableError, match="closed"):
        list(tier.ids())


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kuzu", raising=False)
    monkeypatch.setitem(sys.modules, "ladybug", None)
    with pytest.raises(MissingExtraError, match=r"rag2-memory\[ladybug\]"):
        KuzuGraphTier(None, driver="ladybug")


def test_the_other_driver_is_refused_once_one_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, DRIVER, sys)
    monkeypatch.setitem(sys.modules, OTHER, sys)
    for driver, other in ((DRIVER, OTHER), (OTHER, DRIVER)):
        with pytest.raises(InvalidRequestError, match=f"imported '{other}'"):
            KuzuGraphTier(None, driver=driver)


def test_a_path_that_cannot_be_created_is_the_environments_fault(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="cannot create"):
        opened(tmp_path / "absent" / "graph")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "damaged pages", "directory", "other driver"])
def test_unreadable_files_are_told_and_can_be_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "graph"
    tier = opened(path)
    tier.upsert(some(400))
    tier.close()
    content = path.read_bytes()
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"not a database" * 1_000)
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "damaged pages":
        path.write_bytes(content[:4_096] + bytes(255 - byte for byte in content[4_096:]))
    elif damage == "directory":
        path.mkdir()
    else:
        path.write_bytes({"kuzu": b"LBUG", "ladybug": b"KUZU"}[DRIVER] + content[4:])
    with pytest.raises(CorruptIndexError, match=r"rebuild\('graph'\)"):
        opened(path)
    for leftover in tmp_path.glob("graph*"):
        leftover.rmdir() if leftover.is_dir() else leftover.unlink()
    tier = opened(path)
    assert list(tier.ids()) == []
    tier.close()


def test_files_of_another_release_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = opened(tmp_path / "graph")
    tier.upsert(some(3))
    tier.close()
    with monkeypatch.context() as patch:
        patch.setattr("rag2_memory.tiers.graph_kuzu.LAYOUT", "2-")
        with pytest.raises(CorruptIndexError, match="another release"):
            opened(tmp_path / "graph")
    tier = opened(tmp_path / "graph")
    assert len(read(tier)) == 3
    tier.close()


def test_clear_works_when_the_files_are_damaged_under_it(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    tier.upsert(some(400))
    (tmp_path / "graph").write_bytes(b"garbage")
    (tmp_path / "graph.wal").write_bytes(b"garbage")
    tier.clear()
    assert list(tier.ids()) == []
    tier.upsert(some(3))
    assert len(read(tier)) == 3
    tier.close()
    tier = opened(tmp_path / "graph")
    assert len(read(tier)) == 3
    tier.close()


def test_clearing_leaves_files_of_similar_names(tmp_path: Path) -> None:
    (tmp_path / "graph2").write_text("mine")
    tier = opened(tmp_path / "graph")
    tier.clear()
    tier.close()
    assert (tmp_path / "graph2").read_text() == "mine"


def test_a_lost_file_begins_anew_whatever_lies_beside_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "graph"), DRIVER, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    assert (tmp_path / "graph.wal").exists()
    (tmp_path / "graph").unlink()
    tier = opened(tmp_path / "graph")
    assert read(tier) == {}
    tier.close()


def test_the_kept_projection_is_read_where_it_fits_and_only_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def around(tier: KuzuGraphTier) -> set[object]:
        found = tier.neighbourhood(namespace=SPACE, entities=["hub", "e1"], hops=2)
        return {*found.links, *found.edges}

    def reopened() -> KuzuGraphTier:
        tier.close()
        return opened(tmp_path / "graph")

    kept = tmp_path / "graph.projection.npz"
    tier = opened(tmp_path / "graph")
    tier.upsert([*some(), passage("q", link("q", "hub"), namespace="名前")])
    expected = around(tier)
    tier = reopened()
    with monkeypatch.context() as patch:
        patch.setattr(KuzuGraphTier, "_read_engine", lambda self: pytest.fail("the engine was read although the projection was kept"))
        assert around(tier) == expected
    stale = kept.read_bytes()
    tier.upsert([passage("p1", link("p1", "e1"))])
    expected = around(tier)
    tier = reopened()
    for content in (stale, b"", b"garbage", stale[:-100], stale[:500] + b"xxxxxxxx" + stale[508:]):
        tier.close()
        kept.write_bytes(content)
        tier = opened(tmp_path / "graph")
        assert around(tier) == expected
    tier.close()


def test_clearing_and_closing_wait_for_readers(tmp_path: Path) -> None:
    tier = opened(tmp_path / "graph")
    tier.upsert(some(200))
    failures: list[BaseException] = []

    def reads() -> None:
        try:
            while True:
                list(tier.ids())
                tier.paths(namespace=SPACE, source="e1", target="e2")
        except BackendUnavailableError as exc:
            if "closed" not in str(exc):
                failures.append(exc)

    readers = [threading.Thread(target=reads) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        tier.clear()
        tier.upsert(some(50))
    tier.close()
    for reader in readers:
        reader.join(timeout=30)
    assert failures == []
    assert not any(reader.is_alive() for reader in readers)


def test_an_engine_failure_is_translated_and_leaves_the_graph_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = opened(tmp_path / "graph")
    tier.upsert(some(600))
    before = read(tier)
    changed = [passage(f"p{n}", link(f"p{n}", "new"), namespace="elsewhere") for n in range(500, 700)]
    with monkeypatch.context() as patch:
        patch.setattr("rag2_memory.tiers.graph_kuzu.MARK_STATE", "THIS IS NO CYPHER $written")
        with pytest.raises(BackendUnavailableError, match=DRIVER):
            tier.upsert(changed)
        with pytest.raises(BackendUnavailableError):
            tier.delete([f"p{n}" for n in range(300)])
    assert read(tier) == before
    assert tier.neighbourhood(namespace=SPACE, entities=["new"]).degrees == {}
    tier.upsert(changed)
    tier.delete([f"p{n}" for n in range(300)])
    assert read(tier) == {key: item for key, item in before.items() if int(key[1:]) in range(300, 500)} | {
        item.id: item for item in changed
    }
    tier.close()


def test_a_full_buffer_pool_is_named_with_what_to_do_and_loses_nothing(tmp_path: Path) -> None:
    tier = KuzuGraphTier(tmp_path / "graph", driver=DRIVER, buffer_pool_bytes=8 * 1024 * 1024)
    written = 0

    def write_until_full() -> None:
        nonlocal written
        for written in range(0, 100_000, 2_000):
            tier.upsert([passage(f"p{n}", link(f"p{n}", f"e{n}")) for n in range(written, written + 2_000)])

    with pytest.raises(BackendUnavailableError, match="pass a larger `buffer_pool_bytes` to the graph tier"):
        write_until_full()
    tier.close()
    larger = opened(tmp_path / "graph")
    assert len(list(larger.ids())) == written > 0
    larger.upsert([passage("p-next", link("p-next", "e-next"))])
    larger.close()


WRITER = """
import sys
from rag2_memory.testing.graph_cases import edge, link, passage
from rag2_memory.tiers.graph_kuzu import KuzuGraphTier
tier = KuzuGraphTier(sys.argv[1], driver=sys.argv[2])
for number in range(int(sys.argv[3]), 100_000):
    tier.upsert([passage(f"b{number}-{n}", link(f"b{number}-{n}", f"e{n}"), edge(f"b{number}-{n}", f"e{n}", f"r{number}", 2000)) for n in range(20)])
    tier.delete([f"b{number - 3}-{n}" for n in range(20)])
    print(number, flush=True)
"""


def test_a_killed_writer_loses_no_acknowledged_write(tmp_path: Path) -> None:
    first = 0
    for acknowledged in (3, 7):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "graph"), DRIVER, str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            last = [int(writer.stdout.readline()) for _ in range(acknowledged)][-1]
            os.kill(writer.pid, signal.SIGKILL)
            seen = [int(line) for line in writer.stdout.read().split()]
        last = max([last, *seen])
        tier = opened(tmp_path / "graph")
        stored = read(tier)
        batches = {number: [key for key in stored if key.startswith(f"b{number}-")] for number in range(last + 3)}
        assert all(len(keys) in (0, 20) for keys in batches.values()), "a batch is there whole or not at all"
        assert all(len(batches[number]) == 20 for number in range(max(first, last - 1), last + 1)), "acknowledged and not deleted since"
        assert not any(batches[number] for number in range(first, max(first, last - 2))), "acknowledged deletions hold"
        assert all(item.links[0].entity_id == item.edges[0].subject_id for item in stored.values())
        found = tier.neighbourhood(namespace=SPACE, entities=[f"r{last}"])
        assert {item.passage_id for item in found.edges} == set(batches[last])
        tier.close()
        first = last + 1
