"""Media types: what a file's name says about its text, and how that text is read."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath

MARKDOWN, HTML, PLAIN, PDF = "text/markdown", "text/html", "text/plain", "application/pdf"

UNKNOWN = "text/x-unknown"
"""Text of a suffix that nothing is known about; it is read line by line, like code."""

_OFFICE = "application/vnd.openxmlformats-officedocument."

MEDIA_TYPES = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"), MARKDOWN),
    **dict.fromkeys((".html", ".htm", ".xhtml"), HTML),
    **dict.fromkeys(("", ".txt", ".text", ".rst", ".adoc", ".asciidoc", ".org", ".tex"), PLAIN),
    ".pdf": PDF,
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
    ".xlsm": f"{_OFFICE}spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    **dict.fromkeys((".yaml", ".yml"), "application/yaml"),
    ".toml": "application/toml",
    ".jsonl": "application/jsonl",
    ".log": "text/x-log",
}
"""By suffix; others as in Python's built-in table. The machine's own table is not read: all machines agree."""

OFFICE_SUFFIXES = frozenset({".pdf", ".docx", ".xlsx", ".xlsm", ".pptx"})


def media_type_of(name: str) -> str:
    """Return the media type that a file's name suggests, `UNKNOWN` where it suggests none of text."""
    suffix = PurePath(name).suffix.lower()
    if suffix in MEDIA_TYPES:
        return MEDIA_TYPES[suffix]
    guessed, encoding = mimetypes.MimeTypes(filenames=()).guess_type(f"file{suffix}", strict=True)
    return guessed if guessed and not encoding and guessed.startswith(("text/", "application/")) else UNKNOWN


def is_markdown(media_type: str) -> bool:
    """Whether the text of such documents is Markdown, as it also is of converted HTML and Office files."""
    return media_type in (MARKDOWN, HTML) or media_type.startswith(_OFFICE)


def is_prose(media_type: str) -> bool:
    """Whether a text without markup is paragraphs of sentences; otherwise its lines are what must not be cut."""
    return media_type in (PLAIN, PDF)
