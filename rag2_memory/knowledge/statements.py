"""From matches to relations: who or what fills a slot, when it held, and which words say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rag2_memory.knowledge.dates import DateSpan
from rag2_memory.knowledge.grammar import Kind, N, Rule, Slot
from rag2_memory.knowledge.lexicon import Lexicon, NameSpan, is_abstract, looks_like_code, looks_like_person
from rag2_memory.knowledge.mentions import FUNCTION_WORDS, normalize_name
from rag2_memory.knowledge.nicknames import is_given_name
from rag2_memory.knowledge.patterns import rules_for
from rag2_memory.knowledge.schema import GraphSchema
from rag2_memory.knowledge.shapes import Context, Shape, Stamp, stamp_in
from rag2_memory.knowledge.triggers import words_of
from rag2_memory.knowledge.windows import ENDED_BY, FROM_PRECISION, OBSERVED_AT, TO_PRECISION
from rag2_memory.records import Relation

_PAST = re.compile(
    r"^(?:led|headed|ran|owned|maintained|managed|operated|worked|contributed|used|relied|depended|required|needed|called|consumed|belonged|was|were)\b"
)
_FORMER = re.compile(r"\b(?:former|previous|then|old|ex|previously|formerly|originally|initially|used to|once)\b")
_PERFECT = re.compile(r"\b(?:has|have|['’]s|['’]ve|is|are|will)\b")
_FUTURE = re.compile(r"\b(?:will|going to|['’]ll)\b")
_NOUN_OF = re.compile(rf"(?:\b[a-z]+|{N}) of $")
_NEXT_WORD = re.compile(r" ([a-z]+)")
_VERBISH = frozenset(
    """team because instead today again meanwhile became becomes took takes leads led leaves left went goes moved moves joins hands gives
    who which that depends uses needs needs runs hereby temporarily full part went until till prior effective starting""".split()
)
_BE = re.compile(r"\b(?:is|are|was|were|been|being|be|got|gets|get)\b|['’](?:s|re) ")
_PARTICIPLES = ("ed", "led", "built", "run", "written", "wrote", "rewritten", "rebuilt", "taken", "left")
_FORWARD = frozenset(
    "appointed named elected confirmed announced promoted assigned migrated moved switched ported converted transferred".split()
)
"""Participles after which what stood before the verb is still the subject: "was appointed lead of", "was moved from … to"."""
_EVERYDAY = re.compile(
    r"(?:moves?|moved|goes|went|transfer\w*|assigned|join\w*|left|leaves?|leaving|quits?|member|engineer|developer|manage\w*|operate\w*|looks?|looked|took care|takes care"
    r"|runs?|ran|run|supported|kept|responsible|step\w*|resign\w*|stop\w*|gives?|gave|works? in|worked in)\b"
)
"""Verbs of everyday life: people join clubs, leave towns and manage companies that are no projects."""
_LOOSE = re.compile(
    r"(?:asks?|gets?|takes?|pulls?|receives?|fetch(?:es)?|loads?|uses?|used|using|needs?|needed|runs?|ran|is based|sits?|builds?|calls?|reads?|keeps?|writes|wrote|talks|publishes|published|provide\w*|offer\w*|serve[sd]?|emits?|based|hosted)\b"
)
_ORGANISATION = re.compile(
    r"\b(?:university|department|party|army|navy|corps|regiment|company|club|band|church|school|government|council|committee|association|league|union"
    r"|force|fleet|house|court|kingdom|empire|institute|ministry|board|commission|county|city|states?|republic|united|football|series|championships?|cup|award|senate)\b",
    re.IGNORECASE,
)
_THEN = re.compile(r", (?:when|at which point|after which|whereupon) $")
"""Joins a clause to the date before it."""
_UNSURE = re.compile(
    r"\b(?:if|whether|unless|would|could|should|might|suppose|imagine|propos(?:al|e)d? to|plan(?:s|ned)? to|wants? to|wanted to)\b",
    re.IGNORECASE,
)

FULL_NAME_CONFIDENCE = 0.9
SHORT_NAME_CONFIDENCE = 0.7
"""A single capitalised word as a person may as well be a team or a thing."""


@dataclass(frozen=True, slots=True)
class _Match:
    """A rule that matched, by the place of its verb."""

    at: int
    rule: Rule
    found: re.Match[str]


def relations_in(shape: Shape, context: Context, lexicon: Lexicon, schema: GraphSchema, document: str) -> Iterator[Relation]:
    """Yield the relations that a sentence states."""
    if shape.text.endswith("?"):
        return
    matches = sorted(_matches(shape), key=lambda match: match.at)
    stated: set[tuple[object, ...]] = set()
    for index, match in enumerate(matches):
        if _UNSURE.search(shape.text, max(0, match.found.start() - 40), match.at):
            continue
        following = [other.at for other in matches[index + 1 :] if other.at > match.at]
        stamp = stamp_in(shape, match.at, following[0] if following else len(shape.text))
        if not stamp and _THEN.search(shape.text, 0, match.found.start()):
            earlier = stamp_in(shape, 0, match.found.start())
            stamp = Stamp(at=earlier.end or earlier.at)
        if not stamp:
            stamp = stamp_in(shape, 0, matches[0].at)
        for relation in _relations(match, shape, stamp, context, lexicon, schema, document):
            identity = (relation.subject, relation.predicate, relation.object, relation.valid_from, relation.valid_to)
            if identity not in stated:
                stated.add(identity)
                yield relation


def _matches(shape: Shape) -> Iterator[_Match]:
    taken: dict[tuple[int, str], int] = {}
    for family, order, rule in rules_for(words_of(shape.text)):
        for found in _found(rule, shape.text):
            place = (found.start("o"), family)
            if taken.setdefault(place, order) == order:
                yield _Match(found.start("v"), rule, found)


def _found(rule: Rule, text: str) -> Iterator[re.Match[str]]:
    """All matches whose names are meant themselves; one that is not does not hide the next."""
    position = 0
    while (found := rule.pattern.search(text, position)) is not None:
        if _is_modifier(text, found) or _is_passive(found):
            position = found.start() + 1
        else:
            yield found
            yield from _verbs_before(rule, found)
            position = max(_last_list_rest(found), found.start() + 1)


def _verbs_before(rule: Rule, found: re.Match[str]) -> Iterator[re.Match[str]]:
    """The same subject's earlier verbs, which a match has passed over: "N reads from N and calls N"."""
    earlier: re.Match[str] | None = found
    while earlier is not None and 0 <= earlier.start("s") < earlier.start("v") < earlier.start("o"):
        earlier = rule.pattern.search(found.string, earlier.start(), earlier.start("v"))
        if earlier is not None and not _is_modifier(found.string, earlier) and not _is_passive(earlier):
            yield earlier


