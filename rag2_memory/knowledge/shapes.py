"""Sentences as patterns see them: markup gone, every name and date one character, pronouns replaced by the name they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rag2_memory.knowledge.dates import DateSpan, find_dates
from rag2_memory.knowledge.grammar import DATE_BASE, NAME_BASE, D, N
from rag2_memory.knowledge.lexicon import TYPE_WORD, Lexicon, NameSpan, find_names, form_type, looks_like_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.nicknames import is_given_name

MAX_NAMES = 500
"""A sentence with more names is a list without grammar."""
_PRIVATE = re.compile("[\ue000-\uf8ff]")
LINK = re.compile(r"!?\[([^\]\n]*)\]\(([^)\s]*)\)")
_EMPHASIS = re.compile(r"\*+|~~|(?<![\w`])__?(?=\w)|(?<=\w)__?(?![\w`])")
_BEFORE_BARE = re.compile(
    r"(?:\b(?:in|on|since|from|until|till|by|before|after|during|through|to|between|and|of|as of|around|about|effective|starting|and|late|early|mid|throughout|for)"
    r"|[(–—|:,-])\s*$",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    rf"(?P<before>\b(?:[Tt]he|[Oo]ur|[Tt]heir|[Ii]ts|[Aa]n?|[Yy]our|[Mm]y)\s+(?P<kept>(?:(?:new|old|former|current|internal|main|whole|first|second) )?(?:(?:{TYPE_WORD})s? )?))(?={N})"
)
_QUALIFIED = re.compile(rf"\b(?:new|old|former|current|internal|main|whole)\s+(?=(?:(?:{TYPE_WORD})s? )?{N})")
_APPOSITION = re.compile(rf"(?P<name>{N}), (?:the|our) (?P<what>[a-z]+(?: [a-z]+)?)(?=[,.;]| (?:of|on|in|for|that|which|behind)\b)")
_DESCRIBED = re.compile(r"\b(?:[Tt]he|[Tt]his|[Oo]ur) (?P<what>[a-z]+(?: [a-z]+)?)\b(?! [\ue000-\uefff])")
_OWNED_THING = re.compile(rf"{N}['’]s (?=(?P<thing>{N}))")
"""`Alpha's billing-engine`: the thing is meant."""
_ALL_OF_A_KIND = re.compile(r"\b(?P<all>[Bb]oth|[Aa]ll(?: of)?(?: the| our| its)?|[Tt]he (?:two|three|four)) (?P<kind>[a-z]{3,})s\b")
_TYPED_BEFORE = re.compile(rf"\b(?P<word>{TYPE_WORD})s? (?P<name>{N})", re.IGNORECASE)
_TYPED_AFTER = re.compile(rf"(?P<name>{N}) (?P<word>{TYPE_WORD})\b", re.IGNORECASE)
_ASIDE = re.compile(r" ?\((?P<inside>[^()]*)\)")
_HERE = re.compile(
    r"\b(?:[Tt]his|[Tt]he|[Oo]ur) (?P<word>project|component|service|library|module|package|repository|database|app|product|platform|page|document|runbook|team)\b(?!s| [\ue000-\uefff])"
)
_PRONOUN = re.compile(
    rf"(?P<n>{N})|\b(?P<person>[Hh]e|[Ss]he|him|her(?! [a-z]))\b|\b(?P<thing>[Ii]t)\b(?!['’]s (?:not|clear|true|fine))|\b(?P<me>I)\b"
)
_TELLING = re.compile(rf"{D}|^ ?(?:acting |interim )?(?:lead|leader|owner|maintainer|architect)\b")
"""Asides that are kept: dates and roles."""
_ELLIPSIS = re.compile(
    r"^(?P<done>Changed|Updated|Built|Written|Developed|Maintained|Owned|Deployed|Rotated|Patched|Fixed|Created|Designed|Led|Deprecated|Replaced|Superseded)(?= by\b)"
    r"|^(?P<does>Depends on|Relies on|Runs on|Uses|Requires|Needs|Builds|Reads|Gets|Takes|Calls|Asks|Receives|Queries|Consumes|Wraps|Exports|Exposes|Provides|Publishes|(?P<record>Replaces|Supersedes))\b"
)
"""Notes that leave out their subject, the thing spoken of."""
_IMPLIED = re.compile(
    r"\b(?P<did>made|did|carried out|applied|completed) (?:the|this|that) (?P<what>update|change|fix|patch|upgrade|rotation|migration)\b(?! (?:of|to|in|for)\b)"
    rf"|\b(?P<instead>(?:[Uu]se|[Cc]all|[Pp]refer) {N} instead)(?! of)|\b(?P<over>(?:took|takes|taken|taking|take) over)(?=[.,;)]|$| (?:(?:on|in|as of|from) )?{D})"
)
_KEYWORD = re.compile(r"\b(?:MUST|SHALL|SHOULD|MAY|NOT|REQUIRED|RECOMMENDED|OPTIONAL|NEVER|ALWAYS|ONLY|AND|OR|IF|DO)\b")
"""Words that standards write in capitals (RFC 2119); they name nothing."""
_SPACES = re.compile(r"[ \t\r\n]+")


@dataclass(slots=True)
class Context:
    """What the words around a sentence supply."""

    about: NameSpan | None = None
    """What the section or document is about: `this project`."""
    person: NameSpan | None = None
    """The person named last: `she`."""
    thing: NameSpan | None = None
    """The thing named last: `it`."""
    document: NameSpan | None = None
    """The document itself: what `Supersedes ADR 4` leaves out."""
    speaker: NameSpan | None = None
    """Who says `I`."""
    section: NameSpan | None = None
    """What the nearest heading names: an `It` that opens a sentence."""
    when: DateSpan | None = None
    """The date that a heading or a leading line gives."""
    since: DateSpan | None = None
    """The date from which, by a leading line ("As of 2 February:"), everything below it holds."""
    observed: datetime | None = None
    """When the text was written."""


@dataclass(slots=True)
class Shape:
    """A masked sentence."""

    raw: str
    """Verbatim, for the quote."""
    text: str
    plain: str = ""
    """Without markup; the offsets of `dates` refer to it."""
    names: list[NameSpan] = field(default_factory=list)
    dates: list[DateSpan] = field(default_factory=list)

    def listed(self, group: str | None) -> list[NameSpan]:
        """Return the names that a matched group holds."""
        return [self.names[ord(character) - NAME_BASE] for character in group or "" if "\ue000" <= character <= "\uefff"]


def shape_of(raw: str, lexicon: Lexicon, context: Context) -> Shape:
    """Mask a sentence and resolve its pronouns; the context's last person and thing move on to this sentence's."""
    if _PRIVATE.search(raw):
        raw = _PRIVATE.sub("\ufffd", raw)
    plain = _EMPHASIS.sub("", LINK.sub(r"\1", raw) if "](" in raw else raw)
    plain = _KEYWORD.sub(lambda match: match[0].lower(), _SPACES.sub(" ", plain).strip())
    dates = [span for span in find_dates(plain, reference=context.observed, prefer="nearest") if _is_date(plain, span)]
    hidden = _blank(plain, dates)
    names = find_names(hidden, lexicon)[:MAX_NAMES]
    shape = Shape(raw=raw, text=_masked(hidden, names, dates), plain=plain, names=names, dates=dates)
    _tidy(shape, lexicon)
    _resolve(shape, lexicon, context)
    return shape


def _is_date(text: str, span: DateSpan) -> bool:
    return not span.bare or bool(_BEFORE_BARE.search(text[max(0, span.begin - 12) : span.begin]))


def _blank(text: str, spans: Sequence[DateSpan]) -> str:
    for span in spans:
        text = text[: span.begin] + "\x00" * (span.stop - span.begin) + text[span.stop :]
    return text


def _masked(text: str, names: Sequence[NameSpan], dates: Sequence[DateSpan]) -> str:
    marks = [(span.begin, span.stop, chr(NAME_BASE + index)) for index, span in enumerate(names)]
    marks += [(span.begin, span.stop, chr(DATE_BASE + index)) for index, span in enumerate(dates)]
    parts, end = [], 0
    for begin, stop, mark in sorted(marks):
        parts += [text[end:begin], mark]
        end = stop
    return "".join([*parts, text[end:]])


def _tidy(shape: Shape, lexicon: Lexicon) -> None:
    """Drop articles, asides without dates, and the common nouns beside names, which give the names their types."""
    text = re.sub(r"[`“”\"\[\]]", "", shape.text)
    if "(" in text:
        text = _ASIDE.sub(lambda match: match[0] if _TELLING.search(match["inside"]) else "", text)
    for pattern in (_TYPED_BEFORE, _TYPED_AFTER):
        text = pattern.sub(lambda match: _typed(match, shape, lexicon), text)
    for match in _ARTICLE.finditer(text):
        index = ord(text[match.end("before")]) - NAME_BASE
        shape.names[index] = replace(shape.names[index], article=True)
    text = _QUALIFIED.sub("", _ARTICLE.sub(r"\g<kept>", text))
    text = _OWNED_THING.sub(lambda match: "" if shape.listed(match["thing"])[0].type == "Component" else match[0], text)
    shape.text = text.strip()


def _typed(match: re.Match[str], shape: Shape, lexicon: Lexicon) -> str:
    index = ord(match["name"]) - NAME_BASE
    span = shape.names[index]
    node_type = form_type(f"{match['word']} x") if match["word"].casefold() not in ("client", "application") else "Component"
    if node_type == "Team":
        shape.names[index] = replace(span, team=True)
    elif node_type and not span.type and not looks_like_person(span.name):
        shape.names[index] = replace(span, type=node_type)
        lexicon.learn(span.name, node_type)
    return match["name"]


def _resolve(shape: Shape, lexicon: Lexicon, context: Context) -> None:
    """Replace `this project`, `it`, `she` and `I`, reading from left to right."""
    spoken_of = context.section or context.thing
    shape.text = _ELLIPSIS.sub(
        lambda match: _completed(match, shape, spoken_of or (context.document if match["record"] else None)), shape.text
    )
    if context.about is not None and context.about.type != "Document":
        shape.text = _HERE.sub(lambda match: _added(shape, context.about) or match[0], shape.text)
    for match in _APPOSITION.finditer(shape.text):
        span = shape.listed(match["name"])[0]
        if span.type == "Component" or lexicon.type_of(span.name) == "Component":
            lexicon.described.setdefault(match["what"], span.name)
    if lexicon.described:
        shape.text = _DESCRIBED.sub(lambda match: _described(match, shape, lexicon), shape.text)
    shape.text = _ALL_OF_A_KIND.sub(lambda match: _all_of_a_kind(match, shape, lexicon), shape.text)
    here, before = _Nearby(), context.thing
    shape.text = _PRONOUN.sub(lambda match: _antecedent(match, shape, lexicon, context, here), shape.text)
    shape.text = _IMPLIED.sub(lambda match: _implied(match, shape, before if match["instead"] else here.thing or context.thing), shape.text)
    shape.text = shape.text[:1].lower() + shape.text[1:]


@dataclass(slots=True)
class _Nearby:
    """Names of the sentence itself that its pronouns may stand for though nothing says what they are."""

    person: NameSpan | None = None
    thing: NameSpan | None = None


def _described(match: re.Match[str], shape: Shape, lexicon: Lexicon) -> str:
    """The thing that was explained by these words before; not where it is being explained."""
    words = match["what"].split()
    for length in (2, 1):
        name = lexicon.described.get(" ".join(words[:length])) if length <= len(words) else None
        if name is not None and not shape.text[: match.start()].endswith(", "):
            rest = " ".join(words[length:])
            return _added(shape, NameSpan(name, -1, -1, "Component")) + (f" {rest}" if rest else "")
    return match[0]


def _all_of_a_kind(match: re.Match[str], shape: Shape, lexicon: Lexicon) -> str:
    """Both models: the two things of this document whose names end so."""
    names = lexicon.named_by(match["kind"])
    wanted = {"both": 2, "the two": 2, "the three": 3, "the four": 4}.get(match["all"].lower(), len(names))
    if len(names) < 2 or len(names) != wanted:
        return match[0]
    return " and ".join(_added(shape, NameSpan(name, -1, -1, "Component")) for name in names)


def _completed(match: re.Match[str], shape: Shape, thing: NameSpan | None) -> str:
    if thing is None:
        return match[0]
    said = match[0][0].lower() + match[0][1:]
    return f"{_added(shape, thing)} was {said}" if match["done"] else f"{_added(shape, thing)} {said}"


def _implied(match: re.Match[str], shape: Shape, thing: NameSpan | None) -> str:
    if thing is None:
        return match[0]
    return f"{match[0]}{'' if match['over'] else ' of'} {_added(shape, thing)}"


def _antecedent(match: re.Match[str], shape: Shape, lexicon: Lexicon, context: Context, here: _Nearby) -> str:
    if match["n"]:
        span = shape.names[ord(match["n"]) - NAME_BASE]
        if is_person(span, lexicon):
            context.person = here.person = span
        elif span.type in ("Project", "Component") and "/" not in span.name:
            context.thing = here.thing = span
        elif not span.type and "/" not in span.name:
            if " " not in span.name and not span.article and is_given_name(normalize_name(span.name)):
                here.person = here.person or span
            elif not (span.first and context.thing is not None):
                here.thing = span
        return match[0]
    if match["person"]:
        wanted = here.person or context.person
    elif match["thing"]:
        wanted = context.section if match.start() == 0 and context.section else here.thing or context.thing
    else:
        wanted = context.speaker
    return _added(shape, wanted) or match[0]


def _added(shape: Shape, span: NameSpan | None) -> str:
    if span is None:
        return ""
    shape.names.append(span)
    return chr(NAME_BASE + len(shape.names) - 1)


def is_person(span: NameSpan, lexicon: Lexicon) -> bool:
    """Whether a name is known or looks to be a person's."""
    return span.type == "Developer" or (not span.type and not span.article and looks_like_person(span.name))


