from __future__ import annotations

import random

import pytest

from rag2_memory.context.dedupe import Deduplicator, Fingerprint, near_same

TEXT = (
    "The import job of the reporting service reads the exported files every night and writes the totals into the warehouse. "
    "When a file cannot be parsed, the job moves it to the quarantine folder and tells the owner of the export by mail."
)


@pytest.mark.parametrize(
    "variant",
    [
        TEXT.upper(),
        TEXT.replace(". ", ".\n\n"),
        TEXT.replace(",", "").rstrip("."),
        "* " + TEXT.replace(" ", "  "),
        TEXT.replace("every night", "also every night"),
        TEXT.replace("the quarantine folder", "quarantine folder"),
        f"{TEXT} (copied)",
    ],
)
def test_the_same_words_are_near_same(variant: str) -> None:
    assert near_same(Fingerprint(TEXT), Fingerprint(variant))
    assert near_same(Fingerprint(variant), Fingerprint(TEXT))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("every night", "every night at 2"),
        ("cannot be parsed", "can be parsed"),
        ("reads the exported", "never reads the exported"),
        ("into the warehouse", "into the Snowflake warehouse"),
        ("the owner", "the receiver"),
        ("reads the exported files every night and writes the totals", "writes the exported files every night and reads the totals"),
    ],
)
def test_another_number_name_negation_word_or_order_makes_a_different_text(old: str, new: str) -> None:
    assert old in TEXT
    assert not near_same(Fingerprint(TEXT), Fingerprint(TEXT.replace(old, new)))


def test_texts_without_spaces_are_compared_too() -> None:
    text = "报告服务的导入作业每晚读取导出的文件并将总计写入仓库。" * 3
    assert near_same(Fingerprint(text), Fingerprint(text.rstrip("。")))
    assert not near_same(Fingerprint(text), Fingerprint("如果文件无法解析，作业会将其移至隔离文件夹并通知导出的所有者。" * 3))


def test_a_deduplicator_names_the_earlier_passage() -> None:
    known = Deduplicator()
    assert known.duplicate_of(chunk_id="k1", document_id="d1", text=TEXT) is None
    assert known.duplicate_of(chunk_id="k1", document_id="d1", text=TEXT) == "k1"
    assert known.duplicate_of(chunk_id="k2", document_id="d2", text=f"{TEXT} (copied)") == "k1"
    assert known.duplicate_of(chunk_id="k3", document_id="d1", text=TEXT.split(". ")[0]) == "k1", "contained, same document"
    assert known.duplicate_of(chunk_id="k4", document_id="d2", text=TEXT.split(". ")[0]) is None, "contained, another document"


def test_any_single_insertion_is_recognised() -> None:
    words = TEXT.split()
    for at in range(len(words) + 1):
        known = Deduplicator()
        known.duplicate_of(chunk_id="k1", document_id="d1", text=TEXT)
        variant = " ".join([*words[:at], "indeed", *words[at:]])
        assert known.duplicate_of(chunk_id="k2", document_id="d2", text=variant) == "k1", variant


def test_unrelated_texts_are_never_taken_for_duplicates() -> None:
    source = random.Random(7)
    vocabulary = TEXT.lower().replace(".", "").replace(",", "").split()
    texts = {" ".join(source.choices(vocabulary, k=30)) for _ in range(200)}
    known = Deduplicator()
    assert [known.duplicate_of(chunk_id=text, document_id="d", text=text) for text in sorted(texts)] == [None] * len(texts)


def test_a_copy_is_recognised_among_hundreds_made_from_one_template() -> None:
    texts = [f"{TEXT} Filed as letter {number}." for number in range(300)]
    known = Deduplicator()
    assert [known.duplicate_of(chunk_id=text, document_id=text, text=text) for text in texts] == [None] * len(texts)
    assert known.duplicate_of(chunk_id="copy", document_id="elsewhere", text=texts[-1]) == texts[-1]
    assert known.duplicate_of(chunk_id="near", document_id="elsewhere", text=texts[3].lower()) == texts[3]


@pytest.mark.parametrize("text", ["", " ", "!?", "a"])
def test_texts_of_almost_nothing_are_no_problem(text: str) -> None:
    known = Deduplicator()
    assert known.duplicate_of(chunk_id="k1", document_id="d1", text=text) is None
    assert known.duplicate_of(chunk_id="k2", document_id="d2", text=text) == "k1"