def _is_passive(found: re.Match[str]) -> bool:
    """Whether an active pattern met a passive verb: "N was replaced in N" says nothing of what N replaced."""
    if not 0 <= found.start("s") < found.start("v") < found.start("o"):
        return False
    verb = found["v"]
    return bool(_BE.search(found.groupdict().get("a") or "")) and verb.endswith(_PARTICIPLES) and verb not in _FORWARD


def _last_list_rest(found: re.Match[str]) -> int:
    """Where to go on: behind the match, or at the second name of the list that ends it, which may begin a clause of its own."""
    begin, end = max(found.span(group) for group in ("s", "o"))
    second = re.compile(N).search(found.string, begin + 1, end) if begin >= 0 else None
    return second.start() if second and end == found.end() else found.end()


def _is_modifier(text: str, found: re.Match[str]) -> bool:
    """Whether the names only belong to a noun that is meant: "the owner of N depends", "depends on N stability"."""
    if found[0][:1] >= "\ue000" and _NOUN_OF.search(text, max(0, found.start() - 24), found.start()):
        return True
    after = _NEXT_WORD.match(text, found.end("o"))
    return after is not None and after[1] not in FUNCTION_WORDS and after[1] not in _VERBISH and not after[1].endswith(("ly", "ed", "ing"))


