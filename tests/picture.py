"""Draws the recall graph from the code into the README, or checks that the picture there is current: `python -m tests.picture [--write]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rag2_memory.graphs import build_recall_graph

README = Path(__file__).parent.parent / "README.md"
_PICTURE = re.compile(r"(<!-- picture: make picture -->\n```mermaid\n)(.*?)(\n```)", re.DOTALL)


def drawn() -> str:
    """Return the graph as Mermaid text, without the drawing library's style lines."""
    text = build_recall_graph().compile().get_graph().draw_mermaid()
    body = text.split("---\n", 2)[-1] if text.startswith("---") else text
    lines = [line.rstrip().rstrip(";") for line in body.splitlines() if line.strip() and "classDef" not in line]
    return "\n".join(re.sub(r":::\w+|&nbsp;", lambda match: " " if match[0].startswith("&") else "", line) for line in lines)


def shown() -> str:
    """Return the picture in the README."""
    found = _PICTURE.search(README.read_text())
    return found[2] if found else ""


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(_PICTURE.sub(lambda match: f"{match[1]}{drawn()}{match[3]}", README.read_text()))
    elif shown() != drawn():
        sys.exit("the README's picture is out of date: run `make picture`")
