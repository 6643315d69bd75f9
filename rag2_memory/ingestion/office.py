"""PDF and Office files as text or Markdown. The readers (extra `files`) are imported when such a file is met.

pypdf, mammoth (Word to HTML, which our HTML path turns into Markdown), openpyxl and python-pptx: together 7 MB.
markitdown covers the same formats but brings magika with its model, pandas and pdfminer.
"""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rag2_memory.errors import MissingExtraError
from rag2_memory.ingestion.html import html_to_markdown

EXPANSION_LIMIT = 20
"""An Office file is a zip archive; it may unpack to at most this many times the allowed file size."""


def office_to_text(path: Path, *, max_file_bytes: int) -> tuple[str, str]:
    """Read a `.pdf`, `.docx`, `.xlsx` or `.pptx` file.

    Returns:
        Its text, Markdown but for PDF, and its declared title (empty where it has none).

    Raises:
        MissingExtraError: If the reader is not installed.
        ValueError: If the file is protected or unpacks beyond all measure.
        Exception: Whatever the reader raises on a damaged file.
    """
    suffix = path.suffix.lower()
    if suffix != ".pdf":
        _refuse_bombs(path, limit_bytes=EXPANSION_LIMIT * max_file_bytes)
    return {".pdf": _pdf, ".docx": _docx, ".xlsx": _xlsx, ".xlsm": _xlsx, ".pptx": _pptx}[suffix](path)


def _reader(module: str, *, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise MissingExtraError(package=package, extra="files", purpose="reading PDF and Office files") from exc


def _refuse_bombs(path: Path, *, limit_bytes: int) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > limit_bytes:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, more than {limit_bytes:,}")


def _pdf(path: Path) -> tuple[str, str]:
    reader = _reader("pypdf", package="pypdf").PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("it is protected by a password")
    pages = [page.extract_text().strip() for page in reader.pages]
    title = reader.metadata.title if reader.metadata else ""
    return "\n\n".join(page for page in pages if page), (title or "").strip()


def _docx(path: Path) -> tuple[str, str]:
    mammoth = _reader("mammoth", package="mammoth")
    with path.open("rb") as stream:
        html = mammoth.convert_to_html(
            stream,
            style_map="p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh",
            convert_image=mammoth.images.img_element(lambda image: {"alt": image.alt_text or ""}),
        ).value
    return html_to_markdown(html)


def _xlsx(path: Path) -> tuple[str, str]:
    workbook = _reader("openpyxl", package="openpyxl").load_workbook(path, read_only=True, data_only=True)
    try:
        parts = []
        for sheet in workbook.worksheets:
            rows = ([_cell(value) for value in row] for row in sheet.iter_rows(values_only=True))
            if table := _table(rows):
                parts.append(f"## {sheet.title}\n\n{table}")
        return "\n\n".join(parts), (workbook.properties.title or "").strip()
    finally:
        workbook.close()


def _pptx(path: Path) -> tuple[str, str]:
    deck = _reader("pptx", package="python-pptx").Presentation(str(path))
    slides = []
    for slide in deck.slides:
        title = slide.shapes.title
        lines = [f"## {_cell(title.text_frame.text)}"] if title is not None and title.text_frame.text.strip() else []
        for shape in slide.shapes:
            if shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
                lines.append("\n".join(text for paragraph in shape.text_frame.paragraphs if (text := _cell(paragraph.text))))
            elif shape.has_table:
                lines.append(_table([_cell(cell.text) for cell in row.cells] for row in shape.table.rows))
        if slide.has_notes_slide:
            lines.append(slide.notes_slide.notes_text_frame.text.strip())
        slides.append("\n\n".join(line for line in lines if line))
    return "\n\n".join(slide for slide in slides if slide), (deck.core_properties.title or "").strip()


def _cell(value: Any) -> str:
    """A value as the text of one line."""
    return "" if value is None else " ".join(str(value).split())


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first one as its header, without empty rows and trailing empty cells."""
    kept = [list(row) for row in rows if any(row)]
    if not kept:
        return ""
    width = max(index + 1 for row in kept for index, cell in enumerate(row) if cell)
    lines = [" | ".join(cell.replace("|", "\\|") for cell in (row + [""] * width)[:width]) for row in kept]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join(["---"] * width), *lines[1:]])
