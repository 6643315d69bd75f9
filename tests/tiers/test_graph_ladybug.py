"""ladybug as graph tier: the tests of Kuzu again, in a process of its own, since one process cannot import both drivers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("ladybug") is None, reason="needs: pip install 'rag2-memory[ladybug]'")
def test_ladybug_passes_what_kuzu_passes(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(tmp_path),
        "tests/tiers/test_graph_kuzu.py",
    ]
    environment = {**os.environ, "RAG2_GRAPH_DRIVER": "ladybug", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
