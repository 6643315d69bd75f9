"""What readers see of documents: publishing, permissions, hiding. Every function runs inside its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, exists, select, update

from rag2_memory.tiers import sql_schema as t
from rag2_memory.tiers.sql_dropping import drop_versions, trim_versions, version_chunks
from rag2_memory.tiers.sql_journal import changed, owe, owe_many, owe_windows, resized
from rag2_memory.tiers.sql_values import batched, insert_new, seconds, to_json
from rag2_memory.types import INDEX_TIERS


def publish(connection: Connection, *, now: float, keep_versions: int, keys: Collection[str] | None = None) -> list[str]:
    """Make every pending version visible whose index work is done; returns the document keys.

    One update per document switches version, title and permissions together. Superseded versions beyond `keep_versions` are dropped and the
    indexes owe their removal.
    """
    owed = exists().where(t.journal.c.document_key == t.documents.c.document_key, t.journal.c.tier.in_(INDEX_TIERS))
    query = select(t.documents).where(t.documents.c.pending_version > 0, ~owed)  # not IS NOT NULL, for which SQLite reads every document
    rows = connection.execute(query).all()
    chosen = [row for row in rows if keys is None or row.document_key in keys]
    if not chosen:
        return []
    _switch(connection, chosen, now)
    for row in chosen:
        if row.live_version is not None:
            trim_versions(connection, row.document_key, row.namespace, keep_versions)
    changed(connection, {row.namespace for row in chosen})
    return [row.document_key for row in chosen]


def _switch(connection: Connection, rows: Sequence[Row[Any]], now: float) -> None:
    """Make pending versions the live ones: version, title and permissions change together."""
    before = _chunks_of(connection, {row.document_key: row.live_version for row in rows if row.live_version is not None})
    after = _chunks_of(connection, {row.document_key: row.pending_version for row in rows})
    permitted = _permissions(connection, [row.document_key for row in rows])
    for namespace in {row.namespace for row in rows}:
        keys = [row.document_key for row in rows if row.namespace == namespace]
        resized(connection, namespace, by=sum(len(after.get(key, ())) - len(before.get(key, ())) for key in keys))
    for row in rows:
        acl = json.loads(row.pending_acl)
        if permitted.get(row.document_key, set()) != set(acl):
            set_permissions(connection, row.document_key, acl)
    connection.execute(
        update(t.documents)
        .where(t.documents.c.document_key == bindparam("key"))
        .values(live_version=bindparam("now_live"), pending_version=None, pending_acl=None, state="live"),
        [{"key": row.document_key, "now_live": row.pending_version} for row in rows],
    )
    # A first version counts from its own date where it has one, so that an archive ingested today has a past.
    effective = case((and_(t.versions.c.version == 1, t.versions.c.modified_at < now), t.versions.c.modified_at), else_=now)
    connection.execute(
        update(t.versions)
        .where(t.versions.c.document_key == bindparam("key"), t.versions.c.version == bindparam("number"))
        .values(recorded_at=now, effective_from=effective),
        [{"key": row.document_key, "number": row.pending_version} for row in rows],
    )
    superseded = [{"key": row.document_key, "number": row.live_version} for row in rows if row.live_version is not None]
    if superseded:
        connection.execute(
            update(t.versions)
            .where(
                t.versions.c.document_key == bindparam("key"),
                t.versions.c.version == bindparam("number"),
                t.versions.c.retired_at.is_(None),
            )
            .values(retired_at=now),
            superseded,
        )
    # A changed title or permission concerns every chunk, a changed text only those that came or went; the cache decides by content.
    concerned = {row.document_key: before.get(row.document_key, set()) | after.get(row.document_key, set()) for row in rows}
    owe_many(connection, ("cache",), [(row.namespace, row.document_key, sorted(concerned[row.document_key]) or [""]) for row in rows])


def _chunks_of(connection: Connection, versions: Mapping[str, int]) -> dict[str, set[str]]:
    """Return the chunk ids of one version of each document."""
    found: dict[str, set[str]] = {}
    for part in batched(sorted(versions)):
        columns = (t.occurrences.c.document_key, t.occurrences.c.version, t.occurrences.c.chunk_id)
        for key, version, chunk_id in connection.execute(select(*columns).where(t.occurrences.c.document_key.in_(part))):
            if version == versions[key]:
                found.setdefault(key, set()).add(chunk_id)
    return found


def permissions_of(connection: Connection, key: str) -> list[str]:
    """Return a document's ACL, sorted."""
    return sorted(connection.execute(select(t.permissions.c.principal).where(t.permissions.c.document_key == key)).scalars())


