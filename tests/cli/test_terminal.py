"""What the commands print with, apart from any memory."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from rag2_memory.commands.explained import BAR_WIDTH, bar
from rag2_memory.commands.options import as_of_of, scope_of
from rag2_memory.commands.terminal import (
    CONTROLS,
    ExitCode,
    console,
    count,
    exit_code_of,
    fail,
    note,
    say,
    say_indented,
    span,
    styled,
    table,
    to_json,
    when,
    write_text,
)
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError, MemoryInUseError
from rag2_memory.types import AsOf, Hit, Scope


@pytest.mark.parametrize(
    ("number", "noun", "said"), [(1, "file", "1 file"), (0, "file", "0 files"), (1_200, "match", "1,200 matches"), (2, "box", "2 boxes")]
)
def test_a_number_agrees_with_its_noun(number: int, noun: str, said: str) -> None:
    assert count(number, noun) == said


def test_values_become_plain_json() -> None:
    moment = datetime(2026, 3, 1, tzinfo=timezone.utc)
    told = to_json({"hit": Hit("a", 1.0), "groups": frozenset({"b", "a"}), "at": moment, "path": Path("x"), "rows": (1, None)})
    assert told == {
        "hit": {"id": "a", "score": 1.0},
        "groups": ["a", "b"],
        "at": "2026-03-01T00:00:00+00:00",
        "path": "x",
        "rows": [1, None],
    }


def test_moments_show_their_time_only_where_they_have_one() -> None:
    midnight, morning = datetime(2026, 3, 1, tzinfo=timezone.utc), datetime(2026, 3, 1, 9, 30, tzinfo=timezone.utc)
    assert (when(midnight), when(morning), when(None)) == ("2026-03-01", "2026-03-01 09:30", "")
    assert (span(midnight, None), span(None, None)) == ("2026-03-01 – …", "")


def test_the_request_is_at_fault_or_the_backend_is() -> None:
    assert exit_code_of(InvalidRequestError("no")) is ExitCode.REFUSED
    assert exit_code_of(BackendUnavailableError("no")) is ExitCode.BACKEND
    assert exit_code_of(MemoryInUseError(path=Path("m"), holder="process 1")) is ExitCode.BACKEND


def test_a_file_that_cannot_be_written_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot write"):
        write_text(tmp_path / "missing" / "page.html", "text")


def test_options_name_who_asks_and_as_of_when() -> None:
    assert scope_of("default", "ada", ["eng", "hr"]) == Scope(user="ada", groups=frozenset({"eng", "hr"}))
    assert scope_of("tenant", "", None) == Scope(namespace="tenant")
    assert as_of_of(None) is None
    assert as_of_of("2026-03-01", "2026-04-01") == AsOf(
        valid=datetime(2026, 3, 1, tzinfo=timezone.utc), recorded=datetime(2026, 4, 1, tzinfo=timezone.utc)
    )
    with pytest.raises(InvalidRequestError, match="ISO 8601"):
        as_of_of("last March")


def test_a_bar_tells_used_borrowed_lent_and_free_tokens_apart() -> None:
    assert bar({"allotted": 40, "used": 10, "borrowed": 0, "lent": 10}, largest=40) == "█" * 10 + "▒" * 10 + "░" * 20
    assert bar({"allotted": 20, "used": 40, "borrowed": 20, "lent": 0}, largest=40) == "█" * 20 + "▓" * 20
    assert bar({"allotted": 0, "used": 0, "borrowed": 0, "lent": 0}, largest=40) == ""


@pytest.mark.parametrize("used", range(0, 1_000, 37))
def test_a_bar_is_never_longer_than_the_longest(used: int) -> None:
    entry = {"allotted": 333, "used": used, "borrowed": max(0, used - 333), "lent": max(0, 300 - used)}
    assert len(bar(entry, largest=max(333, used))) == BAR_WIDTH


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "bell\x07", "\x9b31m", "over\u202ewritten", "back\x08space", "\rstart"])
def test_no_text_controls_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    say_indented(text, by=2)
    note(text)
    fail(text)
    listed = table("column")
    listed.add_row(text)
    console().print(listed)
    console().print(styled(text, (text, "bold")))
    printed = capsys.readouterr()
    assert not CONTROLS.search(printed.out + printed.err)
    assert "\ufffd" in printed.out
