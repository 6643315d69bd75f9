"""Entities and relations without a language model: names by form, edges by sentence patterns, tables, `Key: value` lines and lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from rag2_memory.knowledge.aliases import document_aliases, file_alias, text_aliases, title_aliases
from rag2_memory.knowledge.dates import DateSpan, find_dates
from rag2_memory.knowledge.events import dated_events
from rag2_memory.knowledge.fields import Field, field_of, stamp_of
from rag2_memory.knowledge.headings import CHANGES, DOCUMENT_LIKE, TITLE_LABEL, Headings, document_name
from rag2_memory.knowledge.layout_statements import Statement, field_relations, pairs_statement, row_statement
from rag2_memory.knowledge.lexicon import NAME, Lexicon, NameSpan, find_names, form_type, looks_like_code, looks_like_person, may_be_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.open_statements import may_state, open_edge, open_relations
from rag2_memory.knowledge.schema import DEFAULT_SCHEMA, GraphSchema
from rag2_memory.knowledge.shapes import LINK, Context, Stamp, shape_of
from rag2_memory.knowledge.statements import relation_of, relations_in, validity
from rag2_memory.knowledge.structure import Unit, sentences, table_header, units
from rag2_memory.knowledge.triggers import words_of
from rag2_memory.records import Extraction, NamedEntity, Relation
from rag2_memory.types import Chunk

Gazetteer = Callable[[Sequence[str]], Mapping[str, str]]
"""Given normalised names, returns the node types of those that the graph knows (an empty type where it knows none)."""

_NUMBERED_FILE = re.compile(r"(?:^|/)(?P<kind>adr|rfc|pep|kep)s?[/-](?P<number>\d+)-[\w-]+\.\w+$", re.IGNORECASE)
_ADDED = re.compile(r"^(?:added|new\b.*|what's new|features?|highlights|additions)$", re.IGNORECASE)
_REMOVED = re.compile(r"^(?:removed|removals?|deprecated|deprecations?|retired|dropped)$", re.IGNORECASE)
_UNCHANGED = re.compile(r"\b(?:no changes?|unchanged|not changed|known issues?|unaffected)\b", re.IGNORECASE)
_SINCE = re.compile(r"\b(?:as of|from|since|effective|starting|with effect from)\b", re.IGNORECASE)
_IN_FORCE = re.compile(
    r"[*_\s]*(?:(?:this|the) [\w -]{3,40} )?(?:(?:is |has been |was )?(?:in force|valid|effective|in effect|applicable)|applies|comes into force|takes effect|came into force|took effect)"
    r"(?: again)? (?:since|from|as of|as from|on|with effect from)?\b",
    re.IGNORECASE,
)
"""Opens a sentence that says from when on all of a document holds."""
_FINDING = re.compile(
    r"\b[Tt]he (?P<name>(?:[A-Z][\w&-]* ){1,4}(?:audit|review|report|survey|assessment|inspection|study|post-?mortem))"
    r" (?:noted|notes|found|finds|showed|shows|stated|states|concluded|concludes|recommended|recommends|revealed|pointed out|criticised|criticized)\b"
)
"""A report that a document cites by what it found."""
_LOOK_BACK_SENTENCES = 5
_LOOKS_BACK = re.compile(
    r"[*_\s]*(?:It|He|She|They|This|That|[A-Z][a-z]+ (?:by|on)|Depends|Uses|Requires|Needs|Exports|Exposes|Provides|Replaces|Supersedes|Call|Use)\b"
    r"|[^.;:]{0,30}\b(?:it|he|she)\b"
)
_LOWER = re.compile(r"(?<![\w'’-])[a-z]{2,}(?![\w-])")
_TRAILING_KEY = re.compile(r"(?P<subject>.*?)[ ]?\b(?P<key>[A-Za-z]+(?: [a-z]+)?)[:*. ]*$")


@dataclass(slots=True)
class _Reading:
    """What one chunk has yielded so far."""

    chunk: Chunk
    text: str
    """With title and headings: where full names may stand."""
    document: str
    about: NameSpan
    context: Context
    relations: list[Relation] = field(default_factory=list)
    entities: list[NamedEntity] = field(default_factory=list)
    pairs: list[Unit] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """The sentences before, if they stated nothing: they are read for names only where the next one looks back."""
    header: tuple[str, ...] = ()
    """Of a table that goes on from the chunk before."""
    in_force: DateSpan | None = None
    """From when on the whole document holds, where it says so."""
    pending: Field | None = None
    """What the items of the current list are to `about`, where a heading or a leading line says so."""


def names_in(chunks: Iterable[Chunk]) -> set[str]:
    """Return what a gazetteer is asked about: everything in the chunks that looks like a name, and its words, normalised."""
    names = {match[0].strip('`“”"') for chunk in chunks for match in NAME.finditer(chunk.index_text)}
    words = {part for name in names for part in (name, *name.split())}
    return {key for word in words if (key := normalize_name(word))}


class PatternExtractor:
    """Reads chunks with patterns of general English; no model, no network, about a thousand chunks a second on one core.

    Chunks of one document that come in one call help each other: a name that a heading or a table has typed keeps its type, and a table that
    goes on in the next chunk keeps its header.

    Args:
        schema: Edges outside it are not read.
        gazetteer: What the graph knows by name; types names that a document leaves untyped.
    """

    def __init__(self, *, schema: GraphSchema = DEFAULT_SCHEMA, gazetteer: Gazetteer | None = None) -> None:
        self._schema, self._gazetteer = schema, gazetteer

    @property
    def name(self) -> str:
        """Identifies the rules and the schema."""
        return f"patterns-2-{self._schema.fingerprint}"

    def knowing(self, gazetteer: Gazetteer) -> PatternExtractor:
        """Return the same extractor with a gazetteer, unless it has one of its own."""
        return self if self._gazetteer is not None else PatternExtractor(schema=self._schema, gazetteer=gazetteer)

    def extract(self, chunks: Sequence[Chunk]) -> list[Extraction]:
        """Return one extraction per chunk, in the order given."""
        extractions: list[Extraction] = []
        for _, group in groupby(chunks, key=lambda chunk: chunk.document_key):
            extractions += self._document(list(group))
        return extractions

    def _document(self, chunks: Sequence[Chunk]) -> Iterator[Extraction]:
        lexicon = Lexicon(known=self._known(chunks), plain=frozenset(word for chunk in chunks for word in _LOWER.findall(chunk.text)))
        headings = Headings(lexicon)
        for text in dict.fromkeys(text for chunk in chunks for text in (chunk.title, *chunk.heading_path)):
            for span in headings.names(text):
                if span.type:
                    lexicon.learn(span.name, span.type)
        before: _Reading | None = None
        for chunk in chunks:
            reading = self._open(chunk, headings, before)
            yield self._chunk(chunk, reading, lexicon)
            before = reading

    def _known(self, chunks: Sequence[Chunk]) -> Mapping[str, str]:
        if self._gazetteer is None:
            return {}
        return self._gazetteer(sorted(names_in(chunks)))

    def _chunk(self, chunk: Chunk, reading: _Reading, lexicon: Lexicon) -> Extraction:
        names = dict.fromkeys(match[str(match.lastgroup)] for match in NAME.finditer(chunk.text))
        self._learn(names, lexicon)
        for unit in units(chunk.text, header=reading.header):
            if (
                unit.kind == "pair"
                and not (unit.item and reading.pending)
                and (field_of(unit.key) or stamp_of(unit.key) or not words_of(unit.text))
            ):
                reading.pairs.append(unit)
                continue
            self._close_pairs(reading, lexicon)
            self._unit(unit, reading, lexicon)
        self._close_pairs(reading, lexicon)
        reading.relations += self._about_document(reading)
        if chunk.ordinal == 0:
            reading.entities += title_aliases(chunk.title)
            if reading.document:
                heading = chunk.heading_path[0] if chunk.heading_path else ""
                kind = "Document" if DOCUMENT_LIKE.search(chunk.title) else ""
                reading.entities += document_aliases(reading.document, chunk.title, heading, chunk.document_id, node_type=kind)
        reading.entities += text_aliases(chunk.text, lexicon)
        entities = [*reading.entities, *self._typed(names, lexicon, reading)]
        return Extraction(chunk_id=chunk.id, entities=tuple(entities), relations=tuple(self._full(reading, lexicon)))

    def _open(self, chunk: Chunk, headings: Headings, before: _Reading | None) -> _Reading:
        """Begin a chunk with what its headings and, in the same section, the chunk before it have said."""
        observed = chunk.turn.at if chunk.turn is not None and chunk.turn.at else chunk.modified_at
        document = document_name(chunk.title)
        about = headings.subject(chunk) or NameSpan(document, -1, -1, "Document")
        speaker = chunk.turn.speaker if chunk.turn is not None else _author(chunk)
        context = Context(
            about=about,
            thing=about if about.type != "Developer" else None,
            person=about if about.type == "Developer" else None,
            document=NameSpan(document, -1, -1, "Document") if document else None,
            speaker=NameSpan(speaker, -1, -1, "Developer") if speaker and speaker[0].isupper() else None,
            section=headings.section(chunk),
            when=headings.dated(chunk, observed),
            observed=observed,
        )
        pending = field_of(chunk.heading_path[-1]) if chunk.heading_path else None
        reading = _Reading(chunk=chunk, text=chunk.index_text, document=document, about=about, context=context, pending=pending)
        if before is not None and before.in_force is not None:
            context.since = reading.in_force = before.in_force
        if before is not None and before.chunk.heading_path == chunk.heading_path:
            context.when, context.since, reading.pending = before.context.when, before.context.since, before.pending
            context.thing = before.context.thing if before.pending is not None else context.thing
            if chunk.text.lstrip().startswith("|"):
                reading.header = table_header(before.chunk.text) or before.header
        return reading

    def _learn(self, names: Iterable[str], lexicon: Lexicon) -> None:
        """Type the names whose form alone says what they are, so that their short forms are understood."""
        for name in names:
            lexicon.note(name)
            if name.startswith("Project ") and form_type(name) == "Project":
                lexicon.learn(name, "Project")

    def _unit(self, unit: Unit, reading: _Reading, lexicon: Lexicon) -> None:
        if unit.kind != "sentence" or (unit.item and unit.opens):
            reading.unread.clear()
        if unit.kind == "lead":
            found = find_dates(unit.text, reference=reading.context.observed, prefer="nearest")
            date = next((span for span in found if not span.bare and span.precision in ("day", "instant")), None)
            reading.context.when = date or reading.context.when
            reading.context.since = date if date and _SINCE.search(unit.text) else None
            self._announce(unit.text, reading, lexicon)
        elif unit.kind == "row":
            statement = row_statement(unit, reading.about, reading.context, lexicon, self._schema, listing=reading.pending)
            self._take(statement, reading)
        elif unit.item and reading.pending is not None and self._listed(unit, reading, lexicon):
            return
        elif unit.kind == "heading":
            self._links(LINK.findall(unit.text), unit.text, reading)
        elif unit.kind == "definition" or (unit.kind == "pair" and looks_like_code(unit.key)):
            thing = NameSpan(unit.key, -1, -1, lexicon.type_of(unit.key))
            self._changed(thing, unit, reading)
            if unit.kind == "pair":
                reading.relations += self._described(thing, unit, reading, lexicon)
            section, reading.context.section, reading.context.thing = reading.context.section, thing, thing
            for sentence in sentences(unit.value):
                self._sentence(sentence, reading, lexicon)
            reading.context.section = section
        else:
            if unit.kind == "pair" and looks_like_person(unit.key):
                reading.context.speaker = NameSpan(unit.key, -1, -1, "Developer")
            for sentence in sentences(unit.value if unit.kind == "pair" else unit.text):
                self._sentence(sentence, reading, lexicon)

    def _sentence(self, sentence: str, reading: _Reading, lexicon: Lexicon) -> None:
        if reading.context.since is None and _IN_FORCE.match(sentence):
            reading.context.since = next(iter(find_dates(sentence, reference=reading.context.observed, prefer="nearest")), None)
            reading.in_force = reading.context.since
        reading.entities += dated_events(sentence, reading.context)
        if "](" in sentence:
            self._links(LINK.findall(sentence), sentence, reading)
        for cited in _FINDING.finditer(sentence):
            self._refer(cited["name"], sentence, reading)
        if not words_of(sentence) and not may_state(sentence):
            reading.unread.append(sentence)
            if ", the " in sentence:
                shape_of(sentence, lexicon, replace(reading.context))  # it may explain a name that later ones describe
            return
        if reading.unread and _LOOKS_BACK.match(sentence):
            for before in reading.unread[-_LOOK_BACK_SENTENCES:]:
                shape_of(before, lexicon, reading.context)
            reading.unread.clear()
        shape = shape_of(sentence, lexicon, reading.context)
        found = list(relations_in(shape, reading.context, lexicon, self._schema, reading.document))
        if found:
            self._center(found[-1], reading)
        reading.relations += found
        if may_state(sentence):
            tied = {frozenset((relation.subject, relation.object)) for relation in found}
            stated = open_relations(shape, reading.context, lexicon, self._schema)
            reading.relations += [relation for relation in stated if frozenset((relation.subject, relation.object)) not in tied]

    def _center(self, relation: Relation, reading: _Reading) -> None:
        """What a sentence spoke of is what the next one's pronoun means."""
        span = NameSpan(relation.subject, -1, -1, relation.subject_type)
        if relation.subject_type == "Developer":
            reading.context.person = span
        elif relation.subject_type != "Document":
            reading.context.thing = span

    def _close_pairs(self, reading: _Reading, lexicon: Lexicon) -> None:
        if not reading.pairs:
            return
        pairs, reading.pairs = reading.pairs, []
        fields = [pair for pair in pairs if not looks_like_code(pair.key)]
        bears_name = normalize_name(reading.about.name) in map(normalize_name, (reading.chunk.title, *reading.chunk.heading_path[-1:]))
        self._take(
            pairs_statement(fields, reading.about, reading.document, reading.context, lexicon, self._schema, bears_name=bears_name), reading
        )
        for pair in pairs:
            if looks_like_code(pair.key):
                thing = NameSpan(pair.key, -1, -1, lexicon.type_of(pair.key))
                self._changed(thing, pair, reading)
                reading.relations += self._described(thing, pair, reading, lexicon)
            for sentence in list(sentences(pair.value))[1 if field_of(pair.key) else 0 :]:
                self._sentence(sentence, reading, lexicon)

    def _take(self, statement: Statement, reading: _Reading) -> None:
        reading.relations += statement.relations
        reading.entities += statement.entities

    def _announce(self, text: str, reading: _Reading, lexicon: Lexicon) -> None:
        """Read a line such as `The gateway depends on:` as what the list below it says."""
        match = _TRAILING_KEY.match(text.strip("*: "))
        reading.pending = field_of(match["key"]) if match else None
        if match and reading.pending is not None:
            named = find_names(match["subject"], lexicon)
            if named:
                reading.context.thing = named[0]

    def _listed(self, unit: Unit, reading: _Reading, lexicon: Lexicon) -> bool:
        declared = reading.pending
        if declared is None:
            return False
        about = reading.context.thing or reading.about
        if not about.type:
            return False
        found = list(field_relations(declared, about, unit.text, unit.text, reading.context, lexicon, self._schema))
        reading.relations += found
        return bool(found)

    def _changed(self, thing: NameSpan, unit: Unit, reading: _Reading) -> None:
        """A release note that lists a component reports what it did to it: added, removed, else updated."""
        titles = " ".join((reading.chunk.title, *reading.chunk.heading_path))
        section = reading.chunk.heading_path[-1] if reading.chunk.heading_path else ""
        if not CHANGES.search(titles) or _UNCHANGED.search(f"{section} {unit.value[:60]}"):
            return
        record = NameSpan(reading.document, -1, -1, "Document")
        if _ADDED.search(section):
            reading.relations += open_edge(record, "introduces", thing, Stamp(), unit.text, reading.context, self._schema, kind="event")
        elif _REMOVED.search(section):
            window = validity("event", Stamp(), reading.context)
            edge = relation_of(record, thing, "DEPRECATED", False, window, {}, unit.text, self._schema) if window else None
            reading.relations += [edge] if edge else []
        elif unit.kind == "pair":
            edge = self._by_document(thing, "UPDATED_BY", unit.text, reading)
            reading.relations += [edge] if edge else []

    def _described(self, thing: NameSpan, unit: Unit, reading: _Reading, lexicon: Lexicon) -> Iterator[Relation]:
        """`ledger-db`: PostgreSQL 15 – a thing that is explained by nothing but a name."""
        value = next(sentences(unit.value), "").strip(" .`*")
        spans = find_names(value, lexicon)
        if len(spans) == 1 and spans[0].name == value and not looks_like_person(value):
            yield from open_edge(thing, "is", spans[0], Stamp(), unit.text, reading.context, self._schema)

    def _by_document(self, thing: NameSpan, predicate: str, quote: str, reading: _Reading) -> Relation | None:
        window = validity("event", Stamp(), reading.context)
        record = NameSpan(reading.document, -1, -1, "Document")
        return relation_of(thing, record, predicate, False, window, {}, quote, self._schema) if window and reading.document else None

    def _links(self, links: Sequence[tuple[str, str]], quote: str, reading: _Reading) -> None:
        """A Markdown link to another document is a reference to it."""
        for text, target in links:
            label, numbered = TITLE_LABEL.search(text), _NUMBERED_FILE.search(target)
            if target.startswith(("http://", "https://", "#", "mailto:")) or not (
                label or target.partition("#")[0].endswith((".md", ".html", ".pdf", ".rst"))
            ):
                continue
            name = label["label"] if label else f"{numbered['kind'].upper()} {numbered['number']}" if numbered else text.strip("`* ")
            name = name if name[:1].isupper() else file_alias(target.partition("#")[0])
            if name:
                self._refer(name, quote, reading)

    def _refer(self, name: str, quote: str, reading: _Reading) -> None:
        source, cited = NameSpan(reading.document, -1, -1, "Document"), NameSpan(name, -1, -1, "Document")
        edge = relation_of(source, cited, "REFERENCES", False, (None, None, {}), {}, quote, self._schema)
        if edge is not None:
            reading.relations.append(edge)

    def _about_document(self, reading: _Reading) -> Iterator[Relation]:
        """What a document's title and its author line say, once, with its first chunk."""
        if reading.chunk.ordinal != 0 or not reading.document:
            return
        record = NameSpan(reading.document, -1, -1, "Document")
        about = reading.about
        if about.type in ("Project", "Component", "Developer") and about.name != reading.chunk.title and about.name in reading.chunk.title:
            edge = relation_of(record, about, "WRITTEN_ABOUT", False, (None, None, {}), {}, reading.chunk.title, self._schema)
            if edge is not None:
                yield edge
        author = _author(reading.chunk)
        if about.name == reading.document and about.type not in ("", "Document"):
            return  # a page named after its subject: whoever wrote the page need not have made the thing
        if author:
            person = NameSpan(author, -1, -1, "Developer")
            edge = relation_of(record, person, "DEVELOPED_BY", False, (None, None, {}), {"role": "author"}, "", self._schema)
            if edge is not None:
                yield edge

    def _full(self, reading: _Reading, lexicon: Lexicon) -> Iterator[Relation]:
        """Give each edge the full names that its chunk, or for people its document, holds for its short ones."""
        for relation in reading.relations:
            subject, target = (lexicon.full_name(name, reading.text) for name in (relation.subject, relation.object))
            if subject != target:
                yield (
                    relation
                    if (subject, target) == (relation.subject, relation.object)
                    else replace(relation, subject=subject, object=target)
                )

    def _typed(self, names: Iterable[str], lexicon: Lexicon, reading: _Reading) -> Iterator[NamedEntity]:
        """The names whose types are known, and the identifiers in plain text."""
        for name in names:
            node_type = lexicon.type_of(name)
            if node_type in ("", "Team") or self._schema.node_type(node_type) is None:
                continue
            yield NamedEntity(name=name, type=node_type)
        if reading.document and reading.document != reading.about.name and DOCUMENT_LIKE.search(reading.chunk.title):
            yield NamedEntity(name=reading.document, type="Document", kind="subject")
        if reading.about.type and reading.about.type != "Document":
            yield NamedEntity(name=reading.about.name, type=reading.about.type, kind="subject")


def _author(chunk: Chunk) -> str:
    """The person that the front matter names as author, who is meant by `I`; empty if it names none."""
    author = chunk.metadata.get("author")
    return author if isinstance(author, str) and may_be_person(author) else ""
