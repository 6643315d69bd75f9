"""What the graph may hold: node types with properties, predicates with domain, range and exclusivity. Extensible from Python and from a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rag2_memory.errors import InvalidRequestError

Side = Literal["subject", "object"]
"""The side of a predicate that holds one partner at a time."""

_NAME = re.compile(r"[^\W\d_][\w -]*")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """A kind of node."""

    name: str
    properties: tuple[str, ...] = ()
    """Properties that an extractor may fill; `id` and `name` come from the entity itself."""
    description: str = ""
    """One line for readers and for an extracting language model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A kind of edge, read `subject PREDICATE object`."""

    name: str
    domain: tuple[str, ...] = ()
    """Node types that a subject may have; empty: any."""
    range: tuple[str, ...] = ()
    """Node types that an object may have; empty: any."""
    properties: tuple[str, ...] = ()
    exclusive: Side | None = None
    """`object`: an object has one subject at a time (one lead per project), so a new holder closes the old edge while one subject may still
    hold several objects. `subject`: a subject has one object at a time. `None`: such facts never retire one another."""
    momentary: bool = False
    """Whether it happens at `valid_from` (an update) instead of lasting from then on (a role)."""
    aliases: tuple[str, ...] = ()
    """Other phrases for it, in lower case, such as `leads`."""
    asked_by: tuple[str, ...] = ()
    """Further words of questions that ask for it, in either direction, such as `charge` and `boss`; unlike aliases, several predicates may share one."""
    description: str = ""


_MADE = ("Project", "Component", "Document")

DEFAULT_NODE_TYPES: tuple[NodeType, ...] = (
    NodeType(name="Developer", properties=("id", "name", "team", "role"), description="A person."),
    NodeType(
        name="Project",
        properties=("id", "name", "repository_url", "status"),
        description="An undertaking or product that people lead and contribute to.",
    ),
    NodeType(
        name="Component",
        properties=("id", "name", "technology_stack", "version"),
        description="A service, library, database, device or API that a project is made of or uses.",
    ),
    NodeType(
        name="Document",
        properties=("id", "title", "file_path", "last_modified"),
        description="A page, decision record, runbook, report or release note.",
    ),
)

DEFAULT_PREDICATES: tuple[Predicate, ...] = (
    Predicate(
        name="LEAD_ARCHITECT_OF",
        domain=("Developer",),
        range=("Project", "Component"),
        properties=("role",),
        exclusive="object",
        aliases=("leads", "led", "lead of", "lead architect of", "is lead architect of", "heads", "is the lead of"),
        asked_by=tuple(
            "leader leading leadership head headed charge runs ran run running boss director directs manager chief helm".split()
        ),
        description="Leads it; one lead at a time.",
    ),
    Predicate(
        name="CONTRIBUTES_TO",
        domain=("Developer",),
        range=_MADE,
        properties=("role", "commits_count", "active_since"),
        aliases=("contributes to", "works on", "member of", "contributor to"),
        asked_by=tuple("works worked working team members contributor joined".split()),
        description="Works on it.",
    ),
    Predicate(
        name="DEVELOPED_BY",
        domain=_MADE,
        range=("Developer",),
        properties=("role",),
        aliases=("developed by", "maintained by", "owned by", "built by", "written by", "created by"),
        asked_by=tuple(
            "owner owns own maintainer maintains author wrote writes designed designer builds creator made responsible developer looks".split()
        ),
        description="Is built, maintained or owned by that person.",
    ),
    Predicate(
        name="DEPENDS_ON",
        domain=("Project", "Component"),
        range=("Project", "Component"),
        properties=("type", "version_constraint"),
        aliases=("depends on", "depend on", "relies on", "requires", "uses", "runs on", "is built on"),
        asked_by=tuple("dependency dependencies need needs relies part takes reads fed backed database".split()),
        description="Needs it to work, or is made of it.",
    ),
    Predicate(
        name="UPDATED_BY",
        domain=_MADE,
        range=("Developer", "Document"),
        properties=("timestamp", "commit_hash"),
        momentary=True,
        aliases=("updated by", "changed by", "upgraded by", "patched by", "rotated by", "modified by"),
        asked_by=tuple("updates changes fixed bumped latest touched rewrote".split()),
        description="Was changed at `timestamp` by a person, or by the release or record that says so.",
    ),
    Predicate(
        name="EXPORTS",
        domain=("Project", "Component"),
        range=("Component",),
        aliases=("exports", "exposes", "publishes", "provides"),
        description="Offers an interface or data to others.",
    ),
    Predicate(
        name="DEPRECATED",
        range=_MADE,
        momentary=True,
        aliases=("deprecated", "deprecates", "replaces", "replaced", "supersedes", "superseded", "retired"),
        asked_by=tuple("replacement successor predecessor instead newer obsolete removed".split()),
        description="Replaced, retired or deprecated it.",
    ),
    Predicate(
        name="REFERENCES",
        domain=_MADE,
        aliases=("references", "refers to", "cites", "links to", "see"),
        asked_by=tuple("reference record records document documented described mentions according warned decision".split()),
        description="Points the reader to it.",
    ),
    Predicate(
        name="WRITTEN_ABOUT",
        domain=("Document",),
        properties=("relevance_score", "last_reviewed"),
        aliases=("written about", "describes", "is about", "documents", "covers"),
        description="The document is about it.",
    ),
    Predicate(
        name="RELATED_TO",
        properties=("phrase",),
        aliases=("related to", "is related to"),
        description="Any other tie; `phrase` says which.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSchema:
    """The node types and predicates of a memory; by default developers, projects, components, documents and how they relate.

    Immutable; `extended` returns a larger one.
    """

    node_types: tuple[NodeType, ...] = DEFAULT_NODE_TYPES
    predicates: tuple[Predicate, ...] = DEFAULT_PREDICATES
    open: bool = False
    """Whether any phrase may serve as a predicate and any word as a type; declared predicates keep their rules."""
    fingerprint: str = field(default="", init=False, repr=False, compare=False)
    """Changes whenever the schema does; extraction caches depend on it."""
    _predicate_index: Mapping[str, Predicate] = field(default_factory=dict, init=False, repr=False, compare=False)
    _type_index: Mapping[str, NodeType] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        types = _index_types(self.node_types)
        object.__setattr__(self, "_type_index", types)
        object.__setattr__(self, "_predicate_index", _index_predicates(self.predicates, types, self.open))
        plain = json.dumps(self.to_dict(), sort_keys=True).encode()
        object.__setattr__(self, "fingerprint", hashlib.blake2b(plain, digest_size=8).hexdigest())

    def node_type(self, name: str) -> NodeType | None:
        """Return the node type of that name in any case, or `None`."""
        return self._type_index.get(name.casefold())

    def predicate(self, phrase: str) -> Predicate | None:
        """Return the declared predicate that a name or phrase stands for (`leads`, `depends on`, `DEPENDS_ON`), or `None`."""
        return self._predicate_index.get(_phrase_key(phrase))

    def predicate_name(self, phrase: str) -> str | None:
        """Return the name under which a phrase is stored: the declared predicate's, the phrase itself in open mode, else `None`."""
        declared = self.predicate(phrase)
        if declared is not None:
            return declared.name
        return " ".join(phrase.split()) or None if self.open else None

    def objection(self, predicate: str, subject_type: str, object_type: str) -> str:
        """Say why an edge does not fit; an unknown (empty) type fits everywhere.

        Returns:
            A reason that names what was got and what is allowed; empty if the edge fits.
        """
        declared = self.predicate(predicate)
        if declared is None:
            return "" if self.open and predicate.strip() else self._unknown_predicate(predicate)
        for side, got, allowed in (("subject", subject_type, declared.domain), ("object", object_type, declared.range)):
            if not got:
                continue
            if allowed and got not in allowed:
                return f"{declared.name} takes a {side} of type {' or '.join(allowed)}, not {got}"
            if not self.open and self.node_type(got) is None:
                return f"the {side} type {got!r} is not in the schema, which has {', '.join(node.name for node in self.node_types)}"
        return ""

    def extended(
        self, *, node_types: Iterable[NodeType] = (), predicates: Iterable[Predicate] = (), open: bool | None = None
    ) -> GraphSchema:
        """Return a schema with more, or with redefined, node types and predicates.

        Raises:
            InvalidRequestError: If the result is inconsistent.
        """
        types = {node.name: node for node in (*self.node_types, *node_types)}
        known = {predicate.name: predicate for predicate in (*self.predicates, *predicates)}
        return replace(self, node_types=tuple(types.values()), predicates=tuple(known.values()), open=self.open if open is None else open)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain values; `GraphSchema.from_dict` reads them back."""
        return {
            "open": self.open,
            "nodes": {node.name: _plain(node) for node in self.node_types},
            "edges": {predicate.name: _plain(predicate) for predicate in self.predicates},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, base: GraphSchema | None = None, source: str = "a schema") -> GraphSchema:
        """Read `{"open": …, "nodes": {name: {...}}, "edges": {name: {...}}}`.

        A node may be given as the bare list of its properties.

        Args:
            values: The schema as plain values.
            base: Extended by what is read; by default what is read stands alone.
            source: Names the origin in errors.

        Raises:
            InvalidRequestError: If a key, type or value is not understood.
        """
        if not isinstance(values, Mapping):
            raise InvalidRequestError(f"{source} holds {type(values).__name__}; needed a table with 'nodes' and 'edges'.")
        unknown = sorted(set(values) - {"open", "nodes", "edges"})
        if unknown:
            raise InvalidRequestError(f"{source} has the unknown key {unknown[0]!r}; needed 'nodes', 'edges' or 'open'.")
        nodes = [_read(NodeType, name, body, source, bare="properties") for name, body in _table(values, "nodes", source)]
        edges = [_read(Predicate, name, body, source, bare="properties") for name, body in _table(values, "edges", source)]
        is_open = values.get("open")
        if is_open is not None and not isinstance(is_open, bool):
            raise InvalidRequestError(f"{source} has open={is_open!r}; needed true or false.")
        return (base or cls(node_types=(), predicates=())).extended(node_types=nodes, predicates=edges, open=is_open)

    @classmethod
    def from_file(cls, path: str | Path, *, extend_default: bool = True) -> GraphSchema:
        """Read a schema from a `.yaml`, `.yml`, `.toml` or `.json` file.

        Args:
            path: The file.
            extend_default: Whether the file adds to the default schema or stands alone.

        Raises:
            InvalidRequestError: If the file is missing, of another kind, or does not hold a schema.
        """
        return cls.from_dict(_load(Path(path)), base=DEFAULT_SCHEMA if extend_default else None, source=str(path))

    def _unknown_predicate(self, phrase: str) -> str:
        names = ", ".join(predicate.name for predicate in self.predicates)
        return f"the predicate {phrase!r} is not in the schema, which has {names}"


def _index_types(node_types: Sequence[NodeType]) -> dict[str, NodeType]:
    types: dict[str, NodeType] = {}
    for node in node_types:
        if not _NAME.fullmatch(node.name):
            raise InvalidRequestError(f"got the node type {node.name!r}; needed a name that starts with a letter.")
        if types.setdefault(node.name.casefold(), node) is not node:
            raise InvalidRequestError(f"the node type {node.name!r} is declared twice (case does not count).")
    return types


def _index_predicates(predicates: Sequence[Predicate], types: Mapping[str, NodeType], is_open: bool) -> dict[str, Predicate]:
    """Index predicates by name and alias. A name goes before another's alias, so that a schema can be extended by a finer predicate."""
    index: dict[str, Predicate] = {}
    for predicate in predicates:
        if not _NAME.fullmatch(predicate.name):
            raise InvalidRequestError(f"got the predicate {predicate.name!r}; needed a name that starts with a letter.")
        if predicate.exclusive not in (None, "subject", "object"):
            raise InvalidRequestError(f"{predicate.name} has exclusive={predicate.exclusive!r}; needed 'object', 'subject' or nothing.")
        for side, names in (("domain", predicate.domain), ("range", predicate.range)):
            unknown = [name for name in names if name.casefold() not in types]
            if unknown and not is_open:
                declared = ", ".join(node.name for node in types.values()) or "none"
                raise InvalidRequestError(f"{predicate.name} names the type {unknown[0]!r} in its {side}; declared node types: {declared}.")
        other = index.setdefault(_phrase_key(predicate.name), predicate)
        if other is not predicate:
            raise InvalidRequestError(f"the predicates {other.name} and {predicate.name} have one name; case and underscores do not count.")
    declared_names = set(index)
    for predicate in predicates:
        for phrase in predicate.aliases:
            key = _phrase_key(phrase)
            other = index.setdefault(key, predicate)
            if other is not predicate and key not in declared_names:
                raise InvalidRequestError(f"{phrase!r} stands for both {other.name} and {predicate.name}; give it to one of them.")
    return index


