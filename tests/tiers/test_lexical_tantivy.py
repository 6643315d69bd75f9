"""The tantivy tier passes the lexical contract on disk and in memory; what only an index on disk can get wrong is tested beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag2_memory.testing.lexical import LexicalTierContract, Reopen
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier


class TestOnDisk(LexicalTierContract):
    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[TantivyLexicalTier]:
        tier = TantivyLexicalTier(tmp_path / "lexical")
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, tier: TantivyLexicalTier, tmp_path: Path) -> Reopen:
        def again() -> TantivyLexicalTier:
            tier.close()
            return TantivyLexicalTier(tmp_path / "lexical")

        return again


class TestInMemory(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> Iterator[TantivyLexicalTier]:
        tier = TantivyLexicalTier(None)
        yield tier
        tier.close()
