from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.context.counter_tiktoken import OFFLINE_RANKS, OfflineCounter, TiktokenCounter

BENCH = Path(__file__).resolve().parents[3] / "shared" / "bench"

OFFLINE = OfflineCounter()

scripts = st.sampled_from(
    ["漢字かな交じり文", "Привет мир", "مرحبا", "हिन्दी", "👩‍👩‍👧🏽", "ﬁ ﬂ ½", "́̂̃", "  \t\n", "­", "def f(x):\n\treturn x", "0123456789", "AbCdEf", "'s't're"]
)  # fmt: skip
adversarial = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()),
    st.lists(scripts, max_size=20).map("".join),
    st.builds(lambda piece, times: piece * times, scripts | st.text(max_size=3), st.integers(0, 300)),
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz", max_size=300),
    st.text(alphabet=" \t\n\r\u3000\u00a0x", max_size=200),
)


def test_the_shipped_ranks_are_the_lowest_of_o200k_base(o200k: TiktokenCounter) -> None:
    ranks = tiktoken.get_encoding("o200k_base")._mergeable_ranks
    lowest = sorted(ranks, key=lambda token: ranks[token])[:65_536]
    assert zlib.decompress(OFFLINE_RANKS.read_bytes()) == b"".join(bytes([len(token)]) + token for token in lowest)


@settings(max_examples=1_000, deadline=None)
@given(adversarial)
def test_the_offline_counter_never_undercounts_whatever_the_text(o200k: TiktokenCounter, text: str) -> None:
    assert OFFLINE.count(text) >= o200k.count(text)


@pytest.mark.parametrize("name", ["2wiki", "hotpotqa", "locomo", "musique", "scifact", "timeqa", "docs_prometheus"])
def test_the_offline_counter_overcounts_real_text_by_less_than_a_quarter(o200k: TiktokenCounter, name: str) -> None:
    texts = list(sample(name))
    if not texts:
        pytest.skip(f"needs the evaluation data at {BENCH}")
    pairs = [(OFFLINE.count(text), o200k.count(text)) for text in texts]
    assert all(bound >= exact for bound, exact in pairs)
    assert sum(bound for bound, _ in pairs) <= 1.25 * sum(exact for _, exact in pairs)


def sample(name: str) -> Iterator[str]:
    """Yield every twentieth passage of a set, or its Markdown files."""
    corpus = BENCH / name / "corpus.jsonl"
    if corpus.exists():
        for line in corpus.read_text(encoding="utf-8").splitlines()[::20]:
            yield json.loads(line)["text"]
    for path in sorted((BENCH / name).rglob("*.md")):
        yield path.read_text(encoding="utf-8")
