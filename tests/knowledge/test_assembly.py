"""From extractions to records: ids, mentions, verified assertions, rejections with their reasons."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.assembly import assemble, edge_id, entity_id
from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.pipeline import KnowledgePipeline, StepwiseExtractor
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA
from rag2_memory.knowledge.verification import verify_relation
from rag2_memory.records import Extraction, Knowledge, NamedEntity, Relation
from rag2_memory.types import Chunk, Turn, utc
from tests.knowledge.conftest import NOW, MakeChunk, make_chunk

TEXT = "Vatsal Shah leads Project Alpha since 10 January 2026."
RELATION = Relation(
    subject="Vatsal Shah",
    predicate="LEAD_ARCHITECT_OF",
    object="Project Alpha",
    subject_type="Developer",
    object_type="Project",
    quote=TEXT,
)


def build(*relations: Relation, text: str = TEXT, entities: tuple[NamedEntity, ...] = ()) -> Knowledge:
    chunk = make_chunk(text, title="Project Alpha")
    extraction = Extraction(chunk_id=chunk.id, entities=entities, relations=relations)
    return assemble([extraction], [chunk], DEFAULT_SCHEMA, namespace="default", recorded_at=NOW)


def test_ids_are_hashes_of_namespace_and_normalised_name() -> None:
    assert entity_id("a", "vatsal shah") == entity_id("a", "vatsal shah")
    assert entity_id("a", "vatsal shah") != entity_id("b", "vatsal shah")
    assert edge_id("a", "s", "P", "o", None, None) != edge_id("a", "s", "P", "o", utc("2026-01-01"), None)
    assert edge_id("a", "s", "P", "o", utc("2026-01-01"), None) != edge_id("a", "s", "P", "o", None, utc("2026-01-01"))


def test_spellings_of_one_name_are_one_entity_and_keep_their_surface_forms() -> None:
    knowledge = build(entities=(NamedEntity(name="token-cache"), NamedEntity(name="Token cache", kind="subject")))
    (identity,) = {mention.entity_id for mention in knowledge.mentions if "oken" in mention.name}
    assert identity == entity_id("default", "token cache")
    assert {mention.name for mention in knowledge.mentions if mention.entity_id == identity} == {"token-cache", "Token cache"}


def test_a_title_ties_its_chunk_to_its_subject_and_the_text_to_what_it_mentions() -> None:
    kinds = {(mention.name, mention.kind) for mention in build(RELATION).mentions}
    assert ("Project Alpha", "subject") in kinds
    assert ("Vatsal Shah", "mention") in kinds


def test_an_edge_names_its_chunk_its_words_and_when_it_was_recorded() -> None:
    (assertion,) = build(RELATION).assertions
    assert assertion.subject_id == entity_id("default", "vatsal shah")
    assert (assertion.quote, assertion.recorded_at) == (TEXT, NOW)


def test_equal_edges_of_one_chunk_are_one_assertion_with_all_properties() -> None:
    first = Relation(**{**{key: getattr(RELATION, key) for key in RELATION.__slots__}, "properties": {"role": "lead"}, "confidence": 0.5})
    (assertion,) = build(first, RELATION).assertions
    assert assertion.confidence == 1.0
    assert assertion.properties == {"role": "lead"}


def test_one_name_of_unlike_types_is_one_entity_of_the_most_frequent_type() -> None:
    knowledge = build(
        entities=(
            NamedEntity(name="Mercury", type="Project", kind="subject"),
            NamedEntity(name="Mercury", type="Developer"),
            NamedEntity(name="mercury", type="Project"),
        )
    )
    (entity,) = [each for each in knowledge.entities if each.key == "mercury"]
    assert entity.type in ("Developer", "Project")
    assert {mention.type for mention in knowledge.mentions if mention.entity_id == entity.id} == {"Project", "Developer"}


REFUSED = [
    ({"predicate": "MARRIED_TO"}, "not in the schema"),
    ({"subject_type": "Component"}, "takes a subject of type Developer"),
    ({"subject": "Ada Byron"}, "not named in the passage"),
    ({"object": "Project Beta"}, "not named in the passage"),
    ({"object": "Vatsal Shah"}, "to itself"),
    ({"object": "!!"}, "is no name"),
    ({"quote": "Vatsal Shah leads everything."}, "does not stand in the passage"),
    ({"valid_from": utc("2026-02-01"), "valid_to": utc("2026-01-01")}, "not after its start"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=[case[1] + str(number) for number, case in enumerate(REFUSED)])
def test_an_edge_that_does_not_hold_is_refused_with_the_reason(change: dict[str, object], reason: str) -> None:
    fields = {key: getattr(RELATION, key) for key in RELATION.__slots__} | change
    knowledge = build(Relation(**fields))
    assert knowledge.assertions == ()
    ((refused, why),) = knowledge.rejected
    assert reason in why
    assert refused.subject == fields["subject"]


def test_a_quote_may_differ_in_markup_and_spacing_only(chunk: MakeChunk) -> None:
    marked = chunk("**Vatsal Shah** leads\n`Project Alpha` since 10 January 2026.")
    assert verify_relation(RELATION, marked, DEFAULT_SCHEMA) == ""


def test_a_name_counts_as_named_in_a_heading_the_front_matter_or_as_the_speaker(chunk: MakeChunk) -> None:
    bare = Relation(subject="Vatsal Shah", predicate="LEAD_ARCHITECT_OF", object="Project Alpha")
    for fields in (
        {"heading_path": ("Vatsal Shah",)},
        {"metadata": {"author": "Vatsal Shah"}},
        {"turn": Turn(thread_id="t", ordinal=0, speaker="Vatsal Shah")},
    ):
        assert verify_relation(bare, chunk("Leads Project Alpha.", **fields), DEFAULT_SCHEMA) == ""
    assert verify_relation(bare, chunk("Leads Project Alpha."), DEFAULT_SCHEMA) != ""


def test_a_phrase_becomes_the_schemas_predicate() -> None:
    fields = {key: getattr(RELATION, key) for key in RELATION.__slots__} | {"predicate": "leads"}
    (assertion,) = build(Relation(**fields)).assertions
    assert assertion.predicate == "LEAD_ARCHITECT_OF"


def test_an_extraction_of_an_unknown_chunk_is_refused(chunk: MakeChunk) -> None:
    with pytest.raises(InvalidRequestError, match="'elsewhere'"):
        assemble([Extraction(chunk_id="elsewhere")], [chunk("x")], DEFAULT_SCHEMA, namespace="n", recorded_at=NOW)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_what_is_written_does_not_depend_on_the_order_of_the_chunks(chance: random.Random) -> None:
    chunks = [
        make_chunk("Vatsal Shah leads Project Alpha.", id="1"),
        make_chunk("`project alpha` depends on token-cache.", id="2"),
        make_chunk("The token cache was patched on 3 May 2026 by Ada Byron.", id="3", title="Token cache"),
    ]
    extractions = [PatternExtractor().extract([each])[0] for each in chunks]
    once = assemble(extractions, chunks, DEFAULT_SCHEMA, namespace="n", recorded_at=NOW)
    chance.shuffle(chunks)
    chance.shuffle(extractions)
    again = assemble(extractions, chunks, DEFAULT_SCHEMA, namespace="n", recorded_at=NOW)
    for kind in ("mentions", "assertions"):
        assert {repr(each) for each in getattr(again, kind)} == {repr(each) for each in getattr(once, kind)}
    assert {(each.id, each.name, each.type) for each in again.entities} == {(each.id, each.name, each.type) for each in once.entities}


def test_the_pipelines_steps_can_be_replaced_one_by_one(chunk: MakeChunk) -> None:
    text = chunk("vatsal leads alpha.")

    def recognise(given: Chunk) -> list[NamedEntity]:
        return [NamedEntity(name="vatsal", type="Developer"), NamedEntity(name="alpha", type="Project")]

    def relate(given: Chunk, entities: object) -> list[Relation]:
        return [Relation(subject="vatsal", predicate="leads", object="alpha", subject_type="Developer", object_type="Project")]

    extractor = StepwiseExtractor("mine", entities=recognise, relations=relate)
    knowledge = KnowledgePipeline(extractor=extractor, names=lambda _: ())([text], namespace="n", recorded_at=NOW)
    assert [assertion.predicate for assertion in knowledge.assertions] == ["LEAD_ARCHITECT_OF"]
    refusing = KnowledgePipeline(extractor=extractor, verify=lambda *_: "no")([text], namespace="n", recorded_at=NOW)
    assert [reason for _, reason in refusing.rejected] == ["no"]


def test_the_sentence_patterns_trust_a_recognisers_types(chunk: MakeChunk) -> None:
    def recognise(given: Chunk) -> list[NamedEntity]:
        return [NamedEntity(name="Mercury", type="Developer"), NamedEntity(name="Apollo", type="Project")]

    extraction = StepwiseExtractor("mine", entities=recognise).extract([chunk("Mercury leads Apollo.")])[0]
    assert [(each.subject, each.subject_type, each.object_type) for each in extraction.relations] == [("Mercury", "Developer", "Project")]
