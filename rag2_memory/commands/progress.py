"""Progress of long work on a terminal's stderr; where stderr is no terminal nothing is drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rag2_memory.commands.terminal import console, count

if TYPE_CHECKING:
    from rag2_memory.protocols import Embedder, Vectors

MOST_COUNTED = 100_000
"""Files counted for the bar's end; in larger folders the bar has none."""

TEXTS_AT_ONCE = 96
"""Texts embedded between two looks at the bar: three forward passes, two to three seconds on two cores."""


class Bar:
    """A bar that counts finished items and, beside them, embedded texts. Use it as a context manager."""

    def __init__(self, what: str, *, total: int | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        screen = console(errors=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task = self._progress.add_task(what, total=total, detail="")
        self._embedded = 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def document(self, *, done: int, source: str) -> None:
        """Note a finished document: a `ProgressCallback`."""
        self._progress.update(self._task, completed=done, detail=source)

    def total(self, items: int) -> None:
        """Note how many items there are."""
        self._progress.update(self._task, total=items)

    def step(self, detail: str = "") -> None:
        """Note one more finished item."""
        self._progress.update(self._task, advance=1, detail=detail)

    def embedded(self, texts: int) -> None:
        """Note embedded texts."""
        self._embedded += texts
        self._progress.update(self._task, detail=f"{count(self._embedded, 'chunk')} embedded")


class WatchedEmbedder:
    """An embedder that tells how far it is, a few passes at a time."""

    def __init__(self, embedder: Embedder, watch: Callable[[int], Any]) -> None:
        self._embedder, self._watch = embedder, watch

    @property
    def name(self) -> str:
        """See `Embedder.name`."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """See `Embedder.dimensions`."""
        return self._embedder.dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        if len(texts) <= TEXTS_AT_ONCE:
            vectors = self._embedder.embed(texts)
            self._watch(len(texts))
            return vectors
        import numpy as np

        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[start : start + TEXTS_AT_ONCE]
            parts.append(self._embedder.embed(part))
            self._watch(len(part))
        return np.concatenate(parts)


def files_in(path: Path) -> int | None:
    """Return how many files a path holds, hidden ones aside; `None` where there are too many to count first."""
    if not path.is_dir():
        return 1
    total = 0
    for _, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        total += sum(not name.startswith(".") for name in files)
        if total > MOST_COUNTED:
            return None
    return total
