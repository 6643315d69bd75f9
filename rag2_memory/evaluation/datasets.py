"""Evaluation sets read from a folder: a corpus, and questions with the documents that answer them.

    corpus.jsonl    {id, title, text, …}      or    corpus/           a folder of documents, ids are paths in it
    queries.jsonl   {id, query, gold: [ids], …}     questions.jsonl   the same

Rows with `conv` or `namespace` belong to a group, and its queries are asked there. Rows with `speaker` are turns of a
conversation. Of a query, `type`, `category`, `class` or `hops` names its class, `scope` {user, groups} says who asks,
`forbidden` what must not be found, `as_of` when.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.knowledge.dates import find_dates
from rag2_memory.types import DEFAULT_NAMESPACE, Document, Scope, Turn, acl_of

CLASS_KEYS = ("class", "type", "category", "kind", "hops")
GROUP_KEYS = ("namespace", "conv")
ROW_KEYS = frozenset({"id", "title", "text", "acl", "uri", "media_type", "speaker", "session", "date", *GROUP_KEYS})
"""What a corpus row says about its document; everything else becomes metadata."""

_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)(?::\d\d)?\s*([ap]\.?m\b)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question with what should be found."""

    id: str
    text: str
    gold: tuple[str, ...] = ()
    """Ids of the documents that answer it; empty where nothing does."""
    kind: str = ""
    """Class that results are broken down by."""
    scope: Scope = field(default_factory=Scope)
    as_of: str | None = None
    """ISO date at which it is asked."""
    forbidden: tuple[str, ...] = ()
    """Ids of documents that the scope must not see."""
    answer: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A corpus on disk and its queries."""

    name: str
    corpus: Path
    """A JSONL file, or a folder of documents."""
    queries: tuple[Query, ...]
    documents: int
    """Rows or files of the corpus."""
    missing: tuple[str, ...] = ()
    """Gold ids that the corpus lacks; nothing can find them, and they count as not found."""

    def sources(self) -> Iterator[tuple[str, Path | Iterator[Document]]]:
        """Yield what to ingest, with its namespace: the folder of documents, or streams of documents in the order of
        the rows.

        A namespace may come several times. Each stream ends where the next one is asked for.
        """
        if self.corpus.is_dir():
            yield DEFAULT_NAMESPACE, self.corpus
            return
        turns: Counter[str] = Counter()
        for namespace, rows in itertools.groupby(_rows(self.corpus), key=lambda item: _group(item[1])):
            yield namespace, (_document(row, turns, self.corpus, line) for line, row in rows)


def read_dataset(folder: str | Path) -> Dataset:
    """Read the queries of a folder and check its corpus, which stays on disk.

    Raises:
        InvalidRequestError: If the folder or a file is missing, or a line is malformed; the message names file and
            line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidRequestError(
            f"got the evaluation folder {str(folder)!r}, which does not exist; needed a folder with corpus.jsonl and "
            "queries.jsonl, or corpus/ and questions.jsonl."
        )
    corpus = _first(folder, "corpus.jsonl", "corpus")
    questions = _first(folder, "queries.jsonl", "questions.jsonl")
    queries = tuple(_query(row, questions, line) for line, row in _rows(questions))
    if not queries:
        raise InvalidRequestError(f"{questions} holds no queries; needed one JSON object per line.")
    if repeated := [name for name, times in Counter(query.id for query in queries).items() if times > 1]:
        raise InvalidRequestError(f"{questions} has the query id {repeated[0]!r} more than once; needed one id per query.")
    known = _ids_in_folder(corpus) if corpus.is_dir() else _ids_in_rows(corpus)
    missing = dict.fromkeys(gold for query in queries for gold in query.gold if (query.scope.namespace, gold) not in known)
    return Dataset(name=folder.resolve().name, corpus=corpus, queries=queries, documents=len(known), missing=tuple(missing))


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    present = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise InvalidRequestError(f"the evaluation folder {str(folder)!r} has neither {' nor '.join(names)}; it holds {present}.")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file with their line numbers, from 1."""
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except (json.JSONDecodeError, UnicodeDecodeError) as exc:
                raise InvalidRequestError(f"{path}:{line} is not JSON ({exc}); needed one object per line.") from exc
            if not isinstance(row, dict):
                raise InvalidRequestError(f"{path}:{line} is a JSON {type(row).__name__}; needed an object.")
            yield line, row


def _need(row: Mapping[str, Any], key: str, path: Path, line: int) -> str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise InvalidRequestError(f"{path}:{line} has {key}={value!r}; needed text.")
    return str(value)


def _ids(row: Mapping[str, Any], key: str, path: Path, line: int) -> tuple[str, ...]:
    value = row.get(key, ())
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, int)) for item in value):
        raise InvalidRequestError(f"{path}:{line} has {key}={value!r}; needed a list of document ids.")
    return tuple(dict.fromkeys(str(item) for item in value))


def _group(row: Mapping[str, Any]) -> str:
    return str(next((row[key] for key in GROUP_KEYS if row.get(key) is not None), DEFAULT_NAMESPACE))


def _query(row: dict[str, Any], path: Path, line: int) -> Query:
    if "gold" not in row:
        raise InvalidRequestError(f"{path}:{line} has no gold; needed a list of document ids (an empty one where nothing answers).")
    kind = next(((key, row[key]) for key in CLASS_KEYS if row.get(key) not in (None, "")), None)
    scope = row.get("scope") or {}
    if not isinstance(scope, dict):
        raise InvalidRequestError(f"{path}:{line} has scope={scope!r}; needed an object with user and groups.")
    try:
        asked_by = Scope(
            namespace=str(scope.get("namespace") or _group(row)),
            user=scope.get("user"),
            groups=frozenset(scope.get("groups") or ()),
        )
    except (InvalidRequestError, TypeError) as exc:
        raise InvalidRequestError(f"{path}:{line} has scope={scope!r}; needed an object with user and groups ({exc})") from exc
    return Query(
        id=_need(row, "id", path, line),
        text=_need(row, "query", path, line),
        gold=_ids(row, "gold", path, line),
        kind="" if kind is None else f"{kind[1]} hops" if kind[0] == "hops" else str(kind[1]),
        scope=asked_by,
        as_of=row.get("as_of"),
        forbidden=_ids(row, "forbidden", path, line),
        answer=row.get("answer"),
    )


def _ids_in_folder(folder: Path) -> set[tuple[str, str]]:
    return {(DEFAULT_NAMESPACE, path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()}


def _ids_in_rows(path: Path) -> set[tuple[str, str]]:
    known: set[tuple[str, str]] = set()
    for line, row in _rows(path):
        name = (_group(row), _need(row, "id", path, line))
        if name in known:
            raise InvalidRequestError(f"{path}:{line} has the id {name[1]!r} a second time; needed one row per document.")
        if not isinstance(row.get("text"), str):
            raise InvalidRequestError(f"{path}:{line} has text={row.get('text')!r}; needed text.")
        known.add(name)
    return known


def _document(row: dict[str, Any], turns: Counter[str], path: Path, line: int) -> Document:
    """Turn a row into a document; `turns` counts the turns met of each thread."""
    at = parse_date(str(row["date"])) if row.get("date") else None
    turn = None
    if row.get("speaker"):
        thread = "/".join(str(part) for part in (_group(row), row.get("session")) if part is not None)
        turn = Turn(thread_id=thread, ordinal=turns[thread], speaker=str(row["speaker"]), at=at)
        turns[thread] += 1
    title = str(row.get("title") or (f"{at.day} {at:%B %Y, %H:%M}" if turn and at else ""))
    try:
        return Document(
            id=str(row["id"]),
            text=row["text"],
            title=title,
            uri=row.get("uri"),
            acl=acl_of(row.get("acl")),
            modified_at=at,
            metadata={key: value for key, value in row.items() if key not in ROW_KEYS},
            media_type=row.get("media_type") or ("text/plain" if turn else "text/markdown"),
            turn=turn,
        )
    except InvalidRequestError as exc:
        raise InvalidRequestError(f"{path}:{line}: {exc}") from exc


def parse_date(text: str) -> datetime | None:
    """Read a day, with its time where one stands beside it: `1:56 pm on 8 May, 2023`, `2023/05/30 (Tue) 23:40`, ISO
    8601.

    Returns:
        An aware moment (UTC unless the text says otherwise), or `None` where there is no day.
    """
    span = next((found for found in find_dates(text, reference=None) if found.precision in ("instant", "day")), None)
    if span is None:
        return None
    clock = _CLOCK.search(text[: span.begin] + " " * (span.stop - span.begin) + text[span.stop :])
    if span.precision == "instant" or clock is None:
        return span.start
    hour, minute, half = int(clock[1]), int(clock[2]), (clock[3] or "").lower()[:1]
    hour = hour % 12 + (12 if half == "p" else 0) if half else hour
    return span.start + timedelta(hours=hour, minutes=minute) if hour < 24 and minute < 60 else span.start
