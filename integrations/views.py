"""What tools of every framework show of a memory, and what they may remove, written once."""

from __future__ import annotations

import json
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.temporal import fact_json
from rag2_memory.memory import Memory
from rag2_memory.types import AsOfLike, Fact, ForgetReceipt, Passage, Scope


def passage_row(passage: Passage) -> dict[str, Any]:
    """Return a passage as a model reads it: where it stands and what it says."""
    return {
        "document_id": passage.document_id,
        "title": passage.title,
        "section": " > ".join(passage.heading_path),
        "text": passage.text,
        "score": round(passage.score, 4),
    }


def fact_rows(memory: Memory, entity: str, *, scope: Scope, as_of: AsOfLike = None) -> list[dict[str, Any]]:
    """Return the facts about an entity as JSON values."""
    facts = memory.facts(entity, as_of=as_of or None, scope=scope)
    rows: list[dict[str, Any]] = json.loads(json.dumps([fact_json(fact) for fact in facts], ensure_ascii=False, default=str))
    return rows


def timeline(memory: Memory, entity: str, *, scope: Scope) -> list[str]:
    """Return the dated facts about an entity, one line each, in order of time; of equal dates the one that ended first stands first."""
    dated = [fact for fact in memory.facts(entity, scope=scope) if fact.valid_from or fact.valid_to]
    return [str(fact) for fact in sorted(dated, key=_when)]


def _when(fact: Fact) -> tuple[str, str]:
    moment = fact.valid_from or fact.valid_to
    return moment.isoformat() if moment else "", str(fact)


def forget_owned(memory: Memory, document_id: str, *, scope: Scope, thread_id: str | None = None) -> ForgetReceipt:
    """Forget a document on behalf of a scope, where nobody else loses anything by it.

    A scope with a user forgets what is that user's alone, one with groups only what is theirs alone; an anonymous scope, whatever it sees.

    Args:
        memory: The memory.
        document_id: The document.
        scope: Who asks.
        thread_id: Where given, only turns of this conversation can be forgotten.

    Raises:
        InvalidRequestError: If the scope does not see such a document, or shares it with others; nothing was forgotten.
    """
    try:
        memory.document(document_id, scope=scope)
    except InvalidRequestError as exc:
        raise InvalidRequestError(f"got document_id={document_id!r}, which is not visible here; nothing was forgotten.") from exc
    (state,) = memory.services.registry.states(namespace=scope.namespace, document_ids=[document_id])
    own = frozenset({f"user:{scope.user}"}) if scope.user else scope.principals
    if own and not (state.acl and state.acl <= own):
        raise InvalidRequestError(f"got document_id={document_id!r}, which others can see as well; nothing was forgotten.")
    if thread_id is not None and state.thread_id != thread_id:
        raise InvalidRequestError(f"got document_id={document_id!r}, which is not a note of {thread_id!r}; nothing was forgotten.")
    return memory.forget(document_id, namespace=scope.namespace)
