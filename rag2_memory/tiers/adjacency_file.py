"""A resident graph on disk: read back in a fraction of the time that the engine takes to give out every row."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rag2_memory.tiers.adjacency import Adjacency, Names
from rag2_memory.tiers.adjacency_rows import Array, EdgeRows, LinkRows

FORMAT = "1"
"""Raised whenever a file of an older release must not be read."""


def save(adjacency: Adjacency, path: Path, *, state: str) -> None:
    """Write a graph whole or not at all.

    Args:
        adjacency: The graph.
        path: The file; one beside it, with `.new` after its name, is used on the way.
        state: What the engine's content is known by; `load` asks for it.
    """
    compact = adjacency.compacted()
    (segment,) = compact.view.segments
    columns = {f"link_{field.name}": getattr(segment.links, field.name) for field in fields(LinkRows)}
    columns |= {f"edge_{field.name}": getattr(segment.edges, field.name) for field in fields(EdgeRows)}
    for kind in ("passages", "entities", "predicates"):
        names: Names = getattr(compact, kind)
        columns |= _packed(f"{kind}_ids", names.ids) | _packed(f"{kind}_namespaces", dict.fromkeys(names.namespaces))
        places = {namespace: place for place, namespace in enumerate(dict.fromkeys(names.namespaces))}
        columns[f"{kind}_places"] = np.array([places[namespace] for namespace in names.namespaces], dtype=np.int32)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        np.savez(file, allow_pickle=False, state=np.array([FORMAT, state]), **columns)
    os.replace(fresh, path)


def load(path: Path, *, state: str) -> Adjacency | None:
    """Read a graph, or nothing if there is none of this state that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
            if columns["state"].tolist() != [FORMAT, state]:
                return None
            return _read(columns)
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
        return None


def _read(columns: Mapping[str, Array]) -> Adjacency:
    adjacency = Adjacency()
    for kind in ("passages", "entities", "predicates"):
        namespaces = _unpacked(columns, f"{kind}_namespaces")
        of = [namespaces[place] for place in columns[f"{kind}_places"].tolist()]
        setattr(adjacency, kind, Names(zip(of, _unpacked(columns, f"{kind}_ids"), strict=True)))
    links = LinkRows(**{field.name: columns[f"link_{field.name}"] for field in fields(LinkRows)})
    edges = EdgeRows(**{field.name: columns[f"edge_{field.name}"] for field in fields(EdgeRows)})
    adjacency.begin(links, edges)
    return adjacency


def _packed(name: str, texts: Iterable[str]) -> dict[str, Array]:
    texts = list(texts)
    data: Any = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    return {name: data, f"{name}_lengths": np.array([len(text) for text in texts], dtype=np.int64)}


def _unpacked(columns: Mapping[str, Array], name: str) -> list[str]:
    text = columns[name].tobytes().decode()
    bounds = accumulate(columns[f"{name}_lengths"].tolist(), initial=0)
    return [text[start:end] for start, end in pairwise(bounds)]
