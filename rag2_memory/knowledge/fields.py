"""What a key of a `Key: value` line, a table's column or a list's heading says about its values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rag2_memory.knowledge.grammar import Kind, Slot
from rag2_memory.knowledge.mentions import normalize_name

Stamped = Literal["start", "end", "at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A key that ties the thing described to its values by one predicate."""

    predicate: str
    flip: bool = False
    """Whether the edge runs from the value to the thing described."""
    value: Slot = "thing"
    about: Slot = "thing"
    kind: Kind = "state"
    role: str = ""


LEAD_FIELD = Field(predicate="LEAD_ARCHITECT_OF", flip=True, value="person")
_OWNER = Field(predicate="DEVELOPED_BY", value="person", role="owner")
_AUTHOR = Field(predicate="DEVELOPED_BY", value="person", about="any", kind="result", role="author")
_MEMBER = Field(predicate="CONTRIBUTES_TO", flip=True, value="person")
_NEEDS = Field(predicate="DEPENDS_ON")
_PART = Field(predicate="DEPENDS_ON", flip=True, role="part")

_FIELDS = {
    "lead|leads|leader|led by|head|project lead|tech lead|technical lead|team lead|engineering lead|lead architect|architect|lead engineer"
    "|current lead|acting lead|new lead|project leader": LEAD_FIELD,
    "former lead|previous lead|past lead|old lead|former leads|previous leads|past leads": Field(
        predicate="LEAD_ARCHITECT_OF", flip=True, value="person", role="former"
    ),
    "owner|owners|owned by|maintainer|maintainers|maintained by|component owner|service owner|responsible|responsible person|code owner"
    "|code owners|current owner": _OWNER,
    "developer|developers|developed by|built by|created by|implemented by|designed by|designer": Field(
        predicate="DEVELOPED_BY", value="person", kind="result", role="author"
    ),
    "author|authors|written by|by|prepared by|reported by": _AUTHOR,
    "contributor|contributors|member|members|team members|core team|people|engineers|who is here|staff": _MEMBER,
    "works on|working on|work on|contributes to|projects|assigned to|working area|areas": Field(
        predicate="CONTRIBUTES_TO", about="person", value="thing"
    ),
    "owns|maintains|responsible for": Field(predicate="DEVELOPED_BY", flip=True, about="person", value="thing", role="owner"),
    "leads project|leading|leads the": Field(predicate="LEAD_ARCHITECT_OF", about="person", value="thing"),
    "depends on|depend on|dependencies|dependency|requires|needs|uses|built on|upstream|upstream dependencies|relies on|runs on|direct dependencies"
    "|database|backed by|what it needs|storage": _NEEDS,
    "components|modules|services|parts|made of|consists of": Field(predicate="DEPENDS_ON", role="part"),
    "used by|dependents|downstream|consumers|consumed by|needed by|required by|who uses it|callers|called by": Field(
        predicate="DEPENDS_ON", flip=True
    ),
    "part of|belongs to|parent project": _PART,
    "exports|exposes|provides|publishes|offers|api|apis|interfaces": Field(predicate="EXPORTS"),
    "replaces|supersedes|deprecates|superseded adr|obsoletes": Field(predicate="DEPRECATED", kind="event", about="any", value="any"),
    "superseded by|replaced by|deprecated by|replacement|successor|obsoleted by|use instead|in favour of": Field(
        predicate="DEPRECATED", flip=True, kind="event", about="any", value="any"
    ),
    "see|see also|references|related|related documents|further reading|links|background|refers to": Field(
        predicate="REFERENCES", about="document", value="document"
    ),
    "updated by|last updated by|changed by|modified by|rotated by|done by|upgraded by": Field(
        predicate="UPDATED_BY", value="person", about="any", kind="event"
    ),
}
_STAMPS: dict[str, Stamped] = {
    **dict.fromkeys("since from start started joined begin began starts effective in force".split(" "), "start"),
    **dict.fromkeys(
        ["start date", "from date", "owner since", "lead since", "valid from", "in force since", "active since", "joined on"], "start"
    ),
    **dict.fromkeys(["until", "to", "till", "end", "ended", "left", "end date", "valid to", "valid until", "left on"], "end"),
    **dict.fromkeys(
        [
            "date",
            "when",
            "day",
            "updated",
            "last updated",
            "updated on",
            "changed",
            "released",
            "last change",
            "rotated",
            "last rotated",
            "on",
        ],
        "at",
    ),
}
_PROPERTIES = {
    **dict.fromkeys(["role", "title", "position", "job title", "function"], "role"),
    **dict.fromkeys(["team", "group", "department", "squad"], "team"),
    **dict.fromkeys(["status", "state", "phase"], "status"),
    **dict.fromkeys(["version", "current version", "release"], "version"),
    **dict.fromkeys(
        ["stack", "technology", "technologies", "tech stack", "technology stack", "language", "built with", "written in"],
        "technology_stack",
    ),
    **dict.fromkeys(["repository", "repo", "repository url", "source", "source code", "git"], "repository_url"),
    **dict.fromkeys(["file", "path", "file path"], "file_path"),
}
_ENTITY_COLUMNS = {
    **dict.fromkeys(
        ["person", "name", "who", "developer", "engineer", "employee", "member", "full name", "colleague", "contributor"], "Developer"
    ),
    **dict.fromkeys(
        "component service system library module package app application database api tool secret device product microservice dependency".split(),
        "Component",
    ),
    **dict.fromkeys(["project", "initiative", "programme", "program"], "Project"),
    **dict.fromkeys(["document", "adr", "page", "runbook", "policy", "decision"], "Document"),
}
_PLURAL = re.compile(r"(?<=[a-z]{3})s$")


@lru_cache(maxsize=4096)
def field_of(key: str) -> Field | None:
    """Return what a key says of its values, or `None`."""
    return _fields().get(normalize_name(key))


@lru_cache(maxsize=4096)
def stamp_of(key: str) -> Stamped | None:
    """Return which date of the row or line a key gives, or `None`."""
    return _STAMPS.get(normalize_name(key))


@lru_cache(maxsize=4096)
def property_of(key: str) -> str | None:
    """Return the node property that a key gives, or `None`."""
    return _PROPERTIES.get(normalize_name(key))


@lru_cache(maxsize=4096)
def column_type(key: str) -> str | None:
    """Return the node type of what a column lists, or `None` where it lists no entities."""
    name = normalize_name(key)
    return _ENTITY_COLUMNS.get(name) or _ENTITY_COLUMNS.get(_PLURAL.sub("", name))


@lru_cache(maxsize=1)
def _fields() -> dict[str, Field]:
    return {key: value for keys, value in _FIELDS.items() for key in keys.split("|")}
