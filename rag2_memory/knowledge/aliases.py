"""Other names that a text gives outright: "also known as", acronyms in parentheses, and the label that opens a title (`ADR 7: Sessions`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag2_memory.knowledge.lexicon import Lexicon, find_names, looks_like_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.name_matching import is_acronym
from rag2_memory.records import NamedEntity

ALIASES = "aliases"
"""Node property: other names, as written."""

_LABELLED = re.compile(r"(?P<label>[A-Z]{2,6}[ -]?\d+)(?::| [–—-]) (?P<rest>\S.{2,100})$")
_CUE = re.compile(
    r"[ ,(]+(?:(?:or )?(?:also|better|formerly|previously|otherwise|originally) (?:known as|called|named)|a\.?k\.?a\.?|also called|nicknamed|short for"
    r"|known (?:internally |here )?as|renamed(?: to| as)?|abbreviated(?: to| as)?|which (?:we|everyone|everybody) calls?)[ “\"'`*]+",
    re.IGNORECASE,
)
_ACRONYM = re.compile(r"(?P<long>[A-Z][\w-]+(?: (?:(?:of|and|for|the|in|on) )*[A-Z][\w-]+){1,6}) \((?P<short>[A-Z]{2,7})s?\)")

_ARTICLE = re.compile(r"^(?:The|A|An|Our|Their) ")


def title_aliases(title: str) -> Iterator[NamedEntity]:
    """Yield the label of a title with the rest and the whole as its other names."""
    match = _LABELLED.match(title.strip())
    if match:
        yield NamedEntity(name=match["label"], type="Document", kind="subject", properties={ALIASES: [match["rest"], title.strip()]})
        yield NamedEntity(name=match["rest"], type="Document", kind="subject")


def text_aliases(text: str, lexicon: Lexicon) -> Iterator[NamedEntity]:
    """Yield names for which a text states another name."""
    for match in _ACRONYM.finditer(text):
        long = _ARTICLE.sub("", match["long"])
        if is_acronym(match["short"], long) and not looks_like_person(long):
            yield NamedEntity(name=long, properties={ALIASES: [match["short"]]})
            yield NamedEntity(name=match["short"])
    for cue in _CUE.finditer(text):
        before = find_names(text[max(0, cue.start() - 80) : cue.start()], lexicon)
        after = find_names(text[cue.end() : cue.end() + 80], lexicon)
        if not before or not after or after[0].begin > 1 or before[-1].stop < min(80, cue.start()) - 2:
            continue
        name, other = before[-1].name, after[0].name
        if normalize_name(name) != normalize_name(other):
            yield NamedEntity(name=name, type=before[-1].type, properties={ALIASES: [other]})
            yield NamedEntity(name=other, type=before[-1].type)
