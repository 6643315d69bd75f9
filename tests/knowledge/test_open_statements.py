"""Attributes, life events, offices and ties beside the declared relations, and the ways in which texts leave out what they speak of."""

from __future__ import annotations

import pytest

from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.open_statements import OPEN, PHRASE, may_state
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.verification import verify_relation
from rag2_memory.types import Turn, utc
from tests.knowledge.conftest import MakeChunk, Read

LEAD, OWNS, NEEDS, REPLACES = "LEAD_ARCHITECT_OF", "DEVELOPED_BY", "DEPENDS_ON", "DEPRECATED"

STATED = [
    ("The default timeout of the Orchard Relay is now 45 seconds.", ("Orchard Relay", "default timeout", "45 seconds", None)),
    ("The kiln-driver's retry limit is 5 attempts.", ("kiln-driver", "retry limit", "5 attempts", None)),
    ("`seed-relay` listens on port 2525.", ("seed-relay", "listens on", "2525", None)),
    ("The population of Ostholm was 31,402 in 2021.", ("Ostholm", "population", "31,402", "2021-01-01")),
    ("Edith Marlowe was born on 4 May 1912 in Leeds and died in 1987.", ("Edith Marlowe", "born in", "Leeds", "1912-05-04")),
    ("Edith Marlowe was born on 4 May 1912 in Leeds and died in 1987.", ("Edith Marlowe", "died in", "1987", "1987-01-01")),
    ("Edith Marlowe (4 May 1912 – 3 June 1987) built bridges.", ("Edith Marlowe", "died on", "3 June 1987", "1987-06-03")),
    ("Josef Harrow (18 April 1783 – 2 May 1851) was a miller.", ("Josef Harrow", "died on", "2 May 1851", "1851-05-02")),
    ("The Heath Bridge opened in 1932.", ("Heath Bridge", "opened in", "1932", "1932-01-01")),
    ("Carla Venn left the company on 8 July 2024.", ("Carla Venn", "left the company on", "8 July 2024", "2024-07-08")),
    ("Carla Venn served as mayor of Ostholm from 1990 to 1994.", ("Carla Venn", "mayor", "Ostholm", "1990-01-01")),
    (
        "Carla Venn was appointed chief curator of the Hartwell Museum in 2011.",
        ("Carla Venn", "chief curator", "Hartwell Museum", "2011-01-01"),
    ),
    ("Carla Venn becomes CFO on 1 April 2025.", ("Carla Venn", "becomes", "CFO", "2025-04-01")),
    ("Carla Venn studied at Heath College and worked as a baker from 2004 to 2011.", ("Carla Venn", "studied at", "Heath College", None)),
    (
        "The kiln-driver of Project Orchard was moved on Saturday 14 and Sunday 15 March 2026.",
        ("kiln-driver", "moved on", "Saturday 14 and Sunday 15 March 2026", "2026-03-14"),
    ),
    ("`seed-relay` was migrated on 3 May 2025.", ("seed-relay", "migrated on", "3 May 2025", "2025-05-03")),
    ("Nova Labs acquired Pinecone Systems in March 2019.", ("Nova Labs", "acquired", "Pinecone Systems", "2019-03-01")),
]


@pytest.mark.parametrize(("sentence", "expected"), STATED, ids=[f"{case[1][1]}-{case[1][2]}" for case in STATED])
def test_a_sentence_states_an_open_edge(sentence: str, expected: tuple[str, ...], read: Read) -> None:
    found = {
        (edge.subject, edge.properties[PHRASE], edge.object, edge.valid_from.date().isoformat() if edge.valid_from else None)
        for edge in read(sentence)
        if edge.predicate == OPEN
    }
    assert expected in found
    assert may_state(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Is the default timeout of the Orchard Relay 45 seconds?",
        "The default timeout of the Orchard Relay should be 45 seconds.",
        "Carla Venn did not become mayor of Ostholm.",
        "If Nova Labs acquired Pinecone Systems, prices would rise.",
        "It is a question of time.",
        "An annex by Carla Venn opened in 1999.",
        "Jonas Reed bought a shop in Ostholm and moved it in 1835.",
        "The rest of the Orchard Relay is 3 boxes.",
    ],
)
def test_a_question_a_wish_or_a_denial_states_no_open_edge(sentence: str, read: Read) -> None:
    assert [edge for edge in read(sentence) if edge.predicate == OPEN] == []


def test_a_schema_without_the_open_predicate_gets_no_open_edges(chunk: MakeChunk) -> None:
    schema = GraphSchema(predicates=tuple(each for each in GraphSchema().predicates if each.name != OPEN))
    extractor = PatternExtractor(schema=schema)
    assert extractor.extract([chunk(" ".join(sentence for sentence, _ in STATED))])[0].relations == ()


