"""Reading a rendered context back: for programs that receive it as text, and to prove that nothing in it can pose as something else."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rag2_memory.context.compiled import Format
from rag2_memory.errors import InvalidRequestError

ENTRY: Final = re.compile(r"(?:### |- )\[(?P<id>[cf]\d+)\](?P<rest>.*)")
QUOTE: Final = "> "


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedContext:
    """What stands in a rendered context."""

    guidelines: str = ""
    notice: str = ""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels by fact id; `fact` is the statement."""
    passages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels by citation id, in order; `text` is the passage."""
    summary: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    """Role and text, oldest first."""


def parse_context(text: str, format: Format = "xml") -> ParsedContext:
    """Read a rendered context.

    Raises:
        InvalidRequestError: If the text is not a context in that format.
    """
    parser = {"xml": _from_xml, "markdown": _from_markdown, "json": _from_json}[format]
    try:
        return parser(text)
    except (ElementTree.ParseError, ValueError, KeyError, TypeError) as exc:
        raise InvalidRequestError(
            f"got a text that is no context in format {format!r} ({exc}); needed one that compile_context rendered."
        ) from exc


def _from_xml(text: str) -> ParsedContext:
    root = ElementTree.fromstring(text)
    allowed = {"context", "guidelines", "notice", "facts", "fact", "passages", "passage", "history", "summary", "message"}
    if surplus := {element.tag for element in root.iter()} - allowed:
        raise ValueError(f"unknown elements {sorted(surplus)}")
    return ParsedContext(
        guidelines=_inner(root.find("guidelines")),
        notice=root.findtext("notice") or "",
        facts=_unique((item.attrib["id"], {"fact": item.text or ""} | _labels(item)) for item in root.iterfind("facts/fact")),
        passages=_unique((item.attrib["id"], _labels(item) | {"text": _inner(item)}) for item in root.iterfind("passages/passage")),
        summary=_inner(root.find("history/summary")),
        messages=tuple((item.attrib["role"], _inner(item)) for item in root.iterfind("history/message")),
    )


def _inner(element: ElementTree.Element | None) -> str:
    """Return an element's text without the line breaks that set it apart from its tags."""
    return "" if element is None else (element.text or "").removeprefix("\n").removesuffix("\n")


def _labels(element: ElementTree.Element) -> dict[str, str]:
    return {name: value for name, value in element.attrib.items() if name != "id"}


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dict; a repeated id would be a forged one."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} occurs twice")
        found[name] = value
    return found


def _from_json(text: str) -> ParsedContext:
    root: dict[str, Any] = json.loads(text, object_pairs_hook=_unique)
    history = dict(root.get("history", {}))
    return ParsedContext(
        guidelines=root.get("guidelines", ""),
        notice=root["notice"],
        facts={name: value for name, value in root.get("facts", {}).items() if name != "trust"},
        passages={name: value for name, value in root.get("passages", {}).items() if name != "trust"},
        summary=history.get("summary", ""),
        messages=tuple((value["role"], value["text"]) for name, value in history.items() if name not in ("trust", "summary")),
    )


def _from_markdown(text: str) -> ParsedContext:
    # Only the guidelines, which come first, can hold an unquoted heading of their own.
    told, _, body = f"\n{text}".rpartition("\n# Context\n")
    facts: list[tuple[str, Mapping[str, str]]] = []
    passages: list[tuple[str, Mapping[str, str]]] = []
    said: list[tuple[str, str]] = []
    lines = body.split("\n")
    for title, quoted in _entries(lines[1:]):
        entry = ENTRY.fullmatch(title)
        if entry is None:
            said.append((title.removeprefix("### "), quoted))
        elif title.startswith("- "):
            statement, *labels = entry["rest"].strip().split(" | ")
            facts.append((entry["id"], {"fact": statement} | _pairs(labels)))
        else:
            passages.append((entry["id"], _pairs(entry["rest"].split(" | ")[1:]) | {"text": quoted}))
    return ParsedContext(
        guidelines=told.removeprefix("\n").removeprefix("# Guidelines\n"),
        notice=lines[0].strip("_"),
        facts=_unique(facts),
        passages=_unique(passages),
        summary=next((quoted for title, quoted in said if title == "summary"), ""),
        messages=tuple((title, quoted) for title, quoted in said if title != "summary"),
    )


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each fact, passage and message with its quoted text."""
    title, quoted = "", list[str]()
    for line in lines:
        if line.startswith(QUOTE):
            quoted.append(line.removeprefix(QUOTE))
            continue
        if title:
            yield title, "\n".join(quoted)
        title, quoted = ("" if line.startswith("## ") or not line else line), []
        if title and not title.startswith(("### ", "- [")):
            raise ValueError(f"unexpected line {line[:40]!r}")
    if title:
        yield title, "\n".join(quoted)


def _pairs(labels: list[str]) -> dict[str, str]:
    return dict(label.split(": ", 1) for label in labels)
