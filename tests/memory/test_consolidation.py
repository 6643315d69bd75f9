"""What a night does to a memory: pending readings, resolution, communities, archive; killed, resumed, and looked at without touching anything."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from rag2_memory import Document, InvalidRequestError, Memory, MemoryConfig, Scope
from rag2_memory.knowledge.extraction import PatternExtractor
from rag2_memory.knowledge.llm_extraction import LLMExtractor
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

Open = Callable[..., Memory]
ADA = Scope(user="ada")


class Reader(BaseChatModel):
    """Reads `X mentors Y` in every passage, which the patterns do not know; counts how often it saw each; can fail or hang after some calls."""

    seen: list[str] = Field(default_factory=list)
    calls: int = 0
    fails_after: int = 1_000
    hangs_after: int = 1_000
    leaves_out: str = "nothing"

    @property
    def _llm_type(self) -> str:
        return "reader"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        self.calls += 1
        if self.calls > self.fails_after:
            raise ConnectionError("overloaded")
        if self.calls > self.hangs_after:
            time.sleep(600)
        passages = json.loads(str(messages[-1].content).split("\n", 1)[1])
        self.seen += [passage["text"] for passage in passages]
        read = [self.read(passage) for passage in passages if self.leaves_out not in passage["text"]]
        message = AIMessage(
            content=json.dumps({"passages": read}), usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    @staticmethod
    def read(passage: dict[str, Any]) -> dict[str, Any]:
        quote = next((line for line in passage["text"].split(". ") if " mentors " in line), "")
        if not quote:
            return {"id": passage["id"], "entities": [], "relations": []}
        one, other = (side.strip(" .") for side in quote.split(" mentors "))
        names = [{"name": name, "type": "Developer", "properties": {"role": "engineer"}} for name in (one, other)]
        relation = {"subject": one, "predicate": "RELATED_TO", "object": other, "quote": quote, "confidence": 0.9}
        return {"id": passage["id"], "entities": names, "relations": [relation]}


def extractor(model: Reader, **options: Any) -> LLMExtractor:
    return LLMExtractor(model, chunks_per_call=1, max_concurrency=1, attempts=1, **options)


PAIRS = [("Maria Lopez", "Jonas Weber"), ("Aiko Tanaka", "Peter Novak"), ("Lena Fischer", "Omar Haddad"), ("Ines Duarte", "Karl Brandt")]


def pages(**options: Any) -> list[Document]:
    return [Document(id=f"p{n}", text=f"{one} mentors {other}.", **options) for n, (one, other) in enumerate(PAIRS)]


def objects(memory: Memory, name: str, **options: Any) -> list[str]:
    return [fact.object for fact in memory.facts(name, **options)]


def rows(folder: Path) -> dict[str, list[Any]]:
    """Return every row of every table of a memory's registry."""
    with sqlite3.connect(folder / "registry.sqlite") as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
        found = {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}
    connection.close()
    return found


# --- pending extraction -------------------------------------------------------------------------------------------------------------------
def test_what_patterns_read_is_read_again_by_a_model_given_later(open_memory: Open) -> None:
    memory = open_memory()
    memory.ingest(pages(acl=frozenset({"user:ada"})))
    assert objects(memory, "Maria Lopez", scope=ADA) == []
    memory.close()
    model = Reader()
    memory = open_memory(extractor=extractor(model))
    report = memory.consolidate()
    assert (report.read, report.unread, report.statements, report.calls) == (4, 0, 4, 4)
    assert (report.input_tokens, report.output_tokens) == (40, 20)
    assert objects(memory, "Maria Lopez", scope=ADA) == ["Jonas Weber"]
    assert objects(memory, "Maria Lopez") == []
    assert memory.verify().ok
    again = memory.consolidate()
    assert (again.read, again.statements, again.calls) == (0, 0, 0)
    assert sorted(model.seen) == sorted(document.text for document in pages())