def edges(read: Read, text: str, **fields: object) -> set[tuple[str, str, str]]:
    return {(edge.subject, str(edge.properties.get(PHRASE, edge.predicate)), edge.object) for edge in read(text, **fields)}


def test_a_report_of_an_audit_says_who_carried_it_out_and_what_it_covers(read: Read) -> None:
    edges = read(
        "Hale & Dorn examined Project Orchard from 4 to 9 June 2025. Edith Marlowe reviewed Project Heath.", title="Safety audit 2025"
    )
    told = {(edge.subject, edge.properties.get(PHRASE, edge.predicate), edge.object) for edge in edges}
    assert ("Safety audit 2025", "carried out by", "Hale & Dorn") in told
    assert ("Safety audit 2025", "WRITTEN_ABOUT", "Project Orchard") in told
    assert not [edge for edge in edges if edge.subject == "Safety audit 2025" and edge.object in ("Edith Marlowe", "Project Heath")]
    elsewhere = read("Hale & Dorn examined Project Orchard from 4 to 9 June 2025.", title="Project Orchard")
    assert not [edge for edge in elsewhere if edge.properties.get(PHRASE) == "carried out by"]


def test_a_report_cited_by_what_it_found_is_a_reference(read: Read) -> None:
    edges = read("The October audit noted that rows outlive the logout.", title="ADR 0007: Move sessions")
    assert ("REFERENCES", "October audit") in {(edge.predicate, edge.object) for edge in edges}


def test_columns_that_are_no_relation_are_attributes_of_what_a_row_is_about(read: Read) -> None:
    table = "| Name | Room | Telephone |\n|---|---|---|\n| Carla Venn | Dovecote | 4410 |\n| Ibo Lund | Granary | - |"
    assert edges(read, table) == {
        ("Carla Venn", "room", "Dovecote"),
        ("Carla Venn", "telephone", "4410"),
        ("Ibo Lund", "room", "Granary"),
    }
    figures = "| | Q2 | Q3 |\n|---|---|---|\n| Loans, all | 214 | 167 |\n| of which at night | 61 | 38 |"
    assert edges(read, figures) == set()


def test_a_row_under_a_label_is_about_what_its_next_cell_lists(read: Read) -> None:
    text = "In force since 1 March 2024.\n\n| Class | What | Kept for |\n|---|---|---|\n| K | visitor lists, parcel slips | **21 days** |"
    assert edges(read, text) == {("visitor lists", "kept for", "21 days"), ("parcel slips", "kept for", "21 days")}
    assert {str(edge.valid_from)[:10] for edge in read(text)} == {"2024-03-01"}
    numbered = "| Group | What | Kept for |\n|---|---|---|\n| 2 | phones, passports | 90 days |"
    assert edges(read, numbered, title="Lost property") == {("phones", "kept for", "90 days"), ("passports", "kept for", "90 days")}


def test_what_is_in_force_holds_in_the_chunks_that_follow(chunk: MakeChunk) -> None:
    first = chunk("Valid from 1 March 2024.", id="1", heading_path=("Rules",))
    second = chunk(
        "| Class | What | Kept for |\n|---|---|---|\n| K | parcel slips | 21 days |", id="2", ordinal=1, heading_path=("Rules", "Table")
    )
    relations = PatternExtractor().extract([first, second])[1].relations
    assert [str(edge.valid_from)[:10] for edge in relations] == ["2024-03-01"]


def test_keys_of_a_page_named_after_a_thing_are_its_attributes(read: Read) -> None:
    assert ("kiln-driver", "default port", "7450") in edges(read, "Default port: 7450\nOwner: Carla Venn", title="kiln-driver")
    assert edges(read, "Ticket: GLZ-77", title="Notes on kiln-driver and friends") == {
        ("Notes on kiln-driver and friends", "WRITTEN_ABOUT", "kiln-driver")
    }


def test_a_thing_explained_by_a_name_is_that(read: Read) -> None:
    assert edges(read, "1. `glaze-db`: PostgreSQL 15.\n2. `kiln-queue`: keeps orders.") == {("glaze-db", "is", "PostgreSQL 15")}


def test_all_verbs_of_a_series_count(read: Read) -> None:
    text = "`kiln-driver` depends on `glaze-db` and calls `kiln-queue`."
    assert edges(read, text) == {("kiln-driver", NEEDS, "glaze-db"), ("kiln-driver", NEEDS, "kiln-queue")}


def test_the_thing_owned_is_meant_and_not_its_owner(read: Read) -> None:
    text = "`kiln-driver` asks Pottery's `glaze-db` how much is left and reads a copy of Pottery's stock database."
    assert edges(read, text) == {("kiln-driver", NEEDS, "glaze-db"), ("kiln-driver", NEEDS, "stock database")}


