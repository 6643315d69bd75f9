"""Entity resolution over a memory, however many names are new at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag2_memory import Document, Memory
from rag2_memory.ingestion import resolve
from rag2_memory.testing.fakes import FakeEmbedder

TEXTS = [
    f"{name} leads the {project} project."
    for name, project in (
        ("Marta Wierzbicka", "Lantern"),
        ("M. Wierzbicka", "Harbor"),
        ("Tom Okafor", "Quarry"),
        ("T. Okafor", "Delta"),
        ("Priya Raman", "Granite"),
        ("P. Raman", "Meadow"),
        ("Tim Oakes", "Cedar"),
    )
]


def merged_names(folder: Path) -> set[frozenset[str]]:
    """Return the pairs of names that a new memory of the texts takes for one."""
    with Memory.open(folder, embedder=FakeEmbedder(8)) as memory:
        memory.ingest([Document(id=f"d{number}", text=text) for number, text in enumerate(TEXTS)])
        registry = memory.services.registry
        assert registry.entity_uses("default", compared=False) == []
        names = {use.entity.id: use.entity.key for use in registry.entity_uses("default")}
        roots = registry.canonical("default", list(names))
        groups: dict[str, set[str]] = {}
        for identity, key in names.items():
            groups.setdefault(roots.get(identity, identity), set()).add(key)
        return {frozenset(group) for group in groups.values() if len(group) > 1}


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_names_that_are_compared_in_slices_become_the_same_entities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    together = merged_names(tmp_path / "together")
    assert len(together) >= 3
    monkeypatch.setattr(resolve, "COMPARED_AT_ONCE", at_once)
    assert merged_names(tmp_path / "slices") == together
