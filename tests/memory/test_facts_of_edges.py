"""Facts read by their edges are those read by what they touch: the few statements that are read along close the same windows."""

from __future__ import annotations

from rag2_memory import Document, Memory
from rag2_memory.records import Assertion
from rag2_memory.retrieval.facts import facts_about
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.types import Scope

PAGES = {
    "rowan": "# Project Rowan\n\nAda Berg leads Project Rowan since January 2023. Project Rowan depends on Willow.",
    "change": "# News\n\nSince May 2024 Nils Dahl leads Project Rowan. Ada Berg leads Project Elm since May 2024.",
    "late": "# Minutes\n\nFrom March 2022 to December 2022 Eva Holm led Project Rowan.",
    "willow": "# Willow\n\nWillow is a library. Nils Dahl leads Project Willow since June 2021. Project Elm depends on Willow.",
    "secret": "# Payroll\n\nSince July 2024 Olga Krag leads Project Rowan.",
}


def test_facts_of_edges_are_those_of_the_entities_that_they_touch() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), cache=False) as memory:
        for name, text in PAGES.items():
            memory.ingest(Document(id=name, text=text, acl=frozenset({"user:ann"} if name == "secret" else ())))
        registry, schema = memory.services.registry, memory.services.schema
        entities = [entity.id for entity in registry.entities("default")]
        canonical = set(registry.canonical("default", entities).values())
        for scope in (Scope(), Scope(user="ann")):
            every = facts_about(registry, schema, canonical, scope=scope)
            assert len(every) >= 6
            for fact in every:
                assert facts_about(registry, schema, scope=scope, edge_ids=[fact.edge_id]) == [fact]
            chosen = [fact.edge_id for fact in every[::2]]
            assert facts_about(registry, schema, scope=scope, edge_ids=chosen) == [fact for fact in every if fact.edge_id in chosen]


def test_of_a_hub_only_the_statements_that_matter_are_read() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), cache=False) as memory:
        memory.ingest([Document(id=f"d{n}", text=f"# Part{n}\n\nComponent Part{n} depends on Component Base.") for n in range(60)])
        memory.ingest(Document(id="lead", text="# Base\n\nAda Berg leads Component Base since January 2023."))
        registry = memory.services.registry
        (lead,) = memory.facts("Ada Berg", predicate="LEAD_ARCHITECT_OF")
        read: list[int] = []
        original = registry.assertions
        registry.assertions = lambda *args, **options: _counted(original(*args, **options), read)  # type: ignore[method-assign]
        assert [fact.edge_id for fact in facts_about(registry, memory.services.schema, scope=Scope(), edge_ids=[lead.edge_id])] == [
            lead.edge_id
        ]
        assert sum(read) <= 4


def _counted(found: list[Assertion], read: list[int]) -> list[Assertion]:
    read.append(len(found))
    return found
