"""Contract suites of `CacheTier`. Subclass one and supply the fixture `open_cache`: a function from bounds to a cache.

`CacheContract` is for every cache; its `open_cache(**bounds)` gives an empty one. `PersistentCacheContract` is for a cache that
outlives its process as well; every `open_cache()` of one test is on the same storage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag2_memory.records import CacheEntry, Dependencies
from rag2_memory.tiers.base import CacheTier
from rag2_memory.types import Hit

OpenCache = Callable[..., CacheTier]
"""Takes `max_entries`, `max_bytes`, `ttl_seconds` and `clock` (seconds since 1970), all optional."""

DIMENSIONS = 16


def direction(degrees: float) -> NDArray[np.float32]:
    """Return a unit vector at an angle from the first axis: the cosine of two of them is that of their difference."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vector


def entry(key: str, *, degrees: float | None = 0.0, **fields: Any) -> CacheEntry:
    """Return an entry whose query vector has an angle, or none."""
    vector = () if degrees is None else tuple(direction(degrees).tolist())
    return CacheEntry(**{"key": key, "namespace": "default", "partition": "p", "query": f"query {key}", "vector": vector} | fields)


def keys_of(cache: CacheTier) -> set[str]:
    """Return the keys of the live entries."""
    return {found.key for found in cache.entries()}


