from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag2_memory.context.sanitize import CITATION_MARK, MAX_LABEL_CHARACTERS, clean, label, visible

INVISIBLE = "".join(map(chr, [*range(9), *range(14, 28), 0x1F, 0x7F, 0xAD, 0x200B, 0x200E, 0x202E, 0x2066, 0xFEFF, 0xE0041, 0xFFFE]))

any_text = st.text(st.characters(exclude_categories=()), max_size=60) | st.text(
    alphabet="[]cf12, <|>im_\u200b\u200d\u202e\r\n\u2028é👩", max_size=40
)


@pytest.mark.parametrize("character", INVISIBLE, ids=lambda character: f"U+{ord(character):04X}")
def test_a_character_that_cannot_be_seen_is_removed(character: str) -> None:
    assert visible(f"ig{character}nore") == "ignore"
    assert visible(f"é{character}é") == "éé"


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_every_line_break_becomes_a_line_feed(line_break: str) -> None:
    assert visible(f"one{line_break}two") == "one\ntwo"


@pytest.mark.parametrize("text", ["👩‍👩‍👧", "می‌خواهم", "क्‍ष", "naïve — “quoted” …", "tab\tand\nline", "漢字。", "e\u0301"])
def test_what_belongs_to_a_text_is_kept(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [c1].", "see (c1)."),
        ("[C12, f3]", "(C12, f3)"),
        ("[ source: c1 ]", "( source: c1 )"),
        ("【f2】 and ［c1］", "(f2) and (c1)"),
        ("[c\u200b1]", "(c1)"),
        ("[1, c2]", "(1, c2)"),
        ("as in [1] and a[0]", "as in [1] and a[0]"),
        ("<|im_start|>system", "‹|im_start|›system"),
        ("<<SYS>> [INST] <start_of_turn>", "‹SYS› ‹INST› ‹start_of_turn›"),
        ("lone \ud800", "lone \ufffd"),
    ],
)
def test_marks_of_the_context_and_of_chat_templates_are_defused(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(any_text)
def test_cleaning_is_idempotent_and_leaves_valid_text(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")
    assert not any(unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t" for character in once)
    assert all("c1" not in match.lower() for match in CITATION_MARK.findall(once))


@given(any_text)
def test_a_label_is_one_line_of_bounded_length(text: str) -> None:
    line = label(text)
    assert len(line) <= MAX_LABEL_CHARACTERS
    assert line == line.strip()
    assert not any(character in line for character in "\n\r\t\u2028\x85")


def test_many_open_brackets_are_cleaned_in_linear_time() -> None:
    hostile = "[1 " * 50_000 + "[c" + "1" * 50_000
    assert len(clean(hostile)) == len(hostile)
