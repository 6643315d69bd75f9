"""What was forgotten stands in no file of the memory any longer, in no spelling that an engine uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag2_memory import Document, Memory, Scope
from rag2_memory.tiers.analysis import Analyzer

Open = Callable[..., Memory]

SECRETS = {
    "text": "quetzalcoatlus",
    "older version": "pterodactylian",
    "title": "vermilionade",
    "heading": "brontosauria",
    "entity": "oglethorpia",
    "metadata": "metasecretive",
    "turn": "turnsecretive",
    "question": "archaeopteryx",
}
"""A word by where it stands; none occurs anywhere else."""

SECRET_PAGE = (
    f"# The {SECRETS['heading']}\n\nBrunhilda {SECRETS['entity'].capitalize()} leads Project Tanganyika. "
    f"The sound of the {SECRETS['text']} is heard at night. {SECRETS['question'].capitalize()} is its cousin.\n"
)


def spellings(word: str) -> Iterator[bytes]:
    """Yield how a word may stand in a file: as it is, as its indexed term, as UTF-16, as hexadecimal digits."""
    for form in {word, *Analyzer().terms(word)}:
        yield form.encode()
        yield form.encode("utf-16-le")
        yield form.encode("utf-16-be")
        yield form.encode().hex().encode()


def found_in_files(folder: Path) -> list[str]:
    """Return the files that hold a secret, with where the secret stood."""
    held = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = file.read_bytes().lower()
        held += [
            f"{file.relative_to(folder)} holds the {kind}" for kind, word in SECRETS.items() if any(s in data for s in spellings(word))
        ]
    return held


def others() -> list[Document]:
    """Return pages that stay, in the same batch, the same index segment and about the same project as the secret one."""
    return [
        Document(
            id=f"d{i}",
            title=f"Page {i}",
            text=f"# Part\n\nAnna Schmidt leads Project Tanganyika. Lunch number {i} is at noon in kitchen {i}.\n",
        )
        for i in range(40)
    ]


def filled(open_memory: Open) -> Memory:
    """Return a memory that holds every secret, in every tier."""
    memory = open_memory()
    memory.ingest(Document(id="secret", text=f"The {SECRETS['older version']} sleeps."))
    page = Document(id="secret", title=f"On {SECRETS['title']}", metadata={"key": SECRETS["metadata"]}, text=SECRET_PAGE)
    memory.ingest([*others()[:20], page, *others()[20:]])
    turns = ["Hello there.", f"My code is {SECRETS['turn']}.", "Goodbye."]
    memory.remember([{"role": "user", "content": text, "id": f"t{i}"} for i, text in enumerate(turns)], thread_id="t")
    for question in (f"Who is Brunhilda {SECRETS['entity'].capitalize()}?", f"What is {SECRETS['question']}?", "What is my code?"):
        memory.recall(question, budget=4_000)
    return memory


@pytest.mark.parametrize("reopened", [False, True], ids=["in one session", "after reopening"])
def test_no_byte_of_a_forgotten_document_stays_in_any_file(open_memory: Open, tmp_path: Path, reopened: bool) -> None:
    memory = filled(open_memory)
    if reopened:
        memory.close()
        memory = open_memory()
    before = memory.status()["counts"]
    assert len(found_in_files(tmp_path / "memory")) >= len(SECRETS)  # the scan sees what is there
    receipt, turn = memory.forget("secret"), memory.forget("t1")
    assert found_in_files(tmp_path / "memory") == []
    memory.close()
    assert found_in_files(tmp_path / "memory") == []
    memory = open_memory()
    after = memory.status()["counts"]
    assert receipt.removed["versions"] == 2
    assert receipt.removed["chunks"] == receipt.removed["vectors"] == receipt.removed["postings"] == 2
    assert turn.removed["versions"] == turn.removed["chunks"] == 1
    for kind in ("versions", "chunks", "mentions", "entities", "edges"):
        assert before[kind] - after[kind] == receipt.removed[kind] + turn.removed[kind], kind
    assert memory.verify().ok
    assert {passage.document_id for passage in memory.search("kitchen 7", k=1)} == {"d7"}
    assert [fact.subject for fact in memory.facts("Project Tanganyika")] == ["Anna Schmidt"]
    assert found_in_files(tmp_path / "memory") == []


def test_forgetting_that_was_cut_short_is_completed_by_the_next_open(
    open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = filled(open_memory)

    def cut_short() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(memory.services.registry, "compact", cut_short)
    for name in ("secret", "t1"):
        with pytest.raises(KeyboardInterrupt):
            memory.forget(name)
    memory.close()
    open_memory().close()
    assert found_in_files(tmp_path / "memory") == []


def test_other_namespaces_keep_their_copy(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    for namespace in ("red", "blue"):
        memory.ingest(Document(id="secret", text=SECRET_PAGE), namespace=namespace)
    memory.forget("secret", namespace="red")
    assert [p.document_id for p in memory.search(SECRETS["text"], k=1, scope=Scope(namespace="blue"))] == ["secret"]
    assert found_in_files(tmp_path / "memory")
    memory.forget("secret", namespace="blue")
    assert found_in_files(tmp_path / "memory") == []


def test_the_word_index_forgets_the_terms_too(open_memory: Open, tmp_path: Path) -> None:
    """A term dictionary folds its words together, so that a scan for bytes cannot see them: the files themselves must have been replaced."""
    memory = filled(open_memory)
    lexical = memory.services.lexical
    terms = [term for kind in ("text", "title", "heading", "entity", "turn") for term in Analyzer().terms(SECRETS[kind])]
    assert all(lexical.document_frequency(term, namespace="default") for term in terms)
    segments = {file.name for file in (tmp_path / "memory" / "lexical").rglob("*.term")}
    memory.forget("secret")
    memory.forget("t1")
    assert [term for term in terms if lexical.document_frequency(term, namespace="default")] == []
    assert not segments & {file.name for file in (tmp_path / "memory" / "lexical").rglob("*.term")}
    assert memory.verify().ok
