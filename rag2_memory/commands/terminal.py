"""How the commands speak: answers on stdout, progress and errors on stderr, JSON alone on stdout where it was asked for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rag2_memory.errors import InvalidRequestError, Rag2MemoryError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPED_WIDTH = 160
"""Columns where stdout is no terminal: room for document ids, which a reader of a file or pipe wants whole."""


class ExitCode(IntEnum):
    """What `rag2` returns to the shell."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    BACKEND = 3
    CHECK_FAILED = 4
    BUG = 70
    INTERRUPTED = 130


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, escape among them, and those that turn the direction of writing; documents are not ours, terminals obey them."""

EXIT_CODES_HELP = (
    "Exit codes: 0 done · 1 the request cannot be met as made · 2 wrong usage · 3 an engine failed or the memory is in use · "
    "4 a check failed (verify, repair, eval --fail-below) · 70 a defect in rag2 · 130 interrupted."
)


def harmless(text: str) -> str:
    """Return a text that can neither move a terminal's cursor nor change its state: what controls it is shown as a replacement character."""
    return CONTROLS.sub("\ufffd", text)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return pieces of text, each plain or with a style, joined and harmless."""
    from rich.text import Text

    return Text.assemble(*(harmless(part) if isinstance(part, str) else (harmless(part[0]), part[1]) for part in parts))


def console(*, errors: bool = False) -> Console:
    """Return a console on today's stdout or stderr; colours, widths and NO_COLOR are rich's business."""
    from rich.console import Console

    class Terminal(Console):
        """A console that leaves a closed pipe to the top of the command line."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream: TextIO = sys.stderr if errors else sys.stdout
    piped = not stream.isatty()
    return Terminal(file=stream, highlight=False, emoji=False, markup=False, width=PIPED_WIDTH if piped else None)


def say(text: str, *, style: str = "") -> None:
    """Print one paragraph for people on stdout; nothing in it is read as markup."""
    console().print(harmless(text), style=style or None, soft_wrap=True)


def say_indented(*parts: str | tuple[str, str], by: int) -> None:
    """Print a paragraph set in by some columns, its pieces as for `styled`: wrapped there on a terminal, on one line in a file or pipe."""
    from rich.padding import Padding

    screen = console()
    if screen.is_terminal:
        screen.print(Padding(styled(*parts), (0, 0, 0, by)))
    else:
        screen.print(styled(" " * by, *parts), soft_wrap=True)


def note(text: str, *, style: str = "dim") -> None:
    """Print a remark on stderr, where it disturbs no pipe."""
    console(errors=True).print(harmless(text), style=style, soft_wrap=True)


def fail(text: str) -> None:
    """Print an error as one line on stderr."""
    line = harmless(" ".join(str(text).split()))
    console(errors=True).print(f"error: {line}", style="bold red", soft_wrap=True)


def emit_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    sys.stdout.write(json.dumps(to_json(value), ensure_ascii=encoding != "utf8", indent=2) + "\n")


def to_json(value: Any) -> Any:
    """Return a value as plain JSON values: dataclasses as objects, moments as ISO text, sets as sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(item) for item in value), key=str)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Iterable):
        return [to_json(item) for item in value]
    return str(value)


def table(*columns: str, title: str = "", right: Collection[str] = (), whole: Collection[str] = (), fixed: Collection[str] = ()) -> Table:
    """Return an empty table in the house's look.

    Args:
        columns: Headings.
        title: Above the table.
        right: Columns of numbers, aligned to the right.
        fixed: Columns that keep their lines.
        whole: Columns that are never cut, such as ids; they fold instead.
    """
    from rich import box
    from rich.table import Table

    class Listing(Table):
        """A table whose cells are harmless."""

        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(harmless(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    made = Listing(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold" if column in whole else "ellipsis",
            no_wrap=column in right or column in fixed,
        )
    return made


def write_text(path: Path, text: str) -> None:
    """Write a file that a user asked for.

    Raises:
        InvalidRequestError: If it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InvalidRequestError(
            f"cannot write {str(path)!r}: {exc.strerror or exc}. Choose a folder that exists and may be written."
        ) from exc


def exit_code_of(error: Rag2MemoryError) -> ExitCode:
    """Return 1 where the request was at fault and 3 where an engine or the environment was."""
    return ExitCode.REFUSED if isinstance(error, InvalidRequestError) else ExitCode.BACKEND


def when(moment: datetime | None) -> str:
    """Return a moment as people write it: the date, with the time only where it is not midnight."""
    if moment is None:
        return ""
    return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute, moment.second) == (0, 0, 0) else f"{moment:%Y-%m-%d %H:%M}"


def span(start: datetime | None, end: datetime | None) -> str:
    """Return a validity window as people read it; empty where nothing is known."""
    if start is None and end is None:
        return ""
    return f"{when(start) or '…'} – {when(end) or '…'}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it needs one."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"
