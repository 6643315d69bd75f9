"""Relations that layout states: table rows, `Key: value` lines, and lists under a heading that names the relation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag2_memory.knowledge.dates import DateSpan, find_dates
from rag2_memory.knowledge.fields import LEAD_FIELD, Field, column_type, field_of, property_of, stamp_of
from rag2_memory.knowledge.grammar import NAME_BASE, D, N
from rag2_memory.knowledge.lexicon import Lexicon, NameSpan, is_abstract, looks_like_code, looks_like_person, may_be_person
from rag2_memory.knowledge.mentions import FUNCTION_WORDS
from rag2_memory.knowledge.open_statements import MAX_VALUE_WORDS, OPEN, open_edge
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.shapes import Context, Shape, Stamp, shape_of, stamp_in
from rag2_memory.knowledge.statements import fits, in_slot, relation_of, validity
from rag2_memory.knowledge.structure import Unit, sentences
from rag2_memory.records import NamedEntity, Relation

_NAMED = re.compile(rf"(?P<name>{N})(?:['’]s [a-z-]+)?(?: \((?P<aside>[^()]*)\))?")
_MODIFIED = re.compile(r" ([a-z]{3,})")
_BETWEEN = re.compile(r"[\s,;/+&·]*(?:and|or|with|then|as well as)?[\s,;/]*$|, (?:acting|interim),? $")
_MARKUP = re.compile(r"[`*_\[\]“”\"]|\([^()]*\)")
_LEADS = re.compile(r"\b(?:lead|leader|lead architect|head)\b", re.IGNORECASE)
SHORTEST_TOPIC = 2
"""Characters; a cell that is no longer is a label such as `B` or `1.`."""
MAX_TOPIC_WORDS = 4
MAX_OPEN_COLUMNS = 4
"""A table of nameless rows with more columns is a matrix of figures."""
_KEY = re.compile(r"[^\W\d_][\w'’()/-]*(?: [\w'’()/-]+){0,3}")
_NO_KEY = frozenset(
    "note notes remark remarks comment comments description meaning why how who what which where tags id no nr number result results state done was when before after for"
    " against met action decision class example examples details x y".split()
)
"""Headers that say nothing of what stands below them, or something of a task."""
_NO_VALUE = frozenset("- – — n/a none tbd yes no ? ok x".split())
_TELLING = re.compile(r"[^\W\d_]{2}|\d{3}|\d[^\d\s]|[^\W\d_]\d")
"""What a value must hold to mean anything by itself: a word, a long number, or a number with its unit."""
MAX_CELL_WORDS = 6
"""A longer cell in a column of names is a remark."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one piece of layout states."""

    relations: tuple[Relation, ...] = ()
    entities: tuple[NamedEntity, ...] = ()


def pairs_statement(
    pairs: Sequence[Unit],
    about: NameSpan,
    document: str,
    context: Context,
    lexicon: Lexicon,
    schema: GraphSchema,
    *,
    bears_name: bool = True,
) -> Statement:
    """Read consecutive `Key: value` lines; a `Since:` or `Until:` dates the edges of the line before it.

    With `bears_name` the page or section bears the name of what it is about, so that keys which are no declared relation describe it as well.
    """
    relations: list[Relation] = []
    properties: dict[str, str] = {}
    for index, pair in enumerate(pairs):
        key_property = property_of(pair.key)
        declared = field_of(pair.key)
        if declared is not None:
            own = NameSpan(document, -1, -1, "Document") if declared.about == "document" or declared.role == "author" else about
            relations += field_relations(declared, own, pair.value, pair.text, context, lexicon, schema, dates=pairs[index + 1 : index + 3])
            continue
        if key_property:
            properties[key_property] = _plain(next(sentences(pair.value), ""))
        elif stamp_of(pair.key) is None and bears_name and about.type != "Document":
            relations += _open(about, pair.key, pair.value, Stamp(), pair.text, context, lexicon, schema)
    node = schema.node_type(about.type) if about.type else None
    stated = {key: value for key, value in properties.items() if value and (node is None or key in node.properties)}
    entities = (NamedEntity(name=about.name, type=about.type, kind="subject", properties=stated),) if stated and about.type else ()
    return Statement(tuple(relations), entities)


def field_relations(
    declared: Field,
    about: NameSpan,
    value: str,
    quote: str,
    context: Context,
    lexicon: Lexicon,
    schema: GraphSchema,
    *,
    dates: Sequence[Unit] = (),
) -> Iterator[Relation]:
    """Yield the edges between the thing described and the names that open a value, each dated by what stands beside it."""
    shape = shape_of(next(sentences(value), ""), lexicon, replace(context, thing=about, person=None))
    given = _stamp_of_pairs(dates, context)
    values = list(_leading_names(shape, things=declared.value == "thing"))
    for span, own, role in values:
        stamp = own or given or (stamp_in(shape, 0, len(shape.text)) if len(values) == 1 else Stamp())
        yield from _edge(declared, about, span, stamp, quote, context, lexicon, schema)
        if declared.predicate == "CONTRIBUTES_TO" and declared.flip and _LEADS.search(role):
            yield from _edge(LEAD_FIELD, about, span, own, quote, context, lexicon, schema)


