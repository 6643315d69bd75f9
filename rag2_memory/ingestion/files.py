"""One file as a document: its text, title, date and permissions, or the reason why it is left out."""

from __future__ import annotations

import codecs
import re
from datetime import UTC, datetime
from pathlib import Path

from rag2_memory.errors import MissingExtraError
from rag2_memory.ingestion.frontmatter import FrontMatter, MalformedAclError, split_front_matter
from rag2_memory.ingestion.html import declared_encoding, html_to_markdown
from rag2_memory.ingestion.markdown import first_heading
from rag2_memory.ingestion.media import HTML, MARKDOWN, OFFICE_SUFFIXES, PDF, PLAIN, is_markdown, media_type_of
from rag2_memory.ingestion.office import office_to_text
from rag2_memory.types import Document, SkippedSource

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 stands before UTF-16, whose mark it starts with."""


class UnreadableFileError(ValueError):
    """A file that holds no text we can take; the message is the reason that the report shows."""


def read_document(path: Path, *, document_id: str, acl: frozenset[str], max_file_bytes: int) -> Document | SkippedSource:
    """Read one file. Nothing that is wrong with it raises: the result says why it was skipped.

    Args:
        path: An existing file.
        document_id: Id of the document.
        acl: Who may see it, unless its own front matter names an ACL.
        max_file_bytes: A larger file is skipped.
    """
    try:
        return _read(path, document_id=document_id, acl=acl, max_file_bytes=max_file_bytes)
    except (UnreadableFileError, MissingExtraError) as exc:
        reason = str(exc)
    except MalformedAclError as exc:
        reason = f"skipped rather than shown to everyone: {exc}"
    except OSError as exc:
        reason = f"cannot be read: {exc.strerror or exc}"
    return SkippedSource(source=str(path), reason=reason)


def _read(path: Path, *, document_id: str, acl: frozenset[str], max_file_bytes: int) -> Document:
    if not path.is_file():
        raise UnreadableFileError("not a regular file")
    status = path.stat()
    if status.st_size > max_file_bytes:
        raise UnreadableFileError(f"{status.st_size:,} bytes, more than max_file_bytes={max_file_bytes:,}")
    media_type = media_type_of(path.name)
    front, title = FrontMatter(), ""
    if path.suffix.lower() in OFFICE_SUFFIXES:
        text, title = _convert(path, max_file_bytes=max_file_bytes)
    else:
        with path.open("rb") as stream:
            text = decode(stream.read(max_file_bytes + 1), html=media_type == HTML)
        if media_type == HTML:
            text, title = html_to_markdown(text)
        elif media_type in (MARKDOWN, PLAIN):
            front, text = split_front_matter(text)
    if not text.strip():
        raise UnreadableFileError(_why_empty(media_type, size_bytes=status.st_size))
    return Document(
        id=document_id,
        text=text,
        title=front.title or title or (first_heading(text) if is_markdown(media_type) else "") or readable_name(path.stem),
        uri=path.resolve().as_uri(),
        acl=front.acl or acl,
        modified_at=front.modified_at or datetime.fromtimestamp(status.st_mtime, tz=UTC),
        metadata=front.metadata,
        media_type=media_type,
    )


def _why_empty(media_type: str, *, size_bytes: int) -> str:
    if media_type == PDF:
        return "no text in it; a scanned PDF needs OCR first"
    return "no text in it besides markup and front matter" if size_bytes else "empty"


def _convert(path: Path, *, max_file_bytes: int) -> tuple[str, str]:
    try:
        return office_to_text(path, max_file_bytes=max_file_bytes)
    except (MissingExtraError, OSError):
        raise
    except Exception as exc:  # readers raise whatever a damaged file makes them meet, and one file must not stop a folder
        raise UnreadableFileError(f"cannot be read as {path.suffix.lower()}: {type(exc).__name__}: {exc}") from exc


def decode(data: bytes, *, html: bool = False) -> str:
    """Decode UTF-8, or UTF-8, UTF-16 and UTF-32 by their byte order mark, with line ends as `\\n`.

    Args:
        data: The bytes of a file.
        html: Whether a page's own declaration of its encoding counts as well.

    Raises:
        UnreadableFileError: If the bytes are not text in one of these encodings.
    """
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise UnreadableFileError("binary: it holds NUL bytes")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        declared = declared_encoding(data) if html else None
        if declared is None:
            raise UnreadableFileError(f"not {encoding} text (byte {exc.start}); save it as UTF-8") from exc
        try:
            text = data.decode(declared)
        except (UnicodeDecodeError, LookupError) as second:
            raise UnreadableFileError(f"neither UTF-8 nor {declared}, the encoding it declares; save it as UTF-8") from second
    if "\0" in text:
        raise UnreadableFileError("binary: it holds NUL characters")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def readable_name(stem: str) -> str:
    """Turn a file's stem into a title: `alpha-v2.3.1` becomes `Alpha v2.3.1`."""
    words = re.sub(r"[\s_-]+", " ", stem).strip()
    return words[:1].upper() + words[1:] if words else stem
