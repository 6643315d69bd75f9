"""Reading without a model: what sentences, tables, key lines and lists state, and what they do not."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import product

import pytest

from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.patterns import rules
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, Predicate
from rag2_memory.knowledge.triggers import TRIGGERS
from rag2_memory.knowledge.windows import ENDED_BY, TO_PRECISION
from rag2_memory.protocols import Extractor
from rag2_memory.types import Turn, utc
from tests.knowledge.conftest import MakeChunk, Read

LEAD, OWNS, WORKS, NEEDS, UPDATED, REPLACES = (
    "LEAD_ARCHITECT_OF",
    "DEVELOPED_BY",
    "CONTRIBUTES_TO",
    "DEPENDS_ON",
    "UPDATED_BY",
    "DEPRECATED",
)

SENTENCES = [
    (
        "Vatsal Shah took over Project Alpha from Dana Reed on 10 January 2026.",
        [("Vatsal Shah", LEAD, "Project Alpha", "2026-01-10", None), ("Dana Reed", LEAD, "Project Alpha", None, "2026-01-10")],
    ),
    (
        "Dana Reed led Project Alpha until 2 Feb 2026, when Priya Raman took over.",
        [("Dana Reed", LEAD, "Project Alpha", None, "2026-02-02"), ("Priya Raman", LEAD, "Project Alpha", "2026-02-02", None)],
    ),
    (
        "Max Stone was appointed lead of Project Zeus in 2024 and stepped down as lead of Project Zeus on 3 May 2025.",
        [("Max Stone", LEAD, "Project Zeus", "2024-01-01", None), ("Max Stone", LEAD, "Project Zeus", None, "2025-05-03")],
    ),
    (
        "Vatsal Shah left Project Alpha to lead Project Beta on 18 June 2026.",
        [("Vatsal Shah", LEAD, "Project Beta", "2026-06-18", None), ("Vatsal Shah", LEAD, "Project Alpha", None, "2026-06-18")],
    ),
    (
        "Effective 1 July 2026, Max Stone will replace Ada Byron as lead of Project Gamma.",
        [("Max Stone", LEAD, "Project Gamma", "2026-07-01", None), ("Ada Byron", LEAD, "Project Gamma", None, "2026-07-01")],
    ),
    ("The lead of Project Alpha is Vatsal Shah.", [("Vatsal Shah", LEAD, "Project Alpha", None, None)]),
    ("Project Gamma's lead architect is now Max Stone.", [("Max Stone", LEAD, "Project Gamma", None, None)]),
    ("As of March 2026, Ada Byron is the lead architect of Project Beta.", [("Ada Byron", LEAD, "Project Beta", "2026-03-01", None)]),
    (
        "Project Alpha is led by Vatsal Shah and Project Beta is led by Ada Byron.",
        [("Vatsal Shah", LEAD, "Project Alpha", None, None), ("Ada Byron", LEAD, "Project Beta", None, None)],
    ),
    ("From January 2024 to March 2025, Ada Byron led Project Gamma.", [("Ada Byron", LEAD, "Project Gamma", "2024-01-01", "2025-04-01")]),
    (
        "Vatsal Shah leads Project Alpha and maintains the ledger-db.",
        [("Vatsal Shah", LEAD, "Project Alpha", None, None), ("ledger-db", OWNS, "Vatsal Shah", None, None)],
    ),
    (
        "Ownership of billing-engine moved from Ada Byron to Max Stone on 1 April 2026.",
        [("billing-engine", OWNS, "Max Stone", "2026-04-01", None), ("billing-engine", OWNS, "Ada Byron", None, "2026-04-01")],
    ),
    (
        "The Payment Service, developed by Ada Byron and Max Stone, exposes the Billing API and uses PostgreSQL.",
        [
            ("Payment Service", OWNS, "Ada Byron", None, None),
            ("Payment Service", OWNS, "Max Stone", None, None),
            ("Payment Service", "EXPORTS", "Billing API", None, None),
            ("Payment Service", NEEDS, "PostgreSQL", None, None),
        ],
    ),
    (
        "Grace Hopper joined Project Apollo in May 2025 as a compiler engineer.",
        [("Grace Hopper", WORKS, "Project Apollo", "2025-05-01", None)],
    ),
    (
        "Sam Lee works on Project Alpha since 2024 and Kim Ng has worked on it since March 2025.",
        [("Sam Lee", WORKS, "Project Alpha", "2024-01-01", None), ("Kim Ng", WORKS, "Project Alpha", "2025-03-01", None)],
    ),
    (
        "The payment-gateway depends on ledger-db and Redis.",
        [("payment-gateway", NEEDS, "ledger-db", None, None), ("payment-gateway", NEEDS, "Redis", None, None)],
    ),
    (
        "In March 2026 the telemetry-db was migrated from MySQL to PostgreSQL.",
        [("telemetry-db", NEEDS, "PostgreSQL", "2026-03-01", None), ("telemetry-db", NEEDS, "MySQL", None, "2026-04-01")],
    ),
    ("The auth-service was patched on 20 May 2026 by Grace Atkins.", [("auth-service", UPDATED, "Grace Atkins", "2026-05-20", None)]),
    ("Yesterday Grace Hopper updated the compiler-core.", [("compiler-core", UPDATED, "Grace Hopper", "2026-05-31", None)]),
    ("LegacyAuth was deprecated on 5 March 2026 in favor of auth-service.", [("auth-service", REPLACES, "LegacyAuth", "2026-03-05", None)]),
    ("ADR 12 supersedes ADR 7.", [("ADR 12", REPLACES, "ADR 7", None, None)]),
]


@pytest.mark.parametrize(("sentence", "expected"), SENTENCES, ids=[case[0][:50] for case in SENTENCES])
def test_a_sentence_states_its_edges(sentence: str, expected: list[tuple[str, ...]], read: Read) -> None:
    def day(moment: datetime | None) -> str | None:
        return moment.date().isoformat() if moment else None

    found = [(each.subject, each.predicate, each.object, day(each.valid_from), day(each.valid_to)) for each in read(sentence)]
    assert [edge for edge in expected if edge not in found] == []
    assert [edge for edge in found if edge not in expected and edge[1] not in (WORKS, "RELATED_TO")] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Who leads Project Alpha?",
        "If Ada Byron leads Project Alpha, we win.",
        "The team decided that Ada Byron should lead Project X.",
        "Nobody leads Project Y.",
        "Orion does not depend on Redis.",
        "Performance depends on Redis.",
        "Customers depend on Project Alpha.",
        "The owner of Orion depends on Kafka.",
        "Orion depends on Kafka stability.",
        "Implementations MUST be replaced with Orion.",
        "The Red Raiders joined the Football League in 1987.",
        "getUserName is deprecated in the partner API.",
    ],
)
def test_a_question_a_wish_or_a_denial_states_nothing(sentence: str, read: Read) -> None:
    assert [(each.subject, each.predicate, each.object) for each in read(sentence) if each.predicate != "RELATED_TO"] == []


def test_what_was_led_in_the_past_was_over_when_it_was_written(read: Read) -> None:
    (edge,) = read("Ada Byron used to lead Project Gamma.", modified_at="2026-06-01")
    assert edge.valid_to == utc("2026-06-01")
    assert edge.properties[TO_PRECISION] == ENDED_BY


def test_what_is_no_longer_so_has_ended(read: Read) -> None:
    (edge,) = read("Orion no longer depends on MySQL since 3 May 2026.")
    assert (edge.subject, edge.object, edge.valid_from) == ("Orion", "MySQL", None)
    assert edge.valid_to == utc("2026-06-01")


def test_this_project_is_what_the_page_is_about(read: Read) -> None:
    (edge,) = read("This project depends on Kafka.", title="Project Orion")
    assert (edge.subject, edge.predicate, edge.object) == ("Project Orion", NEEDS, "Kafka")


def test_pronouns_stand_for_what_was_spoken_of(read: Read) -> None:
    found = read("The lead of Project Alpha is Vatsal Shah. He took over on 10 January 2026. It depends on Redis.")
    assert ("Vatsal Shah", "2026-01-10") in {(each.subject, str(each.valid_from)[:10]) for each in found if each.predicate == LEAD}
    assert ("Project Alpha", "Redis") in {(each.subject, each.object) for each in found if each.predicate == NEEDS}


def test_it_at_the_start_of_a_section_is_the_sections_subject(read: Read) -> None:
    (edge,) = read("Holds a token-cache. It depends on session-store.", title="Architecture", heading_path=("Architecture", "auth-service"))
    assert edge.subject == "auth-service"


def test_i_is_the_speaker_of_a_turn(read: Read) -> None:
    turn = Turn(thread_id="t", ordinal=0, speaker="Ada Byron", at=utc("2026-05-01"))
    (edge,) = read("I'm now leading Project Beta.", turn=turn)
    assert (edge.subject, edge.predicate, edge.object) == ("Ada Byron", LEAD, "Project Beta")
    assert read("I'm now leading Project Beta.", turn=Turn(thread_id="t", ordinal=0, speaker="user")) == []


def test_the_date_above_a_list_dates_its_changes(read: Read) -> None:
    found = read(
        "**As of Monday 2 February 2026**\n\n- Priya Raman takes over Project Alpha from Dana Reed.\n- Max Stone leads Project Beta."
    )
    assert {(each.subject, str(each.valid_from)[:10], str(each.valid_to)[:10]) for each in found} == {
        ("Priya Raman", "2026-02-02", "None"),
        ("Dana Reed", "None", "2026-02-02"),
        ("Max Stone", "2026-02-02", "None"),
    }


def test_key_lines_describe_the_page(read: Read) -> None:
    text = "Lead: Vatsal Shah (until 2 Feb 2026), Priya Raman (since 2 Feb 2026)\nOwner: Max Stone\nDepends on: ledger-db, Redis\nStatus: active"
    found = {
        (each.subject, each.predicate, each.object, str(each.valid_from)[:10], str(each.valid_to)[:10])
        for each in read(text, title="Project Alpha")
    }
    assert found == {
        ("Vatsal Shah", LEAD, "Project Alpha", "None", "2026-02-02"),
        ("Priya Raman", LEAD, "Project Alpha", "2026-02-02", "None"),
        ("Project Alpha", OWNS, "Max Stone", "None", "None"),
        ("Project Alpha", NEEDS, "ledger-db", "None", "None"),
        ("Project Alpha", NEEDS, "Redis", "None", "None"),
    }


def test_a_since_line_dates_the_line_above_it(read: Read) -> None:
    (edge,) = read("Lead: Priya Raman\nSince: 2026-02-02", title="Project Alpha")
    assert edge.valid_from == utc("2026-02-02")


def test_key_lines_give_node_properties(chunk: MakeChunk) -> None:
    extraction = PatternExtractor().extract(
        [chunk("Status: active\nRepository: https://git.example/alpha\nStack: Rust", title="Project Alpha")]
    )[0]
    (project,) = [each for each in extraction.entities if each.properties]
    assert project.properties == {"status": "active", "repository_url": "https://git.example/alpha"}


TABLES = [
    (
        "| Component | Owner | Depends on |\n|---|---|---|\n| auth-service | Ada Byron | token-cache, Redis |",
        {("auth-service", OWNS, "Ada Byron"), ("auth-service", NEEDS, "token-cache"), ("auth-service", NEEDS, "Redis")},
    ),
    (
        "| Project | Lead | From | To |\n|---|---|---|---|\n| Alpha | Dana Reed | 2025-04-01 | 2026-02-02 |\n| Alpha | Priya Raman | 2026-02-02 | |",
        {("Dana Reed", LEAD, "Alpha"), ("Priya Raman", LEAD, "Alpha")},
    ),
    (
        "| Name | Role | Projects |\n|---|---|---|\n| Byron, Ada | Lead architect | Project Beta |\n| Max Stone | Engineer | Project Beta |",
        {("Byron, Ada", LEAD, "Project Beta"), ("Max Stone", WORKS, "Project Beta")},
    ),
    ("| Role | Who |\n|---|---|\n| Project lead | Ada Byron |\n| Design | Max Stone |", {("Ada Byron", LEAD, "Project Zeus")}),
]


@pytest.mark.parametrize(("table", "expected"), TABLES, ids=["owners", "leads", "people", "roles"])
def test_a_tables_rows_state_edges_by_its_header(table: str, expected: set[tuple[str, str, str]], read: Read) -> None:
    found = read(table, title="Project Zeus")
    assert {(each.subject, each.predicate, each.object) for each in found} == expected


def test_the_dates_of_a_row_date_its_edges(read: Read) -> None:
    first, second = read(TABLES[1][0], title="Leads of the projects")
    assert (first.valid_from, first.valid_to) == (utc("2025-04-01"), utc("2026-02-02"))
    assert (second.valid_from, second.valid_to) == (utc("2026-02-02"), None)


def test_a_table_that_goes_on_in_the_next_chunk_keeps_its_header(chunk: MakeChunk) -> None:
    first = chunk("| Component | Owner |\n|---|---|\n| auth-service | Ada Byron |", heading_path=("Owners",))
    second = chunk("| token-cache | Max Stone |", heading_path=("Owners",), ordinal=1)
    relations = PatternExtractor().extract([first, second])[1].relations
    assert [(each.subject, each.predicate, each.object) for each in relations] == [("token-cache", OWNS, "Max Stone")]


def test_a_list_under_a_telling_line_states_its_items(read: Read) -> None:
    found = read("It depends on\n\n- `telemetry-db`, for writing;\n- `config-service`: limits.", title="ingest-gateway")
    assert {(each.subject, each.predicate, each.object) for each in found} == {
        ("ingest-gateway", NEEDS, "telemetry-db"),
        ("ingest-gateway", NEEDS, "config-service"),
    }


def test_release_notes_report_updates_of_what_they_list(read: Read) -> None:
    text = "# Orion v2.3.1 (22 May 2026)\n\n- **token-cache**: entries are hashed. Ada Byron made the update on 21 May."
    found = read(text, title="Release notes: Orion v2.3.1", heading_path=("Orion v2.3.1 (22 May 2026)",))
    updates = {(each.subject, each.object, str(each.valid_from)[:10]) for each in found if each.predicate == UPDATED}
    assert updates == {("token-cache", "Orion v2.3.1", "2026-05-22"), ("token-cache", "Ada Byron", "2026-05-21")}


def test_links_and_labels_are_references(read: Read) -> None:
    found = read(
        "Status: accepted. Supersedes [ADR 4](0004-graphql.md). Background in [the plan](../adr/0007-plan.md).",
        title="ADR 18: Back to REST",
    )
    assert {(each.subject, each.predicate, each.object) for each in found} >= {
        ("ADR 18", REPLACES, "ADR 4"),
        ("ADR 18", "REFERENCES", "ADR 4"),
        ("ADR 18", "REFERENCES", "ADR 0007"),
    }


def test_a_title_says_what_its_document_is_about_and_the_front_matter_who_wrote_it(read: Read) -> None:
    found = read("A system of systems.", title="Project Orion: architecture", metadata={"author": "Ada Byron"})
    assert {(each.subject, each.predicate, each.object) for each in found} == {
        ("Project Orion: architecture", "WRITTEN_ABOUT", "Project Orion"),
        ("Project Orion: architecture", OWNS, "Ada Byron"),
    }


def test_a_first_name_becomes_the_full_name_that_its_chunk_holds(read: Read) -> None:
    found = read("| Person | Works on |\n|---|---|\n| Vatsal Shah | Project Alpha |\n\nVatsal leads Project Beta.")
    assert ("Vatsal Shah", LEAD, "Project Beta") in {(each.subject, each.predicate, each.object) for each in found}


def test_a_dated_event_is_an_entity_with_its_day(chunk: MakeChunk) -> None:
    extraction = PatternExtractor().extract([chunk("The database migration was completed on 14 March 2026.")])[0]
    assert {each.name: each.properties.get("occurred_at") for each in extraction.entities} == {"database migration": "2026-03-14"}


def test_stated_aliases_are_kept_with_the_entity(chunk: MakeChunk) -> None:
    text = "The Customer Relationship Manager (CRM) is old. Orion, also known as Starlight, is new."
    entities = PatternExtractor().extract([chunk(text, title="ADR 0004: GraphQL for partners")])[0].entities
    aliases = {each.name: each.properties["aliases"] for each in entities if "aliases" in each.properties}
    assert aliases == {
        "Customer Relationship Manager": ["CRM"],
        "Orion": ["Starlight"],
        "ADR 0004": ["GraphQL for partners", "ADR 0004: GraphQL for partners"],
    }


def test_a_gazetteer_types_names_that_the_text_leaves_open(chunk: MakeChunk) -> None:
    known = {"mercury": "Developer"}
    extractor = PatternExtractor(gazetteer=lambda keys: {key: known[key] for key in keys if key in known})
    text = chunk("Project Alpha depends on Mercury.")
    assert extractor.extract([text])[0].relations == ()
    assert len(PatternExtractor().extract([text])[0].relations) == 1


def test_edges_outside_the_schema_are_not_read(chunk: MakeChunk) -> None:
    narrow = DEFAULT_SCHEMA.extended(predicates=[Predicate(name=LEAD, domain=("Project",), range=("Project",))])
    assert PatternExtractor(schema=narrow).extract([chunk("Ada Byron leads Project Beta.")])[0].relations == ()


def test_one_extraction_per_chunk_in_order_and_again_the_same(chunk: MakeChunk) -> None:
    chunks = [chunk(case[0], document_id=f"d{number % 3}", id=str(number)) for number, case in enumerate(SENTENCES)]
    extractor = PatternExtractor()
    assert isinstance(extractor, Extractor)
    extractions = extractor.extract(chunks)
    assert [each.chunk_id for each in extractions] == [each.id for each in chunks]
    assert extractor.extract(chunks) == extractions


def test_screening_by_words_loses_no_match(monkeypatch: pytest.MonkeyPatch, chunk: MakeChunk) -> None:
    """The rules that a sentence's words call for find what all rules together find."""
    everything = tuple((family, order, rule) for family, table in rules().items() for order, rule in enumerate(table))
    chunks = [chunk(case[0], id=str(number)) for number, case in enumerate(SENTENCES)]
    screened = PatternExtractor().extract(chunks)
    monkeypatch.setattr("rag2_memory.knowledge.statements.rules_for", lambda words: everything)
    assert PatternExtractor().extract(chunks) == screened