def _permissions(connection: Connection, keys: Sequence[str]) -> dict[str, set[str]]:
    """Return the ACLs of documents; one that everybody sees has none."""
    found: dict[str, set[str]] = {}
    for part in batched(keys):
        query = select(t.permissions.c.document_key, t.permissions.c.principal).where(t.permissions.c.document_key.in_(part))
        for key, principal in connection.execute(query):
            found.setdefault(key, set()).add(principal)
    return found


def set_permissions(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Replace a document's ACL."""
    connection.execute(delete(t.permissions).where(t.permissions.c.document_key == key))
    insert_new(connection, t.permissions, [{"document_key": key, "principal": principal} for principal in sorted(acl)])
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(restricted=bool(acl)))


def change_acl(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Replace a document's permissions at once, those of a pending version included; windows of neighbouring turns follow."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    set_permissions(connection, key, acl)
    if row.pending_version is not None:
        connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(pending_acl=to_json(sorted(acl))))
    ids = version_chunks(connection, key, row.live_version) if row.live_version is not None else set()
    owe(connection, ("cache",), row.namespace, key, sorted(ids) or [""])
    owe_windows(connection, row)
    changed(connection, {row.namespace})


def take_source_acl(connection: Connection, key: str, acl: Collection[str]) -> None:
    """Follow an ACL that changed at the source of an otherwise unchanged document."""
    change_acl(connection, key, acl)
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(source_acl=to_json(sorted(acl))))


def hide(connection: Connection, keys: Collection[str], *, state: str, now: float, keep_versions: int) -> None:
    """Take documents out of every answer at once; `state` is `deleted` or `archived`. The indexes owe their removal."""
    for key in sorted(keys):
        row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
        if row.pending_version is not None:
            gone = drop_versions(connection, [(key, row.pending_version)])
            owe(connection, INDEX_TIERS, row.namespace, key, sorted(gone))
        ids = version_chunks(connection, key, row.live_version) if row.live_version is not None else set()
        values = {"state": state, "pending_version": None, "pending_acl": None}
        if state == "deleted":
            values["live_version"] = None
            resized(connection, row.namespace, by=-len(ids))
            connection.execute(
                update(t.versions).where(t.versions.c.document_key == key, t.versions.c.retired_at.is_(None)).values(retired_at=now)
            )
        connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(**values))
        if state == "deleted":
            trim_versions(connection, key, row.namespace, keep_versions)
        else:
            everything = set(connection.execute(select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key)).scalars())
            owe(connection, INDEX_TIERS, row.namespace, key, sorted(everything))
        owe_windows(connection, row)
        owe(connection, ("cache",), row.namespace, key, sorted(ids) or [""])
        changed(connection, {row.namespace})


def unarchive(connection: Connection, key: str) -> None:
    """Bring an archived document back; it becomes visible once the indexes hold it again."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    everything = set(connection.execute(select(t.occurrences.c.chunk_id).where(t.occurrences.c.document_key == key)).scalars())
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(state="live"))
    owe(connection, INDEX_TIERS, row.namespace, key, sorted(everything))
    owe(connection, ("cache",), row.namespace, key, sorted(everything) or [""])
    changed(connection, {row.namespace})


def annotate(connection: Connection, key: str, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata of a document's newest version in place."""
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    version = row.pending_version or row.live_version
    this = (t.versions.c.document_key == key, t.versions.c.version == version)
    connection.execute(update(t.versions).where(*this).values(metadata=to_json(dict(metadata))))
    owe(connection, ("cache",), row.namespace, key, sorted(version_chunks(connection, key, version)) or [""])
    changed(connection, {row.namespace})


def relocate(connection: Connection, key: str, *, uri: str | None, root: str | None, modified_at: datetime | None) -> None:
    """Note where, and with which date, an unchanged document was found."""
    connection.execute(update(t.documents).where(t.documents.c.document_key == key).values(uri=uri, root=root))
    row = connection.execute(select(t.documents).where(t.documents.c.document_key == key)).one()
    version = row.pending_version or row.live_version
    connection.execute(
        update(t.versions).where(t.versions.c.document_key == key, t.versions.c.version == version).values(modified_at=seconds(modified_at))
    )
    owe(connection, ("cache",), row.namespace, key, sorted(version_chunks(connection, key, version)) or [""])
    changed(connection, {row.namespace})