def test_the_patterns_read_nothing_again_that_a_model_has_read(open_memory: Open) -> None:
    memory = open_memory(extractor=extractor(Reader()))
    memory.ingest(pages())
    memory.close()
    assert open_memory().consolidate().read == 0


def test_an_ingest_may_leave_the_reading_for_later() -> None:
    model = Reader()
    with Memory.in_memory(embedder=FakeEmbedder(), extractor=extractor(model), config=MemoryConfig(extract_later=True)) as memory:
        memory.ingest([*pages(), Document(id="lead", text="Priya Raman leads Project Alpha since 2 February 2026.")])
        assert model.calls == 0
        assert objects(memory, "Priya Raman") == ["Project Alpha"]
        assert objects(memory, "Maria Lopez") == []
        assert memory.consolidate().read == 5
        assert objects(memory, "Maria Lopez") == ["Jonas Weber"]
        assert objects(memory, "Priya Raman") == ["Project Alpha"]


def test_what_is_learnt_later_is_recorded_later(clock: FakeClock) -> None:
    with Memory.in_memory(
        embedder=FakeEmbedder(), extractor=extractor(Reader()), clock=clock, config=MemoryConfig(extract_later=True)
    ) as memory:
        memory.ingest(pages())
        clock.advance(days=3)
        memory.consolidate()
        (fact,) = memory.facts("Maria Lopez")
        assert fact.recorded_at == clock.now


def test_a_later_reading_gives_types_and_properties_to_known_names() -> None:
    with Memory.in_memory(embedder=FakeEmbedder(), extractor=extractor(Reader()), config=MemoryConfig(extract_later=True)) as memory:
        memory.ingest(pages()[:1])
        registry = memory.services.registry
        (chunk_id,) = registry.indexable()
        before = {mention.name: mention for mention in registry.mentions_in([chunk_id])}
        memory.consolidate()
        after = {mention.name: mention for mention in registry.mentions_in([chunk_id])}
        assert "role" not in before["Maria Lopez"].properties
        assert after["Maria Lopez"].properties["role"] == "engineer"
        assert after["Maria Lopez"].type == "Developer"
        assert before.keys() <= after.keys()


def test_a_model_out_of_reach_stops_the_reading_and_nothing_else(open_memory: Open) -> None:
    memory = open_memory()
    memory.ingest(pages())
    memory.close()
    model = Reader(fails_after=2)
    memory = open_memory(extractor=extractor(model))
    report = memory.consolidate()
    assert "overloaded" in report.failure
    assert (report.read, report.unread) == (0, 4)
    assert len(report.namespaces) == 1
    model.fails_after = 1_000
    rest = memory.consolidate()
    assert (rest.read, rest.failure, rest.calls) == (4, "", 2)
    assert len(model.seen) == len(set(model.seen)) == 4


def test_a_chunk_that_an_answer_left_out_is_not_asked_about_twice() -> None:
    model = Reader(leaves_out="Aiko")
    with Memory.in_memory(embedder=FakeEmbedder(), extractor=extractor(model, fallback=PatternExtractor())) as memory:
        memory.ingest(pages())
        memory.consolidate()
        assert len(model.seen) == len(set(model.seen)) == 4


# --- killed and resumed -----------------------------------------------------------------------------------------------------------------
CHILD = """
import sys
from pathlib import Path
from rag2_memory import Memory
from rag2_memory.testing.fakes import FakeEmbedder
from tests.memory.test_consolidation import Reader, extractor
with Memory.open(sys.argv[1], embedder=FakeEmbedder(), extractor=extractor(Reader(hangs_after=int(sys.argv[2])))) as memory:
    print("open", flush=True)
    {work}
"""


