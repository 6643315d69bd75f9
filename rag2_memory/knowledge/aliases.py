"""Other names that a text gives outright: "also known as", acronyms in parentheses, and the label that opens a title (`ADR 7: Sessions`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rag2_memory.knowledge.generic_headings import is_generic_heading
from rag2_memory.knowledge.lexicon import Lexicon, find_names, looks_like_person
from rag2_memory.knowledge.mentions import FUNCTION_WORDS, normalize_name
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

_FILE = re.compile(r"(?:^|/)(?P<stem>[^/]+)\.(?:md|markdown|html?|txt|rst|pdf|docx?|pptx?|xlsx?)$", re.IGNORECASE)
MIN_FILE_WORDS = 2
"""`readme.md` and `index.html` mean no document in particular."""
_KIND = re.compile(
    r"(?:incident|release notes?|runbook|retro(?:spective)?|post-?mortem|report|minutes|notes?|policy|guide|how-?to|plan|proposal|memo|review|summary|meeting|changelog"
    r"|announcement|decision|design|faq|tutorial|spec(?:ification)?|update)(?: (?:report|notes?|review|doc(?:ument)?))?",
    re.IGNORECASE,
)
_NUMBERING = re.compile(r"^[\d.]+[.)]?\s+")
_ARTICLE = re.compile(r"^(?:The|A|An|Our|Their) ")


def title_aliases(title: str) -> Iterator[NamedEntity]:
    """Yield the label of a title with the rest and the whole as its other names."""
    match = _LABELLED.match(title.strip())
    if match:
        yield NamedEntity(name=match["label"], type="Document", kind="subject", properties={ALIASES: [match["rest"], title.strip()]})
        yield NamedEntity(name=match["rest"], type="Document", kind="subject")


def document_aliases(document: str, title: str, heading: str, document_id: str, *, node_type: str = "Document") -> Iterator[NamedEntity]:
    """Yield the other names of a document: its first heading, its title without what kind of document it is, and its file's name.

    Each gives the next as its other name, so that a name which several documents share breaks the chain there and joins no two of them.

    Args:
        document: How other documents refer to it.
        title: Its title.
        heading: Its first heading, may be empty.
        document_id: Its id; of a file, its path.
        node_type: Empty where the page may bear the name of what it is about, which a file's name then names as well.
    """
    names = [title.strip(), "" if _LABELLED.match(title.strip()) else document]
    names += [_bare_title(title), _first_heading(title, heading)] if node_type else []
    names.append(file_alias(document_id))
    labelled = _LABELLED.match(title.strip())
    given = {normalize_name(labelled["rest"])} if labelled else set()
    chain = list({key: name for name in names if (key := normalize_name(name)) and key not in given}.values())
    for name, other in pairwise(chain):
        yield NamedEntity(name=name, type=node_type, kind="subject", properties={ALIASES: [other]})
        yield NamedEntity(name=other, type=node_type, kind="subject")


def file_alias(path: str) -> str:
    """Return the name of a document's file without folder and ending, where it is telling enough to mean one document; else nothing."""
    match = _FILE.search(path)
    stem = match["stem"] if match else ""
    return stem if len(re.findall(r"[^\W_]+", stem)) >= MIN_FILE_WORDS else ""


def _first_heading(title: str, heading: str) -> str:
    """The first heading, where it says the same as the title in other words."""
    plain = _NUMBERING.sub("", heading).strip()
    words, other = (set(normalize_name(text).split()) - FUNCTION_WORDS for text in (plain, title))
    if len(words) < 2 or is_generic_heading(plain) or 2 * len(words & other) < len(words):
        return ""
    return plain


def _bare_title(title: str) -> str:
    """`Incident: the flood in hall 3` without its kind, `Fire drill 2024: what we learned` without its remark."""
    before, colon, after = (part.strip() for part in title.partition(": "))
    if not colon:
        return ""
    if _KIND.fullmatch(before):
        return after if len(after.split()) > 1 else ""
    return before if after[:1].islower() and len(before.split()) > 1 else ""


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
