"""Reranking: a real (tiny, random) cross-encoder, LangChain's rerankers, and a limit that never costs the answer."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document

from rag2_memory.errors import BackendUnavailableError, InvalidRequestError
from rag2_memory.retrieval import rerank as module
from rag2_memory.retrieval.rerank import CompressorReranker, CrossEncoderReranker, as_reranker, rerank
from rag2_memory.types import Passage


def passages(count: int) -> list[Passage]:
    return [
        Passage(
            chunk_id=str(place),
            document_id=str(place),
            title=f"T{place}",
            heading_path=("H",),
            text=f"text {place}",
            score=1.0 - place / 10,
        )
        for place in range(count)
    ]


def ids(found: Sequence[Passage]) -> str:
    return "".join(item.chunk_id for item in found)


class Scores:
    """A reranker that gives the scores it was made with."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.seen: list[Sequence[str]] = []

    def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.seen.append(texts)
        return self.scores


class Sleeper:
    """A reranker that answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.go.wait(10)
        return [0.0] * len(texts)


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    made = Sleeper()
    yield made
    made.go.set()


def use(reranker: Any, count: int = 5, depth: int = 3, timeout_seconds: float = 5.0) -> tuple[list[Passage], str]:
    return rerank("query", passages(count), reranker, depth=depth, timeout_seconds=timeout_seconds)


# The order


def test_reranked_passages_come_first_and_all_scores_fall() -> None:
    reranker = Scores(-4.0, 2.0, -1.0)
    found, note = use(reranker)
    assert ids(found) == "12034"
    assert [item.score for item in found[:3]] == [2.0, -1.0, -4.0]
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert found[3].score - found[4].score == pytest.approx(0.1)
    assert note.startswith("reranked 3 passages")


def test_title_and_headings_are_read_with_the_text() -> None:
    reranker = Scores(1.0, 2.0, 3.0)
    use(reranker)
    assert reranker.seen == [["T0\nH\ntext 0", "T1\nH\ntext 1", "T2\nH\ntext 2"]]


def test_equal_scores_keep_the_fused_order() -> None:
    assert ids(use(Scores(1.0, 1.0, 1.0))[0]) == "01234"


@pytest.mark.parametrize(("count", "depth"), [(0, 3), (1, 3), (5, 0), (5, 1)])
def test_there_is_nothing_to_rerank_below_two_passages(count: int, depth: int) -> None:
    reranker = Scores()
    assert use(reranker, count=count, depth=depth) == (passages(count), "nothing to rerank")
    assert not reranker.seen


# What goes wrong


@pytest.mark.parametrize("reranker", [Scores(1.0), Scores(1.0, float("nan"), 2.0), Scores(1.0, 2.0, float("inf"))])
def test_nonsense_leaves_the_fused_order(reranker: Scores) -> None:
    found, note = use(reranker)
    assert found == passages(5)
    assert "the reranker failed (ValueError: got" in note


def test_a_reranker_that_fails_leaves_the_fused_order(caplog: pytest.LogCaptureFixture) -> None:
    found, note = use(CrossEncoderReranker("/no/such/model"))
    assert found == passages(5)
    assert "BackendUnavailableError: the cross-encoder '/no/such/model' cannot be loaded" in note
    assert "the reranker failed" in caplog.text


def test_a_reranker_that_takes_too_long_leaves_the_fused_order(sleeper: Sleeper) -> None:
    started = time.monotonic()
    found, note = use(sleeper, timeout_seconds=0.05)
    assert time.monotonic() - started < 2
    assert (found, note) == (passages(5), "kept the fused order: the reranker took longer than 0.05 s")


def test_rerankers_that_linger_are_bounded(sleeper: Sleeper) -> None:
    before = threading.active_count()
    for _ in range(module.MAX_RUNNING + 3):
        use(sleeper, timeout_seconds=0.01)
    assert threading.active_count() - before <= module.MAX_RUNNING
    sleeper.go.set()
    assert ids(use(Scores(1.0, 2.0, 3.0))[0]) == "21034"


# Cross-encoders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT cross-encoder of two small random layers, saved as any real one is."""
    return save_model(tmp_path_factory.mktemp("model"), labels=1)


def save_model(folder: Path, *, labels: int) -> Path:
    import torch

    transformers: Any = importlib.import_module("transformers")
    words = [f"word{number}" for number in range(40)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = transformers.BertTokenizerFast(vocab=str(vocabulary))
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=45, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TEXTS = ["word1 word2 word3", "word4", "word5 word6 word7 word8 word9", "word1 word1"]


def test_a_saved_cross_encoder_is_loaded_at_first_use_and_scores_as_transformers_does(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reranker = CrossEncoderReranker(folder, batch_size=3, max_length=32)
    assert reranker._model is None
    scores = reranker.rerank("word1 word2", TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for text, score in zip(TEXTS, scores, strict=True):
        with torch.no_grad():
            logit = model(**tokenizer("word1 word2", text, return_tensors="pt")).logits[0, 0]
        assert score == pytest.approx(float(torch.sigmoid(logit)), abs=1e-4)
    assert len(set(scores)) > 1
    assert reranker.rerank("word1", []) == []


def test_a_long_passage_is_cut_to_the_models_length(folder: Path) -> None:
    reranker = CrossEncoderReranker(folder, max_length=16)
    long = " ".join(f"word{number % 40}" for number in range(200))
    assert reranker.rerank("word1", [long]) == pytest.approx(reranker.rerank("word1", [long + " word39 word2"]))


def test_the_ranking_of_a_loaded_cross_encoder_is_used(folder: Path) -> None:
    found, note = use(CrossEncoderReranker(folder, max_length=32), count=4, depth=4, timeout_seconds=30)
    assert sorted(ids(found)) == list("0123")
    assert "reranked 4 passages" in note


def test_a_model_of_several_scores_per_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="gives 3 scores per pair"):
        CrossEncoderReranker(save_model(tmp_path, labels=3)).prepare()


# LangChain


class Compressor(BaseDocumentCompressor):
    """Keeps the documents of the given places, in that order."""

    keep: list[int]
    with_scores: bool = False

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Sequence[Document]:
        kept = [documents[place].model_copy(deep=True) for place in self.keep]
        for rank, document in enumerate(kept):
            if self.with_scores:
                document.metadata["relevance_score"] = 0.9 - rank / 2
        return kept


@pytest.mark.parametrize("with_scores", [False, True])
def test_a_compressors_order_is_taken_and_what_it_left_out_comes_last(with_scores: bool) -> None:
    found, _ = use(CompressorReranker(Compressor(keep=[2, 0], with_scores=with_scores)), depth=4)
    assert ids(found) == "20134"


def test_a_compressors_own_scores_are_kept() -> None:
    assert CompressorReranker(Compressor(keep=[1, 0], with_scores=True)).rerank("q", ["a", "b"]) == [0.4, 0.9]


class LangChainCrossEncoder:
    """What langchain_community calls a cross-encoder."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len(text)) for _, text in text_pairs]


def test_a_langchain_cross_encoder_is_adapted() -> None:
    assert CompressorReranker(LangChainCrossEncoder()).rerank("q", ["a", "bcd"]) == [1.0, 3.0]


def test_rerankers_are_recognised_by_what_they_can_do(folder: Path) -> None:
    own = Scores()
    assert as_reranker(None) is None
    assert as_reranker(own) is own
    assert isinstance(as_reranker(str(folder)), CrossEncoderReranker)
    assert isinstance(as_reranker(Compressor(keep=[])), CompressorReranker)
    with pytest.raises(InvalidRequestError, match="got a int as reranker"):
        as_reranker(7)
