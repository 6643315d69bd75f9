"""Triples extracted elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.assembly import assemble
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA
from rag2_memory.knowledge.triples import TripleExtractor
from rag2_memory.types import utc
from tests.knowledge.conftest import NOW, MakeChunk

OPEN = DEFAULT_SCHEMA.extended(open=True)
TRIPLE = {"passage_id": "doc", "subject": "Journal of Physics", "predicate": "published by", "object": "American Institute of Physics"}


def test_a_triple_becomes_an_edge_with_its_phrase_as_predicate(chunk: MakeChunk) -> None:
    text = chunk("The Journal of Physics is published by the American Institute of Physics.")
    extractions = TripleExtractor([TRIPLE]).extract([text])
    knowledge = assemble(extractions, [text], OPEN, namespace="n", recorded_at=NOW)
    assert [assertion.predicate for assertion in knowledge.assertions] == ["published by"]
    assert assemble(extractions, [text], DEFAULT_SCHEMA, namespace="n", recorded_at=NOW).assertions == ()


def test_a_triple_goes_to_the_chunk_that_names_both_ends(chunk: MakeChunk) -> None:
    other = chunk("Something else.", id="1")
    naming = chunk("The Journal of Physics, of the American Institute of Physics.", id="2")
    empty, full = TripleExtractor([TRIPLE]).extract([other, naming])
    assert (len(empty.relations), len(full.relations)) == (0, 1)
    assert len(TripleExtractor([TRIPLE]).extract([other])[0].relations) == 1


def test_triples_are_read_from_a_file_with_their_dates(tmp_path: Path, chunk: MakeChunk) -> None:
    path = tmp_path / "triples.jsonl"
    path.write_text(json.dumps({**TRIPLE, "valid_from": "1960-01-01"}) + "\n\n", encoding="utf-8")
    (relation,) = TripleExtractor(path).extract([chunk("x")])[0].relations
    assert relation.valid_from == utc("1960-01-01")


def test_equal_triples_have_equal_names() -> None:
    assert TripleExtractor([TRIPLE]).name == TripleExtractor([dict(TRIPLE)]).name != TripleExtractor([]).name


@pytest.mark.parametrize(
    ("rows", "said"),
    [([{**TRIPLE, "object": ""}], "lacks object"), ([{"passage_id": "p"}], "lacks subject, predicate, object"), (["x"], "is a str")],
)
def test_a_triple_without_its_parts_is_refused(rows: list[dict[str, str]], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        TripleExtractor(rows)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot read"):
        TripleExtractor(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidRequestError, match="line 1"):
        TripleExtractor(tmp_path / "bad.jsonl")
