"""A small memory for the commands, built once per module with the fake embedder: plumbing is tested here, not quality."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rag2_memory.cli import app

FAKE = "rag2_memory.testing.fakes:FakeEmbedder"

DOCUMENTS = {
    "teams/alpha.md": "---\ntitle: Project Alpha\ndate: 2026-02-02\n---\n# Project Alpha\n\nPriya Raman leads Project Alpha since 2 February 2026.\n\n"
    "The token-cache belongs to Project Alpha.\n",
    "runbooks/err-5031.md": "---\ntitle: ERR-5031\n---\n# ERR-5031\n\nWhen ERR-5031 pages you, look at the panel token cache fill first.\n",
    "hr/salaries.md": "---\ntitle: Salary bands\nacl: ['group:hr']\n---\n# Salary bands\n\nA senior engineer earns between 68,000 and 86,000 a year.\n",
}


def write_corpus(folder: Path) -> Path:
    """Write the documents into a folder."""
    for name, text in DOCUMENTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with three documents, one of them for group hr alone."""
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `rag2` in this process, with the fake embedder and no memory of the developer's own."""
    monkeypatch.setenv("RAG2_EMBEDDER", FAKE)
    monkeypatch.delenv("RAG2_MEMORY", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def run_it(*arguments: object, code: int | None = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        assert code is None or result.exit_code == code, f"{result.exit_code}: {result.stdout}\n{result.stderr}\n{result.exception!r}"
        return result

    return run_it


@pytest.fixture
def read(run: Callable[..., Result]) -> Callable[..., Any]:
    """Run `rag2 … --json` and read what it printed."""

    def read_json(*arguments: object, stdin: str | None = None) -> Any:
        return json.loads(run(*arguments, "--json", stdin=stdin).stdout)

    return read_json


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a memory that holds the three documents; copy it before writing."""
    folder = tmp_path_factory.mktemp("built")
    corpus = write_corpus(folder / "corpus")
    result = CliRunner().invoke(app, ["ingest", str(corpus), "--memory", str(folder / "memory")], env={"RAG2_EMBEDDER": FAKE})
    assert result.exit_code == 0, result.output
    return folder / "memory"


@pytest.fixture
def memory(built: Path, tmp_path: Path) -> Path:
    """A copy of the built memory that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "memory"))
