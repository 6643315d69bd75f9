"""The night's command and what it leaves for a person: consolidate, communities, graph merges, graph decide."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rag2_memory import Document, Memory
from rag2_memory.testing.fakes import FakeEmbedder
from tests.memory.test_consolidation import Reader

Run = Callable[..., Result]
Read = Callable[..., Any]
READER = "tests.cli.test_consolidate_command:Reader"
BROKEN = "tests.cli.test_consolidate_command:broken_reader"
TEA = [Document(id=f"tea{n}", text=f"Green tea from Uji, harvest number {n}, is sold in Kyoto.") for n in range(3)]


def broken_reader() -> Reader:
    """A model that is out of reach."""
    return Reader(fails_after=0)


def filled(folder: Path, *documents: Document) -> Path:
    """Put documents into a memory."""
    with Memory.open(folder, embedder=FakeEmbedder()) as memory:
        memory.ingest(list(documents))
    return folder


def test_a_night_reads_groups_and_reports(run: Run, read: Read, memory: Path) -> None:
    filled(memory, *TEA, Document(id="pair", text="Maria Lopez mentors Jonas Weber."))
    told = read("consolidate", "--model", READER, "--memory", memory)
    assert (told["unread"], told["failure"], told["statements"]) == (0, "", 1)
    assert told["read"] >= 7
    assert read("facts", "Maria Lopez", "--memory", memory)[0]["object"] == "Jonas Weber"
    again = run("consolidate", "--model", READER, "--memory", memory).stdout
    assert "0 chunks read" in again
    assert "1 kept" in again


def test_a_dry_run_tells_and_changes_nothing(run: Run, memory: Path) -> None:
    filled(memory, *TEA)

    def rows() -> list[Any]:
        with sqlite3.connect(memory / "registry.sqlite") as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            found = [sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names]
        connection.close()
        return found

    before = rows()
    shown = run("consolidate", "--dry-run", "--model", READER, "--half-life-days", "1", "--memory", memory).stdout
    assert "nothing was changed" in shown
    assert "would be formed" in shown
    assert rows() == before


def test_a_model_out_of_reach_ends_with_its_exit_code(run: Run, memory: Path) -> None:
    result = run("consolidate", "--model", BROKEN, "--memory", memory, code=3)
    assert "communities:" in result.stdout
    assert "overloaded" in result.stderr


@pytest.mark.parametrize(
    "option", [["--model", "no.such:thing"], ["--extractor", "no.such:thing"], ["--archive"], ["--half-life-days", "0"]]
)
def test_what_cannot_be_done_is_refused(run: Run, memory: Path, option: list[str]) -> None:
    assert run("consolidate", *option, "--memory", memory, code=1).stderr.startswith("error: got ")


def test_faded_documents_are_listed_archived_and_restored(run: Run, read: Read, memory: Path) -> None:
    shown = run("consolidate", "--half-life-days", "0.000001", "--memory", memory).stdout
    assert "runbooks/err-5031.md" in shown
    told = read("consolidate", "--half-life-days", "0.000001", "--archive", "--memory", memory)
    assert "runbooks/err-5031.md" in told["archived"]
    assert "teams/alpha.md" in [document["document_id"] for document in told["spared"]]
    run("restore", "runbooks/err-5031.md", "--memory", memory)
    assert read("search", "ERR-5031 panel", "--memory", memory)[0]["document_id"] == "runbooks/err-5031.md"


def test_communities_are_shown_to_who_sees_them(run: Run, read: Read, tmp_path: Path) -> None:
    folder = filled(tmp_path / "tea", *TEA)
    assert "rag2 consolidate" in run("communities", "--memory", folder).stderr
    run("consolidate", "--memory", folder)
    shown = run("communities", "--memory", folder).stdout
    assert "3 documents" in shown
    assert "[m1]" in shown
    assert read("communities", "--namespace", "other", "--memory", folder) == []


def test_a_person_decides_what_is_queued_and_changes_their_mind(run: Run, read: Read, tmp_path: Path) -> None:
    texts = ["Vatsal Shah leads Project Alpha.", "Viktor Shah leads Project Beta.", "V. Shah reviewed the design."]
    folder = filled(tmp_path / "names", *(Document(id=f"d{n}", text=text) for n, text in enumerate(texts)))
    waiting = read("graph", "merges", "--memory", folder)
    assert waiting
    first = waiting[0]["merge_id"]
    assert str(first) in run("graph", "merges", "--memory", folder).stdout
    run("graph", "decide", first, "merge", "--memory", folder)
    assert first not in [review["merge_id"] for review in read("graph", "merges", "--memory", folder)]
    assert {record["merge_id"]: record["decision"] for record in read("graph", "merges", "--log", "--memory", folder)}[first] == "merge"
    run("graph", "decide", first, "undo", "--memory", folder)
    assert {record["merge_id"]: record["decision"] for record in read("graph", "merges", "--log", "--memory", folder)}[first] == "undone"
    assert "undone" in run("graph", "merges", "--log", "--memory", folder).stdout
    assert "999" in run("graph", "decide", "999", "reject", "--memory", folder, code=1).stderr