def _relations(
    match: _Match, shape: Shape, stamp: Stamp, context: Context, lexicon: Lexicon, schema: GraphSchema, document: str
) -> Iterator[Relation]:
    rule, found = match.rule, match.found
    subjects, objects = (shape.listed(found[group]) for group in ("s", "o"))
    if not subjects and "s" in found.re.groupindex and not found["s"] and document:
        subjects = [NameSpan(document, -1, -1, "Document")]
    groups = found.groupdict()
    auxiliary, verb = groups.get("a") or "", found["v"]
    kind: Kind = "end" if "no longer" in auxiliary else rule.kind
    past = kind == "state" and _is_past(auxiliary, verb, groups)
    window = validity(kind, stamp, context, past=past, planned=bool(_FUTURE.search(auxiliary)))
    if window is None:
        return
    extra = _properties(rule, groups, verb)
    for subject in subjects:
        for target in objects:
            if (
                fits(subject, rule.subject, lexicon)
                and fits(target, rule.object, lexicon)
                and _plausible(rule, verb, subject, target, lexicon)
            ):
                predicate, flip = rule.predicate, rule.flip
                if rule.owner_if_component and lexicon.type_of(target.name) == "Component":
                    predicate, flip, extra = "DEVELOPED_BY", True, {"role": "owner"}
                ends = (in_slot(subject, rule.subject), in_slot(target, rule.object))
                edge = relation_of(*ends, predicate, flip, window, extra, shape.raw, schema)
                if edge is not None:
                    yield edge
    if rule.left and groups.get("x"):
        yield from _departures(match, shape, stamp, context, lexicon, schema)


def _departures(match: _Match, shape: Shape, stamp: Stamp, context: Context, lexicon: Lexicon, schema: GraphSchema) -> Iterator[Relation]:
    """The edge that a handover or a move ends."""
    rule, found = match.rule, match.found
    window = validity("end", Stamp(at=stamp.at if stamp.since else stamp.start or stamp.at), context)
    if window is None:
        return
    for left in shape.listed(found["x"]):
        for other in shape.listed(found["o"] if rule.leaves == "holder" else found["s"]):
            holder, held = (left, other) if rule.leaves == "holder" else (other, left)
            predicate, person = rule.left, rule.subject == "person"
            if rule.owner_if_component and lexicon.type_of(held.name) == "Component":
                predicate = "DEVELOPED_BY"
            if fits(holder, "person" if person else "thing", lexicon) and fits(held, "thing", lexicon):
                flip = predicate == "DEVELOPED_BY"
                edge = relation_of(in_slot(holder, "person" if person else "thing"), held, predicate, flip, window, {}, shape.raw, schema)
                if edge is not None:
                    yield edge


def validity(
    kind: Kind, stamp: Stamp, context: Context, *, past: bool = False, planned: bool = False
) -> tuple[datetime | None, datetime | None, dict[str, Any]] | None:
    """Return start, end and the properties that qualify them; `None` where nothing may be stated (a plan without a date)."""
    notes: dict[str, Any] = {}
    if context.observed is not None and kind not in ("event", "result"):
        notes[OBSERVED_AT] = context.observed.isoformat()
    moment = stamp.start or stamp.at or (context.when if kind in ("change", "end", "event") else None)
    if planned and (kind == "event" or moment is None):
        return None
    if kind == "end":
        return _ended(stamp.end or stamp.at or (None if stamp.since else stamp.start) or context.when, context, notes)
    if kind == "event":
        if moment is not None:
            notes["timestamp"] = moment.start.isoformat() if moment.precision == "instant" else moment.start.date().isoformat()
            notes.update(unit_note(FROM_PRECISION, moment))
        return (moment.start if moment else None), None, notes
    if moment is None and kind == "state" and not past:
        moment = context.since
    start = moment.start if moment else None
    if moment:
        notes.update(unit_note(FROM_PRECISION, moment))
    end = _end_of(stamp.end, notes) if stamp.end else None
    if end is None and kind == "state":
        if stamp.until_now:
            end = context.when.start if context.when else context.observed
        elif past and stamp.at and not stamp.start and stamp.at.precision not in ("day", "instant"):
            end = _end_of(stamp.at, notes)
        elif past and context.observed is not None:
            end, notes[TO_PRECISION] = context.observed, ENDED_BY
    if start is not None and end is not None and end <= start:
        return None
    return start, end, notes


def _ended(span: DateSpan | None, context: Context, notes: dict[str, Any]) -> tuple[None, datetime, dict[str, Any]] | None:
    if span is not None:
        return None, _end_of(span, notes), notes
    if context.observed is None:
        return None
    return None, context.observed, {**notes, TO_PRECISION: ENDED_BY}


def _end_of(span: DateSpan, notes: dict[str, Any]) -> datetime:
    """A day ends what held before it; a month, quarter or year is meant to its end."""
    if span.precision in ("day", "instant"):
        return span.start
    notes.update(unit_note(TO_PRECISION, span))
    return span.end


def unit_note(key: str, span: DateSpan) -> dict[str, str]:
    """Return the property that says in which unit a date was stated; nothing for a day."""
    return {} if span.precision in ("day", "instant") else {key: span.precision}


