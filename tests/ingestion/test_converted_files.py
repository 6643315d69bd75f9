"""HTML, PDF and Office files: real files made here, read by the real readers."""

from __future__ import annotations

import builtins
import importlib
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pptx
import pytest

from rag2_memory.ingestion.load import load
from rag2_memory.ingestion.segment import segment
from rag2_memory.types import Document, SkippedSource

PAGE = """<!doctype html><html><head><title>A page | Site</title><style>p {}</style><meta charset="utf-8">
</head><body>
<nav><a href="/">Home</a></nav><header><a href="/">Logo</a></header>
<main><article><h1>Main heading<a class="headerlink" href="#h">¶</a></h1><p>Some <b>bold</b> text with
<a href="https://x.example">a link</a> and sys_init_v2, 2 * 3 * 4.</p><script>alert(1)</script>
<h2>Sub</h2><ul><li>one<ul><li>nested</li></ul></li><li>two</li></ul>
<table><tr><th>name</th><th>value</th></tr><tr><td>a</td><td>1</td></tr></table>
<pre><code>x = 1
y = 2</code></pre><img src="a.png" alt="A diagram"></article></main>
<footer>Imprint</footer></body></html>"""


def read(path: Path, *, max_file_bytes: int = 1_000_000) -> Document | SkippedSource:
    (item,) = load(path, max_file_bytes=max_file_bytes)
    return item


def read_text(path: Path) -> str:
    item = read(path)
    assert isinstance(item, Document), item
    return item.text


def why_skipped(path: Path, *, max_file_bytes: int = 1_000_000) -> str:
    item = read(path, max_file_bytes=max_file_bytes)
    assert isinstance(item, SkippedSource), item
    return item.reason


def write_docx(path: Path, body: str) -> Path:
    """Write the least that Word opens."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{office}" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')
    return path


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def write_pdf(path: Path, pages: list[str]) -> Path:
    """Write a PDF of one line per page by its specification (ISO 32000): objects, cross-reference table, trailer."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    data += f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}"
    path.write_bytes(data.encode("latin-1"))
    return path


# HTML


def test_a_page_keeps_its_structure_and_loses_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    document = read(path)
    assert isinstance(document, Document)
    assert (document.title, document.media_type) == ("A page | Site", "text/html")
    assert document.text.startswith("# Main heading\n\nSome **bold** text with\na link and sys_init_v2")
    assert "2 * 3 * 4." in document.text
    assert "## Sub\n\n- one\n  - nested\n- two" in document.text
    assert "| name | value |\n| --- | --- |\n| a | 1 |" in document.text
    assert "```\nx = 1\ny = 2\n```" in document.text
    assert "A diagram" in document.text
    for frame in ("alert", "Home", "Logo", "Imprint", "p {}", "¶", "x.example"):
        assert frame not in document.text
    (parent,) = segment(document, count=lambda text: len(text.split()))
    assert [child.heading_path for child in parent.children] == [("Main heading",), ("Main heading", "Sub")]


def test_a_page_in_an_encoding_that_it_declares_is_read(tmp_path: Path) -> None:
    path = tmp_path / "page.htm"
    path.write_bytes('<html><head><meta charset="iso-8859-1"></head><body><p>naïve café</p></body></html>'.encode("latin-1"))
    assert read_text(path) == "naïve café\n"


def test_a_page_nested_beyond_all_measure_gives_its_bare_text(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<div>" * 5_000 + "text" + "</div>" * 5_000)
    assert read_text(path) == "text\n"


# PDF and Office


def test_a_pdf_gives_the_text_of_its_pages(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "annual-report.pdf", ["First page text.", "", "Third page text."])
    document = read(path)
    assert isinstance(document, Document)
    assert (document.text, document.title) == ("First page text.\n\nThird page text.", "Annual report")
    assert document.media_type == "application/pdf"


def test_a_pdf_of_images_says_that_it_needs_recognition(tmp_path: Path) -> None:
    assert why_skipped(write_pdf(tmp_path / "scan.pdf", ["", ""])) == "no text in it; a scanned PDF needs OCR first"


def test_a_word_file_keeps_headings_and_tables(tmp_path: Path) -> None:
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    table = "".join(f"<w:tr>{cell.format(a)}{cell.format(b)}</w:tr>" for a, b in (("name", "value"), ("a", "1")))
    body = paragraph("Guide", "Heading1") + paragraph("Some text.") + paragraph("Part", "Heading2") + f"<w:tbl>{table}</w:tbl>"
    document = read(write_docx(tmp_path / "file.docx", body))
    assert isinstance(document, Document)
    assert document.text.startswith("# Guide\n\nSome text.\n\n## Part\n\n| name | value |\n| --- | --- |\n| a | 1 |")
    assert document.title == "Guide"


def test_a_workbook_gives_one_table_per_sheet(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    first = workbook.active
    assert first is not None
    first.title = "Prices"
    for row in (["item", "price", None], [None, None, None], ["a|b", 2.5, None]):
        first.append(row)
    workbook.create_sheet("Empty")
    workbook.save(tmp_path / "file.xlsx")
    assert read_text(tmp_path / "file.xlsx") == "## Prices\n\n| item | price |\n| --- | --- |\n| a\\|b | 2.5 |"


def test_slides_give_titles_text_tables_and_notes(tmp_path: Path) -> None:
    deck: Any = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Plan"
    slide.placeholders[1].text = "First point\nSecond point"
    table = slide.shapes.add_table(2, 2, 0, 0, 100, 100).table
    for place, text in enumerate(("name", "value", "a", "1")):
        table.cell(place // 2, place % 2).text = text
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    deck.save(str(tmp_path / "file.pptx"))
    assert read_text(tmp_path / "file.pptx") == (
        "## Plan\n\nFirst point\nSecond point\n\n| name | value |\n| --- | --- |\n| a | 1 |\n\nSay it slowly."
    )


@pytest.mark.parametrize("suffix", [".pdf", ".docx", ".xlsx", ".pptx"])
def test_a_damaged_file_is_skipped_and_stops_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"%PDF-1.4 or PK\x03\x04 and then nothing of the kind" * 10)
    assert why_skipped(path).startswith(f"cannot be read as {suffix}: ")


def test_an_office_file_that_unpacks_beyond_all_measure_is_not_opened(tmp_path: Path) -> None:
    path = write_docx(tmp_path / "bomb.docx", paragraph("x" * 5_000_000))
    assert "it unpacks to 5,000," in why_skipped(path, max_file_bytes=100_000)


@pytest.mark.parametrize(("suffix", "module"), [(".pdf", "pypdf"), (".docx", "mammoth"), (".xlsx", "openpyxl"), (".pptx", "pptx")])
def test_a_missing_reader_is_named_with_the_extra_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    write_docx(tmp_path / f"file{suffix}", paragraph("text"))
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name == module:
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert "pip install 'rag2-memory[files]'" in why_skipped(tmp_path / f"file{suffix}")


def test_no_reader_is_imported_before_its_file_is_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("text")
    real = builtins.__import__

    def watched(name: str, *rest: Any) -> Any:
        assert name.partition(".")[0] not in {"pypdf", "mammoth", "openpyxl", "pptx", "bs4", "markdownify"}
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert read_text(tmp_path / "a.md") == "text"
