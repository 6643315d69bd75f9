"""Layered memory for LangGraph agents. Names are loaded when first used, so importing the package loads no engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag2_memory.config import MemoryConfig as MemoryConfig
    from rag2_memory.context import Context as Context
    from rag2_memory.context import ContextBudget as ContextBudget
    from rag2_memory.errors import BackendUnavailableError as BackendUnavailableError
    from rag2_memory.errors import BudgetTooSmallError as BudgetTooSmallError
    from rag2_memory.errors import ClosedMemoryError as ClosedMemoryError
    from rag2_memory.errors import InvalidRequestError as InvalidRequestError
    from rag2_memory.errors import MemoryInUseError as MemoryInUseError
    from rag2_memory.errors import Rag2MemoryError as Rag2MemoryError
    from rag2_memory.errors import SourceError as SourceError
    from rag2_memory.errors import UnknownDocumentError as UnknownDocumentError
    from rag2_memory.knowledge.schema import GraphSchema as GraphSchema
    from rag2_memory.memory import Memory as Memory
    from rag2_memory.types import AsOf as AsOf
    from rag2_memory.types import Document as Document
    from rag2_memory.types import Fact as Fact
    from rag2_memory.types import ForgetReceipt as ForgetReceipt
    from rag2_memory.types import IngestReport as IngestReport
    from rag2_memory.types import Passage as Passage
    from rag2_memory.types import Scope as Scope
    from rag2_memory.types import VerifyReport as VerifyReport

_HOMES = {
    "MemoryConfig": "config",
    "Context": "context",
    "ContextBudget": "context",
    "BackendUnavailableError": "errors",
    "BudgetTooSmallError": "errors",
    "ClosedMemoryError": "errors",
    "InvalidRequestError": "errors",
    "MemoryInUseError": "errors",
    "Rag2MemoryError": "errors",
    "SourceError": "errors",
    "UnknownDocumentError": "errors",
    "GraphSchema": "knowledge.schema",
    "Memory": "memory",
    "AsOf": "types",
    "Document": "types",
    "Fact": "types",
    "ForgetReceipt": "types",
    "IngestReport": "types",
    "Passage": "types",
    "Scope": "types",
    "VerifyReport": "types",
}

__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
