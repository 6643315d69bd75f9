"""Opening, ingesting, updating, deleting, closing: what a memory promises about its documents."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rag2_memory import (
    AsOf,
    ClosedMemoryError,
    Document,
    InvalidRequestError,
    Memory,
    MemoryInUseError,
    Scope,
    SourceError,
    UnknownDocumentError,
)
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

Open = Callable[..., Memory]


def found(memory: Memory, query: str, **options: object) -> list[str]:
    """Return the document ids of a search, best first."""
    return [passage.document_id for passage in memory.search(query, **options)]  # type: ignore[arg-type]


def test_what_was_ingested_is_found_after_reopening(open_memory: Open) -> None:
    memory = open_memory()
    report = memory.ingest([Document(id="a", text="The gateway listens on port 8443."), Document(id="b", text="Lunch is at noon.")])
    assert report.added == ("a", "b")
    assert report.chunks == report.embedded == 2
    memory.close()
    memory = open_memory()
    assert found(memory, "Which port does the gateway listen on?", k=1) == ["a"]
    assert memory.verify().ok


def test_an_unchanged_folder_embeds_nothing(open_memory: Open, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "one.md").write_text("# One\n\nThe first page.")
    (docs / "two.md").write_text("# Two\n\nThe second page.")
    memory = open_memory()
    assert memory.ingest(docs).added == ("one.md", "two.md")
    again = memory.ingest(docs)
    assert (again.unchanged, again.embedded, again.chunks) == (("one.md", "two.md"), 0, 0)


def test_an_edit_embeds_only_the_chunks_that_changed(memory: Memory) -> None:
    sections = [f"# Part {i}\n\n" + f"Sentence number {i} about topic {i}. " * 12 for i in range(6)]
    first = memory.ingest(Document(id="a", text="\n\n".join(sections)))
    sections[3] = sections[3].replace("topic 3", "another matter")
    second = memory.ingest(Document(id="a", text="\n\n".join(sections)))
    assert second.updated == ("a",)
    assert 0 < second.embedded < first.embedded / 2


def test_a_vanished_file_is_hidden_and_a_skipped_one_is_not(memory: Memory, tmp_path: Path) -> None:
    for name in ("gone.md", "kept.md", "broken.md"):
        (tmp_path / name).write_text(f"The page {name} speaks of zebras.")
    memory.ingest(tmp_path)
    (tmp_path / "gone.md").unlink()
    (tmp_path / "broken.md").write_bytes(b"\xff\xfe\x00\x00binary\x00")
    report = memory.ingest(tmp_path)
    assert report.removed == ("gone.md",)
    assert [Path(skip.source).name for skip in report.skipped] == ["broken.md"]
    assert sorted(found(memory, "zebras")) == ["broken.md", "kept.md"]


def test_nothing_is_pruned_when_asked_not_to(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Zebras.")
    memory.ingest(tmp_path)
    (tmp_path / "a.md").unlink()
    (tmp_path / "b.md").write_text("Lions.")
    assert memory.ingest(tmp_path, prune=False).removed == ()
    assert set(found(memory, "zebras")) == {"a.md", "b.md"}


def test_two_folders_with_the_same_file_name_keep_both(memory: Memory, tmp_path: Path) -> None:
    for folder in ("north", "south"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(f"The {folder} wind blows.")
        memory.ingest(tmp_path / folder)
    assert sorted(found(memory, "wind")) == ["README.md", "south/README.md"]
    assert memory.ingest(tmp_path / "south").unchanged == ("south/README.md",)


def test_as_of_answers_as_the_memory_stood_then(memory: Memory, clock: FakeClock) -> None:
    memory.ingest(Document(id="policy", text="Logs are kept for thirty days."))
    before = clock.now
    clock.advance(days=10)
    memory.ingest(Document(id="policy", text="Logs are kept for fourteen days."))
    question = "How long are logs kept?"
    assert "fourteen" in memory.search(question)[0].text
    assert "thirty" in memory.search(question, as_of=before)[0].text
    assert "thirty" in memory.search(question, as_of=AsOf(recorded=before))[0].text
    assert memory.document("policy", as_of=before) == "Logs are kept for thirty days."
    assert [block.text for block in memory.recall(question, as_of=before, budget=2_000).blocks] == ["Logs are kept for thirty days."]


def test_forgetting_removes_a_document_from_every_tier_and_says_so(memory: Memory) -> None:
    memory.ingest([Document(id="secret", text="Project Zanzibar starts in May."), Document(id="open", text="Tea is in the kitchen.")])
    memory.recall("When does Zanzibar start?")
    receipt = memory.forget("secret")
    assert receipt.removed["chunks"] == receipt.removed["versions"] == 1
    assert found(memory, "Zanzibar") == ["open"]
    assert memory.facts("Project Zanzibar") == []
    assert memory.verify().ok
    with pytest.raises(UnknownDocumentError, match="secret"):
        memory.forget("secret")


def test_a_forgotten_document_can_come_back(memory: Memory) -> None:
    memory.ingest(Document(id="a", text="Zebras graze."))
    memory.forget("a")
    assert memory.ingest(Document(id="a", text="Zebras graze.")).added == ("a",)
    assert found(memory, "zebras") == ["a"]


def test_an_archived_document_leaves_and_comes_back_without_embedding(memory: Memory) -> None:
    memory.ingest([Document(id="a", text="Zebras graze."), Document(id="b", text="Lions sleep.")])
    memory.archive("a")
    assert found(memory, "zebras") == ["b"]
    assert memory.verify().ok
    memory.restore("a")
    assert found(memory, "zebras", k=1) == ["a"]
    assert memory.verify().ok


def test_forget_asks_for_a_namespace_where_several_have_the_id(memory: Memory) -> None:
    for namespace in ("red", "blue"):
        memory.ingest(Document(id="a", text=f"The {namespace} page."), namespace=namespace)
    with pytest.raises(InvalidRequestError, match="several namespaces"):
        memory.forget("a")
    memory.forget("a", namespace="red")
    assert found(memory, "page", scope=Scope(namespace="red")) == []
    assert found(memory, "page", scope=Scope(namespace="blue")) == ["a"]


def test_acls_hold_and_a_change_is_effective_at_once(memory: Memory) -> None:
    memory.ingest(Document(id="pay", text="Salaries rise in May.", acl=frozenset({"group:hr"})))
    hr = Scope(groups=frozenset({"hr"}))
    question = "When do salaries rise?"
    assert memory.recall(question).blocks == ()
    assert len(memory.recall(question, scope=hr).blocks) == 1
    memory.set_acl("pay", [])
    assert len(memory.recall(question).blocks) == 1
    memory.set_acl("pay", ["user:ada"])
    assert memory.recall(question).blocks == memory.recall(question, scope=hr).blocks == ()
    with pytest.raises(UnknownDocumentError):
        memory.document("pay")


def test_an_acl_set_here_outlives_a_reingest_of_the_source(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Zebras graze.")
    memory.ingest(tmp_path)
    memory.set_acl("a.md", ["user:ada"])
    memory.ingest(tmp_path)
    (tmp_path / "a.md").write_text("Zebras graze at dawn.")
    assert memory.ingest(tmp_path).updated == ("a.md",)
    assert found(memory, "zebras") == []
    assert found(memory, "zebras", scope=Scope(user="ada")) == ["a.md"]


@pytest.mark.parametrize(
    ("source", "error"),
    [("no/such/folder", SourceError), (42, SourceError), ([Document(id="a", text="x"), 42], SourceError)],
    ids=["missing path", "a number", "a number in a list"],
)
def test_an_unusable_source_is_refused(memory: Memory, source: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        memory.ingest(source)


def test_a_broken_file_is_a_reported_skip_and_nothing_half_written(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "binary.md").write_bytes(bytes(range(256)))
    (tmp_path / "latin.md").write_bytes("Gr\xfc\xdfe aus M\xfcnchen".encode("latin-1"))
    (tmp_path / "huge.md").write_text("word " * 12_000_000)
    (tmp_path / "acl.md").write_text("---\nacl: [everyone]\n---\nSecret.")
    (tmp_path / "good.md").write_text("Zebras graze.")
    report = memory.ingest(tmp_path)
    assert report.added == ("good.md",)
    assert {Path(skip.source).name for skip in report.skipped} == {"empty.md", "binary.md", "latin.md", "huge.md", "acl.md"}
    assert all(skip.reason for skip in report.skipped)
    assert memory.status()["counts"]["documents"] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda memory: memory.search(""),
        lambda memory: memory.search("x", k=0),
        lambda memory: memory.search("x", route="telepathy"),
        lambda memory: memory.search("x", as_of="yesterdayish"),
        lambda memory: memory.recall("x", budget=10),
        lambda memory: memory.recall("x", budget=-1),
        lambda memory: memory.facts(" "),
        lambda memory: memory.rebuild("everything"),
        lambda memory: memory.ingest(Document(id="a", text="x"), acl="group:eng"),
        lambda memory: memory.ingest(Document(id="a", text="x"), acl=["eng"]),
        lambda memory: memory.ingest(Document(id="a", text="x"), namespace=""),
        lambda memory: memory.remember("hello", thread_id="t"),
        lambda memory: memory.remember([("wizard", "hello")], thread_id="t"),
        lambda memory: memory.remember([("user", "hello")], thread_id=""),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(memory: Memory, call: Callable[[Memory], object]) -> None:
    with pytest.raises(InvalidRequestError):
        call(memory)
    assert memory.status()["counts"]["documents"] == 0


def test_a_closed_memory_says_so_and_closing_twice_is_no_error(open_memory: Open) -> None:
    memory = open_memory()
    memory.close()
    memory.close()
    for call in (lambda: memory.search("x"), lambda: memory.ingest("."), lambda: memory.facts("x"), memory.verify):
        with pytest.raises(ClosedMemoryError):
            call()


def test_a_second_memory_on_the_folder_is_refused_and_names_the_holder(open_memory: Open, tmp_path: Path) -> None:
    open_memory()
    with pytest.raises(MemoryInUseError, match=str(os.getpid())):
        Memory.open(tmp_path / "memory", embedder=FakeEmbedder())
    code = (
        "from rag2_memory import Memory, MemoryInUseError; from rag2_memory.testing.fakes import FakeEmbedder\n"
        f"try: Memory.open({str(tmp_path / 'memory')!r}, embedder=FakeEmbedder())\n"
        "except MemoryInUseError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"process {os.getpid()}" in told


def test_another_embedder_is_refused(open_memory: Open) -> None:
    open_memory().close()
    with pytest.raises(InvalidRequestError, match="fake-hashing-32"):
        open_memory(embedder=FakeEmbedder(dimensions=32))
    open_memory().close()


@pytest.mark.parametrize("tier", ["vector", "lexical", "graph.kuzu", "cache.sqlite"])
@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_lost_index_is_restored_from_the_registry(open_memory: Open, tmp_path: Path, tier: str, damage: str) -> None:
    memory = open_memory()
    memory.ingest([Document(id=f"d{i}", text=f"Zebra number {i} met Ada Lovelace.") for i in range(5)])
    expected = [(passage.chunk_id, passage.score) for passage in memory.search("Ada Lovelace and zebra 3")]
    memory.close()
    path = tmp_path / "memory" / tier
    for part in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
        part.unlink() if damage == "missing" else part.write_bytes(b"not an index" * 50)
    if damage == "missing" and path.is_dir():
        subprocess.run(["rm", "-rf", str(path)], check=True)
    memory = open_memory()
    assert memory.repair().ok
    again = [(passage.chunk_id, passage.score) for passage in memory.search("Ada Lovelace and zebra 3")]
    assert [chunk for chunk, _ in again] == [chunk for chunk, _ in expected]
    assert [score for _, score in again] == pytest.approx([score for _, score in expected], abs=1e-3)


@pytest.mark.parametrize("tier", ["vector", "lexical", "graph", "cache"])
def test_a_rebuild_embeds_nothing(memory: Memory, tier: str) -> None:
    memory.ingest([Document(id=f"d{i}", text=f"Zebra number {i}.") for i in range(5)])
    embedded = memory._upkeep.sync.embedded
    memory.rebuild(tier)  # type: ignore[arg-type]
    assert memory._upkeep.sync.embedded == embedded
    assert memory.verify().ok


def test_a_memory_inside_the_folder_is_not_ingested(open_memory: Open, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("Zebras graze.")
    memory = open_memory("inside")
    memory.ingest(Document(id="secret", text="Zanzibar.", acl=frozenset({"user:ada"})))
    report = memory.ingest(tmp_path)
    assert report.added == ("note.md",)
    assert [skip.reason for skip in report.skipped] == ["it is a memory's own folder"]
