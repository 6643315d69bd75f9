"""What sentences state beside the declared relations: attributes with their values, life events, offices, and ties that a verb names.

All of it becomes edges of the open predicate, whose `phrase` says which tie it is ("default port", "born in", "governor"). A sentence is read only
where a cheap test sees a value or an event in it; denials, questions and wishes state nothing, as for the declared relations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag2_memory.knowledge.grammar import ADVERB, DATE_BASE, GAP, LIST, NAME_BASE, D, N
from rag2_memory.knowledge.lexicon import Lexicon, NameSpan, is_abstract, looks_like_code, looks_like_person
from rag2_memory.knowledge.mentions import FUNCTION_WORDS, normalize_name
from rag2_memory.knowledge.nicknames import is_given_name
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.shapes import Context, Shape, Stamp, stamp_in
from rag2_memory.knowledge.statements import relation_of, validity
from rag2_memory.records import Relation

OPEN = "RELATED_TO"
PHRASE = "phrase"
MAX_VALUE_WORDS = 6
"""A longer value is a remark."""

_UNIT = (
    r"(?: ?(?:%|°C|°F|[kKMGT]i?B|ms|kg|km|cm|mm|m|g|s|h)\b| (?:percent|per cent|years?|months?|weeks?|days?|hours?|minutes?|seconds?|times|people|seats|beds|rooms"
    r"|metres?|meters?|kilometres?|kilometers?|miles?|feet|tonnes?|tons?|litres?|liters?|euros?|dollars?|pounds?|bytes?|copies|students|employees"
    r"|inhabitants|requests?|connections?|replicas?|nodes?|retries|attempts|entries|rows)(?: (?:a|per) [a-z]+)?)"
)
_COUNT = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|fifteen|twenty|thirty|forty|fifty|sixty|ninety|half an?|a hundred|an?)"
_NUMBER = rf"[€$£]?\d[\d,.:]*\d?(?:{_UNIT})?|{_COUNT}{_UNIT}"
_PHRASE = r"(?P<phrase>[a-z][a-z-]+(?: [a-z][a-z-]+){0,3}?)"
_BE = r"(?:is|was|are|were|remains|remained|becomes|became|stands at|stood at)"
_NOW = rf"(?: (?:{ADVERB}|set to|at|about|around|up to|exactly|limited to|raised to|lowered to|changed to))*"
_VALUE = (
    rf"(?P<value>{_NUMBER}|{N})(?= ?(?:[,;.)]|$| and | but | on | in | since | from | until | for | by | as | instead| rather| at present))"
)

_ATTRIBUTES = (
    re.compile(rf"\b{_PHRASE} (?:of|for) (?P<s>{N})(?:['’]s (?P<part>[a-z][a-z-]+(?: [a-z][a-z-]+)?))? {_BE}{_NOW} {_VALUE}"),
    re.compile(rf"(?P<s>{N})['’]s {_PHRASE} {_BE}{_NOW} {_VALUE}"),
    re.compile(
        rf"(?P<s>{LIST}){GAP}(?:(?:is|are|was|were|has|have|been|{ADVERB}) )*(?P<phrase>listens? on|binds? to|bound to|answers? on|is reached (?:at|on)|kept for|stored for"
        rf"|retained for|held for|archived for|deleted after|removed after|expires? after|valid for|times? out after|closes? after|costs?|weighs?|seats?|employs?|lasts?)"
        rf"(?: (?:about|up to|at most|at least|around|the|port|ports|default))* (?P<value>{_NUMBER})"
    ),
)
_DAYS = rf"{D}(?: and {D})?"
_HAPPENED = (
    r"(?P<phrase>born|died|raised|educated|graduated|retired|resigned|founded|established|incorporated|opened|inaugurated|launched|released|premiered|discontinued"
    r"|closed|dissolved|demolished|switched off|shut down|left|joined|leaves|joins|arrived|moved|lived|settled|starts|started|completed|migrated|renamed|deployed|rolled out|merged|cancelled)"
    r"(?P<how>(?: the (?:company|firm|team|band|club|party|army|navy|university|school|staff))?)"
    rf"(?P<rest>(?:,? (?:in|on|at|from|to)(?: the)? (?:{_DAYS}|{N}))+)"
)
_ASIDE = rf"(?: \([^()]*{D}[^()]*\))?"
_HELPERS = rf"(?:(?:is|was|were|has|had|have|been|will|be|{ADVERB}) )*"
_NEAR = r"(?:(?:[^;:.]{0,60}?(?:,|\band|\bwho|\bwhich))?? )"
"""Between a name and what happened to it; the nearest verb first, since the others follow as a series."""
_EVENT = re.compile(rf"(?P<s>{N})(?: (?:of|in|at) {N})?{_ASIDE}{_NEAR}{_HELPERS}{_HAPPENED}")
_AND_EVENT = re.compile(rf"(?:,? and|,|;)(?: then| later)? {_HELPERS}{_HAPPENED}")
_LIVED = re.compile(rf"(?P<s>{N}) \((?:(?:born|b\.) (?P<born>{D})|(?P<from>{D}) ?[–—-] ?(?P<died>{D}))")
_OF_PEOPLE = frozenset("raised educated graduated retired resigned left joined leaves joins arrived moved lived settled".split())
_OF_THINGS = frozenset(
    [
        "founded",
        "established",
        "incorporated",
        "opened",
        "inaugurated",
        "launched",
        "released",
        "premiered",
        "discontinued",
        "dissolved",
        "demolished",
        "shut down",
        "completed",
        "migrated",
        "renamed",
        "deployed",
        "rolled out",
        "cancelled",
    ]
)
_PASSIVE = re.compile(r"\b(?:was|were|been) (?:[a-z]+ly )?$")
_PLACE_OR_DAY = re.compile(rf"(?P<how>in|on|at|from|to)(?: the)? (?P<value>{_DAYS}|{N})")
_ROLE_END = (
    r"(?:president|chair|chairman|chairwoman|chairperson|chief|officer|secretary|minister|governor|mayor|senator|ambassador|judge|bishop|professor|lecturer|dean|rector|principal"
    r"|teacher|coach|captain|commander|editor|curator|conductor|director|manager|treasurer|engineer|scientist|analyst|nurse|surgeon|doctor|consultant|assistant|adviser|advisor"
    r"|spokesperson|spokesman|spokeswoman|founder|co-founder|partner|head|deputy|representative|inspector|producer|chef|pilot|librarian|accountant|designer|developer|architect)"
)
_ROLES = (
    re.compile(
        rf"(?P<s>{N}){_ASIDE}{GAP}(?:(?:has|had|have|been|was|is|were|will|be|{ADVERB}) )*(?P<verb>became|becomes|appointed|elected|named|made|promoted|serves|served|serving|acts|acted"
        rf"|works|worked|is|was)(?: to| as| to be)?(?: (?:the|an?|its|their|our))? (?P<phrase>(?:[a-z-]+ ){{0,3}}?{_ROLE_END}) (?:of|for|at|in|to|with) (?:the )?(?P<o>{N})"
    ),
    re.compile(
        rf"(?P<s>{N}){_ASIDE}{GAP}(?:(?:has|had|have|been|was|is|were|will|be|{ADVERB}) )*(?P<verb>became|becomes|appointed|elected|named|made|promoted|served|serves)"
        rf"(?: to| as| to be)?(?: the| an?)? (?P<o>{N})(?P<phrase>)(?= ?(?:[,;.)]|$|{D}| on | in | from | of | since | after | and ))"
    ),
)
_TIES = re.compile(
    rf"(?P<s>{LIST}){GAP}(?:(?:has|have|had|{ADVERB}) )*(?P<phrase>audits?|audited|reviews|reviewed|inspects?|inspected|assessed|examined|supplies|supplied|acquires|acquired|buys"
    rf"|bought|sponsors|sponsored|hosts|hosted|funds|funded|directed|composed|produced|married|founded|co-founded|discovered|invented|painted|recorded|studied at|graduated from"
    rf"|taught at|competes with|competed with|defeated|starred in|acted in|performed in|ruled out|rejected|chose|selected|certified|approved|insures|insured|introduces|introduced"
    rf"|borders|flows into|flows through|directs|edited|edits) (?:the )?(?P<o>{LIST})(?! ?[-–]|['’]s)"
)
_EXAMINATION = re.compile(r"\b(?:audit|inspection|assessment|survey|penetration test)\b", re.IGNORECASE)
_EXAMINED = re.compile(
    rf"(?P<s>{LIST}){GAP}(?:(?:has|have|had|{ADVERB}) )*(?P<phrase>audited|inspected|assessed|examined|reviewed|surveyed|tested|looked (?:at|into|over))\b"
    rf"(?: (?:the )?(?P<o>{LIST})(?! ?[-–]|['’]s))?"
)
_NEXT_VERB = re.compile(r";|,? (?:and|but|then) (?:(?:then|later|was|were|also) )*[a-z]+(?:ed|ame|ook|ent|ft|old|ought|ote|an)\b")
"""Where what follows, with its dates, is another statement."""
_MAY_STATE = re.compile(
    r"\((?:born |b\. ?)?\d|\b(?:is|was|are|were|remains|remained|becomes?|became|stands at|stood at)\b[a-z ]{0,40} [`\"“€$£\d A-Z]"
    r"|\b(?:listens?|binds?|bound|answers?|kept|stored|retained|held|archived|deleted|removed|expires?|valid|times?|closes?|costs?|weighs?|seats?|employs?|lasts?|born|died|raised|educated"
    r"|graduated|retired|resigned|founded|established|incorporated|opened|inaugurated|launched|released|premiered|discontinued|closed|dissolved|demolished|switched off|shut down|left"
    r"|joined|leaves|joins|arrived|moved|lived|settled|completed|migrated|renamed|deployed|rolled out|merged|cancelled|surveyed|tested|looked (?:at|into|over)|appointed|elected|named|promoted|serve[sd]|acts|acted|works|worked|audit\w*|review\w*|inspect\w*|assessed|examined|suppli\w+"
    r"|acquire[sd]|buys|bought|sponsor\w*|host(?:s|ed)|fund(?:s|ed)|directe?[sd]|composed|produced|married|co-founded|discovered|invented|painted|recorded|studied|taught"
    r"|compete[sd]|defeated|starred|performed|ruled out|rejected|chose|selected|certified|approved|insure[sd]|introduce[sd]|borders|flows|edit(?:s|ed))\b"
)
_UNSURE = re.compile(r"\b(?:if|whether|unless|would|could|should|might|may|not|never|nobody|suppose|imagine)\b|n['’]t\b", re.IGNORECASE)
_VAGUE = frozenset(
    "the a an this that rest end start part name most all one some none kind sort lot number aim goal idea point reason question result time day".split()
)


def may_state(sentence: str) -> bool:
    """Whether a sentence can state anything that is read here; cheap, and right for every sentence that does."""
    return bool(_MAY_STATE.search(sentence))


def open_relations(shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    """Yield the open relations that a sentence states."""
    if schema.predicate(OPEN) is None or shape.text.endswith("?"):
        return
    for pattern in _ATTRIBUTES:
        yield from _attributes(pattern, shape, context, lexicon, schema)
    yield from _events(shape, context, lexicon, schema)
    for pattern in _ROLES:
        yield from _roles(pattern, shape, context, lexicon, schema)
    for found in _certain(_TIES, shape):
        stamp = _stamp(shape, found)
        for subject in shape.listed(found["s"]):
            for target in shape.listed(found["o"]):
                if solid(subject, lexicon) and solid(target, lexicon) and not subject.team:
                    yield from open_edge(subject, found["phrase"], target, stamp, shape.raw, context, schema, kind="event")
    yield from _examination(shape, context, lexicon, schema)


def open_edge(
    subject: NameSpan,
    phrase: str,
    target: NameSpan,
    stamp: Stamp,
    quote: str,
    context: Context,
    schema: GraphSchema,
    *,
    kind: str = "state",
) -> Iterator[Relation]:
    """Yield the edge of the open predicate, with what the tie is as its phrase."""
    window = validity("event" if kind == "event" else "change" if kind == "change" else "state", stamp, context)
    if window is None:
        return
    start, end, notes = window
    if kind == "event":
        notes.pop("timestamp", None)
    edge = relation_of(subject, target, OPEN, False, (start, end, notes), {PHRASE: " ".join(phrase.split())}, quote, schema)
    if edge is not None:
        yield edge


def solid(span: NameSpan, lexicon: Lexicon) -> bool:
    """Whether a name surely names something: more than a capital at the start of a sentence."""
    if span.name.casefold() in FUNCTION_WORDS or ("," in span.name and not looks_like_person(span.name)):
        return False
    if span.type or lexicon.type_of(span.name) or " " in span.name or looks_like_code(span.name):
        return any(character.isalpha() for character in span.name)
    return (
        not span.first and not is_abstract(span.name) and span.name.casefold() not in lexicon.plain and any(c.isalpha() for c in span.name)
    )


def _certain(pattern: re.Pattern[str], shape: Shape) -> Iterator[re.Match[str]]:
    for found in pattern.finditer(shape.text):
        if not _UNSURE.search(shape.text, max(0, found.start() - 40), found.end()):
            yield found


def _attributes(pattern: re.Pattern[str], shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    for found in _certain(pattern, shape):
        value = _value(found["value"], shape)
        groups = found.groupdict()
        phrase = " ".join(part for part in (groups["phrase"], groups.get("part")) if part)
        words = phrase.split()
        if value is None or words[-1] in _VAGUE:
            continue
        phrase = " ".join(words[1:] if words[0] in ("the", "a", "an", "its", "our", "their") else words)
        for subject in shape.listed(found["s"]):
            if solid(subject, lexicon) and phrase:
                yield from open_edge(subject, phrase, value, _stamp(shape, found), shape.raw, context, schema, kind="change")


def _events(shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    for found in _certain(_EVENT, shape):
        subject = shape.listed(found["s"])[0]
        event: re.Match[str] | None = found if solid(subject, lexicon) else None
        while event is not None:
            if _can_happen(event, subject, lexicon):
                yield from _event(event, subject, shape, context, schema)
            event = _AND_EVENT.match(shape.text, event.end())
    for lived in _LIVED.finditer(shape.text):
        subject = shape.listed(lived["s"])[0]
        if looks_like_person(subject.name):
            for group, phrase in (("born", "born"), ("from", "born"), ("died", "died")):
                value = _value(lived[group], shape) if lived[group] else None
                if value is not None:
                    stamp = stamp_in(shape, *lived.span(group))
                    preposition = "on" if stamp.at and stamp.at.precision == "day" else "in"
                    yield from open_edge(subject, f"{phrase} {preposition}", value, stamp, shape.raw, context, schema, kind="event")


def _can_happen(event: re.Match[str], subject: NameSpan, lexicon: Lexicon) -> bool:
    """Whether what a verb says can happen to what is named: people move, things are moved, bridges open, and both people and things may start."""
    phrase = event["phrase"]
    known = "Developer" in (subject.type, lexicon.type_of(subject.name))
    person = known or (not subject.article and (looks_like_person(subject.name) or is_given_name(normalize_name(subject.name))))
    if phrase in _OF_THINGS:
        return not person
    return (
        person
        or phrase not in _OF_PEOPLE
        or (phrase == "moved" and bool(_PASSIVE.search(event[0], 0, event.start("phrase") - event.start())))
    )


def _event(event: re.Match[str], subject: NameSpan, shape: Shape, context: Context, schema: GraphSchema) -> Iterator[Relation]:
    stamp = stamp_in(shape, event.start("rest"), event.end("rest"))
    for part in _PLACE_OR_DAY.finditer(event["rest"]):
        value = _value(part["value"], shape)
        if value is not None:
            phrase = f"{event['phrase']}{event['how']} {part['how']}"
            yield from open_edge(subject, phrase, value, stamp, shape.raw, context, schema, kind="event")


def _roles(pattern: re.Pattern[str], shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    for found in _certain(pattern, shape):
        subject = shape.listed(found["s"])[0]
        target = shape.listed(found["o"])[0]
        person = subject.type == "Developer" or looks_like_person(subject.name) or lexicon.type_of(subject.name) == "Developer"
        if not person or looks_like_person(target.name) or target.type == "Developer":
            continue
        lasting = found["verb"] in ("is", "was", "serves", "served", "serving", "acts", "acted", "works", "worked")
        yield from open_edge(
            subject,
            found["phrase"] or found["verb"],
            target,
            _stamp(shape, found),
            shape.raw,
            context,
            schema,
            kind="state" if lasting else "change",
        )


def _examination(shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    """Yield who carried out the audit that a document reports, and what it covered."""
    report = context.document
    if report is None or not _EXAMINATION.search(report.name):
        return
    for found in _certain(_EXAMINED, shape):
        stamp = _stamp(shape, found)
        for subject in shape.listed(found["s"]):
            person = "Developer" in (subject.type, lexicon.type_of(subject.name)) or looks_like_person(subject.name)
            if person or not solid(subject, lexicon):
                return
            yield from open_edge(report, "carried out by", subject, stamp, shape.raw, context, schema, kind="event")
        for target in shape.listed(found["o"]):
            if solid(target, lexicon):
                edge = relation_of(report, target, "WRITTEN_ABOUT", False, (None, None, {}), {}, shape.raw, schema)
                if edge is not None:
                    yield edge


def _stamp(shape: Shape, found: re.Match[str]) -> Stamp:
    """The dates after the verb, else those before the subject; what stands in between dates something else."""
    further = _NEXT_VERB.search(shape.text, found.end())
    return stamp_in(shape, found.start("phrase"), further.start() if further else len(shape.text)) or stamp_in(shape, 0, found.start())


def _value(text: str, shape: Shape) -> NameSpan | None:
    """A value as the name of what the edge leads to: a name, dates as written, or a number with its unit."""
    if len(text) == 1 and NAME_BASE <= ord(text) < DATE_BASE:
        return shape.names[ord(text) - NAME_BASE]
    if ord(text[0]) >= DATE_BASE:
        first, last = (shape.dates[ord(character) - DATE_BASE] for character in (text[0], text[-1]))
        text = shape.plain[first.begin : last.stop]
    text = text.strip(" .,:")
    return NameSpan(text, -1, -1) if text else None
