"""The Chroma tier passes the vector contract on disk, in memory and on a server; what Chroma itself gets wrong is tested beside it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
import httpx
import numpy as np
import pytest
from chromadb.api import ClientAPI
from chromadb.config import Settings

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError
from rag2_memory.testing.vector import DIMENSIONS, Reopen, VectorTierContract, exact, found, unit_vectors
from rag2_memory.tiers.vector_chroma import SYNC_THRESHOLD, ChromaVectorTier
from rag2_memory.tiers.vector_copies import MAX_COPIES, Copies


class TestOnDisk(VectorTierContract):
    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[ChromaVectorTier]:
        tier = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, tier: ChromaVectorTier, tmp_path: Path) -> Iterator[Reopen]:
        opened: list[ChromaVectorTier] = []

        def again() -> ChromaVectorTier:
            tier.close()
            opened.append(ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS))
            return opened[-1]

        yield again
        for other in opened:
            other.close()


class TestInMemory(VectorTierContract):
    @pytest.fixture
    def tier(self) -> Iterator[ChromaVectorTier]:
        tier = ChromaVectorTier(dimensions=DIMENSIONS)
        yield tier
        tier.close()


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a Chroma server on loopback; yields its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert time.monotonic() < deadline, "the Chroma server did not start within 30 s"
            time.sleep(0.1)
        yield port, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Chroma server; yields its port."""
    with running_server(tmp_path_factory.mktemp("server")) as (port, _):
        yield port


def client_of(port: int) -> ClientAPI:
    """Return a client of a server on loopback."""
    return chromadb.HttpClient("127.0.0.1", port, settings=Settings(anonymized_telemetry=False))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").is_success
    except httpx.TransportError:
        return False


class TestOnAServer(VectorTierContract):
    @pytest.fixture
    def tier(self, server: int) -> Iterator[ChromaVectorTier]:
        tier = ChromaVectorTier(client=client_of(server), dimensions=DIMENSIONS)
        tier.clear()
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, tier: ChromaVectorTier, server: int) -> Reopen:
        def again() -> ChromaVectorTier:
            tier.close()
            return ChromaVectorTier(client=client_of(server), dimensions=DIMENSIONS)

        return again


def test_clearing_a_server_leaves_the_collections_of_others(server: int) -> None:
    client = client_of(server)
    client.get_or_create_collection("somebody-elses", embedding_function=None)
    tier = ChromaVectorTier(client=client, dimensions=DIMENSIONS)
    tier.upsert(["a"], unit_vectors(1), namespace="default")
    tier.clear()
    assert [collection.name for collection in client.list_collections()] == ["somebody-elses"]


def test_a_server_that_is_gone_is_unavailable_and_not_corrupt(tmp_path: Path) -> None:
    with running_server(tmp_path) as (port, process):
        tier = ChromaVectorTier(client=client_of(port), dimensions=DIMENSIONS)
        tier.upsert(["a"], unit_vectors(1), namespace="default")
        process.kill()
        process.wait()
        with pytest.raises(BackendUnavailableError, match="server") as caught:
            tier.search(unit_vectors(1)[0], k=1, namespace="default")
    assert not isinstance(caught.value, CorruptIndexError)


def test_a_server_cleared_by_somebody_else_is_looked_at_again(server: int) -> None:
    mine, other = (ChromaVectorTier(client=client_of(server), dimensions=DIMENSIONS) for _ in range(2))
    copies, vectors = [f"c{i:02}" for i in range(3 * MAX_COPIES)], unit_vectors(2)
    mine.upsert(["a"], vectors[:1], namespace="default")
    assert found(mine, vectors[0]) == ["a"]
    other.clear()
    with pytest.raises(BackendUnavailableError):
        found(mine, vectors[0])
    assert found(mine, vectors[0]) == []
    other.upsert(copies, np.repeat(vectors[1:], len(copies), axis=0), namespace="default")
    assert found(mine, vectors[1], k=100) == copies
    other.delete(copies[-5:], namespace="default")
    assert found(mine, vectors[1], k=100) == copies[:-5]
    assert mine.search(vectors[1], k=3, namespace="default", among=copies[-6:])[0].id == copies[-6]


def test_two_tiers_in_memory_share_nothing_with_each_other_or_with_an_ephemeral_client() -> None:
    vectors = unit_vectors(1)
    bystander = chromadb.EphemeralClient()
    first, second = ChromaVectorTier(dimensions=DIMENSIONS), ChromaVectorTier(dimensions=DIMENSIONS)
    first.upsert(["a"], vectors, namespace="default")
    assert found(second, vectors[0]) == []
    second.clear()
    second.close()
    assert found(first, vectors[0]) == ["a"]
    assert bystander.list_collections() == []
    first.close()


def test_closing_releases_every_file(tmp_path: Path) -> None:
    tier = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    tier.upsert([f"c{i}" for i in range(1_100)], unit_vectors(1_100), namespace="default")
    found(tier, unit_vectors(1)[0])
    tier.close()
    gc.collect()
    held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [path for path in held if str(tmp_path) in path] == []