def killed(folder: Path, *, work: str, after: int, done: Callable[[], bool]) -> None:
    """Run some work in another process until the model hangs, and kill it there."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(work=work), str(folder), str(after)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])},
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        deadline = time.monotonic() + 60
        while not done():
            assert child.poll() is None, "the child ended by itself"
            assert time.monotonic() < deadline, "the child got nowhere"
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def answers(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'registry.sqlite'}?mode=ro", uri=True) as connection:
        (number,) = connection.execute("SELECT count(*) FROM extractions").fetchone()
    connection.close()
    return int(number)


def test_a_killed_consolidation_is_gone_on_with_and_no_chunk_is_asked_about_twice(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    memory.ingest(pages())
    memory.close()
    folder = tmp_path / "memory"
    killed(folder, work="memory.consolidate()", after=2, done=lambda: answers(folder) == 2)
    model = Reader()
    memory = open_memory(extractor=extractor(model))
    report = memory.consolidate()
    assert (report.read, report.calls) == (4, 2)
    assert {objects(memory, one)[0] for one, _ in PAIRS} == {other for _, other in PAIRS}
    assert memory.verify().ok


def test_a_killed_ingest_pays_for_no_answer_twice(open_memory: Open, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    work = "from tests.memory.test_consolidation import pages; memory.ingest(pages())"
    killed(folder, work=work, after=3, done=lambda: answers(folder) == 3)
    model = Reader()
    memory = open_memory(extractor=extractor(model))
    assert len(memory.ingest(pages()).added) == 4
    assert model.calls == 1
    assert objects(memory, "Ines Duarte") == ["Karl Brandt"]


def test_answers_of_an_ingest_that_never_came_back_are_dropped(open_memory: Open, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    work = "from tests.memory.test_consolidation import pages; memory.ingest(pages())"
    killed(folder, work=work, after=3, done=lambda: answers(folder) == 3)
    assert open_memory().consolidate().strays == 3
    assert answers(folder) == 0


# --- dry run --------------------------------------------------------------------------------------------------------------------------------
def test_a_dry_run_changes_nothing_and_tells_what_a_run_would_do(open_memory: Open, tmp_path: Path, clock: FakeClock) -> None:
    memory = open_memory()
    memory.ingest([*pages(), Document(id="old", text="Lunch is at noon.", modified_at=datetime(2020, 1, 1, tzinfo=timezone.utc))])
    memory.ingest([Document(id=f"tea{n}", text=f"Green tea from Uji, harvest number {n}, is sold in Kyoto.") for n in range(3)])
    memory.close()
    model = Reader()
    memory = open_memory(extractor=extractor(model))
    before = rows(tmp_path / "memory")
    told = memory.consolidate(dry_run=True, half_life_days=30, archive=True)
    assert rows(tmp_path / "memory") == before
    assert model.calls == 0
    assert (told.dry_run, told.read, told.unread) == (True, 0, 8)
    assert [document.document_id for document in told.proposed] == ["old"]
    assert told.archived == ()
    assert [community.summary for community in told.formed] == [""] * len(told.formed)
    done = memory.consolidate(half_life_days=30, archive=True)
    assert done.read == 8
    assert done.archived == ("old",)
    assert {community.id for community in told.formed} <= {community.id for community in done.formed}


# --- archive --------------------------------------------------------------------------------------------------------------------------------
def aged(clock: FakeClock) -> Memory:
    memory = Memory.in_memory(embedder=FakeEmbedder(), clock=clock)
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    memory.ingest(
        [
            Document(id="menu", text="Soup is served on Mondays.", modified_at=long_ago),
            Document(id="lead", text="Priya Raman leads Project Alpha since 2 February 2019.", modified_at=long_ago),
            Document(id="new", text="The canteen moved.", modified_at=clock.now),
        ]
    )
    return memory


def test_what_faded_is_proposed_and_archived_only_when_asked(clock: FakeClock) -> None:
    with aged(clock) as memory:
        report = memory.consolidate(half_life_days=90)
        assert [document.document_id for document in report.proposed] == ["menu"]
        assert report.archived == ()
        assert memory.search("soup on Mondays", k=1)[0].document_id == "menu"
        assert memory.consolidate(half_life_days=90, archive=True).archived == ("menu",)
        assert all(passage.document_id != "menu" for passage in memory.search("soup on Mondays", k=3))
        memory.restore("menu")
        assert memory.search("soup on Mondays", k=1)[0].text == "Soup is served on Mondays."


def test_what_alone_states_a_fact_that_holds_is_spared(clock: FakeClock) -> None:
    with aged(clock) as memory:
        report = memory.consolidate(half_life_days=90, archive=True)
        assert [(document.document_id, document.facts) for document in report.spared] == [("lead", 1)]
        assert objects(memory, "Priya Raman") == ["Project Alpha"]
        memory.ingest(Document(id="again", text="Priya Raman leads Project Alpha since 2 February 2019.", modified_at=clock.now))
        assert memory.consolidate(half_life_days=90, archive=True).archived == ("lead",)
        assert objects(memory, "Priya Raman") == ["Project Alpha"]


@pytest.mark.parametrize("bad", [{"half_life_days": 0}, {"half_life_days": 9, "archive_below": 1.0}, {"archive": True}])
def test_a_number_out_of_range_is_refused_before_anything_is_done(memory: Memory, bad: dict[str, Any]) -> None:
    memory.ingest(pages())
    with pytest.raises(InvalidRequestError):
        memory.consolidate(**bad)
    assert memory.communities() == []


# --- the job as a whole -----------------------------------------------------------------------------------------------------------------
def test_steps_are_told_as_they_are_done(memory: Memory) -> None:
    memory.ingest(pages())
    steps: list[str] = []
    memory.consolidate(progress=lambda *, step, update: steps.append(step))
    assert steps[:2] == ["read_pending", "resolve_names"]
    assert steps[-1] == "propose_archive"


def test_only_the_namespace_asked_for_is_consolidated(open_memory: Open) -> None:
    memory = open_memory()
    for namespace in ("red", "blue"):
        memory.ingest(pages(), namespace=namespace)
    memory.close()
    memory = open_memory(extractor=extractor(Reader()))
    report = memory.consolidate(namespace="red")
    assert (report.namespaces, report.read) == (("red",), 4)
    assert objects(memory, "Maria Lopez", scope=Scope(namespace="blue")) == []
    assert memory.consolidate().read == 4


async def test_a_consolidation_runs_off_the_event_loop(memory: Memory) -> None:
    memory.ingest(pages())
    assert (await memory.aconsolidate(dry_run=True)).dry_run


def test_readers_and_writers_go_on_meanwhile(open_memory: Open) -> None:
    memory = open_memory()
    memory.ingest(pages())
    memory.close()
    memory = open_memory(extractor=extractor(Reader(), fallback=PatternExtractor()))
    night = threading.Thread(target=memory.consolidate)
    night.start()
    memory.ingest(Document(id="late", text="Ravi Iyer mentors Sofia Rossi."))
    assert memory.search("Ravi Iyer", k=1)[0].document_id == "late"
    night.join(timeout=60)
    assert not night.is_alive()
    assert objects(memory, "Ravi Iyer") == ["Sofia Rossi"]
    assert objects(memory, "Maria Lopez") == ["Jonas Weber"]
    assert memory.verify().ok


def test_summaries_of_communities_come_from_the_memorys_model() -> None:
    model = FakeListChatModel(responses=["They are about tea. [m1, m9] Uji is named. [m2]"])
    with Memory.in_memory(embedder=FakeEmbedder(), summarizer=model) as memory:
        memory.ingest([Document(id=f"tea{n}", text=f"Green tea from Uji, harvest number {n}, is sold in Kyoto.") for n in range(3)])
        memory.consolidate()
        (community,) = memory.communities()
        assert community.summary == "They are about tea. [m1] Uji is named. [m2]"
        assert community.summarised_by == "FakeListChatModel"
