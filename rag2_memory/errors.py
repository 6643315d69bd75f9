"""Everything rag2_memory raises.

Rag2MemoryError
├── InvalidRequestError (ValueError)      the caller's fault: nothing was written, change the call
│   ├── BudgetTooSmallError               the fixed parts alone exceed the token budget
│   ├── UnknownDocumentError (KeyError)   no document of that id where it was asked for
│   ├── SourceError                       a path or file that cannot be ingested
│   ├── ClosedMemoryError                 the memory was closed before the call
│   └── MissingExtraError (ImportError)   an optional dependency is not installed
└── BackendUnavailableError               an engine's or the environment's fault: retry or repair
    ├── MemoryInUseError                  another process holds the memory's folder
    ├── CorruptIndexError                 an index cannot be read: rebuild it
    └── SchemaVersionError                the memory was written by a newer release
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Rag2MemoryError(Exception):
    """Base of every error of this library; it survives pickling with its fields."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(cls: type[Rag2MemoryError], args: tuple[Any, ...], fields: dict[str, Any]) -> Rag2MemoryError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InvalidRequestError(Rag2MemoryError, ValueError):
    """The call cannot be answered as made; nothing was written."""


class BudgetTooSmallError(InvalidRequestError):
    """The fixed parts alone exceed the token budget.

    Attributes:
        budget_tokens: What the caller allowed.
        needed_tokens: What the smallest possible context takes.
    """

    def __init__(self, *, budget_tokens: int, needed_tokens: int) -> None:
        self.budget_tokens, self.needed_tokens = budget_tokens, needed_tokens
        super().__init__(
            f"a budget of {budget_tokens} tokens cannot hold the fixed parts of a context (guidelines, query, frame and response "
            f"reserve), which need {needed_tokens}. Raise the budget to at least {needed_tokens} tokens or shorten the guidelines."
        )


class UnknownDocumentError(InvalidRequestError, KeyError):
    """No document of that id exists where it was asked for.

    Attributes:
        document_id: What was asked for.
    """

    def __init__(self, *, document_id: str, detail: str = "") -> None:
        self.document_id = document_id
        super().__init__(f"no document {document_id!r} in this memory{detail}. `rag2 status --documents` lists the ids.")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class SourceError(InvalidRequestError):
    """A path or value that cannot be ingested.

    Attributes:
        source: The offending source, as text.
    """

    def __init__(self, *, source: str, problem: str, remedy: str) -> None:
        self.source = source
        super().__init__(f"cannot ingest {source!r}: {problem}. {remedy}")


class ClosedMemoryError(InvalidRequestError):
    """The memory was closed before the call."""

    def __init__(self) -> None:
        super().__init__(
            "this memory is closed. Open it again with Memory.open(path), or keep it open with `with Memory.open(path) as memory:`."
        )


class MissingExtraError(InvalidRequestError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: The extra of this package that installs it.
    """

    def __init__(self, *, package: str, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed. Run: pip install 'rag2-memory[{extra}]'")


class BackendUnavailableError(Rag2MemoryError):
    """An engine failed, is missing or is out of reach; the request itself was fine."""


class MemoryInUseError(BackendUnavailableError):
    """Another process (or another open memory in this one) holds the memory's folder.

    Attributes:
        path: The memory's folder.
        holder: Who holds it, as far as the lock file says.
    """

    def __init__(self, *, path: Path, holder: str) -> None:
        self.path, self.holder = path, holder
        super().__init__(
            f"the memory at {str(path)!r} is in use by {holder}. Close it there first, or use one server process and talk to that."
        )


class CorruptIndexError(BackendUnavailableError):
    """An index on disk cannot be read; the registry still holds everything needed to rebuild it.

    Attributes:
        tier: The tier's name as `Memory.rebuild` takes it.
    """

    def __init__(self, *, tier: str, problem: str) -> None:
        self.tier = tier
        super().__init__(f"the {tier} index cannot be read ({problem}). Run memory.rebuild({tier!r}) or `rag2 rebuild {tier}`.")


class SchemaVersionError(BackendUnavailableError):
    """The registry was written by a newer release than this one.

    Attributes:
        found: Schema version on disk.
        supported: Newest schema version that this release reads.
    """

    def __init__(self, *, found: int, supported: int) -> None:
        self.found, self.supported = found, supported
        super().__init__(
            f"this memory has schema version {found}; this release reads up to {supported}. Upgrade: pip install --upgrade rag2-memory"
        )
