"""Loading: what becomes a document, under which id, with whose permissions, and what is left out with which reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as LangChainDocument

from rag2_memory.errors import InvalidRequestError, SourceError
from rag2_memory.ingestion.load import Loaded, load
from rag2_memory.types import Document, SkippedSource

MAX_BYTES = 1_000_000


def loaded(source: Any, **options: Any) -> list[Loaded]:
    return list(load(source, max_file_bytes=MAX_BYTES, **options))


def one(source: Any, **options: Any) -> Document:
    (document,) = loaded(source, **options)
    assert isinstance(document, Document), document
    return document


def reason(source: Any, **options: Any) -> str:
    (skipped,) = loaded(source, **options)
    assert isinstance(skipped, SkippedSource), skipped
    return skipped.reason


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Files and folders


def test_a_folder_is_walked_by_name_with_ids_relative_to_it(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.md", "a/b/c.txt", ".hidden.md", ".git/config", "a/.cache/x.md"):
        write(tmp_path / name, f"text of {name}")
    assert [item.id for item in loaded(tmp_path) if isinstance(item, Document)] == ["a/b/c.txt", "a/z.md", "b.md"]


def test_a_single_file_has_its_name_as_id_and_its_place_as_uri(tmp_path: Path) -> None:
    path = write(tmp_path / "folder" / "my-release_v2.3.1.md", "some text")
    document = one(str(path))
    assert (document.id, document.title) == ("my-release_v2.3.1.md", "My release v2.3.1")
    assert document.uri == path.resolve().as_uri()
    assert document.media_type == "text/markdown"
    assert document.modified_at == datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def test_ids_are_relative_to_the_root_where_one_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "docs" / "a.md", "text")
    assert one(path, root=tmp_path).id == "docs/a.md"
    assert one(tmp_path / "docs", root=tmp_path).id == "docs/a.md"
    with pytest.raises(SourceError, match="is not in root"):
        loaded(path, root=write(tmp_path / "other" / "b.md", "x").parent)


def test_two_files_of_one_name_never_take_each_others_place(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "readme.md", f"text {folder}") for folder in ("a", "b")]
    first, second = loaded(paths)
    assert isinstance(first, Document)
    assert isinstance(second, SkippedSource)
    assert "already has the id 'readme.md'" in second.reason
    assert [item.id for item in loaded(paths, root=tmp_path) if isinstance(item, Document)] == [
        "a/readme.md",
        "b/readme.md",
    ]


def test_a_missing_path_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    good = write(tmp_path / "good.md", "text")
    with pytest.raises(SourceError, match="no such file or folder"):
        load(tmp_path / "missing.md", max_file_bytes=MAX_BYTES)
    with pytest.raises(SourceError, match="no such file or folder"):
        load([good, tmp_path / "missing.md"], max_file_bytes=MAX_BYTES)
    with pytest.raises(SourceError, match=r"pass Document\(id=…, text=…\)"):
        load("Some text that someone took for a source.\n" * 200, max_file_bytes=MAX_BYTES)


@pytest.mark.parametrize("source", [None, 7, b"bytes", {"id": "a"}, [None]])
def test_what_is_no_source_is_refused_at_once(source: Any) -> None:
    with pytest.raises(SourceError, match="neither a path nor a document"):
        load(source, max_file_bytes=MAX_BYTES)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b" \n\t\n", "no text in it"),
        (b"---\ntitle: Only this\n---\n", "no text in it besides markup and front matter"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "binary: it holds NUL bytes"),
        ("naïve".encode("latin-1"), "not utf-8 text (byte 2); save it as UTF-8"),
        (b"x" * (MAX_BYTES + 1), "1,000,001 bytes, more than max_file_bytes=1,000,000"),
        ("tëxt".encode("utf-16-le"), "binary: it holds NUL bytes"),
        (b"\xff\xfe\x00", "not utf-16 text"),
    ],
)
def test_what_holds_no_usable_text_is_skipped_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    write(tmp_path / "file.md", content)
    assert why in reason(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_and_line_ends_are_understood(tmp_path: Path, encoding: str) -> None:
    write(tmp_path / "file.md", "# Tïtle 😀\r\n\r\nline\rlast".encode(encoding))
    assert one(tmp_path / "file.md").text == "# Tïtle 😀\n\nline\nlast"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.md", "text/markdown"),
        ("a.MARKDOWN", "text/markdown"),
        ("README", "text/plain"),
        ("a.txt", "text/plain"),
        ("a.py", "text/x-python"),
        ("a.csv", "text/csv"),
        ("a.yaml", "application/yaml"),
        ("a.unheardof", "text/x-unknown"),
    ],
)
def test_every_suffix_is_taken_that_turns_out_to_be_text(tmp_path: Path, name: str, media_type: str) -> None:
    assert one(write(tmp_path / name, "# some text")).media_type == media_type


def test_links_are_followed_inside_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "secret.md", "secret")
    root = tmp_path / "docs"
    write(root / "real" / "a.md", "text")
    (root / "again").symlink_to(root / "real")
    (root / "real" / "loop").symlink_to(root)
    (root / "secret.md").symlink_to(outside)
    (root / "broken.md").symlink_to(root / "gone.md")
    items = loaded(root)
    assert [item.id for item in items if isinstance(item, Document)] == ["again/a.md", "real/a.md"]
    assert {(Path(item.source).name, item.reason) for item in items if isinstance(item, SkippedSource)} == {
        ("loop", "symbolic link that leads back to a folder above it"),
        ("secret.md", "symbolic link that leads out of the folder"),
        ("broken.md", "symbolic link that leads nowhere"),
    }


def test_a_pipe_is_skipped_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path) == "not a regular file"


def test_a_file_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.md")).write_text("text")
    assert "its name is not valid Unicode" in reason(tmp_path)


def test_a_folder_is_read_as_it_is_iterated(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.md", "text")
    stream = load(tmp_path, max_file_bytes=MAX_BYTES)
    assert isinstance(next(stream), Document)
    for number in range(2, 5):
        (tmp_path / f"{number}.md").unlink()
    assert [type(item) for item in stream] == [Document, SkippedSource, SkippedSource, SkippedSource]


# Front matter and permissions


def test_front_matter_gives_title_date_permissions_and_metadata(tmp_path: Path) -> None:
    document = one(
        write(
            tmp_path / "a.md",
            "---\ntitle: 'A: title'\ndate: 2026-03-15\nacl: [user:ada, group:eng]\ntags: [x, 2]\n"
            "review: 2026-04-01T10:00:00Z\nratio: .nan\nnested: {k: [1, null]}\n---\n\n# Heading\ntext",
        ),
        acl=["group:all"],
    )
    assert (document.title, document.text) == ("A: title", "# Heading\ntext")
    assert document.modified_at == datetime(2026, 3, 15, tzinfo=UTC)
    assert document.acl == {"user:ada", "group:eng"}
    assert document.metadata == {
        "tags": ["x", 2],
        "review": "2026-04-01T10:00:00+00:00",
        "ratio": None,
        "nested": {"k": [1, None]},
    }


def test_a_file_without_an_acl_takes_that_of_the_call(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "text")
    write(tmp_path / "b.md", "---\nacl: []\n---\ntext")
    write(tmp_path / "c.md", "---\nacl: ['user:ada']\n---\ntext")
    acls = [item.acl for item in loaded(tmp_path, acl=["group:eng"]) if isinstance(item, Document)]
    assert acls == [{"group:eng"}, {"group:eng"}, {"user:ada"}]


@pytest.mark.parametrize(
    "front",
    [
        "acl: group:eng",
        "acl:",
        "acl: [eng]",
        "acl: [{user: ada}]",
        "acl: [[user:ada]]",
        "acl: {user: ada}",
        "ACL: everyone",
        "acl: [user:ada]\nacl: []",
        "title: [broken\nacl: [user:ada]",
        "when: 2026-99-99\nacl: [user:ada]",
        "title: a: b\n'acl': [user:ada]",
    ],
)
@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_an_acl_that_cannot_be_read_keeps_the_file_out(tmp_path: Path, front: str, name: str) -> None:
    why = reason(write(tmp_path / name, f"---\n{front}\n---\n\nsecret text"))
    assert why.startswith("skipped rather than shown to everyone")


def test_front_matter_that_never_ends_but_names_an_acl_keeps_the_file_out(tmp_path: Path) -> None:
    assert "shown to everyone" in reason(write(tmp_path / "a.md", "---\nacl: [user:ada]\n\nsecret text"))


@pytest.mark.parametrize("front", ["title: [broken", "just words", "- a\n- list", "when: 2026-99-99"])
def test_front_matter_that_is_no_mapping_stays_text(tmp_path: Path, front: str) -> None:
    text = f"---\n{front}\n---\n\n# Real title\n"
    document = one(write(tmp_path / "a.md", text))
    assert (document.text, document.title, document.metadata) == (text, "Real title", {})


def test_a_rule_at_the_top_is_no_front_matter(tmp_path: Path) -> None:
    assert one(write(tmp_path / "a.md", "---\n\ntext")).text == "---\n\ntext"


def test_aliases_in_front_matter_cannot_unfold_without_end(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
    document = one(write(tmp_path / "a.md", f"---\n{bomb}---\ntext"))
    assert document.text.startswith("---\na0:")


def test_a_date_that_is_none_is_metadata_and_the_file_says_when(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", "---\ndate: last spring\n---\ntext")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    document = one(path)
    assert document.metadata == {"date": "last spring"}
    assert document.modified_at == datetime.fromtimestamp(1_000_000_000, tz=UTC)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("text\n\n```\n# not this\n```\n\n# The *first* `one`\n\n# second", "The first one"),
        ("Set\n===\n", "Set"),
        ("## only a second level", "File name"),
    ],
)
def test_the_title_is_the_first_top_heading_else_the_file_name(tmp_path: Path, text: str, title: str) -> None:
    assert one(write(tmp_path / "file-name.md", text)).title == title


def test_a_malformed_acl_of_the_call_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="user:NAME"):
        load(tmp_path, acl=["eng"], max_file_bytes=MAX_BYTES)


# Documents and loaders


def test_our_documents_pass_as_they_are_and_take_the_acl_of_the_call() -> None:
    own = Document(id="a", text="text", acl=frozenset({"user:ada"}))
    assert loaded(own, acl=["group:eng"]) == [own]
    assert one(Document(id="b", text="text"), acl=["group:eng"]).acl == {"group:eng"}
    assert reason(Document(id="c", text=" \n")) == "empty"
    assert "lone surrogate at character 1" in reason(Document(id="d", text="a\ud800"))


def test_langchain_documents_are_read_with_their_metadata() -> None:
    source = LangChainDocument(
        id="own-id",
        page_content="text",
        metadata={
            "title": "T",
            "date": "2026-03-15",
            "acl": ["user:ada"],
            "source": "https://x.example/p.html",
            "tags": {1},
        },
    )
    document = one(source)
    assert (document.id, document.title, document.uri) == ("own-id", "T", "https://x.example/p.html")
    assert document.acl == {"user:ada"}
    assert document.modified_at == datetime(2026, 3, 15, tzinfo=UTC)
    assert document.metadata == {"source": "https://x.example/p.html", "tags": [1]}
    assert document.media_type == "text/plain"


def test_a_langchain_document_with_a_malformed_acl_is_skipped() -> None:
    assert "shown to everyone" in reason(LangChainDocument(page_content="text", metadata={"acl": "user:ada"}))


def test_the_documents_of_one_langchain_source_keep_ids_of_their_own() -> None:
    def made(**metadata: Any) -> LangChainDocument:
        return LangChainDocument(page_content="text", metadata=metadata)

    items = loaded(
        [
            made(id="x"),
            made(source="a.pdf", page=0),
            made(source="a.pdf", page=1),
            made(source="a.txt"),
            made(source="a.txt"),
            made(source="a.pdf", page=1),
        ]
    )
    assert [item.id for item in items if isinstance(item, Document)] == [
        "x",
        "a.pdf#page=0",
        "a.pdf#page=1",
        "a.txt",
        "a.txt#n=2",
        "a.pdf#page=1&n=2",
    ]


def test_a_langchain_document_without_any_name_is_named_by_its_content() -> None:
    first, again, other = (one(LangChainDocument(page_content=text)).id for text in ("a", "a", "b"))
    assert first == again != other


class Pages(BaseLoader):
    """A loader that counts what was asked of it."""

    def __init__(self) -> None:
        self.given = 0

    def lazy_load(self) -> Iterator[LangChainDocument]:
        for number in range(1_000_000):
            self.given += 1
            yield LangChainDocument(page_content=f"page {number}", metadata={"source": "big.pdf", "page": number})


def test_a_langchain_loader_is_read_lazily() -> None:
    loader = Pages()
    stream = load(loader, max_file_bytes=MAX_BYTES)
    assert [next(stream).id for _ in range(3)] == ["big.pdf#page=0", "big.pdf#page=1", "big.pdf#page=2"]  # type: ignore[union-attr]
    assert loader.given == 3


def test_iterables_may_mix_and_nest_sources(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "a.md", "text")
    single = write(tmp_path / "b.md", "text")

    def generate() -> Iterable[Any]:
        yield tmp_path / "folder"
        yield str(single)
        yield [Document(id="own", text="text"), LangChainDocument(page_content="text", metadata={"source": "c.md"})]

    assert [item.id for item in loaded(generate()) if isinstance(item, Document)] == ["a.md", "b.md", "own", "c.md"]


def test_a_missing_path_inside_an_iterator_is_refused_when_reached(tmp_path: Path) -> None:
    stream = load(iter([Document(id="a", text="text"), tmp_path / "gone"]), max_file_bytes=MAX_BYTES)
    next(stream)
    with pytest.raises(SourceError, match="no such file"):
        next(stream)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "text").chmod(0)
    assert reason(tmp_path).startswith("cannot be read")


def test_a_folder_that_disappears_while_it_is_walked_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "text")
    write(tmp_path / "b" / "c.md", "text")
    stream = load(tmp_path, max_file_bytes=MAX_BYTES)
    next(stream)
    shutil.rmtree(tmp_path / "b")
    (skipped,) = stream
    assert isinstance(skipped, SkippedSource)
