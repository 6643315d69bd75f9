"""Fitting what was found into a token budget: counting, sharing out, choosing, rendering, citing."""

from rag2_memory.context.assemble import compile_context
from rag2_memory.context.budget import PRESETS, ContextBudget, Share
from rag2_memory.context.compiled import Citation, CitedSources, Context, ContextBlock, Dropped, HistoryMessage
from rag2_memory.context.tokens import default_token_counter, offline_token_counter, token_counter

__all__ = [
    "PRESETS",
    "Citation",
    "CitedSources",
    "Context",
    "ContextBlock",
    "ContextBudget",
    "Dropped",
    "HistoryMessage",
    "Share",
    "compile_context",
    "default_token_counter",
    "offline_token_counter",
    "token_counter",
]