def row_statement(
    row: Unit, about: NameSpan | None, context: Context, lexicon: Lexicon, schema: GraphSchema, *, listing: Field | None = None
) -> Statement:
    """Read a table row by its header; in a table of roles and people each row is a `Key: value` line."""
    if not row.header:
        return Statement()
    if about is not None and len(row.header) > 1 and property_of(row.header[0]) == "role" and column_type(row.header[1]) == "Developer":
        declared = field_of(_plain(row.cells[0]))
        names = _cell_names(row.cells[1], declared, "Developer", lexicon, context) if declared else ()
        stamp = _row_stamp(row, context)
        return Statement(
            tuple(edge for span in names if declared for edge in _edge(declared, about, span, stamp, row.text, context, lexicon, schema))
        )
    labelled = tuple(_plain_row(row, context, lexicon, schema))
    if labelled:
        return Statement(labelled)
    column = _entity_column(row.header)
    subject = about if column is None else _cell_name(row.cells[column], column_type(row.header[column]) or "", lexicon)
    if subject is None:
        return Statement()
    if subject.type:
        lexicon.learn(subject.name, subject.type)
    stamp = _row_stamp(row, context)
    role = next((_plain(cell) for header, cell in zip(row.header, row.cells, strict=False) if property_of(header) == "role"), "")
    relations: list[Relation] = []
    properties: dict[str, str] = {}
    if listing is not None and about is not None and column is not None:
        relations += _edge(listing, about, subject, stamp, row.text, context, lexicon, schema, role=role)
    for index, (header, cell) in enumerate(zip(row.header, row.cells, strict=False)):
        if index == column or not cell.strip(" -–—"):
            continue
        declared = _between(subject.type, column_type(header) or "", role) or field_of(header)
        if declared is not None:
            for span in _cell_names(cell, declared, column_type(header) or "", lexicon, context):
                relations += _edge(declared, subject, span, stamp, row.text, context, lexicon, schema, role=role)
            continue
        node = schema.node_type(subject.type) if subject.type else None
        if (key := property_of(header)) is not None:
            properties[key] = _plain(cell)
            if node is not None and key in node.properties:
                continue
        if stamp_of(header) is None and column is not None and _is_thing(subject, row.header[column], lexicon):
            relations += _open(subject, header, cell, stamp, row.text, context, lexicon, schema)
    node = schema.node_type(subject.type) if subject.type else None
    stated = {key: value for key, value in properties.items() if node is not None and key in node.properties and value}
    known = node is not None and column is not None
    return Statement(tuple(relations), (NamedEntity(name=subject.name, type=subject.type, properties=stated),) if known else ())


def _edge(
    declared: Field,
    about: NameSpan,
    span: NameSpan,
    stamp: Stamp,
    quote: str,
    context: Context,
    lexicon: Lexicon,
    schema: GraphSchema,
    *,
    role: str = "",
) -> Iterator[Relation]:
    if declared.value == "person" and not span.type and may_be_person(span.name):
        span = replace(span, type="Developer")
        lexicon.learn(span.name, "Developer")
    if not fits(span, declared.value, lexicon) or not fits(about, declared.about, lexicon):
        return
    former = declared.role == "former"
    window = validity(declared.kind, stamp, context, past=former)
    if window is None:
        return
    extra = {"role": role or declared.role} if (role or declared.role) and not former else {}
    if declared.predicate == "DEPENDS_ON" and declared.role:
        extra = {"type": declared.role}
    edge = relation_of(
        in_slot(about, declared.about), in_slot(span, declared.value), declared.predicate, declared.flip, window, extra, quote, schema
    )
    if edge is not None:
        yield edge


def _leading_names(shape: Shape, *, things: bool) -> Iterator[tuple[NameSpan, Stamp, str]]:
    """The names that a value lists before its prose begins, each with the dates and words in the parentheses behind it."""
    end = 0
    for match in _NAMED.finditer(shape.text):
        between = re.sub(rf"\(?[a-z ]*{D}\)?", "", shape.text[end : match.start()])
        if end and not _BETWEEN.match(between):
            return
        if not end and len(shape.text[: match.start()].split()) > 2:
            return
        if things and (after := _MODIFIED.match(shape.text, match.end())) and after[1] not in FUNCTION_WORDS:
            return
        end = match.end()
        own = stamp_in(shape, match.start("aside"), match.end("aside")) if match["aside"] else Stamp()
        yield shape.names[ord(match["name"]) - NAME_BASE], own, match["aside"] or ""


def _stamp_of_pairs(pairs: Sequence[Unit], context: Context) -> Stamp:
    stamp = Stamp()
    for pair in pairs:
        if (which := stamp_of(pair.key)) is None:
            break
        _set(stamp, which, _first_date(pair.value, context))
    return stamp


def _row_stamp(row: Unit, context: Context) -> Stamp:
    stamp = Stamp()
    for header, cell in zip(row.header, row.cells, strict=False):
        which = stamp_of(header)
        if which is not None:
            _set(stamp, which, _first_date(cell, context))
    return stamp


