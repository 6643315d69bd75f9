"""Names, keys and identifiers without a language model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.knowledge.mentions import (
    FUNCTION_WORDS,
    MAX_NAME_WORDS,
    identifiers,
    mentioned_names,
    normalize_name,
    query_names,
    quoted_strings,
    subject_names,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Beatles", "beatles"),
        ("Beatles'", "The Beatles"),
        ("Ed Wood's", "ed wood"),
        ("J. K. Rowling", "J.K. Rowling"),
        ("U.S.", "US"),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("Beyoncé", "Beyonce"),
        ("Aschenbrödel", "ASCHENBRODEL"),
        ("Malmø", "Malmo"),
        ("O’Brien", "O'Brien"),
        ("Hampton, Virginia", "Hampton Virginia"),
        ("X-402-V2", "x 402 v2"),
    ],
)
def test_spellings_of_one_name_share_a_key(one: str, other: str) -> None:
    assert normalize_name(one) == normalize_name(other)


@pytest.mark.parametrize(("one", "other"), [("C", "C++"), ("C", "C#"), ("A Team", "B Team"), ("東京", "京都"), ("v2.3", "v2.4")])
def test_different_names_keep_different_keys(one: str, other: str) -> None:
    assert normalize_name(one) != normalize_name(other)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_key_is_its_own_key(name: str) -> None:
    key = normalize_name(name)
    assert normalize_name(key) == key


def test_a_name_without_letters_and_digits_has_no_key() -> None:
    assert normalize_name(" … !") == ""


def test_a_page_is_about_its_title_with_and_without_disambiguation_and_its_headings() -> None:
    assert subject_names("Ed Wood (film)", ("The Score", "Martin Landau")) == ("Ed Wood (film)", "Ed Wood", "The Score", "Martin Landau")


@pytest.mark.parametrize("heading", ["Security", "3. Decision", "Early life", "Known issues", "What's new", "References:", "FIXED"])
def test_a_heading_that_any_document_may_have_is_no_subject(heading: str) -> None:
    assert subject_names("Harbour crane", (heading, "Spreader")) == ("Harbour crane", "Spreader")
    assert subject_names(heading) == (heading,), "a whole page may well be about it"


@pytest.mark.parametrize("title", ["1:56 pm on 8 May, 2023", "2023-05-08", "", "Monday", "1984", "…"])
def test_dates_numbers_and_empty_titles_name_nothing(title: str) -> None:
    assert subject_names(title) == ()


def test_a_sentence_for_a_title_names_nothing() -> None:
    assert subject_names(" ".join(f"word{i}" for i in range(MAX_NAME_WORDS + 1))) == ()


def test_a_heading_that_repeats_the_title_is_given_once() -> None:
    assert subject_names("The Gateway", ("Gateway", "GATEWAY")) == ("The Gateway",)


def test_a_mention_meets_the_page_whichever_is_ingested_first() -> None:
    mentioned = {normalize_name(name) for name in mentioned_names("It stars Johnny Depp as Ed Wood.")}
    about = {normalize_name(name) for name in subject_names("Ed Wood (film)")}
    assert mentioned & about == {"ed wood"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("It was led by Lil Jon and Dillon Francis.", {"Lil Jon and Dillon Francis", "Lil Jon", "Dillon Francis"}),
        ("He left the University of Copenhagen.", {"University of Copenhagen", "University", "Copenhagen"}),
        ("The novel by J. K. Rowling sold.", {"J K Rowling"}),
        ("They saw St. Louis and Mt. Rainier.", {"St Louis and Mt Rainier", "St Louis", "Mt Rainier"}),
        ("They ended World War II there.", {"World War II"}),
        ("The 2016 Summer Olympics began.", {"2016 Summer Olympics"}),
        ("It fell in 1960 as the Berlin Wall grew.", {"Berlin Wall"}),
        ("He met Ludwig van Beethoven.", {"Ludwig van Beethoven"}),
        ("OBJECTIVE To test the Gateway again", {"OBJECTIVE", "Gateway"}),
    ],
)
def test_capitalised_runs_are_names_as_a_whole_and_in_parts(text: str, names: set[str]) -> None:
    assert set(mentioned_names(text)) == names


@pytest.mark.parametrize("text", ["The song ended.", "It's late. I'm off, don't wait.", "Sounds good! Congrats.", "no capitals at all", ""])
def test_a_capital_that_only_opens_a_sentence_names_nothing(text: str) -> None:
    assert mentioned_names(text) == ()


def test_a_sentence_opening_word_counts_once_it_is_capitalised_inside_a_sentence_too() -> None:
    assert "Paris" in mentioned_names("Paris is large. She loves Paris.")


def test_quoted_titles_and_identifiers_are_mentions() -> None:
    assert set(mentioned_names('see "get low" in sys_init_v2')) == {"get low", "sys_init_v2"}


@settings(deadline=None)
@given(st.text(max_size=300))
def test_every_mention_has_a_key_and_no_key_comes_twice(text: str) -> None:
    keys = [normalize_name(name) for name in mentioned_names(text)]
    assert all(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    "identifier",
    [
        "X-402-V2",
        "sys_init_v2",
        "getUserName",
        "UserNameParser",
        "v2.3.1",
        "2.3.1",
        "/etc/app/main.conf",
        "src/app/main.py",
        "ERR_TIMEOUT",
        "E0502",
        "CVE-2024-1234",
        "std::vector",
        "os.path",
        "run()",
        "--dry-run",
        "__init__",
        "IL-6",
        "https://example.org/a?b=c",
    ],
)
def test_codes_paths_versions_and_code_names_are_identifiers(identifier: str) -> None:
    assert identifiers(f"what does {identifier}, as above, do?") == (identifier,)


@pytest.mark.parametrize(
    "words",
    [
        "state-of-the-art",
        "20-year-old",
        "mid-1990s",
        "2016-17",
        "McDonald",
        "YouTube",
        "e.g. U.S.A.",
        "and/or",
        "3.5",
        "1:56 pm",
        "Ed Wood",
    ],
)
def test_ordinary_words_are_not_identifiers(words: str) -> None:
    assert identifiers(f"about {words} here") == ()


@pytest.mark.parametrize("text", ['"x y"', "“x y”", "«x y»", "「x y」", "`x y`"])
def test_quoted_strings_are_found_in_any_quotes(text: str) -> None:
    assert quoted_strings(f"who wrote {text}?") == ("x y",)


def names_in(query: str, *keys: str) -> tuple[str, ...]:
    def lookup(asked: Sequence[str]) -> set[str]:
        return set(keys) & set(asked)

    return query_names(query, lookup)


def test_a_query_names_known_entities_in_any_case() -> None:
    assert names_in("were scott derrickson and Ed Wood American?", "scott derrickson", "ed wood") == ("scott derrickson", "ed wood")


def test_the_longest_name_wins_and_a_part_counts_only_where_it_stands_alone() -> None:
    keys = ("university of copenhagen", "copenhagen")
    assert names_in("who leads the university of Copenhagen?", *keys) == ("university of copenhagen",)
    assert names_in("is the university of Copenhagen in Copenhagen?", *keys) == keys


def test_a_function_word_is_no_name_unless_it_is_an_acronym() -> None:
    assert names_in("tell us who it was", "us", "who", "it") == ()
    assert names_in("did the WHO move to the US?", "us", "who", "it") == ("who", "us")


def test_the_known_entities_are_asked_for_once() -> None:
    calls: list[Sequence[str]] = []

    def lookup(asked: Sequence[str]) -> set[str]:
        calls.append(asked)
        return set()

    assert query_names("who directed the film about Ed Wood?", lookup) == ()
    assert len(calls) == 1


def test_function_words_are_lower_case() -> None:
    assert all(word == word.casefold() for word in FUNCTION_WORDS)
