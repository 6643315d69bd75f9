"""Evaluation sets: both layouts, conversations, and what is said about files that are wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.datasets import Dataset, parse_date, read_dataset
from rag2_memory.types import Document, Scope, Turn

EXAMPLES = Path(__file__).parents[2] / "examples"


def write_rows(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_set(folder: Path, corpus: list[Any], queries: list[Any]) -> Path:
    write_rows(folder / "corpus.jsonl", *corpus)
    write_rows(folder / "queries.jsonl", *queries)
    return folder


def documents(dataset: Dataset) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for namespace, source in dataset.sources():
        assert not isinstance(source, Path)
        found.setdefault(namespace, []).extend(source)
    return found


def test_rows_become_documents_and_queries(tmp_path: Path) -> None:
    folder = write_set(
        tmp_path,
        [{"id": "p0", "title": "T", "text": "some text", "src": "x"}, {"id": 7, "text": "other", "date": "2026-03-15"}],
        [
            {"id": "q0", "query": "what?", "gold": ["p0", 7, "p0"], "type": "bridge", "answer": "it"},
            {"id": "q1", "query": "why?", "gold": [], "hops": 3},
        ],
    )
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.documents, dataset.missing) == (tmp_path.name, 2, ())
    first, second = dataset.queries
    assert (first.id, first.text, first.gold, first.kind, first.answer) == ("q0", "what?", ("p0", "7"), "bridge", "it")
    assert (second.gold, second.kind, second.scope) == ((), "3 hops", Scope())
    assert documents(dataset) == {
        "default": [
            Document(id="p0", title="T", text="some text", metadata={"src": "x"}),
            Document(id="7", text="other", modified_at=datetime(2026, 3, 15, tzinfo=UTC)),
        ]
    }


def test_a_folder_of_documents_is_ingested_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "teams").mkdir(parents=True)
    (tmp_path / "corpus" / "teams" / "a.md").write_text("text")
    write_rows(
        tmp_path / "questions.jsonl",
        {
            "id": "q",
            "query": "who?",
            "gold": ["teams/a.md", "teams/gone.md"],
            "class": "permission",
            "scope": {"user": "ada", "groups": ["eng"]},
            "forbidden": ["hr/b.md"],
            "as_of": "2026-03-01",
        },
    )
    dataset = read_dataset(tmp_path)
    assert list(dataset.sources()) == [("default", tmp_path / "corpus")]
    assert (dataset.documents, dataset.missing) == (1, ("teams/gone.md",))
    (query,) = dataset.queries
    assert query.scope == Scope(user="ada", groups=frozenset({"eng"}))
    assert (query.kind, query.forbidden, query.as_of) == ("permission", ("hr/b.md",), "2026-03-01")


def test_the_examples_of_this_repository_are_a_complete_set() -> None:
    dataset = read_dataset(EXAMPLES)
    assert len(dataset.queries) >= 50
    assert dataset.missing == ()


def turn(name: str, conversation: str, session: int, speaker: str) -> dict[str, Any]:
    return {
        "id": name,
        "title": "1:56 pm on 8 May, 2023",
        "text": f"{speaker}: hello",
        "conv": conversation,
        "session": session,
        "speaker": speaker,
        "date": "1:56 pm on 8 May, 2023",
    }


def test_rows_with_a_speaker_are_turns_in_the_order_of_their_thread(tmp_path: Path) -> None:
    rows = [
        turn("a", "c1", 1, "Ada"), turn("b", "c1", 1, "Bo"), turn("c", "c1", 2, "Ada"), turn("d", "c2", 1, "Cy"),
        turn("e", "c1", 1, "Ada"),
    ]  # fmt: skip
    dataset = read_dataset(write_set(tmp_path, rows, [{"id": "q", "conv": "c1", "query": "who?", "gold": ["a"]}]))
    at = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    found = documents(dataset)
    assert [document.turn for document in found["c1"]] == [
        Turn(thread_id="c1/1", ordinal=0, speaker="Ada", at=at),
        Turn(thread_id="c1/1", ordinal=1, speaker="Bo", at=at),
        Turn(thread_id="c1/2", ordinal=0, speaker="Ada", at=at),
        Turn(thread_id="c1/1", ordinal=2, speaker="Ada", at=at),
    ]
    assert [document.id for document in found["c2"]] == ["d"]
    assert dataset.queries[0].scope.namespace == "c1"


def test_the_same_id_may_stand_in_two_groups_but_gold_is_looked_for_in_its_own(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x", "namespace": "n1"}, {"id": "a", "text": "y", "namespace": "n2"}]
    queries = [{"id": "q", "query": "?", "gold": ["a"], "namespace": "n3"}]
    assert read_dataset(write_set(tmp_path, rows, queries)).missing == ("a",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:56 pm on 8 May, 2023", "2023-05-08T13:56"),
        ("12:30 am on 1 January, 2024", "2024-01-01T00:30"),
        ("12:05 p.m. on Jan 1, 2024", "2024-01-01T12:05"),
        ("2023/05/30 (Tue) 23:40", "2023-05-30T23:40"),
        ("2023-05-30T23:40:00+02:00", "2023-05-30T21:40"),
        ("8 May 2023", "2023-05-08T00:00"),
        ("May 2023", None),
        ("some day", None),
    ],
)
def test_dates_are_read_with_their_time(text: str, expected: str | None) -> None:
    found = parse_date(text)
    assert (found.strftime("%Y-%m-%dT%H:%M") if found else None) == expected


GOOD_ROW, GOOD_QUERY = {"id": "a", "text": "x"}, {"id": "q", "query": "?", "gold": ["a"]}


@pytest.mark.parametrize(
    ("corpus", "queries", "message"),
    [
        ([GOOD_ROW, "{broken"], [GOOD_QUERY], r"corpus\.jsonl:2 is not JSON"),
        ([GOOD_ROW, "[1]"], [GOOD_QUERY], r"corpus\.jsonl:2 is a JSON list; needed an object"),
        ([GOOD_ROW, {"text": "x"}], [GOOD_QUERY], r"corpus\.jsonl:2 has id=None; needed text"),
        ([GOOD_ROW, {"id": "b"}], [GOOD_QUERY], r"corpus\.jsonl:2 has text=None; needed text"),
        ([GOOD_ROW, "", GOOD_ROW], [GOOD_QUERY], r"corpus\.jsonl:3 has the id 'a' a second time"),
        ([GOOD_ROW], [{"id": "q", "query": "?"}], r"queries\.jsonl:1 has no gold"),
        ([GOOD_ROW], [{"id": "q", "query": "?", "gold": "a"}], r"queries\.jsonl:1 has gold='a'; needed a list"),
        ([GOOD_ROW], [{"id": "q", "query": " ", "gold": []}], r"queries\.jsonl:1 has query=' '; needed text"),
        ([GOOD_ROW], [{**GOOD_QUERY, "scope": "ada"}], r"queries\.jsonl:1 has scope='ada'; needed an object"),
        ([GOOD_ROW], [GOOD_QUERY, GOOD_QUERY], "has the query id 'q' more than once"),
        ([GOOD_ROW], [], "holds no queries"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, corpus: list[Any], queries: list[Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read_dataset(write_set(tmp_path, corpus, queries))


def test_a_row_that_makes_no_document_is_named(tmp_path: Path) -> None:
    dataset = read_dataset(write_set(tmp_path, [GOOD_ROW, {"id": "b", "text": "x", "acl": ["eng"]}], [GOOD_QUERY]))
    with pytest.raises(InvalidRequestError, match=r"corpus\.jsonl:2: got the ACL entry 'eng'"):
        documents(dataset)


def test_missing_files_are_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="which does not exist; needed a folder with corpus"):
        read_dataset(tmp_path / "gone")
    write_rows(tmp_path / "corpus.jsonl", GOOD_ROW)
    with pytest.raises(InvalidRequestError, match=r"neither queries\.jsonl nor questions\.jsonl; it holds corpus\.jsonl"):
        read_dataset(tmp_path)


def test_a_corpus_is_streamed(tmp_path: Path) -> None:
    folder = write_set(tmp_path, [{"id": str(number), "text": "x"} for number in range(1_000)], [GOOD_QUERY])
    dataset = read_dataset(folder)
    (_, source), *_ = dataset.sources()
    assert not isinstance(source, Path | list | tuple)