def test_a_common_noun_means_the_only_thing_that_it_can_mean(read: Read) -> None:
    assert ("spray-gateway", NEEDS, "glaze-db") in edges(read, "`spray-gateway` starts first. The gateway depends on `glaze-db`.")
    two = "`spray-gateway` and `wash-gateway` start first. The gateway depends on `glaze-db`."
    assert edges(read, two) == set()


def test_both_are_the_two_things_whose_names_end_so(read: Read) -> None:
    text = "Parts: `colour-model` and `crack-model`. Both models depend on the `kiln-store`."
    assert {("colour-model", NEEDS, "kiln-store"), ("crack-model", NEEDS, "kiln-store")} <= edges(read, text)


def test_a_programme_is_led_by_whoever_runs_it(read: Read) -> None:
    text = "I have run the apprentice programme since 2019. Ibo takes it over on 3 May 2024."
    found = {
        (edge.subject, edge.object, str(edge.valid_from)[:10])
        for edge in read(text, metadata={"author": "Carla Venn"})
        if edge.predicate == LEAD
    }
    assert found == {("Carla Venn", "apprentice programme", "2019-01-01"), ("Ibo", "apprentice programme", "2024-05-03")}


def test_a_nickname_stands_for_the_full_name_beside_it(read: Read) -> None:
    text = "Margaret Quill becomes CFO on 1 April 2025. With that, Maggie gives up Project Glaze."
    assert ("Margaret Quill", LEAD, "Project Glaze") in edges(read, text)


def test_a_first_name_stands_for_the_only_full_name_of_its_document(chunk: MakeChunk) -> None:
    first = chunk("With: Inês Quill, Ibo Lund.", id="1", heading_path=("Review",))
    second = chunk("Ines takes over Project Glaze on 3 May 2024.", id="2", ordinal=1, heading_path=("Review", "Next"))
    relation = PatternExtractor().extract([first, second])[1].relations[0]
    assert relation.subject == "Inês Quill"
    assert verify_relation(relation, second, GraphSchema()) == ""
    assert "not named" in verify_relation(relation, chunk("Somebody takes over Project Glaze."), GraphSchema())


def test_in_a_conversation_i_is_the_speaker(read: Read) -> None:
    turn = Turn(thread_id="t", ordinal=0, speaker="Marisol", at=utc("2024-06-10"))
    found = edges(read, "I moved to Ostholm in May 2023 and joined the Heath Choir.", turn=turn)
    assert ("Marisol", "moved to", "Ostholm") in found


def test_what_a_thing_was_explained_as_means_it_later(read: Read) -> None:
    text = "`sys_start`, the boot routine of all kilns, is slow. We replace the boot routine by `sys_start_v2`."
    assert ("sys_start_v2", REPLACES, "sys_start") in edges(read, text)
    assert edges(read, "We replaced `old-glaze` with `new-glaze`.") == {("new-glaze", REPLACES, "old-glaze")}


def test_a_changelogs_sections_say_what_was_done(read: Read) -> None:
    page = {"title": "Changelog", "heading_path": ("Glaze v2.0", "Added")}
    assert ("Changelog", "introduces", "dry_run") in edges(read, "- `dry_run`: fires nothing\n- `--slow`, a flag", **page)
    page["heading_path"] = ("Glaze v2.0", "Removed")
    assert ("Changelog", REPLACES, "wet_run") in edges(read, "- `wet_run`: nobody used it", **page)


def test_a_link_names_the_file_where_its_text_names_nothing(read: Read) -> None:
    found = edges(read, "See [the write-up](../reports/2024-06-02-cracked-kiln.md) and [home](README.md).", title="Report on glazes")
    assert found == {("Report on glazes", "REFERENCES", "2024-06-02-cracked-kiln")}


@pytest.mark.parametrize(
    ("title", "heading", "path", "names"),
    [
        ("Incident: a cracked kiln", "A cracked kiln", "reports/2024-06-02-cracked-kiln.md", ["A cracked kiln", "2024-06-02-cracked-kiln"]),
        ("Fire drill 2024: what we learned", "Background", "drill.md", ["Fire drill 2024"]),
        ("Guide to glazes", "Tools", "readme.md", []),
        ("ADR 12: Kilns on gas", "12. Kilns on gas", "adr/0012-kilns-on-gas.md", ["ADR 12: Kilns on gas", "12 Kilns on gas"]),
    ],
)
def test_a_document_has_the_names_of_its_heading_and_file(title: str, heading: str, path: str, names: list[str], chunk: MakeChunk) -> None:
    from dataclasses import replace

    found = PatternExtractor().extract([replace(chunk("Text.", title=title, heading_path=(heading,)), document_id=path)])[0]
    given = {entity.name for entity in found.entities if entity.kind == "subject"}
    assert all(
        any(name.casefold().replace("-", " ").endswith(each.casefold().replace("-", " ").lstrip("12. ")) for name in given)
        for each in names
    )
    assert not any("readme" in name.casefold() or name == "Background" for name in given)
