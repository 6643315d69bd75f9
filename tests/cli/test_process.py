"""`rag2` as a process of its own: what it loads, how it ends, what stands on which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "chromadb", "kuzu", "tantivy", "langgraph", "langchain_core", "sentence_transformers", "numpy", "sqlalchemy")

SLOW_EMBEDDER = """
import os, time
from rag2_memory.testing.fakes import FakeEmbedder

class Slow(FakeEmbedder):
    def embed(self, texts):
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(".")
        time.sleep(0.1)
        return super().embed(texts)
"""
CALLS_OF_THE_FIRST_BATCH = 6
"""A batch holds about 512 texts, embedded 96 at a time: the seventh call belongs to the second batch."""


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAG2_")}
    return kept | {"PYTHONPATH": paths, "RAG2_EMBEDDER": "rag2_memory.testing.fakes:FakeEmbedder"} | more


def rag2(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rag2_memory.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=120, check=False)


def test_the_help_loads_no_engine() -> None:
    code = (
        "import sys; sys.argv = ['rag2', '--help']\n"
        "from rag2_memory.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert "Usage" in done.stdout
    assert done.stderr == "[]\n"


def test_the_help_takes_at_most_half_a_second_of_processor_time() -> None:
    taken = []
    for _ in range(3):  # the best of three: neighbours on the machine slow a process down
        before = os.times()
        rag2("--help")
        after = os.times()
        taken.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(taken) < 0.5


def test_a_piped_answer_has_no_colours_and_json_alone_on_stdout(memory: Path) -> None:
    told = rag2("ask", "Who leads Project Alpha?", "--explain", "--json", "--memory", memory)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["explanation"]["question"] == "Who leads Project Alpha?"
    assert told.stderr == ""
    shown = rag2("ask", "Who leads Project Alpha?", "--explain", "--memory", memory)
    assert "\x1b" not in shown.stdout + shown.stderr


def test_a_reader_that_goes_away_is_no_error(memory: Path) -> None:
    command = f"{sys.executable} -m rag2_memory.cli status --documents --memory {memory} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_terminal_without_unicode_still_gets_its_answer(memory: Path) -> None:
    done = rag2("search", "ERR-5031", "--memory", memory, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "ERR-5031" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals of this kind are POSIX")
def test_an_interrupted_ingest_stops_cleanly_and_the_next_one_completes_it(tmp_path: Path) -> None:
    corpus, memory, calls = tmp_path / "corpus", tmp_path / "memory", tmp_path / "calls"
    for folder in (corpus, tmp_path / "slow"):
        folder.mkdir()
    (tmp_path / "slow" / "embedding.py").write_text(SLOW_EMBEDDER, encoding="utf-8")
    for at in range(40):
        parts = (f"# Part {part}\n\nNumber {at} speaks of {part}." for part in range(20))
        (corpus / f"{at}.md").write_text("\n\n".join(parts), encoding="utf-8")
    slow = {"RAG2_EMBEDDER": "slow.embedding:Slow", "CALLS": str(calls), "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    command = [sys.executable, "-m", "rag2_memory.cli", "ingest", str(corpus), "--memory", str(memory)]
    with subprocess.Popen(command, env=environment(**slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (calls.exists() and calls.stat().st_size > CALLS_OF_THE_FIRST_BATCH) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert (process.returncode, "Stopped" in errors) in ((130, True), (0, False)), (
        errors
    )  # a busy machine may finish before the signal is read
    report = json.loads(rag2("ingest", corpus, "--memory", memory, "--json").stdout)
    assert report["unchanged"], "the first batch was complete and stays"
    assert len(report["added"]) + len(report["unchanged"]) == 40
    assert rag2("verify", "--memory", memory).returncode == 0
