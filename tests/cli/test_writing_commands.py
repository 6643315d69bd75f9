"""Commands that change a memory: what they report, what they refuse, and that nothing is half done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Read = Callable[..., Any]


def test_ingest_reports_what_was_added_and_embedded(read: Read, corpus: Path, tmp_path: Path) -> None:
    told = read("ingest", corpus, "--memory", tmp_path / "m")
    assert sorted(told["added"]) == ["hr/salaries.md", "runbooks/err-5031.md", "teams/alpha.md"]
    assert told["embedded"] == told["chunks"] > 0
    assert told["pending"] == []


def test_a_second_ingest_embeds_nothing_and_a_changed_folder_is_followed(run: Run, read: Read, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    run("ingest", corpus, "--memory", folder)
    again = read("ingest", corpus, "--memory", folder)
    assert (len(again["unchanged"]), again["embedded"]) == (3, 0)
    (corpus / "teams/alpha.md").write_text("# Project Alpha\n\nTomasz Wierzbicki leads Project Alpha.\n", encoding="utf-8")
    (corpus / "runbooks/err-5031.md").unlink()
    changed = read("ingest", corpus, "--memory", folder)
    assert (changed["updated"], changed["removed"]) == (["teams/alpha.md"], ["runbooks/err-5031.md"])
    assert read("search", "ERR-5031 panel", "--memory", folder, "--route", "lexical") == []


def test_no_prune_keeps_what_vanished(run: Run, read: Read, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    run("ingest", corpus, "--memory", folder)
    (corpus / "runbooks/err-5031.md").unlink()
    told = read("ingest", corpus, "--memory", folder, "--no-prune")
    assert told["removed"] == []
    assert "runbooks/err-5031.md" in {hit["document_id"] for hit in read("search", "ERR-5031", "--memory", folder)}


def test_what_cannot_be_read_is_skipped_with_its_reason(run: Run, corpus: Path, tmp_path: Path) -> None:
    (corpus / "empty.md").write_text("", encoding="utf-8")
    (corpus / "binary.bin").write_bytes(bytes(range(256)) * 8)
    (corpus / "latin.md").write_bytes("Größe \xff\xfe".encode("latin-1"))
    shown = run("ingest", corpus, "--memory", tmp_path / "m").stdout
    assert "3 added" in shown
    assert "3 skipped" in shown
    for name in ("empty.md", "binary.bin", "latin.md"):
        assert name in shown


def test_a_single_file_that_cannot_be_read_is_a_refusal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.md"
    path.write_text("", encoding="utf-8")
    assert "empty" in run("ingest", path, "--memory", tmp_path / "m", code=1).stdout


def test_a_missing_source_is_refused_before_a_memory_is_made(run: Run, tmp_path: Path) -> None:
    result = run("ingest", tmp_path / "nowhere", "--memory", tmp_path / "m", code=1)
    assert result.stderr.startswith("error: cannot ingest")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_a_folder_of_other_files_never_becomes_a_memory(run: Run, corpus: Path) -> None:
    before = sorted(corpus.rglob("*"))
    assert "holds other files" in run("ingest", corpus / "teams" / "alpha.md", "--memory", corpus, code=1).stderr
    assert sorted(corpus.rglob("*")) == before


def test_a_memory_never_takes_its_own_files_in(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(corpus.rglob("*"))
    monkeypatch.chdir(corpus)
    refused = run("ingest", ".", code=1)
    assert "its own files would be taken in" in refused.stderr
    assert "rag2 ingest . --memory ../memory" in refused.stderr
    assert "lies inside" in run("ingest", corpus, "--memory", corpus / "deep" / "memory", code=1).stderr
    assert sorted(corpus.rglob("*")) == before


def test_an_empty_folder_is_remarked_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "nothing to take in" in run("ingest", tmp_path / "empty", "--memory", tmp_path / "m").stderr


def test_an_acl_for_all_documents_does_not_widen_their_own(run: Run, read: Read, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    run("ingest", corpus, "--memory", folder, "--acl", "group:eng")
    listed = read("status", "--documents", "--memory", folder)["documents"]
    acls = {document["document_id"]: document["acl"] for document in listed}
    assert acls == {"teams/alpha.md": ["group:eng"], "runbooks/err-5031.md": ["group:eng"], "hr/salaries.md": ["group:hr"]}


def test_a_malformed_acl_entry_is_refused(run: Run, corpus: Path, tmp_path: Path) -> None:
    assert "user:NAME" in run("ingest", corpus, "--memory", tmp_path / "m", "--acl", "everyone", code=1).stderr


def test_messages_are_remembered_once_and_found(read: Read, tmp_path: Path) -> None:
    folder, file = tmp_path / "m", tmp_path / "chat.jsonl"
    messages = [
        {"role": "user", "content": "My favourite colour is ochre.", "id": "m1", "timestamp": "2026-03-01T09:00:00Z"},
        {"role": "assistant", "content": "Noted: ochre.", "id": "m2"},
    ]
    file.write_text("\n".join(map(json.dumps, messages)) + "\n\n", encoding="utf-8")
    first = read("remember", file, "--thread", "t1", "--user", "ada", "--memory", folder)
    assert len(first["added"]) == 2
    again = read("remember", "-", "--thread", "t1", "--user", "ada", "--memory", folder, stdin=file.read_text())
    assert again["added"] == []
    mine = read("search", "favourite colour", "--user", "ada", "--memory", folder)
    assert "ochre" in mine[0]["text"]
    assert read("search", "favourite colour", "--user", "bob", "--memory", folder) == []


def test_a_bad_line_of_messages_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text('{"role": "user", "content": "hello"}\nnot json\n', encoding="utf-8")
    assert "line 2" in run("remember", file, "--thread", "t", "--memory", tmp_path / "m", code=1).stderr
    file.write_text('["user", "hello"]\n', encoding="utf-8")
    assert "got list" in run("remember", file, "--thread", "t", "--memory", tmp_path / "m", code=1).stderr
    assert "cannot read" in run("remember", tmp_path / "none", "--thread", "t", "--memory", tmp_path / "m", code=1).stderr
    assert not (tmp_path / "m").exists()


def test_forgetting_leaves_a_receipt_and_no_trace(run: Run, read: Read, memory: Path) -> None:
    receipt = read("forget", "runbooks/err-5031.md", "--memory", memory)
    assert receipt["document_id"] == "runbooks/err-5031.md"
    assert receipt["removed"]["chunks"] >= 1
    assert read("search", "ERR-5031 panel", "--route", "lexical", "--memory", memory) == []
    assert run("verify", "--memory", memory).exit_code == 0
    gone = run("forget", "runbooks/err-5031.md", "--memory", memory, code=1)
    assert "no document" in gone.stderr


def test_an_acl_is_shown_changed_and_opened_again(run: Run, read: Read, memory: Path) -> None:
    assert "everyone in default" in run("acl", "teams/alpha.md", "--memory", memory).stdout
    run("acl", "teams/alpha.md", "--set", "user:ada", "--set", "group:eng", "--memory", memory)
    assert read("acl", "teams/alpha.md", "--memory", memory)["acl"] == ["group:eng", "user:ada"]
    found = read("search", "Project Alpha", "--memory", memory)
    assert "teams/alpha.md" not in {hit["document_id"] for hit in found}
    assert read("search", "Project Alpha", "--user", "ada", "--memory", memory)[0]["document_id"] == "teams/alpha.md"
    run("acl", "teams/alpha.md", "--everyone", "--memory", memory)
    assert "teams/alpha.md" in {hit["document_id"] for hit in read("search", "Project Alpha", "--memory", memory)}


def test_set_and_everyone_exclude_each_other(run: Run, memory: Path) -> None:
    assert "exclude each other" in run("acl", "teams/alpha.md", "--set", "user:a", "--everyone", "--memory", memory, code=2).stderr


def test_an_archived_document_is_out_of_search_until_it_is_restored(run: Run, read: Read, memory: Path) -> None:
    def found() -> bool:
        return bool(read("search", "ERR-5031 panel", "--route", "lexical", "--memory", memory))

    run("archive", "runbooks/err-5031.md", "--memory", memory)
    assert not found()
    assert "archived" in run("archive", "runbooks/err-5031.md", "--memory", memory, code=1).stderr
    run("restore", "runbooks/err-5031.md", "--memory", memory)
    assert found()