class CacheContract:
    """What every cache must do."""

    def test_an_entry_comes_back_whole(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        stored = entry(
            "a",
            payload='{"text": "snow ❄"}',
            evidence=("c1", "c2"),
            tokens=120,
            seconds=0.25,
            created_at=datetime.now(timezone.utc),
            dependencies=Dependencies(
                generation=7,
                floors={"chunks": 0.25, "windows": -1.0},
                watches=(3, 2**32 - 1),
                principals=frozenset({"user:ada", "group:eng"}),
                nearest=(Hit("c1", 0.5), Hit("c2", 0.25)),
                valid_until=datetime.now(timezone.utc) + timedelta(days=1),
            ),
        )
        cache.put(stored)
        found = cache.get("a")
        assert found is not None
        assert found.size_bytes > 0
        assert replace(found, size_bytes=0) == stored

    def test_an_unknown_key_is_not_found(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a"))
        assert cache.get("b") is None

    def test_a_put_replaces_the_entry_of_the_same_key(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a", degrees=0, payload="old", dependencies=Dependencies(watches=(1,))))
        cache.put(entry("a", degrees=90, payload="new", dependencies=Dependencies(watches=(2,))))
        assert [found.payload for found in cache.entries()] == ["new"]
        assert cache.nearest(direction(0), partition="p", k=5, minimum=0.5) == []
        watchlist = cache.watchlist()
        assert watchlist.codes[watchlist.rows >= 0].tolist() == [2]

    def test_nearest_ranks_by_exact_cosine(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        for key, degrees in (("far", 80), ("near", 10), ("middle", 30)):
            cache.put(entry(key, degrees=degrees))
        found = cache.nearest(direction(0), partition="p", k=2)
        assert [item.key for item, _ in found] == ["near", "middle"]
        np.testing.assert_allclose([cosine for _, cosine in found], np.cos(np.radians([10, 30])), atol=1e-5)

    def test_nearest_leaves_out_what_is_below_the_minimum(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("near", degrees=10))
        cache.put(entry("far", degrees=80))
        assert [item.key for item, _ in cache.nearest(direction(0), partition="p", k=5, minimum=0.9)] == ["near"]

    def test_nearest_stays_in_its_partition(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("mine", degrees=40, partition="mine"))
        cache.put(entry("other", degrees=0, partition="other"))
        assert [item.key for item, _ in cache.nearest(direction(0), partition="mine", k=5)] == ["mine"]
        assert cache.nearest(direction(0), partition="nobody's", k=5) == []

    def test_an_entry_without_a_vector_is_found_by_its_key_alone(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a", degrees=None))
        assert cache.get("a") is not None
        assert cache.nearest(direction(0), partition="p", k=5) == []

    def test_the_cache_stays_within_its_bounds(self, open_cache: OpenCache) -> None:
        cache = open_cache(max_entries=3)
        for number in range(10):
            cache.put(entry(f"{number}"))
            assert len(keys_of(cache)) <= 3
        size = cache.statistics().size_bytes
        small = open_cache(max_entries=100, max_bytes=size)
        for number in range(10):
            small.put(entry(f"{number}", payload="x" * (number * 50)))
            assert small.statistics().size_bytes <= size

    def test_the_least_recently_used_entry_goes_first(self, open_cache: OpenCache) -> None:
        cache = open_cache(max_entries=3)
        for key in "abc":
            cache.put(entry(key))
        cache.get("a")
        cache.put(entry("d"))
        assert keys_of(cache) == {"a", "c", "d"}

    def test_an_entry_larger_than_the_bound_is_not_stored(self, open_cache: OpenCache) -> None:
        cache = open_cache(max_bytes=2_000)
        cache.put(entry("small"))
        cache.put(entry("large", payload="x" * 3_000))
        assert keys_of(cache) == {"small"}

    def test_an_entry_past_its_time_is_gone(self, open_cache: OpenCache) -> None:
        now = [1e9]
        cache = open_cache(ttl_seconds=60, clock=lambda: now[0])
        cache.put(entry("a"))
        until = datetime.fromtimestamp(1e9 + 30, timezone.utc)
        cache.put(entry("b", dependencies=Dependencies(valid_until=until)))
        now[0] += 29
        assert keys_of(cache) == {"a", "b"}
        now[0] += 1
        assert cache.get("b") is None
        assert [item.key for item, _ in cache.nearest(direction(0), partition="p", k=5)] == ["a"]
        now[0] += 30
        assert cache.get("a") is None
        assert keys_of(cache) == set()

    def test_invalidated_entries_are_gone_and_counted(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        for key in "abc":
            cache.put(entry(key))
        assert cache.invalidate(["a", "b", "unknown"]) == 2
        assert cache.get("a") is None
        assert [item.key for item, _ in cache.nearest(direction(0), partition="p", k=5)] == ["c"]

    def test_entries_can_be_those_of_one_namespace(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a", namespace="one"))
        cache.put(entry("b", namespace="two"))
        assert [found.key for found in cache.entries(namespace="one")] == ["a"]

    def test_the_watchlist_names_every_live_entry_and_what_it_watches(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        for number in range(5):
            cache.put(
                entry(
                    f"{number}",
                    degrees=number,
                    dependencies=Dependencies(
                        floors={"chunks": number / 10}, watches=(number, 100), principals=frozenset({f"user:{number % 2}"})
                    ),
                )
            )
        cache.invalidate(["1", "3"])
        watchlist = cache.watchlist()
        rows = {key: row for row, key in enumerate(watchlist.keys) if key}
        assert set(rows) == {"0", "2", "4"}
        for key, row in rows.items():
            number = int(key)
            np.testing.assert_allclose(watchlist.vectors[row], direction(number), atol=1e-6)
            assert watchlist.floors["chunks"][row] == np.float32(number / 10)
            assert watchlist.principals[watchlist.principal_codes[row]] == {f"user:{number % 2}"}
            assert watchlist.namespaces[watchlist.namespace_codes[row]] == "default"
            assert sorted(watchlist.codes[watchlist.rows == row].tolist()) == [number, 100]

    def test_outcomes_and_savings_are_counted(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a"))
        cache.record("miss")
        cache.record("exact", tokens=100, seconds=0.5)
        cache.record("semantic", tokens=50, seconds=0.25)
        cache.record("rejected:numbers")
        told = cache.statistics()
        assert {name: told.outcomes[name] for name in ("exact", "semantic", "miss", "rejected:numbers")} == {
            "exact": 1,
            "semantic": 1,
            "miss": 1,
            "rejected:numbers": 1,
        }
        assert (told.entries, told.tokens_saved, told.seconds_saved) == (1, 150, 0.75)
        assert told.hit_rate == 2 / 3

    def test_a_cleared_cache_is_empty_and_works(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a"))
        cache.record("exact")
        cache.clear()
        assert keys_of(cache) == set()
        assert cache.statistics().outcomes == {}
        cache.put(entry("b"))
        assert keys_of(cache) == {"b"}

    def test_a_cache_closed_twice_makes_way_for_another(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a"))
        cache.close()
        cache.close()
        other = open_cache()
        other.put(entry("b"))
        assert "b" in keys_of(other)


class PersistentCacheContract(CacheContract):
    """What a cache must do that outlives its process."""

    def test_entries_and_statistics_survive_reopening(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a", degrees=20))
        cache.record("exact", tokens=5)
        cache.close()
        again = open_cache()
        assert [item.key for item, _ in again.nearest(direction(0), partition="p", k=5)] == ["a"]
        assert (again.statistics().outcomes["exact"], again.statistics().tokens_saved) == (1, 5)

    def test_use_survives_reopening(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        for key in "abc":
            cache.put(entry(key))
        cache.get("a")
        cache.close()
        again = open_cache(max_entries=2)
        again.put(entry("d"))
        assert keys_of(again) == {"a", "d"}

    def test_an_invalidated_entry_stays_away_after_reopening(self, open_cache: OpenCache) -> None:
        cache = open_cache()
        cache.put(entry("a"))
        cache.put(entry("b"))
        cache.invalidate(["a"])
        assert keys_of(open_cache()) == {"b"}  # the first handle is not closed: as after a crash
