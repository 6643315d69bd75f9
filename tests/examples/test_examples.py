"""Every example runs offline and prints what it promises; what a script says in an example is not looked at, what the memory does is."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

PRINTED = {
    "quickstart": ["Priya Raman –LEAD_ARCHITECT_OF→ Project Alpha", "citations: "],
    "create_agent": [
        "calls memory_timeline",
        "Vatsal Shah –LEAD_ARCHITECT_OF→ Project Alpha [… – 2026-02-01]",
        "finds of this conversation: []",
    ],
    "stategraph_agent": ["4 messages", "was answered from version 1: The gateway listens on port 8443.", "was answered from version 2: "],
    "human_approval": [
        "Are 'V. Shah' and 'Vatsal Shah' the same?",
        "V. Shah and Vatsal Shah: merge",
        "Vatsal Shah –LEAD_ARCHITECT_OF→ Project Gamma",
    ],
    "permissions": [
        "bob      asks about salaries: Salaries are reviewed once a year. [c1]",
        "ada      asks about salaries: Salaries are reviewed in May",
        "mallory  asks about salaries: The memory holds nothing",
        "bob, let in: Salaries are reviewed in May",
        "facts about Project Nightfall for bob: []",
    ],
    "temporal": [
        "on 2026-01-15: Vatsal Shah",
        "on 2026-03-14: Priya Raman",
        "as known now? ['Tomas Lindqvist']",
        "as known on 1 July? ['Priya Raman']",
    ],
    "own_store": ["after a restart the store holds", "Something to drink? I would offer oolong tea", "look? I would offer a dark theme"],
    "mcp_client": ["the server offers facts, forget, recall, remember, search, timeline", "The gateway's admin port is 9999.", "'mcp/0'"],
    "nightly": ["a dry run would form", "groups of related documents", "groups stay as they are", "menu is back, whole: 'On Thursdays"],
    "custom_tier": ["spec The logger X-402-V2 calls sys_init_v2 twice."],
}

OFFLINE = {"quickstart", "custom_tier"}
"""Examples that ask no model and so take none."""


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_offline_and_prints_what_it_promises(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if name == "mcp_client":
        pytest.importorskip("mcp")
        pytest.importorskip("langchain_mcp_adapters")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capfd.readouterr().out
    for promised in PRINTED[name]:
        assert promised in printed, printed


@pytest.mark.parametrize("name", sorted(PRINTED.keys() - OFFLINE))
def test_an_example_takes_a_real_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's name reaches LangChain, which knows no such provider."""
    monkeypatch.setattr(sys, "argv", [name, "--model", "nobody:nothing"])
    with pytest.raises((ValueError, ImportError), match="nobody"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
