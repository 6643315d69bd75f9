"""The example corpus and the evaluation files beside it hold together."""

import datetime
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CORPUS = EXAMPLES / "corpus"
NEAR_TWINS = ROOT / "tests" / "data" / "cache_near_twins.jsonl"

CLASSES = ("lexical", "conceptual", "multi-hop", "temporal", "permission")
ENTITY_TYPES = {"Developer", "Project", "Component", "Document"}
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+\.md)\)")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def documents() -> dict[str, tuple[dict[str, Any], str]]:
    """Front matter and body of each document, by id (the path below the corpus)."""
    found = {}
    for path in sorted(CORPUS.rglob("*.md")):
        match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        assert match is not None, f"{path} has no front matter"
        found[path.relative_to(CORPUS).as_posix()] = (yaml.safe_load(match[1]), match[2])
    return found


def visible(document_id: str, scope: dict[str, Any] | None) -> bool:
    acl = set(documents()[document_id][0].get("acl", ()))
    if not acl:
        return True
    asker = scope or {"user": None, "groups": []}
    return bool(acl & ({f"user:{asker['user']}"} | {f"group:{group}" for group in asker["groups"]}))


def full_text(document_id: str) -> str:
    """Title, author and body: what a reader of the document sees."""
    front, body = documents()[document_id]
    return "\n".join((front["title"], front.get("author", ""), body))


QUESTIONS = rows(EXAMPLES / "questions.jsonl")
FACTS = rows(EXAMPLES / "facts.jsonl")
ALIASES = rows(EXAMPLES / "aliases.jsonl")


def test_the_corpus_is_small_and_dated_within_two_years() -> None:
    assert 60 <= len(documents()) <= 75
    for document_id, (front, body) in documents().items():
        assert front["title"] and body.strip(), document_id
        assert datetime.date(2024, 6, 1) <= front["date"] <= datetime.date(2026, 6, 30), document_id
        assert set(front) <= {"title", "date", "acl", "author", "tags"}, document_id


def test_every_acl_entry_names_a_user_or_a_group() -> None:
    for document_id, (front, _) in documents().items():
        for entry in front.get("acl", ()):
            assert re.fullmatch(r"(user|group):[a-z]+", entry), (document_id, entry)


def test_links_between_documents_lead_somewhere() -> None:
    for document_id, (_, body) in documents().items():
        for target in LINK.findall(body):
            assert ((CORPUS / document_id).parent / target).resolve().is_file(), (document_id, target)


def test_there_are_fifty_questions_ten_of_each_class() -> None:
    assert Counter(question["class"] for question in QUESTIONS) == dict.fromkeys(CLASSES, 10)
    assert len({question["id"] for question in QUESTIONS}) == 50
    assert len({question["query"].lower() for question in QUESTIONS}) == 50


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question["id"]))
def test_gold_is_visible_to_the_asker_and_the_forbidden_is_not(question: dict[str, Any]) -> None:
    scope = question.get("scope")
    assert 1 <= len(question["gold"]) == len(set(question["gold"])) <= 3
    assert all(visible(document_id, scope) for document_id in question["gold"])
    assert not any(visible(document_id, scope) for document_id in question.get("forbidden", ()))
    assert question["answer"]


def test_permission_questions_name_an_asker_and_what_stays_hidden() -> None:
    restricted_gold = 0
    for question in QUESTIONS:
        if question["class"] == "permission":
            assert question["scope"]["user"] and question["forbidden"], question["id"]
            restricted_gold += any(not visible(document_id, None) for document_id in question["gold"])
    assert restricted_gold == 5


def test_every_temporal_and_multi_hop_question_has_its_facts() -> None:
    needed = {question["id"] for question in QUESTIONS if question["class"] in ("temporal", "multi-hop")}
    assert {fact["question"] for fact in FACTS} - {None} == needed
    assert sum(fact["question"] is None for fact in FACTS) >= 20


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['entity']}-{fact['predicate']}-{fact['as_of']}")
def test_every_expected_name_stands_in_a_source_of_its_fact(fact: dict[str, Any]) -> None:
    assert fact["direction"] in ("in", "out")
    assert fact["as_of"] is None or datetime.date.fromisoformat(fact["as_of"])
    assert fact["expected"] and fact["source"]
    for name in fact["expected"]:
        assert any(name in full_text(document_id) for document_id in fact["source"]), name


def test_facts_of_a_question_come_from_its_gold_documents() -> None:
    gold = {question["id"]: set(question["gold"]) for question in QUESTIONS}
    for fact in FACTS:
        if fact["question"] is not None:
            assert set(fact["source"]) <= gold[fact["question"]], fact


def test_no_fact_is_stated_twice() -> None:
    keys = [(fact["entity"], fact["predicate"], fact["as_of"], fact["question"]) for fact in FACTS]
    assert len(keys) == len(set(keys))


def test_every_alias_and_every_look_alike_occurs_in_the_corpus() -> None:
    text = "\n".join(full_text(document_id) for document_id in documents())
    for row in ALIASES:
        names = row["distinct"] if "distinct" in row else row["names"]
        assert len(set(names)) == len(names) >= 2, row
        for name in names:
            assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text), name


def test_clusters_of_aliases_are_disjoint_and_agree_with_the_look_alikes() -> None:
    clusters = [row for row in ALIASES if "names" in row]
    assert {row["type"] for row in clusters} == ENTITY_TYPES
    home = {name: number for number, row in enumerate(clusters) for name in row["names"]}
    assert len(home) == sum(len(row["names"]) for row in clusters)
    for row in ALIASES:
        if "distinct" in row:
            first, second = row["distinct"]
            assert home.get(first, first) != home.get(second, second), row


def test_near_twins_are_three_hundred_pairs_spread_over_many_kinds() -> None:
    pairs = rows(NEAR_TWINS)
    assert len(pairs) == 300
    kinds = Counter(pair["kind"] for pair in pairs)
    assert len(kinds) >= 25 and set(kinds.values()) == {10}


def test_there_are_a_hundred_rephrasings() -> None:
    pairs = rows(EXAMPLES / "rephrasings.jsonl")
    assert len(pairs) == 100
    assert pairs[0] == {"a": "reset user password instructions", "b": "how do I reset my credentials?"}


@pytest.mark.parametrize("path", [NEAR_TWINS, EXAMPLES / "rephrasings.jsonl"], ids=lambda path: path.stem)
def test_no_pair_repeats_a_sentence(path: Path) -> None:
    sentences = [sentence.lower() for pair in rows(path) for sentence in (pair["a"], pair["b"])]
    repeated = [sentence for sentence, count in Counter(sentences).items() if count > 1]
    assert repeated == []


def test_rephrasings_and_near_twins_never_contradict_each_other() -> None:
    twins = {frozenset((pair["a"].lower(), pair["b"].lower())) for pair in rows(NEAR_TWINS)}
    same = {frozenset((pair["a"].lower(), pair["b"].lower())) for pair in rows(EXAMPLES / "rephrasings.jsonl")}
    assert not twins & same
