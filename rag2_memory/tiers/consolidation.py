"""What the registry does for consolidation: which chunks wait for an extractor, its cached answers, stated aliases, communities of documents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from rag2_memory.records import Community, Knowledge, UnreadChunk


class ConsolidationTier(ABC):
    """The part of a registry that consolidation works on.

    Rules: an extractor's reading is noted with what it read, in one transaction (`test_a_chunk_is_unread_until_its_knowledge_is_recorded`); what is
    read later completes what was read before and replaces nothing (`test_a_later_reading_completes_the_earlier_one`); answers and communities go
    with the chunks that they were made of (`test_a_purge_takes_answers_and_communities_along`); types and aliases come from documents that
    everyone in the namespace sees (`test_only_open_documents_type_names_and_give_aliases`).
    """

    # --- reading later ----------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def unread(self, namespace: str, *, extractor: str | None = None, after: str = "", limit: int | None = None) -> list[UnreadChunk]:
        """Return published chunks that this extractor has not read, or that none has read, in the order of documents' keys and of their chunks.

        `after` names the document to begin with: a long reading need not walk again what it has read.
        """

    @abstractmethod
    def deepen(self, chunk_ids: Collection[str], knowledge: Knowledge, *, now: datetime) -> int:
        """Add what `knowledge.extractor` read in recorded chunks and note that it read them; returns how many statements are new.

        Mentions that exist get the type and the properties that they lacked. What gained something is to be compared with other entities again, and
        the graph owes the chunks.
        """

    @abstractmethod
    def kept_answer(self, chunk_id: str, extractor: str) -> str | None:
        """Return an extractor's answer about a chunk as it was kept, or `None`."""

    @abstractmethod
    def keep_answer(self, chunk_id: str, extractor: str, payload: str) -> None:
        """Keep an answer, durably on return; the chunk need not be recorded yet."""

    @abstractmethod
    def drop_stray_answers(self) -> int:
        """Delete answers about chunks that were never recorded, such as those of an ingest that was killed; returns how many there were."""

    # --- what names are ----------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def public_types(self, namespace: str, keys: Collection[str]) -> dict[str, str]:
        """Return the node type of normalised names, as most open documents of the namespace have it; names without one are left out."""

    @abstractmethod
    def stated_aliases(self, namespace: str, *, compared: bool | None = None) -> dict[str, list[frozenset[str]]]:
        """Return the other names that open documents give to surface entities, as written: one set per document that gives any, in no order."""

    @abstractmethod
    def recheck_aliases(self, key: str) -> bool:
        """Have the entities to which a document gives other names compared again, for it was opened or restricted; returns whether it gives any."""

    @abstractmethod
    def retract_merges(self, merge_ids: Collection[int]) -> None:
        """Delete merges whose ground is gone, as if they had never been decided; their entities are to be compared again."""

    # --- whole documents ---------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def live_chunks(self, namespace: str) -> dict[str, list[str]]:
        """Return the chunk ids of every published document by its key, in their order."""

    @abstractmethod
    def alone_in_stating(self, keys: Collection[str]) -> dict[str, int]:
        """Return, for documents by key, how many edges none but these documents evidence and that have not ended; documents without are left out."""

    @abstractmethod
    def communities(self, namespace: str) -> list[Community]:
        """Return every community of a namespace, the largest first. Unscoped: show one only to who sees all of its chunks."""

    @abstractmethod
    def change_communities(self, *, add: Sequence[Community] = (), drop: Collection[str] = (), now: datetime) -> None:
        """Add communities and delete others by id, in one transaction; one that exists is replaced."""

    @abstractmethod
    def reading_counts(self, namespace: str) -> Mapping[str, int]:
        """Return how many published chunks each extractor has read."""
