from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag2_memory.context.counter_tiktoken import TiktokenCounter, vocabulary_is_local

VOCABULARIES = Path(__file__).resolve().parents[3] / "shared" / "tiktoken"
if VOCABULARIES.is_dir():
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(VOCABULARIES))


@pytest.fixture(scope="session")
def o200k() -> TiktokenCounter:
    """The exact counter; tests that compare with it need its vocabulary."""
    if not vocabulary_is_local():
        pytest.skip("needs tiktoken's vocabulary o200k_base; set TIKTOKEN_CACHE_DIR to a folder that holds it")
    return TiktokenCounter()