_STAMP = re.compile(
    rf"""(?P<range>(?:(?:from|between)\ )?(?P<r1>{D})(?:\ (?:to|until|till|through)\ |(?<=between\ .)\ and\ |\ ?[–—-]\ ?)(?P<r2>{D}))
    | (?P<start>\b(?:since|from|as\ of|as\ from|effective(?:\ from|\ on)?|starting(?:\ on|\ from|\ in)?|beginning(?:\ on|\ in)?|with\ effect\ from|from\ the)\ (?:about\ |around\ )?(?P<s1>{D}))
    | (?P<end>\b(?:until|till|through|up\ to|up\ until|ending(?:\ on|\ in)?|ended(?:\ on|\ in)?)\ (?:about\ |around\ )?(?P<e1>{D}))
    | (?P<now>\b(?:until\ now|so\ far|up\ to\ now|until\ today))
    | (?P<loose>\b(?:before|by|prior\ to|no\ later\ than|not\ before)\ {D})
    | (?P<at>(?P<a1>{D}))""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(slots=True)
class Stamp:
    """The dates that belong to one statement."""

    start: DateSpan | None = None
    end: DateSpan | None = None
    at: DateSpan | None = None
    until_now: bool = False
    since: bool = False
    """Whether the start was given by `since`, which dates what lasts and not a change."""

    def __bool__(self) -> bool:
        return bool(self.start or self.end or self.at or self.until_now)


def stamp_in(shape: Shape, begin: int, stop: int) -> Stamp:
    """Return what the dates in a stretch of a shape say: since, until or when."""
    stamp = Stamp()
    for match in _STAMP.finditer(shape.text, begin, stop):
        kind = match.lastgroup

        def date(group: str, found: re.Match[str] = match) -> DateSpan:
            return shape.dates[ord(found[group]) - DATE_BASE]

        if kind == "range":
            stamp.start, stamp.end = stamp.start or date("r1"), stamp.end or date("r2")
        elif kind == "start":
            stamp.start = stamp.start or date("s1")
            stamp.since = stamp.since or match[0].lower().startswith("since")
        elif kind == "end":
            stamp.end = stamp.end or date("e1")
        elif kind == "now":
            stamp.until_now = True
        elif kind == "at":
            stamp.at = stamp.at or date("a1")
    return stamp