def _set(stamp: Stamp, which: str, date: DateSpan | None) -> None:
    if date is None:
        return
    if which == "start":
        stamp.start = date
    elif which == "end":
        stamp.end = date
    else:
        stamp.at = date


def _first_date(text: str, context: Context) -> DateSpan | None:
    return next(iter(find_dates(text, reference=context.observed, prefer="nearest")), None)


def _is_thing(subject: NameSpan, header: str, lexicon: Lexicon) -> bool:
    """Whether a cell names a thing that has attributes, rather than a quantity or a topic of a table of figures."""
    name = subject.name
    if subject.type or looks_like_person(name) or looks_like_code(name):
        return True
    words = name.split()
    if len(words) == 1:
        return bool(header.strip()) and name[0].isupper() and name.casefold() not in lexicon.plain and not is_abstract(name)
    return (
        len(words) <= MAX_TOPIC_WORDS
        and "," not in name
        and all(word[0].isupper() or word[0].isdigit() or word in FUNCTION_WORDS for word in words)
    )


def _plain_row(row: Unit, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    """A row under a label whose second cell lists what it is about: `| B | connection logs, door logs | 14 days |`."""
    if len(_plain(row.cells[0])) > SHORTEST_TOPIC or not 3 <= len(row.cells) <= MAX_OPEN_COLUMNS or len(row.header) < len(row.cells):
        return
    topics = [topic.split() for topic in _plain(row.cells[1]).split(",")]
    if not all(0 < len(words) <= MAX_TOPIC_WORDS and words[0][0].islower() and words[-1].isalpha() for words in topics):
        return
    for words in topics:
        subject = NameSpan(" ".join(words), -1, -1, lexicon.type_of(" ".join(words)))
        for header, cell in list(zip(row.header, row.cells, strict=False))[2:]:
            yield from _open(subject, header, cell, _row_stamp(row, context), row.text, context, lexicon, schema)


def _open(
    subject: NameSpan, key: str, cell: str, stamp: Stamp, quote: str, context: Context, lexicon: Lexicon, schema: GraphSchema
) -> Iterator[Relation]:
    """What a column or a key says of a thing, where it is no declared relation: an edge of the open predicate with the key as its phrase."""
    phrase, value = _plain(key).casefold(), _plain(next(sentences(cell), ""))
    if schema.predicate(OPEN) is None or not _KEY.fullmatch(phrase) or phrase in _NO_KEY or property_of(key) == "status":
        return
    if value.casefold() in _NO_VALUE or not _TELLING.search(value) or len(value.split()) > (MAX_VALUE_WORDS if value[0].isupper() else 3):
        return
    node_type = "Developer" if looks_like_person(value) else lexicon.type_of(value)
    yield from open_edge(subject, phrase, NameSpan(value, -1, -1, node_type), stamp, quote, context, schema)


def _entity_column(header: Sequence[str]) -> int | None:
    """The column that lists what the rows are about."""
    typed = [index for index, name in enumerate(header) if column_type(name)]
    if typed:
        return typed[0]
    first = header[0]
    return None if field_of(first) or stamp_of(first) or property_of(first) else 0


def _between(subject_type: str, column: str, role: str) -> Field | None:
    """What a column of entities says of a row about another kind of entity."""
    if subject_type == "Developer" and column in ("Project", "Component"):
        lead = column == "Project" and _LEADS.search(role)
        return Field(predicate="LEAD_ARCHITECT_OF" if lead else "CONTRIBUTES_TO", about="person")
    if subject_type == "Component" and column == "Project":
        return Field(predicate="DEPENDS_ON", flip=True, role="part")
    return None


def _cell_name(cell: str, kind: str, lexicon: Lexicon) -> NameSpan | None:
    name = _plain(cell)
    if not name or len(name.split()) > MAX_CELL_WORDS or not any(character.isalpha() for character in name):
        return None
    if kind == "Developer":
        person = may_be_person(name) or lexicon.type_of(name) == "Developer"
        return NameSpan(name, -1, -1, "Developer") if person else None
    if kind == "" and len(name) <= SHORTEST_TOPIC:
        return None
    if looks_like_person(name) and kind == "":
        return NameSpan(name, -1, -1, "Developer")
    if name[0].islower() and not looks_like_code(name) and name not in lexicon:
        return None
    return NameSpan(name, -1, -1, kind or lexicon.type_of(name))


def _cell_names(cell: str, declared: Field, kind: str, lexicon: Lexicon, context: Context) -> Iterator[NameSpan]:
    plain = _plain(cell)
    if declared.value == "person" and may_be_person(plain):
        yield NameSpan(plain, -1, -1, "Developer")
        return
    shape = shape_of(cell, lexicon, replace(context, thing=None, person=None))
    for character in shape.text:
        if NAME_BASE <= ord(character) < NAME_BASE + len(shape.names):
            span = shape.names[ord(character) - NAME_BASE]
            yield span if span.type or not kind or kind == "Developer" else replace(span, type=kind)


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", text).split()).strip(" ,;:")