def fits(span: NameSpan, slot: Slot, lexicon: Lexicon) -> bool:
    """Whether a name can fill a slot, as far as its form and what is known of it tell."""
    if slot == "any":
        return True
    known = span.type or lexicon.type_of(span.name)
    if slot == "document":
        return known == "Document"
    if slot == "person":
        if span.team:
            return False
        if known or span.article:
            return known == "Developer"
        if looks_like_person(span.name):
            return True
        single = " " not in span.name and not looks_like_code(span.name) and not is_abstract(span.name) and not span.name.isupper()
        return single and span.name.casefold() not in lexicon.plain
    if not any(character.isalpha() for character in span.name):
        return False
    return known not in ("Developer", "Team") and (bool(known) or not looks_like_person(span.name))


def _plausible(rule: Rule, verb: str, subject: NameSpan, target: NameSpan, lexicon: Lexicon) -> bool:
    """Demand more where the words prove less: everyday verbs need a known project or component, a lone first name a known one or a known thing."""
    known = [span.type or lexicon.type_of(span.name) for span in (subject, target)]
    if rule.subject == "person" and rule.object == "thing":
        thing_known = known[1] in ("Project", "Component", "Document")
        lone = " " not in subject.name and not known[0] and not is_given_name(normalize_name(subject.name))
        if thing_known:
            return True
        return not (lone or rule.predicate == "UPDATED_BY" or _EVERYDAY.match(verb) or _ORGANISATION.search(target.name))
    if rule.predicate in ("DEPENDS_ON", "EXPORTS") and _LOOSE.match(verb):
        return any(each in ("Project", "Component") for each in known)
    if rule.predicate == "UPDATED_BY":
        return known[1] in ("Project", "Component", "Document")
    if rule.predicate == "RELATED_TO":
        return not subject.article or bool(known[0])
    return True


def in_slot(span: NameSpan, slot: Slot) -> NameSpan:
    """Return a name with the type that its place in a sentence gives it."""
    return replace(span, type="Developer") if slot == "person" and not span.type else span


def relation_of(
    subject: NameSpan,
    target: NameSpan,
    predicate: str,
    flip: bool,
    window: tuple[datetime | None, datetime | None, Mapping[str, Any]],
    extra: Mapping[str, Any],
    quote: str,
    schema: GraphSchema,
) -> Relation | None:
    """Return the edge between two names, typed as the predicate asks; `None` where the schema has no such edge."""
    if flip:
        subject, target = target, subject
    declared = schema.predicate(predicate)
    types = [
        allowed[0] if (len(allowed) == 1 or predicate == "LEAD_ARCHITECT_OF") and allowed and not span.type else span.type
        for span, allowed in ((subject, declared.domain if declared else ()), (target, declared.range if declared else ()))
    ]
    if predicate == "UPDATED_BY" and not types[1]:
        types[1] = "Developer"
    if subject.name == target.name or schema.objection(predicate, *types):
        return None
    single = any(node_type == "Developer" and " " not in span.name for span, node_type in zip((subject, target), types, strict=True))
    start, end, notes = window
    return Relation(
        subject=subject.name,
        predicate=predicate,
        object=target.name,
        subject_type=types[0],
        object_type=types[1],
        valid_from=start,
        valid_to=end,
        properties={**extra, **notes},
        quote=quote,
        confidence=SHORT_NAME_CONFIDENCE if single else FULL_NAME_CONFIDENCE,
    )


def _is_past(auxiliary: str, verb: str, groups: Mapping[str, str | None]) -> bool:
    if _FORMER.search(f"{auxiliary} {verb}"):
        return True
    if _PERFECT.search(auxiliary):
        return False
    return bool(_PAST.match(verb)) or bool(re.search(r"\b(?:was|were)\b", auxiliary))


_CONSTRAINT = re.compile(r"(?:>=|<=|~=|==|\^|~|>|<) ?v?\d[\w.*]*")


def _properties(rule: Rule, groups: Mapping[str, str | None], verb: str) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if groups.get("r"):
        extra["role"] = groups["r"]
    elif rule.role:
        extra["role"] = rule.role
    elif rule.predicate == "LEAD_ARCHITECT_OF" and re.search(r"\b(?:acting|interim|deputy)\b", verb):
        extra["role"] = "acting lead"
    if rule.predicate == "DEPENDS_ON":
        extra["type"] = " ".join(verb.split())
    elif rule.predicate == "RELATED_TO":
        extra["phrase"] = " ".join(verb.split())
    return extra