def test_every_rule_can_be_called_for() -> None:
    for rule in (rule for table in rules().values() for rule in table):
        assert rule.words
        assert rule.words <= TRIGGERS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|",
        "| a |\n|---|",
        "- ",
        "#",
        "```\ncode",
        "**",
        ": :",
        "\ue000 leads \uf000",
        "a\x00b leads Project X",
        "(" * 500,
        "N, " * 500 + "leads it",
    ],
)
def test_odd_text_breaks_nothing_and_leads_nothing(text: str, read: Read) -> None:
    assert [relation for relation in read(text, title=text[:50]) if relation.predicate != "WRITTEN_ABOUT"] == []


def test_reading_keeps_pace_with_embedding(chunk: MakeChunk) -> None:
    """Embedding handles about 40 chunks a second; reading at 300 or more leaves the rest of ingestion its share even on a busy machine."""
    sentences = [case[0] for case in SENTENCES]
    texts = [
        " ".join((*rest, "Nothing else of note happened in that week, and the weather was fine."))
        for rest in product(sentences[:12], sentences[8:20])
    ]
    chunks = [chunk(text, id=str(number), document_id=str(number // 10)) for number, text in enumerate(texts)]
    extractor = PatternExtractor()
    extractor.extract(chunks[:5])
    started = time.process_time()
    extractor.extract(chunks)
    assert len(chunks) / (time.process_time() - started) > 300
