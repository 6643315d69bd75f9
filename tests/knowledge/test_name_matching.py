"""Names compared: what counts as the same, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.knowledge.name_matching import match_names, person_name, thing_tokens

SAME = [
    ("V. Shah", "Vatsal Shah"),
    ("Shah, Vatsal", "Vatsal Shah"),
    ("Vatsal K. Shah", "Vatsal Shah"),
    ("Bob Ashdown", "Robert Ashdown"),
    ("Kate Mulgrew", "Katherine Mulgrew"),
    ("J.R. Smith", "John Robert Smith"),
    ("Hyun-woo Park", "Hyunwoo Park"),
    ("Søren Kjær", "Soren Kjaer"),
    ("Ludwig van Beethoven", "Beethoven, Ludwig van"),
    ("kc chang", "kevin chen-chuan chang"),
    ("Dr. Ada Byron", "Ada Byron, PhD"),
    ("Philippe Bonnet", "Phillippe Bonnet"),
    ("Tomasz Wierzbicki", "Tomasz Wierzbiki"),
    ("Mart&#237;nez, Ana", "Ana Martínez"),
]
OTHER = [
    ("V. Shah", "Meera Shah"),
    ("Jon Reyes", "Joan Reyes"),
    ("Dan Okafor", "Dami Okafor"),
    ("Priya Raman", "Priyanka Rao"),
    ("John A. Smith", "John B. Smith"),
    ("Martin Luther King Sr.", "Martin Luther King Jr."),
    ("Charles I", "Charles II"),
    ("K.-L. Wu", "Y. Wu"),
    ("Andrew Johnson", "Andrew Johnston"),
]
SAME_THINGS = [
    ("ingest-gateway", "IngestGateway"),
    ("telemetry-db", "telemetry database"),
    ("X-402-V3", "X402-V3"),
    ("Tesla, Inc.", "Tesla"),
    ("auth-svc", "authentication service"),
    ("Treaties of the European Union", "European Union Treaties"),
    ("K8s cluster", "Kubernetes cluster"),
]
OTHER_THINGS = [
    ("X-402-V2", "X-402-V3"),
    ("v2.3.0", "v2.3.1"),
    ("sys_init", "sys_init_v2"),
    ("session-store", "settings-store"),
    ("token-cache", "tile-cache"),
    ("telemetry-db", "ledger-db"),
    ("Project Alpha", "Project Beta"),
    ("ADR 0004", "ADR 0014"),
    ("Payment Service", "Payment API"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_forms_of_one_persons_name_match(one: str, other: str) -> None:
    assert match_names(one, other, people=True).score >= 0.9


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_names_of_two_people_do_not(one: str, other: str) -> None:
    assert match_names(one, other, people=True).score < 0.9


@pytest.mark.parametrize(("one", "other"), SAME_THINGS)
def test_writings_of_one_thing_match(one: str, other: str) -> None:
    assert match_names(one, other, people=False).score >= 0.9


@pytest.mark.parametrize(("one", "other"), OTHER_THINGS)
def test_names_of_two_things_do_not(one: str, other: str) -> None:
    assert match_names(one, other, people=False).score < 0.9


def test_what_leaves_much_out_is_marked_as_partial() -> None:
    assert match_names("V. Shah", "Vatsal Shah", people=True).partial
    assert match_names("Vatsal", "Vatsal Shah", people=True).partial
    assert match_names("Alpha", "Project Alpha", people=False).partial
    assert not match_names("Shah, Vatsal", "Vatsal Shah", people=True).partial


def test_numbers_initials_and_suffixes_exclude() -> None:
    assert match_names("ADR 4", "ADR 5").excluded
    assert match_names("V. Shah", "M. Shah", people=True).excluded
    assert match_names("Sam Lee Jr.", "Sam Lee Sr.", people=True).excluded
    assert not match_names("Orion", "Kafka").excluded


def test_a_persons_name_is_taken_apart() -> None:
    assert person_name("van Beethoven, Ludwig").surname == "beethoven"
    assert person_name("Ludwig van Beethoven").given == ("ludwig",)
    assert person_name("Martin Luther King Jr.").suffix == "jr"
    assert person_name("").surname == ""


def test_a_things_words_are_split_and_written_out() -> None:
    assert thing_tokens("TelemetryDB") == ("telemetry", "database")
    assert thing_tokens("The Acme Corp.") == ("acme",)


names = st.one_of(st.text(max_size=30), st.sampled_from([name for pair in (*SAME, *OTHER, *SAME_THINGS, *OTHER_THINGS) for name in pair]))


@settings(deadline=None)
@given(names, names)
def test_matching_is_symmetric_and_bounded(one: str, other: str) -> None:
    match = match_names(one, other)
    assert match == match_names(other, one)
    assert 0.0 <= match.score <= 1.0
    assert not (match.excluded and match.score)


@settings(deadline=None)
@given(names)
def test_a_name_matches_itself(name: str) -> None:
    assert match_names(name, name).score == 1.0
