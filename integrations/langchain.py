"""Drop-in parts for LangChain: retriever, tools, embeddings, vector store, cache of model calls."""

from __future__ import annotations

from rag2_memory.integrations.embeddings import MemoryEmbeddings
from rag2_memory.integrations.llm_cache import LLMCache
from rag2_memory.integrations.retriever import MemoryRetriever, document_of
from rag2_memory.integrations.tools import memory_tools
from rag2_memory.integrations.vectorstore import MemoryVectorStore

__all__ = ["LLMCache", "MemoryEmbeddings", "MemoryRetriever", "MemoryVectorStore", "document_of", "memory_tools"]