def test_a_folder_opened_again_in_the_same_process_is_not_the_cached_one(tmp_path: Path) -> None:
    vectors = unit_vectors(2)
    with_old = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    with_old.upsert(["old"], vectors[:1], namespace="default")
    with_old.close()
    shutil.rmtree(tmp_path / "vector")
    fresh = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    assert found(fresh, vectors[0]) == []
    fresh.upsert(["new"], vectors[1:], namespace="default")
    assert found(fresh, vectors[1]) == ["new"]
    fresh.close()


def test_vectors_of_other_dimensions_call_for_a_rebuild(tmp_path: Path) -> None:
    tier = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    tier.upsert(["a"], unit_vectors(1), namespace="default")
    tier.close()
    wider = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS + 1)
    with pytest.raises(CorruptIndexError, match="rebuild"):
        wider.upsert(["b"], unit_vectors(1, dimensions=DIMENSIONS + 1), namespace="default")
    wider.clear()
    wider.upsert(["b"], unit_vectors(1, dimensions=DIMENSIONS + 1), namespace="default")
    assert list(wider.ids(namespace="default")) == ["b"]
    wider.close()


def saved_index(path: Path) -> Path:
    """Write enough that Chroma saves the graph; returns the graph's folder."""
    tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    tier.upsert([f"c{i}" for i in range(SYNC_THRESHOLD)], unit_vectors(SYNC_THRESHOLD), namespace="default")
    tier.close()
    return next(path.glob("*/index_metadata.pickle")).parent


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_an_unreadable_database_is_corrupt_until_its_folder_is_removed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "vector"
    saved_index(path)
    database = path / "chroma.sqlite3"
    size = database.stat().st_size
    if damage == "garbage":
        database.write_bytes(b"not a database " * 1_000)
    else:
        os.truncate(database, size // 2)
    with pytest.raises(CorruptIndexError, match="rebuild"):
        ChromaVectorTier(path, dimensions=DIMENSIONS)
    shutil.rmtree(path)
    tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    assert list(tier.ids(namespace="default")) == []
    tier.close()


@pytest.mark.parametrize("name", ["index_metadata.pickle", "header.bin"])
def test_an_unreadable_graph_is_corrupt_and_can_be_cleared(tmp_path: Path, name: str) -> None:
    path = tmp_path / "vector"
    (saved_index(path) / name).write_bytes(b"")
    tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    with pytest.raises(CorruptIndexError, match="rebuild"):
        found(tier, unit_vectors(1)[0])
    tier.clear()
    tier.upsert(["a"], unit_vectors(1), namespace="default")
    assert found(tier, unit_vectors(1)[0]) == ["a"]
    tier.close()


def test_a_graph_half_saved_by_a_killed_process_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "vector"
    graph = saved_index(path)
    metadata = (graph / "index_metadata.pickle").stat()
    os.utime(graph / "data_level0.bin", ns=(metadata.st_atime_ns, metadata.st_mtime_ns + 1))
    ChromaVectorTier(path, dimensions=DIMENSIONS).close()  # times alone mean nothing: a copied folder has any
    (path / "writing").touch()
    with pytest.raises(CorruptIndexError, match="stopped while it saved"):
        ChromaVectorTier(path, dimensions=DIMENSIONS)


def test_a_graph_half_saved_for_the_first_time_is_made_anew(tmp_path: Path) -> None:
    path, vectors = tmp_path / "vector", unit_vectors(100)
    tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    tier.upsert([f"c{i}" for i in range(100)], vectors, namespace="default")
    tier.close()
    for file in path.glob("*/*.bin"):
        file.write_bytes(os.urandom(file.stat().st_size))
    (path / "writing").touch()
    again = ChromaVectorTier(path, dimensions=DIMENSIONS)
    assert [found(again, vector, k=1) for vector in vectors] == [[f"c{i}"] for i in range(100)]
    again.close()


def test_a_mark_left_between_saves_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "vector"
    saved_index(path)
    (path / "writing").touch()
    tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    assert len(list(tier.ids(namespace="default"))) == SYNC_THRESHOLD
    tier.close()
    assert not (path / "writing").exists()


def test_the_mark_stands_while_chroma_writes_and_not_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert, seen = chromadb.Collection.upsert, []

    def watched(self: chromadb.Collection, **options: object) -> None:
        seen.append((tmp_path / "writing").exists())
        upsert(self, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(chromadb.Collection, "upsert", watched)
    tier = ChromaVectorTier(tmp_path, dimensions=DIMENSIONS)
    tier.upsert(["a"], unit_vectors(1), namespace="default")
    tier.upsert(["b"], unit_vectors(1), namespace="default")
    found(tier, unit_vectors(1)[0], namespace="other")
    assert seen == [True, True]
    assert not (tmp_path / "writing").exists()
    tier.close()


WRITER = """
import sys
from rag2_memory.testing.vector import unit_vectors
from rag2_memory.tiers.vector_chroma import ChromaVectorTier
tier = ChromaVectorTier(sys.argv[1], dimensions=16)
for batch in range(1_000):
    ids = [f"{batch}-{i}" for i in range(150)]
    tier.upsert(ids, unit_vectors(150, seed=batch), namespace="default")
    tier.delete(ids[:1], namespace="default")
    print(batch, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [0, 3, 11, 17])
def test_a_killed_process_loses_no_acknowledged_write(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "vector"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < acknowledged:
            pass
        writer.send_signal(signal.SIGKILL)
        last = max([acknowledged, *map(int, writer.stdout.read().split())])
    try:
        tier = ChromaVectorTier(path, dimensions=DIMENSIONS)
    except CorruptIndexError:  # killed inside a save: refused, and rebuilt from the registry by whoever opened it
        assert (path / "writing").exists()
        return
    kept = set(tier.ids(namespace="default"))
    for batch in range(last + 1):
        assert {f"{batch}-{i}" for i in range(1, 150)} <= kept
        assert f"{batch}-0" not in kept
    vectors = unit_vectors(150, seed=last)
    assert found(tier, vectors[1], k=1) == [f"{last}-1"]
    tier.close()


def test_99_percent_of_the_true_neighbours_are_found_among_ten_thousand_vectors(tmp_path: Path) -> None:
    ids, vectors, queries = [f"c{i:05}" for i in range(10_000)], unit_vectors(10_000), unit_vectors(30, seed=1)
    tier = ChromaVectorTier(dimensions=DIMENSIONS)
    tier.upsert(ids, vectors, namespace="default")
    shares = [len({*found(tier, query, k=100)} & {*exact(query, ids, vectors, 100)}) / 100 for query in queries]
    assert np.mean(shares) >= 0.99
    tier.close()


def test_where_the_graph_returns_too_few_every_vector_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, vectors = [f"c{i}" for i in range(50)], unit_vectors(50)
    tier = ChromaVectorTier(dimensions=DIMENSIONS)
    tier.upsert(ids, vectors, namespace="default")
    query = chromadb.Collection.query

    def short(self: chromadb.Collection, **options: object) -> object:
        result = query(self, **options)  # type: ignore[arg-type]
        return result | {"ids": [result["ids"][0][5:10]], "distances": [result["distances"][0][5:10]]}  # type: ignore[index]

    monkeypatch.setattr(chromadb.Collection, "query", short)
    assert found(tier, vectors[0]) == exact(vectors[0], ids, vectors, 10)
    tier.close()


def test_more_results_than_chroma_can_name_are_compared_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag2_memory.tiers.vector_chroma.MAX_RESULTS", 20)
    ids, vectors = [f"c{i}" for i in range(60)], unit_vectors(60)
    tier = ChromaVectorTier(dimensions=DIMENSIONS)
    tier.upsert(ids, vectors, namespace="default")
    assert found(tier, vectors[0], k=40) == exact(vectors[0], ids, vectors, 40)
    tier.close()


def test_surplus_copies_survive_reopening_and_change_with_their_ids(tmp_path: Path) -> None:
    vectors, ids = unit_vectors(2), [f"c{i:02}" for i in range(3 * MAX_COPIES)]
    tier = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    tier.upsert(ids, np.repeat(vectors[:1], len(ids), axis=0), namespace="default")
    tier.upsert(ids[-1:], vectors[1:], namespace="default")
    tier.delete([ids[0], ids[-2]], namespace="default")
    tier.close()
    again = ChromaVectorTier(tmp_path / "vector", dimensions=DIMENSIONS)
    kept = [*ids[1:-2], ids[-1]]
    assert sorted(again.ids(namespace="default")) == kept
    assert found(again, vectors[0], k=100) == kept
    assert found(again, vectors[1], k=1) == ids[-1:]
    assert set(again.vectors(ids, namespace="default")) == set(kept)
    assert [hit.id for hit in again.search(vectors[0], k=100, namespace="default", among=ids)] == kept
    again.close()


def test_copies_of_copies_rank_by_score_then_id() -> None:
    vectors, copies = unit_vectors(3), Copies()
    stored = {f"c{i:02}": vectors[i % 3] for i in range(30)}
    copies.put(stored)
    copies.drop(["c00", "nobody"])
    del stored["c00"]
    rows = np.stack(list(stored.values()))
    for k in (1, 5, 29, 100):
        assert [hit.id for hit in copies.nearest(vectors[0], k)] == exact(vectors[0], list(stored), rows, k)


@pytest.mark.parametrize("options", [{"dimensions": 0}, {"dimensions": 3, "path": "x", "client": object()}], ids=["dimensions", "both"])
def test_settings_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match="needed"):
        ChromaVectorTier(**options)  # type: ignore[arg-type]
