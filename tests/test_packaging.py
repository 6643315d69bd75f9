"""What is built and installed: packages, files, and the cost of importing."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = {"torch", "chromadb", "kuzu", "ladybug", "tantivy", "sentence_transformers", "langgraph", "langchain_core", "sqlalchemy", "numpy"}


def python_packages() -> set[str]:
    """Return every package on disk by its import name."""
    found = set()
    for folder in ("rag2_memory", "graphs", "integrations"):
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found.add(".".join(parts if parts[0] == "rag2_memory" else ("rag2_memory", *parts)))
    return found


def test_the_package_list_is_what_is_on_disk() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == python_packages()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist with what is installed, without a network."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def test_the_wheel_holds_every_module_once(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("rag2_memory-")]
    modules = {
        ("rag2_memory/" if folder != "rag2_memory" else "") + path.relative_to(ROOT).as_posix()
        for folder in ("rag2_memory", "graphs", "integrations")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules
    assert "rag2_memory/py.typed" in names
    assert len(names) == len(set(names))


def test_the_sdist_builds_the_same_package(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "graphs/recall.py", "rag2_memory/memory.py"} <= names


def test_importing_the_package_loads_no_engine_and_takes_no_time() -> None:
    code = (
        "import sys, time; started = time.perf_counter(); import rag2_memory; spent = time.perf_counter() - started;"
        f"print(spent, *sorted({HEAVY!r} & set(sys.modules)))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    assert all(len(run) == 1 for run in runs), runs
    assert min(float(run[0]) for run in runs) < 0.3


def test_every_public_name_is_there() -> None:
    import rag2_memory

    for name in rag2_memory.__all__:
        assert getattr(rag2_memory, name) is not None
    assert set(rag2_memory.__all__) <= set(dir(rag2_memory))
    with pytest.raises(AttributeError, match="Memories"):
        _ = rag2_memory.Memories
