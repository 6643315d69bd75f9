"""The example of a tier of one's own passes the contract suite that every lexical tier must pass, and is as short as promised."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.custom_tier import Fts5LexicalTier
from rag2_memory.testing.lexical import LexicalTierContract

SOURCE = Path(__file__).parent.parent.parent / "examples" / "custom_tier.py"


class TestFts5LexicalTier(LexicalTierContract):
    @pytest.fixture
    def tier(self) -> Iterator[Fts5LexicalTier]:
        tier = Fts5LexicalTier()
        yield tier
        tier.close()


def test_it_takes_under_forty_lines() -> None:
    (tier,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.ClassDef)]
    lines = SOURCE.read_text().splitlines()[tier.lineno - 1 : tier.end_lineno]
    assert sum(bool(line.strip()) for line in lines) < 40