def _phrase_key(phrase: str) -> str:
    return " ".join(_WORD.findall(phrase.replace("_", " ").casefold()))


def _plain(value: NodeType | Predicate) -> dict[str, Any]:
    fields = asdict(value)
    fields.pop("name")
    return {key: list(entry) if isinstance(entry, tuple) else entry for key, entry in fields.items() if entry}


def _table(values: Mapping[str, Any], key: str, source: str) -> list[tuple[str, Any]]:
    table = values.get(key) or {}
    if not isinstance(table, Mapping):
        raise InvalidRequestError(f"{source} has {key} of type {type(table).__name__}; needed a table of names.")
    return [(str(name), body) for name, body in table.items()]


def _read(kind: type[Any], name: str, body: Any, source: str, *, bare: str) -> Any:
    if body is None or isinstance(body, list):
        body = {bare: body or []}
    if not isinstance(body, Mapping):
        raise InvalidRequestError(f"{source} describes {name!r} by {body!r}; needed a table or a list of properties.")
    allowed = set(kind.__dataclass_fields__) - {"name"}
    fields: dict[str, Any] = {}
    for key, value in body.items():
        if key not in allowed:
            raise InvalidRequestError(f"{source} gives {name!r} the unknown key {key!r}; needed one of {', '.join(sorted(allowed))}.")
        if key in ("properties", "domain", "range", "aliases", "asked_by"):
            value = _strings(value, f"{source}: {name}.{key}")
        fields[key] = value
    return kind(name=name, **fields)


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise InvalidRequestError(f"{where} is {value!r}; needed a list of names.")
    return tuple(value)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        match path.suffix.lower():
            case ".json":
                return json.loads(text)
            case ".toml":
                import tomllib

                return tomllib.loads(text)
            case ".yaml" | ".yml":
                return _load_yaml(text, path)
    except OSError as exc:
        raise InvalidRequestError(f"cannot read the schema file {str(path)!r}: {exc.strerror or exc}.") from exc
    except ValueError as exc:  # json and tomllib raise subclasses of it
        raise InvalidRequestError(f"the schema file {str(path)!r} is not valid {path.suffix[1:].upper()}: {exc}.") from exc
    raise InvalidRequestError(f"got the schema file {str(path)!r}; needed .yaml, .yml, .toml or .json.")


def _load_yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise InvalidRequestError(f"the schema file {str(path)!r} is not valid YAML: {exc}.") from exc


DEFAULT_SCHEMA = GraphSchema()
