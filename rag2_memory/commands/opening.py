"""Opening the memory that a command works on, with the embedder it was built with."""

from __future__ import annotations

import importlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag2_memory.commands.terminal import console
from rag2_memory.errors import InvalidRequestError

if TYPE_CHECKING:
    from rag2_memory.memory import Memory

REGISTRY_FILE = "registry.sqlite"
"""A folder with this file is a memory; it is the one file that cannot be rebuilt."""

LOCK_FILES = frozenset({"memory.lock", "holder.json"})
"""What an interrupted creation may have left in a folder that is no memory yet."""

_OBJECT = re.compile(r"(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*:[A-Za-z_]\w*")


@contextmanager
def opened(
    folder: Path, *, embedder: str | None = None, create: bool = False, watch: Callable[[int], Any] | None = None, **options: Any
) -> Iterator[Memory]:
    """Open a memory for one command and close it afterwards.

    Args:
        folder: Where it is.
        embedder: As the option gives it; `None`: what the memory was built with.
        create: Whether a new memory may be made there.
        watch: Told how many texts were embedded, again and again.
        options: As for `Memory.open`.

    Raises:
        InvalidRequestError: If there is no memory and none may be made.
    """
    if not is_memory(folder):
        refuse_unless_new(folder, create=create)
    with waiting("opening the memory"):
        memory = open_memory(folder, embedder=embedder, watch=watch, **options)
    with memory:
        yield memory


def open_memory(folder: Path, *, embedder: str | None, watch: Callable[[int], Any] | None = None, **options: Any) -> Memory:
    """Open or create the memory in a folder."""
    from rag2_memory.memory import Memory

    chosen = embedder_of(embedder) if embedder else remembered_embedder(folder)
    return Memory.open(folder, embedder=watched(chosen, watch), **options)


def watched(embedder: Any, watch: Callable[[int], Any] | None) -> Any:
    """Return an embedder that tells how far it is, where somebody wants to know."""
    if watch is None:
        return embedder
    from rag2_memory.commands.progress import WatchedEmbedder
    from rag2_memory.embedders import as_embedder

    return WatchedEmbedder(as_embedder(embedder), watch)


def is_memory(folder: Path) -> bool:
    """Whether a folder holds a memory."""
    return (folder.expanduser() / REGISTRY_FILE).is_file()


def refuse_unless_new(folder: Path, *, create: bool) -> None:
    """Refuse a folder without a memory, unless one may be made in it: then it must be new or empty."""
    path = folder.expanduser()
    if not create:
        found = "is a file" if path.is_file() else "holds no memory" if path.exists() else "does not exist"
        raise InvalidRequestError(
            f"the folder {str(folder)!r} {found}. Name a memory with --memory or RAG2_MEMORY, or make one: rag2 ingest PATH --memory {folder}"
        )
    if path.is_dir() and any(entry.name not in LOCK_FILES for entry in path.iterdir()):
        raise InvalidRequestError(f"the folder {str(folder)!r} holds other files and no memory. Name a new or empty folder with --memory.")


def embedder_of(value: str) -> Any:
    """Read the option `--embedder`: an object by import path, or a model's name or folder (made absolute, so that it is found again).

    Raises:
        InvalidRequestError: If the object cannot be imported.
    """
    if _OBJECT.fullmatch(value):
        module, _, name = value.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as exc:
            raise InvalidRequestError(f"got --embedder {value}, which cannot be imported: {exc}.") from exc
        return found() if callable(found) else found
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value


def remembered_embedder(folder: Path) -> str | None:
    """Return the model that a memory was built with, or `None` for the default one and for new memories."""
    if not is_memory(folder):
        return None
    from rag2_memory.embedders import MINILM
    from rag2_memory.folder import MemoryFolder

    locked = MemoryFolder.locked(folder)
    try:
        registry = locked.registry()
        try:
            name = registry.note("embedder")
        finally:
            registry.close()
    finally:
        locked.release()
    return None if name is None or name.startswith(f"{MINILM}@") else name


def quiet_libraries() -> None:
    """Keep the engines' own chatter (progress bars, advice, telemetry) off the terminal; their errors reach us as exceptions."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    for name in ("chromadb", "transformers", "sentence_transformers", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal that something takes a while."""
    screen = console(errors=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(f"{what} …", spinner="dots"):
        yield
