"""YAML front matter of a text file: title, date, ACL and free metadata."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import yaml

from rag2_memory.errors import InvalidRequestError
from rag2_memory.types import acl_of, utc

MAX_CHARACTERS = 65_536
"""Longer front matter is taken as text: no real document has it, and YAML parses slowly."""

MAX_VALUES = 10_000
"""Values that front matter may unfold to; YAML aliases can make a few lines unfold without end."""

_BLOCK = re.compile(r"---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_NAMES_ACL = re.compile(r"^\s*(?:- *)?[\"']?acl[\"']?\s*:", re.IGNORECASE | re.MULTILINE)


class MalformedAclError(ValueError):
    """A document names an ACL that cannot be read, so nobody can say who may see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMatter:
    """What a file says about itself above its text."""

    title: str = ""
    modified_at: datetime | None = None
    acl: frozenset[str] = frozenset()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Every other key, as JSON values."""


def split_front_matter(text: str) -> tuple[FrontMatter, str]:
    """Split a text with `\\n` line ends into its front matter and the text below.

    Front matter that is not a YAML mapping stays part of the text.

    Raises:
        MalformedAclError: If it names an ACL that cannot be read.
    """
    if not text.startswith("---"):
        return FrontMatter(), text
    block = _BLOCK.match(text[: MAX_CHARACTERS + 8])
    if block is None:
        return _as_text(text, before_blank=True), text
    try:
        values = yaml.load(block["yaml"], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        values = {str(key): json_safe(value) if str(key).lower() != "acl" else value for key, value in values.items()}
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, RecursionError):
        return _as_text(block["yaml"]), text
    if len(re.findall(r"^[\"']?acl[\"']?\s*:", block["yaml"], re.IGNORECASE | re.MULTILINE)) > 1:
        raise MalformedAclError("front matter names 'acl' twice")
    return read_metadata(values), text[block.end() :].lstrip("\n")


def _as_text(raw: str, *, before_blank: bool = False) -> FrontMatter:
    """Front matter that cannot be read counts as text, unless it means to restrict who may read it."""
    if _NAMES_ACL.search(raw.partition("\n\n")[0] if before_blank else raw):
        raise MalformedAclError("its front matter is not valid YAML but names an 'acl'")
    return FrontMatter()


def read_metadata(values: Mapping[str, Any]) -> FrontMatter:
    """Read `title`, `date` and `acl` (in any letter case) out of metadata; the rest stays metadata.

    Raises:
        MalformedAclError: If there is an ACL that is not a list of `user:NAME` and `group:NAME`.
    """
    rest: dict[str, Any] = {}
    title, modified_at, acl = "", None, frozenset[str]()
    for key, value in values.items():
        name = key.lower()
        if name == "acl":
            acl = _acl(value)
        elif name == "title" and isinstance(value, (str, int, float)) and not title:
            title = str(value).strip()
        elif name == "date" and (moment := _moment(value)) is not None:
            modified_at = moment
        else:
            rest[key] = value
    return FrontMatter(title=title, modified_at=modified_at, acl=acl, metadata=rest)


def _acl(value: Any) -> frozenset[str]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise MalformedAclError(f"got acl: {reprlib.repr(value)}; needed a list such as [user:ada, group:eng]")
    try:
        return acl_of(value)
    except (InvalidRequestError, TypeError) as exc:
        raise MalformedAclError(str(exc).rstrip(".")) from exc


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, (str, date)):
        return None
    try:
        return utc(value)
    except (InvalidRequestError, OverflowError):
        return None


def json_safe(value: Any) -> Any:
    """Return a value as plain JSON values; dates become ISO 8601, what JSON does not know becomes text.

    Raises:
        ValueError: If it unfolds to more than `MAX_VALUES` values.
    """
    remaining = [MAX_VALUES]

    def convert(item: Any) -> Any:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise ValueError(f"more than {MAX_VALUES} values")
        if item is None or isinstance(item, (bool, int, str)):
            return item
        if isinstance(item, float):
            return item if item - item == 0 else None  # JSON has neither infinities nor NaN
        if isinstance(item, date):
            return item.isoformat()
        if isinstance(item, Mapping):
            return {str(key): convert(inner) for key, inner in item.items()}
        if isinstance(item, (set, frozenset)):
            return sorted((convert(inner) for inner in item), key=str)
        if isinstance(item, (list, tuple)):
            return [convert(inner) for inner in item]
        return str(item)

    return convert(value)
