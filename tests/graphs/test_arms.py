"""What a scope sees is ranked as if nothing else were there, whatever share it sees, on the first search and on later ones that have learnt it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rag2_memory import Document, Memory, MemoryConfig, Scope
from rag2_memory.graphs.arms import dense_hits, lexical_hits, visible_arms
from rag2_memory.graphs.state import request_of
from rag2_memory.testing.fakes import FakeEmbedder

DEPTH, DOCUMENTS = 20, 600
QUESTION = "Which giraffe eats leaves near the river?"
SHARES = {"one": 1, "few": 5, "third": 30, "most": 70}
"""Groups by the percentage of documents that they see."""


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """Giraffes of all kinds, each for the groups whose share it falls into."""
    memory = Memory.open(tmp_path_factory.mktemp("arms"), embedder=FakeEmbedder(64), config=MemoryConfig(arm_depth=DEPTH))
    rng = np.random.default_rng(5)
    memory.ingest(
        Document(
            id=f"d{number}",
            text=f"Giraffe {number} eats {' '.join(f'word{at}' for at in rng.integers(0, 300, 12))} leaves near a river.",
            acl=readers(number),
        )
        for number in range(DOCUMENTS)
    )
    yield memory
    memory.close()


def readers(number: int) -> frozenset[str]:
    """Return who may read a document."""
    return frozenset({"group:nobody"} | {f"group:{name}" for name, share in SHARES.items() if number * 37 % 100 < share})


def rankings(memory: Memory, scope: Scope) -> dict[str, list[str]]:
    """Return both arms as the scope sees them."""
    services, request = memory.services, request_of({"query": QUESTION, "scope": scope})
    (vector,) = services.embedder.embed([QUESTION])
    dense, lexical = dense_hits(vector, request, services), lexical_hits(request, services)
    arms, outlines, _ = visible_arms({**dense[0], **lexical[0]}, {**dense[1], **lexical[1]}, request, services, vector=vector)
    assert all(chunk_id in outlines for hits in arms.values() for chunk_id, _ in hits)
    return {arm: [chunk_id for chunk_id, _ in hits] for arm, hits in arms.items()}


def exact(memory: Memory, scope: Scope) -> dict[str, list[str]]:
    """Return what both arms must be: the whole rankings without what the scope does not see."""
    services = memory.services
    (vector,) = services.embedder.embed([QUESTION])
    seen = services.registry.visible_ids(scope, limit=DOCUMENTS) or ()
    everything = tuple(services.registry.indexable())
    dense = services.vector.search(vector, k=DOCUMENTS, namespace="default", among=everything)
    lexical = services.lexical.search(QUESTION, k=DOCUMENTS, namespace="default")
    return {arm: [hit.id for hit in hits if hit.id in set(seen)][:DEPTH] for arm, hits in (("dense", dense), ("lexical", lexical))}


@pytest.mark.parametrize("group", SHARES)
def test_the_arms_equal_the_exact_filtered_rankings(memory: Memory, group: str) -> None:
    scope = Scope(groups=frozenset({group}))
    expected = exact(memory, scope)
    assert len(expected["dense"]) == min(DEPTH, DOCUMENTS * SHARES[group] // 100)
    for _ in range(6):
        assert rankings(memory, scope) == expected
    assert memory.services.reach.share(scope) == pytest.approx(SHARES[group] / 100, abs=0.15)


def test_a_scope_that_comes_to_see_more_finds_it_at_once(tmp_path: Path) -> None:
    with Memory.open(tmp_path, embedder=FakeEmbedder(64), config=MemoryConfig(arm_depth=DEPTH)) as memory:
        ann = Scope(user="ann")
        memory.ingest(
            Document(
                id=f"d{number}",
                text=f"Giraffe {number} eats leaves near river {number % 7}.",
                acl=frozenset({"user:ann" if number % 50 == 0 else "user:bob"}),
            )
            for number in range(300)
        )
        for _ in range(3):
            assert rankings(memory, ann) == exact(memory, ann)
        for number in range(1, 300, 3):
            memory.set_acl(f"d{number}", ["user:ann"])
        assert rankings(memory, ann) == exact(memory, ann)
        assert len(rankings(memory, ann)["dense"]) == DEPTH
        memory.remove([f"d{number}" for number in range(0, 300, 2)])
        assert rankings(memory, ann) == exact(memory, ann)
