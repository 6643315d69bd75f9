"""The rank-bm25 tier passes the lexical contract in both variants, and is the reference for the scores of the tantivy tier."""

from __future__ import annotations

import pytest

from rag2_memory.testing.lexical import LexicalTierContract
from rag2_memory.tiers.lexical_rank_bm25 import RankBM25LexicalTier


class TestOkapi(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> RankBM25LexicalTier:
        return RankBM25LexicalTier()


class TestPlus(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> RankBM25LexicalTier:
        return RankBM25LexicalTier("plus")
