"""Segmentation: parents partition a document, children cover it, nothing is cut needlessly, and edits stay local."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

from rag2_memory.errors import InvalidRequestError
from rag2_memory.ingestion.load import load
from rag2_memory.ingestion.segment import ChildDraft, ParentDraft, segment
from rag2_memory.ingestion.units import TOLERANCE, divide
from rag2_memory.types import Document, Turn

EXAMPLES = Path(__file__).parents[2] / "examples" / "corpus"


def words(text: str) -> int:
    """Count tokens as words: transparent, and additive over pieces cut at white space."""
    return len(text.split())


def document(text: str, *, media_type: str = "text/markdown", turn: Turn | None = None) -> Document:
    return Document(id="d", text=text, media_type=media_type, turn=turn)


def parents_of(text: str, *, media_type: str = "text/markdown", child: int = 20, parent: int = 80) -> list[ParentDraft]:
    parents = segment(document(text, media_type=media_type), count=words, child_tokens=child, parent_tokens=parent)
    check(text, parents)
    return parents


def children_of(text: str, *, media_type: str = "text/markdown", child: int = 20, parent: int = 80) -> list[ChildDraft]:
    return [made for parent_draft in parents_of(text, media_type=media_type, child=child, parent=parent) for made in parent_draft.children]


def check(text: str, parents: list[ParentDraft], *, overlapping: bool = False) -> None:
    """The invariants of every segmentation."""
    assert "".join(parent.text for parent in parents) == text
    for parent in parents:
        assert parent.text == text[parent.start : parent.end]
        covered = parent.start
        for child in parent.children:
            assert parent.start <= child.start < child.end <= parent.end
            assert child.text == text[child.start : child.end]
            assert child.text.strip()
            assert not text[covered : child.start].strip()
            assert overlapping or child.start >= covered
            covered = max(covered, child.end)
        assert not text[covered : parent.end].strip()


def sentence(number: int, length: int) -> str:
    return " ".join([f"Word{number}", *(f"w{number}x{place}" for place in range(length - 1))]) + "."


# Sizes


@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain", "text/x-python"])
def test_a_text_within_the_tolerance_is_one_child_and_one_parent(media_type: str) -> None:
    text = " ".join(sentence(number, 10) for number in range(3))
    (parent,) = parents_of(text, media_type=media_type, child=20)
    (child,) = parent.children
    assert (child.text, child.start, child.end, child.tokens) == (text, 0, len(text), 30)
    assert (parent.text, parent.tokens) == (text, 30)


def test_a_paragraph_over_the_tolerance_is_cut_into_even_pieces_at_sentences() -> None:
    text = " ".join(sentence(number, 8) for number in range(4))
    assert [child.tokens for child in children_of(text, child=20)] == [16, 16]


def test_small_paragraphs_of_a_section_share_a_child() -> None:
    text = "\n\n".join(sentence(number, 9) for number in range(4))
    assert [child.tokens for child in children_of(text, child=20)] == [18, 18]


def test_a_short_last_paragraph_does_not_become_a_tiny_child() -> None:
    text = sentence(0, 20) + "\n\n" + sentence(1, 3)
    assert [child.tokens for child in children_of(text, child=20)] == [23]


def test_parents_are_cut_at_headings_and_hold_about_the_target() -> None:
    text = "\n\n".join(f"# H{number}\n\n{sentence(number, 35)}" for number in range(6))
    parents = parents_of(text, child=20, parent=80)
    assert [parent.text.count("# H") for parent in parents] == [2, 2, 2]
    assert all(parent.text.startswith("# H") for parent in parents)


def test_a_parent_carries_the_headings_that_all_its_children_share() -> None:
    text = "# Guide\n\n## One\n\nfirst words here.\n\n## Two\n\nsecond words here."
    (parent,) = parents_of(text, child=16, parent=80)
    assert parent.heading_path == ("Guide",)
    assert [child.heading_path for child in parent.children] == [("Guide", "One"), ("Guide", "Two")]


@pytest.mark.parametrize(("text", "parents"), [("", 0), (" \n\n\t ", 1)])
def test_a_blank_text_has_no_children(text: str, parents: int) -> None:
    drafts = parents_of(text)
    assert len(drafts) == parents
    assert not any(parent.children for parent in drafts)


# Headings


def test_heading_paths_are_without_markup_and_follow_atx_and_setext_levels() -> None:
    text = (
        "Guide to *all*\n==============\n\nIntro text.\n\n"
        "Using `run` and [links](http://x.example)\n---\n\nUse it.\n\n"
        "### Deep **down** {#anchor}\n\nDeep text.\n\n## Next &amp; last\n\nEnd."
    )
    assert [(child.heading_path, child.text.splitlines()[-1]) for child in children_of(text)] == [
        (("Guide to all",), "Intro text."),
        (("Guide to all", "Using run and links"), "Use it."),
        (("Guide to all", "Using run and links", "Deep down"), "Deep text."),
        (("Guide to all", "Next & last"), "End."),
    ]


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_heading_inside_a_fence_is_no_heading(fence: str) -> None:
    (child,) = children_of(f"# Real\n\n{fence}sh\n# not a heading\n{fence}\n\nafter")
    assert child.heading_path == ("Real",)


def test_a_heading_stays_with_the_text_that_follows() -> None:
    text = f"{sentence(0, 18)}\n\n## Next\n\n{sentence(1, 40)}\n\n{sentence(2, 18)}"
    assert all(not child.text.rstrip().endswith("## Next") for child in children_of(text, child=20))


def test_a_heading_without_text_goes_with_its_first_subsection() -> None:
    children = children_of("# A\n\n## B\n\n### C\n\ntext of C.\n\n## D\n\ntext of D.")
    assert [(child.heading_path, child.text) for child in children] == [
        (("A", "B", "C"), "# A\n\n## B\n\n### C\n\ntext of C."),
        (("A", "D"), "## D\n\ntext of D."),
    ]


def test_headings_with_nothing_under_them_are_kept_together() -> None:
    children = children_of("# List\n\n## One\n\n## Two\n\n## Three\n\ntext.\n\n## Four")
    assert [(child.heading_path, child.text) for child in children] == [
        (("List",), "# List\n\n## One\n\n## Two"),
        (("List", "Three"), "## Three\n\ntext."),
        (("List", "Four"), "## Four"),
    ]


def test_a_paragraph_above_a_rule_is_no_heading() -> None:
    children = children_of("first line\nsecond line\n---\n\nmore")
    assert {child.heading_path for child in children} == {()}


# What is not cut


def rows(number: int) -> list[str]:
    return ["| name | value |", "|---|---|", *(f"| row{place} | {place} |" for place in range(number))]


def test_a_table_is_cut_between_rows_and_its_header_stays_with_the_first() -> None:
    table = rows(20)
    children = children_of("\n".join(table), child=20)
    assert len(children) > 1
    assert children[0].text.startswith("\n".join(table[:3]))
    assert [line for child in children for line in child.text.splitlines()] == table


def test_code_is_cut_between_lines_and_its_fences_stay_with_code() -> None:
    code = ["```py", *(f"x{place} = call({place}, {place})" for place in range(30)), "```"]
    children = children_of("\n".join(code), child=20)
    assert len(children) > 1
    assert [line for child in children for line in child.text.splitlines()] == code
    assert children[0].text.startswith("```py\nx0")
    assert children[-1].text.endswith("x29 = call(29, 29)\n```")


def test_indented_code_keeps_its_indentation() -> None:
    text = "Text:\n\n    one = 1\n\n    two = 2\n"
    (child,) = children_of(text)
    assert child.text == text.rstrip()


def test_a_list_is_cut_between_items() -> None:
    items = [f"- item {place} has exactly these seven words" for place in range(10)]
    children = children_of("\n".join(items), child=20)
    assert len(children) > 1
    assert all(line.startswith("- item") for child in children for line in child.text.splitlines())


def test_a_large_list_item_is_cut_between_its_own_paragraphs() -> None:
    text = "- first\n\n  " + sentence(0, 25) + "\n\n  " + sentence(1, 25) + "\n- last\n"
    children = children_of(text, child=20)
    assert [child.tokens for child in children] == [27, 27]


def test_a_line_that_announces_a_list_stays_with_it() -> None:
    text = sentence(0, 18) + "\n\nThese are needed:\n\n- one thing\n- another thing\n- a third thing\n"
    assert children_of(text, child=20)[-1].text.startswith("These are needed:")


def test_a_quote_is_cut_between_its_paragraphs() -> None:
    text = f"> {sentence(0, 25)}\n>\n> {sentence(1, 25)}"
    assert [child.text.strip("> \n")[:5] for child in children_of(text, child=20)] == ["Word0", "Word1"]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith et al. found v2.3.1 at https://example.com/a.b?c=d.e in Sec. 4.2, e.g. on Linux and elsewhere too.",
        "J. R. R. Tolkien and Robert Downey Jr. of the U.S. Navy met Mr. Jones vs. St. Mary for 3.5 m, approx. 5 p.m.",
        'He waited... and waited for "No. 7" of Acme Inc. to answer, i.e. to say no. 5 of vol. 3, pp. 3.',
    ],
)  # fmt: skip
def test_abbreviations_decimals_versions_and_urls_do_not_end_a_sentence(text: str) -> None:
    children = children_of(f"{text} {sentence(1, 16)}", child=16)
    assert [child.text for child in children] == [text, sentence(1, 16)]


def test_chinese_and_japanese_sentences_end_at_their_own_marks() -> None:
    made = segment(
        document("これは最初の文です。二つ目の文はここ！三つ目はどこ？" * 4),
        count=len,
        child_tokens=26,
        parent_tokens=200,
    )
    assert {child.text[-1] for parent in made for child in parent.children} <= set("。！？")


def test_one_endless_sentence_is_cut_at_words() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    children = children_of(text, child=20, parent=200)
    assert " ".join(child.text for child in children) == text
    assert all(15 <= child.tokens <= 30 for child in children)


def test_one_endless_word_is_cut_anywhere() -> None:
    text = "x" * 1_000
    made = segment(document(text), count=len, child_tokens=20, parent_tokens=100)
    check(text, made)
    assert all(len(child.text) <= 30 for parent in made for child in parent.children)


def test_quoted_sentences_are_cut_where_the_quote_alone_is_too_large() -> None:
    text = '"' + " ".join(sentence(number, 8) for number in range(8)) + '"'
    assert all(child.text.rstrip('"').endswith(".") for child in children_of(text, child=20))


def test_lines_of_a_log_are_never_cut() -> None:
    text = "\n".join(f"2026-03-01 10:00:{second:02} INFO Done. Next one starts" for second in range(30))
    children = children_of(text, media_type="text/x-log", child=20)
    assert len(children) > 1
    assert all(child.text.startswith("2026") and child.text.endswith("starts") for child in children)


def test_text_without_markup_has_no_headings() -> None:
    (child,) = children_of("# a comment\nx = 1", media_type="text/x-python")
    assert child.heading_path == ()


def test_white_space_without_end_is_no_indentation() -> None:
    (child,) = children_of(" " * 100_000 + "word", media_type="text/plain")
    assert child.text == "word"


def test_windows_line_ends_keep_offsets_exact() -> None:
    text = "# A\r\n\r\none two\r\n\r\n## B\r\n\r\n- x\r\n- y\r\n"
    assert [child.heading_path for child in children_of(text)] == [("A",), ("A", "B")]


# Conversation turns


def test_a_conversation_turn_is_one_parent_however_long() -> None:
    text = "\n\n".join(sentence(number, 15) for number in range(40))
    made = segment(
        document(text, turn=Turn(thread_id="t", ordinal=0, speaker="Ada")),
        count=words,
        child_tokens=20,
        parent_tokens=40,
    )
    check(text, made)
    assert len(made) == 1
    assert len(made[0].children) > 10


# Splitters


def test_a_langchain_splitter_makes_the_children_and_may_overlap() -> None:
    text = "# Head\n\n" + "\n\n".join(sentence(number, 30) for number in range(4)) + "\n\n## Sub\n\n" + sentence(9, 60)
    splitter = RecursiveCharacterTextSplitter(chunk_size=120, chunk_overlap=40)
    made = segment(document(text), count=words, child_tokens=20, parent_tokens=80, splitter=splitter)
    check(text, made, overlapping=True)
    assert [child.text for parent in made for child in parent.children] == [
        piece for parent in made for piece in splitter.split_text(parent.text)
    ]
    assert made[0].children[0].heading_path == ("Head",)
    assert made[-1].children[-1].heading_path == ("Head", "Sub")


def test_text_that_a_splitter_drops_is_still_covered() -> None:
    text = "one two --- three four --- five six"
    splitter = CharacterTextSplitter(separator="---", chunk_size=8, chunk_overlap=0)
    made = segment(document(text, media_type="text/plain"), count=words, splitter=splitter)
    check(text, made)
    assert len(made[0].children) == 3


class Upper:
    """A splitter that changes the text."""

    def split_text(self, text: str) -> list[str]:
        return [text.upper()]


def test_a_splitter_that_changes_the_text_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="does not occur in the text"):
        segment(document("some text"), count=words, splitter=Upper())


# Division against brute force


def cheapest(sizes: list[int], cuts: list[float], target: int) -> float:
    """The least cost over all divisions, written down from the definition."""
    best = float("inf")
    for mask in range(2 ** (len(sizes) - 1)):
        bounds = [0, *(place for place in range(1, len(sizes)) if mask >> (place - 1) & 1), len(sizes)]
        best = min(best, cost_of(sizes, cuts, bounds, target))
    return best


def cost_of(sizes: list[int], cuts: list[float], bounds: list[int], target: int) -> float:
    total = sum(cuts[place] for place in bounds[1:-1])
    for first, last in pairwise(bounds):
        size = sum(sizes[first:last])
        limit = int(TOLERANCE * target)
        if size > limit and last - first > 1:
            return float("inf")
        gap = 1 - min(size, limit) / target
        total += gap**2 if gap > 0 else 4 * gap**2
    return total


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.0, 0.1, 0.3, 5.0])), min_size=1, max_size=9),
    st.integers(8, 30),
)
def test_the_division_is_the_cheapest_of_all(units: list[tuple[int, float]], target: int) -> None:
    sizes, cuts = [size for size, _ in units], [cut for _, cut in units]
    found = divide(sizes, cuts, target=target)
    assert cost_of(sizes, cuts, [0, *found, len(sizes)], target) == pytest.approx(cheapest(sizes, cuts, target))


# Invariants on random documents

LINES = st.sampled_from(
    [
        "# Top", "## Section", "### Deep *x*", "Setext", "===", "---", "", "", "", "   ", "***", "```", "~~~",
        "    code line", "> quote", "> # quoted", "- item", "  - nested item", "1. first", "[ref]: http://x.example",
        "| a | b |", "|---|---|", "| 1 | 2 |", "<div>", "</div>", "\ttab", "plain words here", "x" * 90, "end:", "a  ",
        "A sentence. Another one! Third? Yes.", "これは文です。次の文。", "“unclosed", "\x0c",
        "\u2028odd\u00a0space\x85", "A.\u2028B. C",
    ]
)  # fmt: skip


@given(
    st.lists(LINES, max_size=40),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["text/markdown", "text/plain", "text/x-log"]),
    st.sampled_from([len, words]),
)
def test_every_text_is_partitioned_and_covered(chosen: list[str], line_end: str, media_type: str, count: object) -> None:
    text = line_end.join(chosen)
    made = segment(document(text, media_type=media_type), count=count, child_tokens=16, parent_tokens=64)  # type: ignore[arg-type]
    check(text, made)


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["text/markdown", "text/plain"]),
)
def test_arbitrary_characters_are_partitioned_and_covered(text: str, media_type: str) -> None:
    made = segment(document(text, media_type=media_type), count=len, child_tokens=16, parent_tokens=64)
    check(text, made)


PARAGRAPHS = st.lists(st.integers(3, 45), min_size=1, max_size=6)


@given(st.lists(PARAGRAPHS, min_size=2, max_size=6), st.data())
def test_an_edited_paragraph_changes_only_children_of_its_section(lengths: list[list[int]], data: st.DataObject) -> None:
    sections = [[sentence(100 * number + place, length) for place, length in enumerate(section)] for number, section in enumerate(lengths)]
    edited = data.draw(st.integers(0, len(sections) - 1))
    place = data.draw(st.integers(0, len(sections[edited]) - 1))
    changed = [list(section) for section in sections]
    changed[edited][place] = sentence(9_999, data.draw(st.integers(3, 90)))

    def made(parts: list[list[str]]) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        text = "\n\n".join(f"{'#' * (1 + number % 3)} Head {number}\n\n" + "\n\n".join(part) for number, part in enumerate(parts))
        found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for child in children_of(text):
            found.setdefault(child.heading_path[-1], []).append((child.heading_path, child.text))
        return found

    before, after = made(sections), made(changed)
    for number in range(len(sections)):
        if number != edited:
            assert before[f"Head {number}"] == after[f"Head {number}"]


@given(st.lists(st.integers(4, 30), min_size=40, max_size=60), st.data())
def test_an_insertion_in_a_long_text_without_headings_changes_a_few_children(lengths: list[int], data: st.DataObject) -> None:
    paragraphs = [sentence(number, length) for number, length in enumerate(lengths)]
    place = data.draw(st.integers(0, len(paragraphs)))
    inserted = [*paragraphs[:place], sentence(9_999, 25), *paragraphs[place:]]
    before = Counter(child.text for child in children_of("\n\n".join(paragraphs)))
    after = Counter(child.text for child in children_of("\n\n".join(inserted)))
    assert (after - before).total() <= 12


@pytest.mark.parametrize(
    ("unit", "join", "media_type"),
    [
        ("| row{0} | {0} | x |", "\n", "text/markdown"),
        ("x{0} = call({0})", "\n", "text/x-python"),
        ("Word{0} is a sentence of eight words here.", " ", "text/plain"),
        ("Word{0} is a paragraph of eight words here.", "\n\n", "text/markdown"),
    ],
)
def test_an_insertion_in_a_long_row_of_equal_units_changes_a_few_children(unit: str, join: str, media_type: str) -> None:
    head = "| a | b | c |\n|---|---|---|\n" if unit.startswith("|") else ""
    units = [unit.format(number) for number in range(1_200)]
    before = Counter(child.text for child in children_of(head + join.join(units), media_type=media_type, child=64))
    inserted = [*units[:7], unit.format(9_999), *units[7:]]
    after = Counter(child.text for child in children_of(head + join.join(inserted), media_type=media_type, child=64))
    assert before.total() > 50
    assert (after - before).total() <= 15


# Real documents


def test_real_documents_are_divided_whole_and_to_measure() -> None:
    sizes = []
    for source in load(EXAMPLES, max_file_bytes=10_000_000):
        assert isinstance(source, Document)
        made = segment(source, count=words, child_tokens=60, parent_tokens=300)
        check(source.text, made)
        sizes += [child.tokens for parent in made for child in parent.children]
        assert all(parent.tokens <= TOLERANCE * 300 for parent in made)
    assert len(sizes) > 300
    assert max(sizes) <= TOLERANCE * 60
    assert sum(size < 8 for size in sizes) / len(sizes) < 0.05
