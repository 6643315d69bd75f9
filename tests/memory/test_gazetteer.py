"""The patterns know by name what open documents have typed before."""

from __future__ import annotations

from rag2_memory import Document, Memory, Scope
from rag2_memory.testing.fakes import FakeEmbedder

ADA = frozenset({"user:ada"})


def typed(name: str, **options: frozenset[str]) -> Document:
    """A page that says what a name is."""
    return Document(id=name, title=name, text=f"# {name}\n\nThe component {name} depends on the Ledger Service.", **options)  # type: ignore[arg-type]


LATER = Document(id="later", text="Falcon uses Kestrel.")


def learnt(*documents: Document) -> list[str]:
    """Return what Falcon uses as the page `later` states it, after some others were taken in."""
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        for document in documents:
            memory.ingest(document)
        return [fact.object for fact in memory.facts("Falcon", scope=Scope(user="ada")) if "later" in fact.documents]


def test_names_typed_by_other_pages_are_known_to_the_next() -> None:
    assert learnt(LATER) == []
    assert learnt(typed("Falcon"), typed("Kestrel"), LATER) == ["Kestrel"]


def test_a_restricted_page_types_nothing_for_others() -> None:
    pages = [typed(name, acl=ADA) for name in ("Falcon", "Kestrel")]
    assert learnt(*pages, LATER) == []


def test_other_namespaces_type_nothing() -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest([typed("Falcon"), typed("Kestrel")], namespace="red")
        memory.ingest(LATER, namespace="blue")
        assert memory.facts("Falcon", scope=Scope(namespace="blue")) == []
