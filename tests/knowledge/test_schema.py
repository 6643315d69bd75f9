"""The schema: what it declares by default, how it grows, and what it says about input that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, GraphSchema, NodeType, Predicate


@pytest.mark.parametrize(
    ("node", "properties"),
    [
        ("Developer", ("id", "name", "team", "role")),
        ("Project", ("id", "name", "repository_url", "status")),
        ("Component", ("id", "name", "technology_stack", "version")),
        ("Document", ("id", "title", "file_path", "last_modified")),
    ],
)
def test_the_default_schema_declares_its_nodes_with_their_properties(node: str, properties: tuple[str, ...]) -> None:
    declared = DEFAULT_SCHEMA.node_type(node)
    assert declared is not None
    assert declared.properties == properties


@pytest.mark.parametrize(
    ("predicate", "properties"),
    [
        ("CONTRIBUTES_TO", ("role", "commits_count", "active_since")),
        ("DEPENDS_ON", ("type", "version_constraint")),
        ("WRITTEN_ABOUT", ("relevance_score", "last_reviewed")),
        ("UPDATED_BY", ("timestamp", "commit_hash")),
    ],
)
def test_the_default_schema_declares_its_edges_with_their_properties(predicate: str, properties: tuple[str, ...]) -> None:
    declared = DEFAULT_SCHEMA.predicate(predicate)
    assert declared is not None
    assert declared.properties == properties


def test_one_lead_per_project_at_a_time_and_any_number_of_projects_per_lead() -> None:
    declared = DEFAULT_SCHEMA.predicate("LEAD_ARCHITECT_OF")
    assert declared is not None
    assert declared.exclusive == "object"


@pytest.mark.parametrize("phrase", ["LEAD_ARCHITECT_OF", "lead architect of", "Leads", "is the lead of"])
def test_a_predicate_is_found_by_its_phrases_in_any_case(phrase: str) -> None:
    assert DEFAULT_SCHEMA.predicate_name(phrase) == "LEAD_ARCHITECT_OF"


def test_an_edge_outside_domain_or_range_is_refused_with_both_types_named() -> None:
    reason = DEFAULT_SCHEMA.objection("LEAD_ARCHITECT_OF", "Component", "Project")
    assert "Developer" in reason
    assert "Component" in reason
    assert DEFAULT_SCHEMA.objection("LEAD_ARCHITECT_OF", "Developer", "Project") == ""
    assert DEFAULT_SCHEMA.objection("LEAD_ARCHITECT_OF", "", "") == ""


def test_an_unknown_predicate_is_refused_by_a_closed_schema_and_kept_by_an_open_one() -> None:
    assert "'married to'" in DEFAULT_SCHEMA.objection("married to", "", "")
    open_schema = DEFAULT_SCHEMA.extended(open=True)
    assert open_schema.objection("married to", "", "Planet") == ""
    assert open_schema.predicate_name("married  to") == "married to"
    assert DEFAULT_SCHEMA.predicate_name("married to") is None


def test_a_schema_grows_without_changing_the_one_it_grew_from() -> None:
    grown = DEFAULT_SCHEMA.extended(
        node_types=[NodeType(name="Team", properties=("name",))],
        predicates=[Predicate(name="MEMBER_OF", domain=("Developer",), range=("Team",), exclusive="subject")],
    )
    assert grown.node_type("team") is not None
    assert grown.objection("MEMBER_OF", "Developer", "Team") == ""
    assert DEFAULT_SCHEMA.node_type("Team") is None
    assert grown.fingerprint != DEFAULT_SCHEMA.fingerprint


def test_a_schema_survives_being_written_as_plain_values() -> None:
    assert GraphSchema.from_dict(json.loads(json.dumps(DEFAULT_SCHEMA.to_dict()))) == DEFAULT_SCHEMA == GraphSchema()


FILES = {
    "schema.yaml": "open: true\nnodes:\n  Team: [name, lead]\nedges:\n  MEMBER_OF:\n    domain: Developer\n    range: [Team]\n    exclusive: subject\n",
    "schema.toml": 'open = true\n[nodes]\nTeam = ["name", "lead"]\n[edges.MEMBER_OF]\ndomain = ["Developer"]\nrange = ["Team"]\nexclusive = "subject"\n',
    "schema.json": '{"open": true, "nodes": {"Team": ["name", "lead"]}, "edges": {"MEMBER_OF": {"domain": ["Developer"], "range": ["Team"], "exclusive": "subject"}}}',
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_kind_extends_the_default_schema(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    schema = GraphSchema.from_file(tmp_path / name)
    assert schema.open
    assert schema.node_type("Team") == NodeType(name="Team", properties=("name", "lead"))
    assert schema.predicate("MEMBER_OF") == Predicate(name="MEMBER_OF", domain=("Developer",), range=("Team",), exclusive="subject")
    assert schema.predicate("DEPENDS_ON") == DEFAULT_SCHEMA.predicate("DEPENDS_ON")


def test_a_file_may_also_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"nodes": {"Team": []}, "edges": {"BEATS": {"domain": "Team", "range": "Team"}}}', encoding="utf-8")
    schema = GraphSchema.from_file(tmp_path / "s.json", extend_default=False)
    assert [predicate.name for predicate in schema.predicates] == ["BEATS"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"nodes": {"Team": []}, "edges": {"BEATS": {"domain": ["Club"]}}}', "'Club'"),
        ('{"nodes": [], "colours": 1}', "'colours'"),
        ('{"edges": {"BEATS": {"exclusif": "subject"}}}', "'exclusif'"),
        ('{"edges": {"BEATS": {"exclusive": "both"}}}', "'both'"),
        ('{"open": "yes"}', "'yes'"),
        ('{"nodes": {"7": []}}', "'7'"),
        ('{"edges": {"LEADS_TO": {"aliases": ["leads"]}}}', "LEAD_ARCHITECT_OF"),
        ("{", "not valid JSON"),
        ("[]", "list"),
    ],
)
def test_a_file_that_is_no_schema_is_refused_with_what_is_wrong(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequestError) as refusal:
        GraphSchema.from_file(tmp_path / "schema.json")
    assert said in str(refusal.value)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot read"):
        GraphSchema.from_file(tmp_path / "none.yaml")
    (tmp_path / "schema.ini").write_text("", encoding="utf-8")
    with pytest.raises(InvalidRequestError, match=r"\.yaml, \.yml, \.toml or \.json"):
        GraphSchema.from_file(tmp_path / "schema.ini")
    (tmp_path / "schema.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(InvalidRequestError, match="not valid YAML"):
        GraphSchema.from_file(tmp_path / "schema.yaml")
