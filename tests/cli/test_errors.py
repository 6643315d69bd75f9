"""What goes wrong ends as one line on stderr and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from rag2_memory import Memory
from rag2_memory.commands import asking, opening
from rag2_memory.commands.opening import embedder_of, is_memory, remembered_embedder
from rag2_memory.errors import InvalidRequestError
from rag2_memory.testing.fakes import FakeEmbedder

Run = Callable[..., Result]

READING = [
    ("ask", "why?"),
    ("search", "why?"),
    ("facts", "Ada"),
    ("graph", "show", "Ada"),
    ("status",),
    ("verify",),
    ("repair",),
    ("rebuild", "vector"),
    ("forget", "a.md"),
    ("acl", "a.md"),
    ("archive", "a.md"),
    ("restore", "a.md"),
    ("cache", "stats"),
    ("cache", "clear"),
    ("cache", "explain", "why?"),
]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_folder_without_a_memory_is_refused_and_left_alone(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    missing, empty, file = tmp_path / "missing", tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("text", encoding="utf-8")
    for folder, problem in ((missing, "does not exist"), (empty, "holds no memory"), (file, "is a file")):
        result = run(*command, "--memory", folder, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("error: the folder")
        assert problem in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not missing.exists()
    assert list(empty.iterdir()) == []


def test_a_memory_in_use_is_a_backend_error(run: Run, memory: Path) -> None:
    with Memory.open(memory, embedder=FakeEmbedder()):
        result = run("status", "--memory", memory, code=3)
    assert "in use" in result.stderr
    run("status", "--memory", memory)


def test_the_wrong_embedder_is_refused(run: Run, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "embedder_of", lambda value: FakeEmbedder(dimensions=32))
    result = run("search", "why?", "--memory", memory, code=1)
    assert "fake-hashing-64" in result.stderr


def test_a_memory_remembers_the_model_it_was_built_with(memory: Path, tmp_path: Path) -> None:
    assert remembered_embedder(memory) == "fake-hashing-64"
    assert remembered_embedder(tmp_path / "new") is None
    assert is_memory(memory)


def test_an_embedder_is_a_name_a_folder_or_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedder_of("org/model") == "org/model"
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert embedder_of("model") == str(tmp_path / "model")
    assert isinstance(embedder_of("rag2_memory.testing.fakes:FakeEmbedder"), FakeEmbedder)
    with pytest.raises(InvalidRequestError, match="cannot be imported"):
        embedder_of("rag2_memory.testing.fakes:NoSuchThing")


def test_a_defect_is_one_line_unless_debugging(run: Run, monkeypatch: pytest.MonkeyPatch, memory: Path) -> None:
    def broken(value: str | None, **options: int) -> None:
        raise RuntimeError("the sky\nis falling")

    monkeypatch.setattr(asking, "budget_of", broken)
    result = run("ask", "why?", "--memory", memory, code=70)
    assert "unexpected RuntimeError: the sky is falling" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    monkeypatch.setenv("RAG2_DEBUG", "1")
    assert "Traceback" in run("ask", "why?", "--memory", memory, code=70).stderr


def test_ctrl_c_ends_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch, memory: Path) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Memory, "search", interrupted)
    result = run("search", "why?", "--memory", memory, code=130)
    assert "Stopped" in result.stderr
    assert "Traceback" not in result.stderr
    monkeypatch.undo()
    with Memory.open(memory, embedder=FakeEmbedder()) as opened:
        assert opened.verify().ok


@pytest.mark.parametrize(
    "arguments", [("ask",), ("ask", "why?", "--route", "sideways"), ("search", "why?", "-k", "0"), ("nonsense",), ("status", "--nonsense")]
)
def test_wrong_usage_has_its_own_code(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments, code=2).stdout == ""


def test_an_empty_question_is_refused(run: Run, memory: Path) -> None:
    assert "non-empty question" in run("ask", "  ", "--memory", memory, code=1).stderr


def test_the_help_names_every_exit_code(run: Run) -> None:
    shown = " ".join(run("--help").stdout.split())
    for code in ("0 done", "1 the request", "2 wrong usage", "3 an engine", "4 a check", "130 interrupted"):
        assert code in shown
