"""Contract suite of `VectorTier`. Subclass it and supply the fixture `tier`: an empty one of DIMENSIONS dimensions per test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from rag2_memory.tiers.base import VectorSpace, VectorTier

DIMENSIONS = 16

Reopen = Callable[[], VectorTier]


def unit_vectors(count: int, *, seed: int = 0, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Return random unit vectors, the same for the same seed."""
    sample = np.random.default_rng(seed).standard_normal((count, dimensions))
    return np.asarray(sample / np.linalg.norm(sample, axis=1, keepdims=True), dtype=np.float32)


def exact(query: NDArray[np.float32], ids: Sequence[str], vectors: NDArray[np.float32], k: int) -> list[str]:
    """Return the true ranking: ids by cosine, then by id."""
    scores = np.asarray(vectors, dtype=np.float64) @ np.asarray(query, dtype=np.float64)
    return [key for _, key in sorted(zip((-scores).round(6), ids, strict=True))][:k]


def found(
    tier: VectorTier, query: NDArray[np.float32], *, k: int = 10, namespace: str = "default", space: VectorSpace = "chunks"
) -> list[str]:
    """Return the ids that a query finds, best first."""
    return [hit.id for hit in tier.search(query, k=k, namespace=namespace, space=space)]


class VectorTierContract:
    """What every vector tier must do. A durable tier also supplies the fixture `reopen`, which closes the tier and opens it again."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Overridden by the suites of tiers that keep what they are given."""
        pytest.skip("this tier keeps nothing when it is closed")

    def test_hits_are_ranked_by_cosine(self, tier: VectorTier) -> None:
        ids, vectors, queries = [f"c{i}" for i in range(200)], unit_vectors(200), unit_vectors(20, seed=1)
        tier.upsert(ids, vectors, namespace="default")
        for query in queries:
            assert found(tier, query) == exact(query, ids, vectors, 10)

    def test_scores_are_cosines(self, tier: VectorTier) -> None:
        ids, vectors, query = [f"c{i}" for i in range(100)], unit_vectors(100), unit_vectors(1, seed=1)[0]
        tier.upsert([*ids, "same", "opposite"], np.vstack([vectors, query, -query]), namespace="default")
        scores = {hit.id: hit.score for hit in tier.search(query, k=102, namespace="default")}
        assert [scores[key] for key in ids] == pytest.approx((vectors @ query).tolist(), abs=1e-5)
        assert scores["same"] == pytest.approx(1.0, abs=1e-5)
        assert scores["opposite"] == pytest.approx(-1.0, abs=1e-5)
        assert all(-1.0 <= score <= 1.0 for score in scores.values())

    def test_an_upsert_replaces_the_vector(self, tier: VectorTier) -> None:
        old, new = unit_vectors(2)
        tier.upsert(["a"], old[np.newaxis], namespace="default")
        assert [hit.score for hit in tier.search(old, k=3, namespace="default", among=["a"])] == pytest.approx([1.0], abs=1e-5)
        tier.upsert(["a"], new[np.newaxis], namespace="default")
        for among in (None, ["a"]):
            hits = tier.search(new, k=3, namespace="default", among=among)
            assert [hit.id for hit in hits] == ["a"]
            assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        assert tier.vectors(["a"], namespace="default")["a"] == pytest.approx(new, abs=1e-6)
        assert list(tier.ids(namespace="default")) == ["a"]

    def test_the_last_of_equal_ids_in_one_call_counts(self, tier: VectorTier) -> None:
        vectors = unit_vectors(2)
        tier.upsert(["a", "a"], vectors, namespace="default")
        assert list(tier.ids(namespace="default")) == ["a"]
        assert tier.vectors(["a"], namespace="default")["a"] == pytest.approx(vectors[1], abs=1e-6)

    def test_a_deleted_id_is_gone(self, tier: VectorTier) -> None:
        vectors = unit_vectors(3)
        tier.upsert(["a", "b", "c"], vectors, namespace="default")
        tier.search(vectors[0], k=1, namespace="default", among=["a", "b"])
        tier.delete(["a"], namespace="default")
        assert sorted(found(tier, vectors[0])) == ["b", "c"]
        assert [hit.id for hit in tier.search(vectors[0], k=3, namespace="default", among=["a", "b"])] == ["b"]
        assert sorted(tier.ids(namespace="default")) == ["b", "c"]
        assert set(tier.vectors(["a", "b"], namespace="default")) == {"b"}

    def test_deleting_an_absent_id_is_no_error(self, tier: VectorTier) -> None:
        tier.delete(["nobody"], namespace="default")
        tier.upsert(["a"], unit_vectors(1), namespace="default")
        tier.delete(["nobody", "a", "a"], namespace="default")
        tier.delete(["a"], namespace="default")
        assert list(tier.ids(namespace="default")) == []

    def test_a_deleted_id_may_come_back(self, tier: VectorTier) -> None:
        vectors = unit_vectors(3)
        for vector in vectors:
            tier.upsert(["a"], vector[np.newaxis], namespace="default")
            tier.delete(["a"], namespace="default")
        tier.upsert(["a"], vectors[:1], namespace="default")
        assert found(tier, vectors[0]) == ["a"]

    def test_most_of_a_namespace_may_be_deleted(self, tier: VectorTier) -> None:
        ids, vectors = [f"c{i:03}" for i in range(400)], unit_vectors(400)
        tier.upsert(ids, vectors, namespace="default")
        tier.delete(ids[:380], namespace="default")
        assert found(tier, vectors[0], k=20) == exact(vectors[0], ids[380:], vectors[380:], 20)

    def test_a_search_sees_one_namespace_and_one_space(self, tier: VectorTier) -> None:
        vectors = unit_vectors(3)
        tier.upsert(["a"], vectors[:1], namespace="default")
        tier.upsert(["b"], vectors[1:2], namespace="other")
        tier.upsert(["c"], vectors[2:], namespace="default", space="entities")
        assert found(tier, vectors[0]) == ["a"]
        assert found(tier, vectors[0], namespace="other") == ["b"]
        assert found(tier, vectors[0], space="entities") == ["c"]
        assert [hit.id for hit in tier.search(vectors[0], k=3, namespace="default", among=["a", "b", "c"])] == ["a"]
        assert list(tier.ids(namespace="other")) == ["b"]
        tier.delete(["a"], namespace="other")
        assert found(tier, vectors[0]) == ["a"]

    def test_the_same_id_may_stand_in_several_namespaces(self, tier: VectorTier) -> None:
        vectors = unit_vectors(2)
        tier.upsert(["a"], vectors[:1], namespace="default")
        tier.upsert(["a"], vectors[1:], namespace="other")
        assert tier.vectors(["a"], namespace="default")["a"] == pytest.approx(vectors[0], abs=1e-6)
        assert tier.vectors(["a"], namespace="other")["a"] == pytest.approx(vectors[1], abs=1e-6)
        assert tier.search(vectors[1], k=1, namespace="other", among=["a"])[0].score == pytest.approx(1.0, abs=1e-5)
        assert tier.search(vectors[0], k=1, namespace="default", among=["a"])[0].score == pytest.approx(1.0, abs=1e-5)

    def test_a_namespace_may_have_any_name(self, tier: VectorTier) -> None:
        names = ["", " ", "a/../b", "Ünïcode 東京", "x" * 600, "a", "A", "\x00"]
        vectors = unit_vectors(len(names))
        for i, name in enumerate(names):
            tier.upsert([f"d{i}"], vectors[i : i + 1], namespace=name)
        assert [found(tier, vectors[0], namespace=name) for name in names] == [[f"d{i}"] for i in range(len(names))]

    def test_an_unknown_namespace_is_empty(self, tier: VectorTier) -> None:
        query = unit_vectors(1)[0]
        assert found(tier, query) == []
        assert tier.search(query, k=5, namespace="default", among=["a"]) == []
        assert list(tier.ids(namespace="default")) == []
        assert tier.vectors(["a"], namespace="default") == {}

    def test_no_more_than_k_hits_return(self, tier: VectorTier) -> None:
        ids, vectors = [f"c{i}" for i in range(50)], unit_vectors(50)
        tier.upsert(ids, vectors, namespace="default")
        for k in (1, 7, 50, 51, 100_000):
            assert found(tier, vectors[0], k=k) == exact(vectors[0], ids, vectors, k)
            assert [hit.id for hit in tier.search(vectors[0], k=k, namespace="default", among=ids[:20])] == exact(
                vectors[0], ids[:20], vectors[:20], k
            )

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, tier: VectorTier, k: int) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            tier.search(unit_vectors(1)[0], k=k, namespace="default")

    def test_among_gives_the_exact_ranking_of_those_ids(self, tier: VectorTier) -> None:
        ids, vectors, queries = [f"c{i}" for i in range(1_000)], unit_vectors(1_000), unit_vectors(5, seed=1)
        tier.upsert(ids, vectors, namespace="default")
        for query in queries:
            for chosen in (range(0, 1_000, 3), range(5), range(999, 1_000)):
                among = [ids[i] for i in chosen]
                hits = tier.search(query, k=50, namespace="default", among=[*among, "nobody"])
                assert [hit.id for hit in hits] == exact(query, among, vectors[list(chosen)], 50)
                assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert tier.search(queries[0], k=5, namespace="default", among=[]) == []

    @pytest.mark.parametrize("k", [1, 5, 79])
    def test_equal_scores_are_ordered_by_id(self, tier: VectorTier, k: int) -> None:
        ids, vector = [f"c{i:02}" for i in reversed(range(80))], unit_vectors(1)
        tier.upsert(ids, np.repeat(vector, 80, axis=0), namespace="default")
        assert found(tier, vector[0], k=k) == sorted(ids)[:k]
        assert [hit.id for hit in tier.search(vector[0], k=k, namespace="default", among=ids)] == sorted(ids)[:k]

    def test_copies_of_one_vector_hide_no_other(self, tier: VectorTier) -> None:
        vectors = unit_vectors(300)
        copies = [f"copy{i:04}" for i in range(1_500)]
        tier.upsert(copies, np.repeat(vectors[:1], len(copies), axis=0), namespace="default")
        others = [f"other{i:03}" for i in range(299)]
        tier.upsert(others, vectors[1:], namespace="default")
        assert found(tier, vectors[0], k=len(copies) + 299)[: len(copies)] == copies
        missed = [key for key, vector in zip(others, vectors[1:], strict=True) if found(tier, vector, k=1) != [key]]
        assert missed == []

    def test_an_id_may_be_any_text(self, tier: VectorTier) -> None:
        ids = ["ünï/東京", "a b", "x" * 300, "quote\"'", "🦉", "-", "A", "a"]
        vectors = unit_vectors(len(ids))
        tier.upsert(ids, vectors, namespace="default")
        assert sorted(tier.ids(namespace="default")) == sorted(ids)
        assert [found(tier, vector, k=1)[0] for vector in vectors] == ids
        tier.delete(ids[:-1], namespace="default")
        assert list(tier.ids(namespace="default")) == ["a"]

    def test_writing_nothing_is_no_error(self, tier: VectorTier) -> None:
        tier.upsert([], np.empty((0, DIMENSIONS), dtype=np.float32), namespace="default")
        tier.delete([], namespace="default")
        assert tier.vectors([], namespace="default") == {}
        assert list(tier.ids(namespace="default")) == []

    def test_large_writes_arrive_whole(self, tier: VectorTier) -> None:
        ids, vectors = [f"c{i}" for i in range(6_000)], unit_vectors(6_000)
        tier.upsert(ids, vectors, namespace="default")
        assert sorted(tier.ids(namespace="default")) == sorted(ids)
        assert len(tier.vectors(ids, namespace="default")) == 6_000
        tier.delete(ids[1:], namespace="default")
        assert list(tier.ids(namespace="default")) == ["c0"]

    @pytest.mark.parametrize(
        ("ids", "shape"), [(["a"], (2, DIMENSIONS)), (["a"], (1, DIMENSIONS + 1)), (["a"], (DIMENSIONS,))], ids=["rows", "columns", "flat"]
    )
    def test_vectors_of_another_shape_are_refused(self, tier: VectorTier, ids: list[str], shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="shape"):
            tier.upsert(ids, np.ones(shape, dtype=np.float32), namespace="default")
        with pytest.raises(ValueError, match="shape"):
            tier.search(np.ones(DIMENSIONS + 1, dtype=np.float32), k=1, namespace="default")
        assert list(tier.ids(namespace="default")) == []

    def test_vectors_that_are_not_finite_are_refused(self, tier: VectorTier) -> None:
        with pytest.raises(ValueError, match="NaN"):
            tier.upsert(["a"], np.full((1, DIMENSIONS), np.nan, dtype=np.float32), namespace="default")

    def test_clear_removes_everything(self, tier: VectorTier) -> None:
        vectors = unit_vectors(2)
        tier.upsert(["a"], vectors[:1], namespace="default")
        tier.upsert(["b"], vectors[1:], namespace="other", space="windows")
        assert tier.search(vectors[0], k=1, namespace="default", among=["a"]) != []
        tier.clear()
        assert list(tier.ids(namespace="default")) == list(tier.ids(namespace="other", space="windows")) == []
        assert tier.search(vectors[0], k=1, namespace="default", among=["a"]) == []
        assert found(tier, vectors[0]) == []
        tier.upsert(["c"], vectors[:1], namespace="default")
        assert found(tier, vectors[0]) == ["c"]

    def test_close_twice_is_no_error(self, tier: VectorTier) -> None:
        tier.upsert(["a"], unit_vectors(1), namespace="default")
        tier.close()
        tier.close()

    def test_a_tier_closed_twice_makes_way_for_another(self, tier: VectorTier, reopen: Reopen) -> None:
        vectors = unit_vectors(1)
        tier.upsert(["a"], vectors, namespace="default")
        tier.close()
        tier.close()
        assert found(reopen(), vectors[0]) == ["a"]

    def test_what_was_written_survives_reopening(self, tier: VectorTier, reopen: Reopen) -> None:
        ids, vectors = [f"c{i}" for i in range(1_200)], unit_vectors(1_200)
        tier.upsert(ids, vectors, namespace="default")
        tier.upsert(["w"], vectors[:1], namespace="other", space="windows")
        tier.delete(ids[:10], namespace="default")
        again = reopen()
        assert sorted(again.ids(namespace="default")) == sorted(ids[10:])
        assert found(again, vectors[0]) == exact(vectors[0], ids[10:], vectors[10:], 10)
        assert found(again, vectors[0], namespace="other", space="windows") == ["w"]
        again.upsert(["c0"], vectors[:1], namespace="default")
        assert found(again, vectors[0], k=1) == ["c0"]

    def test_searches_run_while_one_thread_writes(self, tier: VectorTier) -> None:
        stays, vectors = [f"stays{i}" for i in range(20)], unit_vectors(20)
        tier.upsert(stays, vectors, namespace="default")
        stop, failures = threading.Event(), []

        def search() -> None:
            while not stop.is_set():
                try:
                    for among in (None, stays):
                        hits = [hit.id for hit in tier.search(vectors[0], k=200, namespace="default", among=among)]
                        if sum(key in stays for key in hits) != 20:
                            failures.append(f"a vector that was never touched is missing from {hits}")
                except Exception as exc:
                    failures.append(repr(exc))

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for i in range(20):
                tier.upsert([f"comes{i}", "changes"], unit_vectors(2, seed=i + 2), namespace="default")
                tier.delete([f"comes{i - 1}"], namespace="default")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert "comes19" in found(tier, vectors[0], k=200)
