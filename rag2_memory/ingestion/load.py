"""Sources as a stream of documents: files, folders, documents of ours and of LangChain, iterables of them all."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rag2_memory.config import LOCK_FILE, REGISTRY_FILE
from rag2_memory.errors import SourceError
from rag2_memory.ingestion.files import read_document, readable_name
from rag2_memory.ingestion.frontmatter import MalformedAclError, json_safe, read_metadata
from rag2_memory.ingestion.markdown import first_heading
from rag2_memory.ingestion.media import MARKDOWN, PLAIN, is_markdown, media_type_of
from rag2_memory.types import Document, SkippedSource, acl_of

Loaded = Document | SkippedSource

MEMORY_FILES = frozenset({REGISTRY_FILE, LOCK_FILE})
"""A folder with these is a memory: its files may hold what not everyone may see."""

PART_KEYS = ("page", "row", "seq_num", "start_index", "chunk", "chunk_index", "part")
"""Metadata keys by which LangChain loaders and splitters tell the documents of one source apart."""


def load(source: Any, *, acl: Iterable[str] = (), max_file_bytes: int, root: str | Path | None = None) -> Iterator[Loaded]:
    """Yield the documents of a source one by one, and what was left out with the reason. Nothing is collected.

    A folder is walked in the order of its names; hidden files and folders are passed over. A document keeps the ACL
    that it names itself (front matter or metadata) and takes the call's otherwise; one whose own ACL cannot be read is
    skipped.

    Args:
        source: A path (str or Path) of a file or folder, a `Document`, a LangChain document or loader, or an iterable
            of those.
        acl: `user:NAME` and `group:NAME` entries for documents that name none; empty: everyone in the namespace.
        max_file_bytes: Larger files are skipped.
        root: Folder that document ids of files are relative to; without it, the folder given, or a single file's own
            folder.

    Raises:
        SourceError: At once if a path does not exist or the source is of no known kind; while iterating for what an
            iterator yields later.
        InvalidRequestError: If an ACL entry is malformed.
    """
    loader = _Loader(acl=acl_of(acl), max_file_bytes=max_file_bytes, root=_existing(root) if root is not None else None)
    if isinstance(source, (list, tuple)):
        for item in source:
            loader.check(item)
    return loader.stream(source)


class _Loader:
    """What one call of `load` shares between its sources."""

    def __init__(self, *, acl: frozenset[str], max_file_bytes: int, root: Path | None) -> None:
        self.acl, self.max_file_bytes, self.root = acl, max_file_bytes, root
        self.parts: Counter[bytes] = Counter()
        self.files: dict[bytes, bytes] = {}
        """Digests of the ids given to files and of their paths: no file silently takes another's place."""

    def check(self, source: Any) -> None:
        """Refuse a source that can never be loaded."""
        if isinstance(source, (str, Path)):
            _existing(source)
        elif not (isinstance(source, (Document, SkippedSource)) or _is_langchain_document(source) or _iteration(source)):
            raise SourceError(
                source=f"{type(source).__name__} object",
                problem="it is neither a path nor a document",
                remedy="Pass a file or folder path, a rag2_memory Document, a LangChain document or loader, or an iterable of those.",
            )

    def stream(self, source: Any) -> Iterator[Loaded]:
        """Return the stream of one source; a bad one is refused here, not at its first item."""
        self.check(source)
        if isinstance(source, (str, Path)):
            path = _existing(source)
            if path.is_dir():
                return self.folder(path, root=self.root or path, above=(path.resolve(),))
            return iter((self.file(path, root=self.root or path.parent),))
        if isinstance(source, Document):
            return iter((self.own(source),))
        if isinstance(source, SkippedSource):
            return iter((source,))
        if _is_langchain_document(source):
            return iter((self.langchain(source),))
        iterate = _iteration(source)
        assert iterate is not None  # `check` saw it
        return (loaded for item in iterate() for loaded in self.stream(item))

    def file(self, path: Path, *, root: Path) -> Loaded:
        """Read one file under the id that its place below the root gives it."""
        try:
            document_id = path.relative_to(root).as_posix()
        except ValueError as exc:
            raise SourceError(
                source=str(path),
                problem=f"it is not in root={str(root)!r}",
                remedy="Pass a root that holds every file.",
            ) from exc
        if problem := _problem_of_text(document_id):
            return SkippedSource(source=ascii(str(path)), reason=f"its name is {problem}")
        place = _digest(str(path))
        if self.files.setdefault(_digest(document_id), place) != place:
            return SkippedSource(source=str(path), reason=f"another file of this call already has the id {document_id!r}; pass root=")
        return read_document(path, document_id=document_id, acl=self.acl, max_file_bytes=self.max_file_bytes)

    def folder(self, folder: Path, *, root: Path, above: tuple[Path, ...]) -> Iterator[Loaded]:
        """Walk a folder by name; `above` holds the resolved folders that lead to it, the source itself first."""
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except OSError as exc:
            yield SkippedSource(source=str(folder), reason=f"cannot be read: {exc.strerror or exc}")
            return
        if set(names) >= MEMORY_FILES:
            yield SkippedSource(source=str(folder), reason="it is a memory's own folder")
            return
        for name in names:
            path = folder / name
            if path.is_symlink() and (problem := _problem_of_link(path, above=above)):
                yield SkippedSource(source=str(path), reason=problem)
            elif path.is_dir():
                yield from self.folder(path, root=root, above=(*above, path.resolve()))
            else:
                yield self.file(path, root=root)

    def own(self, document: Document) -> Loaded:
        """Take one of our documents as it is, with the call's ACL where it has none."""
        if problem := _problem_of_text(document.text):
            return SkippedSource(source=document.id, reason=problem)
        return document if document.acl or not self.acl else replace(document, acl=self.acl)

    def langchain(self, source: Any) -> Loaded:
        """Read a LangChain document and give it the id that it, its metadata or its content names."""
        text, raw = source.page_content, dict(source.metadata or {})
        document_id = self.langchain_id(source, raw)
        if problem := _problem_of_text(text):
            return SkippedSource(source=document_id, reason=problem)
        try:
            front = read_metadata({str(key): value if str(key).lower() == "acl" else json_safe(value) for key, value in raw.items()})
        except MalformedAclError as exc:
            return SkippedSource(source=document_id, reason=f"skipped rather than shown to everyone: {exc}")
        except (ValueError, RecursionError) as exc:
            return SkippedSource(source=document_id, reason=f"its metadata are not JSON values: {exc}")
        origin = str(raw.get("source") or "")
        media_type = str(raw.get("media_type") or _media_type_of_origin(origin))
        return Document(
            id=document_id,
            text=text,
            title=front.title or (first_heading(text) if is_markdown(media_type) else "") or _title_of_origin(origin),
            uri=origin if "://" in origin else Path(origin).as_uri() if Path(origin).is_absolute() else None,
            acl=front.acl or self.acl,
            modified_at=front.modified_at,
            metadata=front.metadata,
            media_type=media_type,
        )

    def langchain_id(self, source: Any, metadata: Mapping[str, Any]) -> str:
        """Name a LangChain document; several of one source (its pages, rows, pieces) are told apart."""
        if own := getattr(source, "id", None) or metadata.get("id"):
            return str(own)
        if not metadata.get("source"):
            return "sha256:" + hashlib.sha256(str(source.page_content).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        parts = [f"{key}={metadata[key]}" for key in PART_KEYS if metadata.get(key) is not None]
        name = str(metadata["source"]) + (f"#{'&'.join(parts)}" if parts else "")
        self.parts[_digest(name)] += 1
        repeats = self.parts[_digest(name)]
        return name if repeats == 1 else f"{name}{'&' if parts else '#'}n={repeats}"


def _existing(source: str | Path) -> Path:
    """Return the absolute path of something that exists; links keep their own name."""
    try:
        path = Path(os.path.abspath(Path(source).expanduser()))
        path.stat()
    except (OSError, ValueError, RuntimeError) as exc:
        shown = str(source) if len(str(source)) <= 200 else f"{str(source)[:200]}…"
        raise SourceError(
            source=shown,
            problem="no such file or folder",
            remedy="Check the path; to ingest text itself, pass Document(id=…, text=…).",
        ) from exc
    return path


def _problem_of_text(text: Any) -> str:
    """Say why a text cannot be taken; empty where it can."""
    if not isinstance(text, str) or not text.strip():
        return "empty"
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return f"not valid Unicode: a lone surrogate at character {exc.start}"
    return ""


def _media_type_of_origin(origin: str) -> str:
    """Media type of what a loader made of a source: Markdown, or the plain text they return of other formats."""
    name = urlsplit(origin).path if "://" in origin else origin
    if not Path(name).suffix:
        return MARKDOWN
    media_type = media_type_of(name)
    return media_type if media_type == MARKDOWN or media_type.startswith(("text/x-", "text/csv")) else PLAIN


def _title_of_origin(origin: str) -> str:
    return "" if "://" in origin else readable_name(Path(origin).stem)


def _is_langchain_document(source: Any) -> bool:
    return hasattr(source, "page_content") and hasattr(source, "metadata")


def _iteration(source: Any) -> Callable[[], Iterable[Any]] | None:
    """Return what iterates a source (a LangChain loader's `lazy_load`, or itself); `None` where nothing can."""
    lazy_load = getattr(source, "lazy_load", None)
    if callable(lazy_load):
        return lazy_load  # type: ignore[no-any-return]
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes, bytearray, Mapping)):
        return lambda: source
    return None


def _problem_of_link(path: Path, *, above: tuple[Path, ...]) -> str:
    """Say why a symbolic link is not followed; empty where it is."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "symbolic link that leads nowhere"
    if target in above:
        return "symbolic link that leads back to a folder above it"
    return "" if target.is_relative_to(above[0]) else "symbolic link that leads out of the folder"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
