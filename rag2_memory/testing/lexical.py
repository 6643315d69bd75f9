"""Contract suite of `LexicalTier`. Subclass it and supply the fixture `tier`: an empty one per test."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rag2_memory.records import LexicalDocument
from rag2_memory.tiers.analysis import lexical_digest
from rag2_memory.tiers.base import FilteringLexicalTier, LexicalTier

Reopen = Callable[[], LexicalTier]

HOSTILE_QUERIES = {
    "unbalanced": '"open (quote [bracket {brace',
    "operators": "AND OR NOT && || ! + - ^ ~ * ? :",
    "field": "namespace:other AND id:*",
    "range": "[a TO z} text:>=5",
    "wildcards": "*",
    "boost": "redis^^^99 ~2",
    "regex": "/(a+)+$/",
    "backslash": "\\ \\\\ \\u0000",
    "nul": "redis\x00gone",
    "emoji": "🦉👩‍👩‍👧",
    "surrogate": "\ud800 half a pair",
    "blank": " \t\n",
    "empty": "",
    "sql": "'; DROP TABLE chunks; --",
    "long": "redis " * 5_000,
    "one long word": "x" * 100_000,
}


def document(document_id: str, text: str, *, namespace: str = "default", window: str = "") -> LexicalDocument:
    """Return what a tier indexes."""
    return LexicalDocument(id=document_id, namespace=namespace, text=text, window=window)


def found(tier: LexicalTier, query: str, *, namespace: str = "default", k: int = 10) -> list[str]:
    """Return the ids that a query finds, best first."""
    return [hit.id for hit in tier.search(query, k=k, namespace=namespace)]


class LexicalTierContract:
    """What every lexical tier must do. A durable tier also supplies the fixture `reopen`, which closes the tier and opens it again."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Overridden by the suites of tiers that keep what they are given."""
        pytest.skip("this tier keeps nothing when it is closed")

    def test_a_matching_document_is_found(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "Sessions live in Redis."), document("b", "Ledgers live in PostgreSQL.")])
        assert found(tier, "redis") == ["a"]

    def test_scores_are_above_zero_and_never_rise(self, tier: LexicalTier) -> None:
        tier.upsert([document(f"d{i}", "redis " * (i + 1) + "filler " * i) for i in range(20)])
        scores = [hit.score for hit in tier.search("redis filler", k=20, namespace="default")]
        assert len(scores) == 20
        assert min(scores) > 0
        assert scores == sorted(scores, reverse=True)

    def test_a_rare_word_weighs_more_than_a_common_one(self, tier: LexicalTier) -> None:
        tier.upsert([document(f"d{i}", "common cache words") for i in range(9)] + [document("rare", "quorum cache words")])
        assert found(tier, "common quorum")[0] == "rare"

    def test_an_inflected_word_is_found(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "The caches were migrated.")])
        assert found(tier, "migrating cache") == ["a"]

    def test_an_upsert_replaces_the_text(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "old redis")])
        tier.upsert([document("a", "new postgres")])
        assert found(tier, "redis") == []
        assert found(tier, "postgres") == ["a"]
        assert list(tier.ids()) == ["a"]

    def test_the_last_of_equal_ids_in_one_call_counts(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "first redis"), document("a", "second postgres")])
        assert list(tier.ids()) == ["a"]
        assert found(tier, "redis postgres") == ["a"]
        assert found(tier, "redis") == []

    def test_a_deleted_document_is_gone(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "redis"), document("b", "redis", namespace="other")])
        tier.delete(["a"])
        assert found(tier, "redis") == []
        assert list(tier.ids()) == ["b"]
        assert tier.digests(["a"]) == {}

    def test_deleting_an_absent_id_is_no_error(self, tier: LexicalTier) -> None:
        tier.delete(["nobody"])
        tier.upsert([document("a", "redis")])
        tier.delete(["nobody", "a", "a"])
        tier.delete(["a"])
        assert list(tier.ids()) == []

    def test_applying_a_write_again_changes_nothing(self, tier: LexicalTier) -> None:
        documents = [document("a", "redis cache"), document("b", "redis")]
        tier.upsert(documents)
        before = tier.search("redis", k=5, namespace="default")
        tier.delete(["a"])
        for _ in range(2):
            tier.upsert(documents)
        assert sorted(tier.ids()) == ["a", "b"]
        assert [hit.id for hit in tier.search("redis", k=5, namespace="default")] == [hit.id for hit in before]

    def test_a_search_sees_one_namespace(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "redis"), document("b", "redis", namespace="other")])
        assert found(tier, "redis") == ["a"]
        assert found(tier, "redis", namespace="other") == ["b"]
        assert found(tier, "redis", namespace="nowhere") == []

    def test_a_search_among_ids_ranks_just_those(self, tier: LexicalTier) -> None:
        if not isinstance(tier, FilteringLexicalTier):
            pytest.skip("this tier does not filter by id")
        tier.upsert([document(f"d{i}", "redis " * (i + 1) + "queue", namespace="default" if i % 4 else "other") for i in range(40)])
        everything = tier.search("redis queue", k=40, namespace="default")
        chosen = [f"d{i}" for i in range(0, 40, 3)]
        expected = [hit for hit in everything if hit.id in chosen]
        for k in (1, 5, 40):
            assert tier.search_among("redis queue", ids=[*chosen, "absent"], k=k, namespace="default") == expected[:k]
        assert tier.search_among("redis", ids=[], k=5, namespace="default") == []

    def test_a_namespace_may_have_any_name(self, tier: LexicalTier) -> None:
        names = ["", " ", "a/../b", "Ünïcode 東京", "x" * 600, "a", "A", "con", "\x00"]
        tier.upsert([document(f"d{i}", "redis", namespace=name) for i, name in enumerate(names)])
        assert [found(tier, "redis", namespace=name) for name in names] == [[f"d{i}"] for i in range(len(names))]

    def test_no_more_than_k_hits_return(self, tier: LexicalTier) -> None:
        tier.upsert([document(f"d{i}", "redis " * (i + 1)) for i in range(30)])
        best = found(tier, "redis", k=30)
        assert len(best) == 30
        assert found(tier, "redis", k=1) == best[:1]
        assert found(tier, "redis", k=7) == best[:7]
        assert found(tier, "redis", k=1_000_000) == best

    @pytest.mark.parametrize("k", [1, 5, 49])
    def test_equal_scores_are_ordered_by_id(self, tier: LexicalTier, k: int) -> None:
        tier.upsert([document(f"d{i:02}", "the same text") for i in reversed(range(50))])
        assert found(tier, "same text", k=k) == [f"d{i:02}" for i in range(k)]

    @pytest.mark.parametrize("query", HOSTILE_QUERIES.values(), ids=HOSTILE_QUERIES)
    def test_no_query_is_a_syntax_error(self, tier: LexicalTier, query: str) -> None:
        tier.upsert([document("a", "redis"), document("b", "other", namespace="other")])
        assert set(found(tier, query)) <= {"a"}

    def test_a_query_without_known_terms_finds_nothing(self, tier: LexicalTier) -> None:
        assert found(tier, "redis") == []
        tier.upsert([document("a", "redis")])
        assert [found(tier, query) for query in ("postgres", "the of and", "…", "")] == [[]] * 4

    def test_an_identifier_is_found_whole_and_in_parts(self, tier: LexicalTier) -> None:
        tier.upsert(
            [document("a", "Torque for X-402-V2 is 9 Nm."), document("b", "X-402-V3 replaces V2 of 402 by X; V2, 402 and X are gone.")]
        )
        assert found(tier, "X-402-V2") == ["a", "b"]
        assert found(tier, "x-402-v2?")[0] == "a"
        assert set(found(tier, "402")) == {"a", "b"}

    def test_a_window_is_searched_apart_from_the_text(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "yes", window="did you move to redis? yes"), document("b", "redis")])
        assert found(tier, "redis") == ["b"]
        assert [hit.id for hit in tier.search("redis", k=5, namespace="default", field="window")] == ["a"]

    def test_ids_yields_every_id_once(self, tier: LexicalTier) -> None:
        expected = [f"d{i}" for i in range(300)]
        tier.upsert([document(key, "redis", namespace=f"n{i % 3}") for i, key in enumerate(expected)])
        tier.upsert([document("d7", "postgres", namespace="n1")])
        assert sorted(tier.ids()) == sorted(expected)

    def test_an_id_may_be_any_text(self, tier: LexicalTier) -> None:
        ids = ["ünï/東京", "a b", "x" * 300, "quote\"'", "🦉", "-", "A", "a"]
        tier.upsert([document(key, "redis") for key in ids])
        assert sorted(tier.ids()) == sorted(ids)
        assert found(tier, "redis") == sorted(ids)
        tier.delete(ids[:-1])
        assert list(tier.ids()) == ["a"]

    def test_digests_tell_what_is_indexed(self, tier: LexicalTier) -> None:
        old, new = document("a", "redis", window="w"), document("a", "redis", window="v")
        tier.upsert([old, document("b", "redis", namespace="other")])
        assert tier.digests(["a", "nobody"]) == {"a": lexical_digest(old)}
        tier.upsert([new])
        assert tier.digests(["a", "b"])["a"] == lexical_digest(new) != lexical_digest(old)
        assert tier.digests([]) == {}

    def test_document_frequency_counts_documents_of_a_namespace(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "redis redis"), document("b", "redis x-1"), document("c", "redis", namespace="other")])
        assert tier.document_frequency("redi", namespace="default") == 2
        assert tier.document_frequency("x-1", namespace="default") == 1
        assert tier.document_frequency("redi", namespace="nowhere") == 0
        assert tier.document_frequency("unknown", namespace="default") == 0

    def test_writing_nothing_is_no_error(self, tier: LexicalTier) -> None:
        tier.upsert([])
        tier.delete([])
        tier.upsert([document("empty", "", window=""), document("stop words", "of the")])
        assert sorted(tier.ids()) == ["empty", "stop words"]
        assert found(tier, "of the redis") == []

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, tier: LexicalTier, k: int) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            tier.search("redis", k=k, namespace="default")

    def test_clear_removes_everything(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "redis"), document("b", "redis", namespace="other")])
        tier.clear()
        assert list(tier.ids()) == []
        assert found(tier, "redis") == []
        tier.upsert([document("c", "redis")])
        assert found(tier, "redis") == ["c"]

    def test_close_twice_is_no_error(self, tier: LexicalTier) -> None:
        tier.upsert([document("a", "redis")])
        tier.close()
        tier.close()

    def test_a_tier_closed_twice_makes_way_for_another(self, tier: LexicalTier, reopen: Reopen) -> None:
        tier.upsert([document("a", "redis")])
        tier.close()
        tier.close()
        assert found(reopen(), "redis") == ["a"]

    def test_what_was_written_survives_reopening(self, tier: LexicalTier, reopen: Reopen) -> None:
        kept = document("a", "redis", window="w")
        tier.upsert([kept, document("b", "redis", namespace="other"), document("gone", "redis")])
        tier.delete(["gone"])
        again = reopen()
        assert sorted(again.ids()) == ["a", "b"]
        assert found(again, "redis") == ["a"]
        assert again.digests(["a"]) == {"a": lexical_digest(kept)}
        again.upsert([document("c", "redis redis")])
        assert set(found(again, "redis")) == {"a", "c"}

    def test_searches_run_while_one_thread_writes(self, tier: LexicalTier) -> None:
        tier.upsert([document(f"stays{i}", "redis cache") for i in range(20)])
        stop, failures = threading.Event(), []

        def search() -> None:
            while not stop.is_set():
                try:
                    hits = found(tier, "redis cache", k=100)
                    if sum(key.startswith("stays") for key in hits) != 20:
                        failures.append(f"a document that was never touched is missing from {hits}")
                except Exception as exc:
                    failures.append(repr(exc))

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for i in range(8):
                tier.upsert([document(f"comes{i}", "redis"), document("changes", f"redis {i}")])
                tier.delete([f"comes{i - 1}"])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert "comes7" in found(tier, "redis", k=100)
