"""The LangGraph state machines."""

from rag2_memory.graphs.recall import build_recall_graph
from rag2_memory.graphs.services import RecallContext, RecallServices
from rag2_memory.graphs.state import RecallInput, RecallOutput, RecallState

__all__ = ["RecallContext", "RecallInput", "RecallOutput", "RecallServices", "RecallState", "build_recall_graph"]
