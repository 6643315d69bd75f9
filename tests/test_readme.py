"""The README's code runs and its picture is current."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.picture import drawn, shown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python( file=\S+)?\n(.*?)```", README, re.DOTALL)
SHELL = [line.split("#")[0].strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def test_the_picture_is_drawn_from_the_code() -> None:
    assert shown() == drawn()


@pytest.mark.parametrize(("marker", "code"), [pair for pair in PYTHON if not pair[0]])
def test_a_code_block_runs(marker: str, code: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_first_block_is_the_quickstart() -> None:
    (shown_code,) = [code for marker, code in PYTHON if marker == " file=examples/quickstart.py"]
    assert shown_code == (ROOT / "examples" / "quickstart.py").read_text()


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("rag2")])
def test_a_command_exists(line: str) -> None:
    words = shlex.split(line)
    done = subprocess.run([sys.executable, "-m", "rag2_memory.cli", words[1], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in done.stdout


@pytest.mark.parametrize("target", [line.split()[1] for line in SHELL if line.startswith("make")])
def test_a_make_target_exists(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
