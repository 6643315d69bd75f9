"""Forgetting takes along what a model answered about a document and what a community's summary quotes of it, to the last byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.language_models import FakeListChatModel

from rag2_memory import Document, Memory
from rag2_memory.knowledge.llm_extraction import LLMExtractor

Open = Callable[..., Memory]
SECRET = "quetzalcoatlus"


class Repeating(FakeListChatModel):
    """Answers every prompt with a statement that quotes the passage, in other words than the document's."""

    def _call(self, messages: list[Any], *args: Any, **kwargs: Any) -> str:
        text = str(messages[-1].content)
        if "JSON data" not in text:
            return f"The pages speak of the {SECRET}. [m1]"
        passages = json.loads(text.split("\n", 1)[1])
        entities = [{"name": f"{SECRET} observatory", "type": "Component", "properties": {"technology_stack": f"{SECRET}-db"}}]
        return json.dumps({"passages": [{"id": passage["id"], "entities": entities, "relations": []} for passage in passages]})


def holding(folder: Path) -> list[str]:
    spellings = [SECRET.encode(), SECRET.encode("utf-16-le"), SECRET[:8].encode().hex().encode()]
    return [file.name for file in folder.rglob("*") if file.is_file() and any(each in file.read_bytes().lower() for each in spellings)]


def test_no_byte_of_an_answer_or_a_summary_stays(open_memory: Open, tmp_path: Path) -> None:
    model = Repeating(responses=[])
    memory = open_memory(extractor=LLMExtractor(model, chunks_per_call=1), summarizer=model)
    memory.ingest([Document(id=f"d{n}", text=f"The {SECRET} sleeps in hangar {n}.") for n in range(2)])
    memory.ingest([Document(id=f"e{n}", text=f"Lunch number {n} is served at noon in kitchen {n}.") for n in range(3)])
    memory.consolidate()
    assert any(SECRET in community.summary for community in memory.communities())
    registry = memory.services.registry
    chunks = registry.live_chunks("default")
    assert any(SECRET in (registry.kept_answer(ids[0], LLMExtractor(model).name) or "") for ids in chunks.values())
    for name in ("d0", "d1"):
        memory.forget(name)
    for name in ("e0", "e1", "e2"):
        memory.forget(name)  # the model put the word into its answers about these as well
    assert holding(tmp_path / "memory") == []
    memory.close()
    assert holding(tmp_path / "memory") == []


def test_a_new_version_takes_the_answers_of_the_old_one_along(open_memory: Open) -> None:
    from rag2_memory import MemoryConfig

    model = Repeating(responses=[])
    memory = open_memory(extractor=LLMExtractor(model, chunks_per_call=1), config=MemoryConfig(keep_versions=0))
    memory.ingest(Document(id="d", text="Old words."))
    registry = memory.services.registry
    ((old,),) = registry.live_chunks("default").values()
    name = LLMExtractor(model).name
    assert registry.kept_answer(old, name) is not None
    memory.ingest(Document(id="d", text="New words."))
    assert registry.kept_answer(old, name) is None
    ((new,),) = registry.live_chunks("default").values()
    assert registry.kept_answer(new, name) is not None
