"""The rank-bm25 tier passes the lexical contract in both variants, and agrees with rank-bm25 as it comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rank_bm25 import BM25Okapi

from rag2_memory.errors import InvalidRequestError
from rag2_memory.testing.lexical import LexicalTierContract, document, found
from rag2_memory.tiers.analysis import Analyzer
from rag2_memory.tiers.lexical_rank_bm25 import RankBM25LexicalTier, Variant
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier


class TestOkapi(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> RankBM25LexicalTier:
        return RankBM25LexicalTier()


class TestPlus(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> RankBM25LexicalTier:
        return RankBM25LexicalTier("plus")


def test_a_term_in_every_document_still_counts() -> None:
    tier = RankBM25LexicalTier()
    tier.upsert([document("a", "redis"), document("b", "redis redis"), document("c", "redis and other words besides it")])
    assert found(tier, "redis") == ["b", "a", "c"]
    as_it_comes = BM25Okapi([["redi"], ["redi", "redi"]])
    assert max(as_it_comes.get_scores(["redi"])) <= 0


def test_documents_without_a_term_are_left_out_though_bm25_plus_scores_them() -> None:
    tier = RankBM25LexicalTier("plus")
    tier.upsert([document("a", "redis"), document("b", "postgres")])
    assert found(tier, "redis") == ["a"]


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="okapi"):
        RankBM25LexicalTier("bm42")  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["okapi", "plus"])
def test_rankings_agree_with_tantivy_and_with_rank_bm25_as_it_comes(bench: Path, variant: Variant) -> None:
    corpus = [json.loads(line) for line in (bench / "musique" / "corpus.jsonl").read_text().splitlines()][:600]
    queries = [json.loads(line)["query"] for line in (bench / "musique" / "queries.jsonl").read_text().splitlines()][:40]
    documents = [document(item["id"], item["text"]) for item in corpus]
    tier, tantivy, analyzer = RankBM25LexicalTier(variant), TantivyLexicalTier(None), Analyzer()
    tier.upsert(documents)
    tantivy.upsert(documents)
    as_it_comes = BM25Okapi([analyzer.terms(item.text) for item in documents])
    with_tantivy, with_original = [], []
    for query in queries:
        top = set(found(tier, query, k=10))
        scores = as_it_comes.get_scores(list(analyzer.query(query)))
        original = sorted(range(len(documents)), key=lambda i: (-scores[i], documents[i].id))[:10]
        with_tantivy.append(len(top & {*found(tantivy, query, k=10)}) / 10)
        with_original.append(len(top & {documents[i].id for i in original}) / 10)
    assert sum(with_tantivy) / len(queries) >= (0.97 if variant == "okapi" else 0.85)
    assert sum(with_original) / len(queries) >= 0.85  # another k1, and another idf for common terms
