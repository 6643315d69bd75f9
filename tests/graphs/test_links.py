"""What is fetched of the graph for ranking: the pages that a question names count as hits, and broad subjects are known as such."""

from __future__ import annotations

from rag2_memory import Document, Memory, Scope
from rag2_memory.graphs.links import SUBJECTS_PER_ENTITY, graph_slice
from rag2_memory.graphs.state import Request, request_of
from rag2_memory.records import Subgraph
from rag2_memory.retrieval.facts import entities_named
from rag2_memory.testing.fakes import FakeEmbedder


def asked(query: str) -> Request:
    return request_of({"query": query})


def walk(memory: Memory, name: str) -> tuple[list[str], Subgraph]:
    entities = entities_named(memory.services.registry, name, Scope())[:1]
    found = memory.services.graph.neighbourhood(
        namespace="default", entities=entities, subjects_per_entity=SUBJECTS_PER_ENTITY, mentions_per_entity=0
    )
    return entities, found


def test_a_page_that_the_question_names_gives_its_links_wherever_it_ranks() -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest(
            [
                Document(id="pier", title="Ostholm Pier", text="The pier was drawn by Carla Venn."),
                Document(id="venn", title="Carla Venn", text="She also drew lighthouses."),
                Document(id="first", title="Other", text="Nothing of this."),
            ]
        )
        entities, walked = walk(memory, "Ostholm Pier")
        [other] = [
            chunk for chunk in memory.services.registry.visible_ids(Scope(), None, limit=10) or () if "Nothing" in text_of(memory, chunk)
        ]
        part = graph_slice([(other, 0.5)], walked, entities, asked("Who drew Ostholm Pier?"), memory.services)
        titles = {passage: text_of(memory, passage) for passage in part.pages}
        assert any("drawn by" in text for text in titles.values())
        named = {entity for passage, entity, _ in part.mentions if "drawn by" in titles[passage]}
        about = {entity for passage, entity in part.subjects if "lighthouses" in titles[passage]}
        assert named & about, "the page about whom the named page names is in reach"


def test_a_subject_of_more_documents_than_are_fetched_is_known_to_be_broad() -> None:
    with Memory.in_memory(embedder=FakeEmbedder()) as memory:
        memory.ingest([Document(id=f"d{place}", title="Weather", text=f"Rain on day {place}.") for place in range(SUBJECTS_PER_ENTITY + 6)])
        memory.ingest(Document(id="pier", title="Ostholm Pier", text="Built of oak."))
        for name, broad in (("Weather", True), ("Ostholm Pier", False)):
            entities, walked = walk(memory, name)
            part = graph_slice([], walked, entities, asked(name), memory.services)
            assert (part.page_counts.get(entities[0], 0) > SUBJECTS_PER_ENTITY) is broad


def text_of(memory: Memory, chunk_id: str) -> str:
    return memory.services.registry.chunks([chunk_id], Scope(), None)[chunk_id].text
