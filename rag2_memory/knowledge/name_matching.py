"""How likely two names are the same: of people by surname and given names, of anything else by its words. Pure, symmetric, no model."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import DamerauLevenshtein
from rapidfuzz.fuzz import partial_ratio, token_sort_ratio

from rag2_memory.knowledge.lexicon import looks_like_person
from rag2_memory.knowledge.mentions import normalize_name
from rag2_memory.knowledge.nicknames import is_given_name, related_initials, same_given_name


@dataclass(frozen=True, slots=True)
class NameMatch:
    """How two names compare."""

    score: float
    """In [0, 1], higher is likelier; 0 where something excludes that they are the same."""
    reason: str
    partial: bool = False
    """Whether one name leaves out so much (initials, a first name alone) that it may stand for several others."""
    excluded: bool = False
    """Whether something rules out that they are the same: other numbers, other initials, unlike types."""


@dataclass(frozen=True, slots=True)
class PersonName:
    """A person's name taken apart."""

    given: tuple[str, ...]
    surname: str
    suffix: str = ""
    """`jr`, `iii` and the like, which tell people of one name apart."""

    @property
    def initials(self) -> str:
        """First letters of the given names; short unpronounceable ones (`kc`) are initials written together."""
        return "".join(part if _is_glued(part) else part[0] for part in self.given)


DIFFERENT = NameMatch(0.0, "the names differ")


def excluded(reason: str) -> NameMatch:
    """Return a match that rules the pair out."""
    return NameMatch(0.0, reason, excluded=True)


_ENTITY = re.compile(r"\s*&\s*#\s*(\d+)\s*;\s*")
_HONORIFICS = frozenset("mr mrs ms miss dr prof professor sir dame lord lady hon rev mx herr frau eng ing".split())
_DEGREES = frozenset("phd md esq msc bsc mba frs obe".split())
_SUFFIXES = frozenset("jr sr i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi".split())
_NUMERAL = re.compile(r" [IVX]+\.?$")
_PARTICLES = frozenset("van von der den de del della di da dos das du la le el al bin ibn ben ter ten af zu st san".split())
"""Left out inside a name; at its start such a word is rather a given name or initials."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SYNONYMS = {
    "db": "database",
    "dbs": "database",
    "databases": "database",
    "svc": "service",
    "srv": "service",
    "services": "service",
    "repo": "repository",
    "auth": "authentication",
    "config": "configuration",
    "cfg": "configuration",
    "k8s": "kubernetes",
    "postgres": "postgresql",
    "pg": "postgresql",
    "js": "javascript",
    "ts": "typescript",
    "py": "python",
    "gw": "gateway",
    "mgmt": "management",
    "mgr": "manager",
    "admin": "administration",
    "app": "application",
    "apps": "application",
    "lib": "library",
    "libs": "library",
    "msg": "message",
    "env": "environment",
    "prod": "production",
    "dev": "development",
    "intl": "international",
    "univ": "university",
    "dept": "department",
    "corp": "corporation",
    "co": "company",
    "incorporated": "inc",
    "limited": "ltd",
}
_LEGAL_FORMS = frozenset("inc ltd llc gmbh corporation company plc ag sa bv ab oy nv spa srl pty kg".split())
_KIND_WORDS = frozenset(
    "project service component library module package repository database team programme program product application platform system".split()
)
"""Words that say what a thing is; a name with and without one may be the same (`Project Alpha`, `Alpha`)."""
_STOP = frozenset("the of for".split())


def match_names(one: str, other: str, *, people: bool | None = None) -> NameMatch:
    """Compare two names.

    Args:
        one: A name as written.
        other: Another.
        people: Whether they are people's names; by default that is judged by their form.

    Returns:
        A match whose score orders pairs; scores are comparable over all kinds of names.
    """
    left, right = sorted((_unescaped(one), _unescaped(other)))  # symmetric by construction
    if normalize_name(left) == normalize_name(right):
        return NameMatch(1.0, "the same name")
    if people is None:
        people = is_person_like(left) or is_person_like(right)
    if _numbers(left) != _numbers(right):
        return excluded("other numbers")
    return _match_people(left, right) if people else _match_things(left, right)


def is_person_like(name: str) -> bool:
    """Whether a name has a person's form and begins with a given name that is known; `British Airways` has the form alone."""
    if not looks_like_person(name):
        return False
    given = person_name(name).given
    return bool(given) and is_given_name(given[0])


@lru_cache(maxsize=16_384)
def person_name(name: str) -> PersonName:
    """Take a person's name apart: `Shah, Vatsal`, `V. Shah`, `Ludwig van Beethoven`, `kc chang`.

    A surname keeps no particles and no hyphens, given names no dots; everything is folded to lower-case ASCII letters.
    """
    text = _unescaped(name)
    if text.count(",") == 1:
        last, _, first = text.partition(",")
        if first.strip() and normalize_name(first) not in _SUFFIXES | _DEGREES:
            text = f"{first} {last}"
    hyphenated = re.sub(r"\s*[-‐–]\s*", "-", text.replace(".", ". "))
    words = [_letters(word) for word in re.split(r"[\s,]+", hyphenated)]
    words = [word for word in words if word]
    while len(words) > 1 and words[0] in _HONORIFICS:
        del words[0]
    suffix = ""
    while len(words) > 1 and (words[-1] in _DEGREES or (words[-1] in _SUFFIXES and (words[-1] in ("jr", "sr") or _NUMERAL.search(text)))):
        last = words.pop()
        suffix = last if last in _SUFFIXES else suffix
    if not words:
        return PersonName((), "")
    words = [word for place, word in enumerate(words) if place in (0, len(words) - 1) or word not in _PARTICLES]
    return PersonName(tuple(words[:-1]), words[-1], suffix)


@lru_cache(maxsize=16_384)
def thing_tokens(name: str) -> tuple[str, ...]:
    """Return the words of a thing's name: camel case split, abbreviations written out, legal forms and articles dropped."""
    words = normalize_name(_CAMEL.sub(" ", name)).replace("_", " ").split()
    words = [_SYNONYMS.get(word, word) for word in words]
    kept = [word for word in words if word not in _LEGAL_FORMS and word not in _STOP]
    return tuple(kept or words)


def bare_tokens(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a thing's name without those that say what kind of thing it is."""
    return tuple(word for word in tokens if word not in _KIND_WORDS)


def _unescaped(name: str) -> str:
    """Undo HTML entities, also those that were taken apart (`Mart &#237; nez`)."""
    return html.unescape(_ENTITY.sub(lambda match: chr(int(match[1])), name)) if "&" in name else name


def _letters(word: str) -> str:
    return re.sub(r"[^a-z]", "", normalize_name(word).replace(" ", ""))


def _match_people(one: str, other: str) -> NameMatch:
    first, second = person_name(one), person_name(other)
    if not first.surname or not second.surname:
        return DIFFERENT
    if first.suffix != second.suffix:
        if first.suffix and second.suffix:
            return excluded(f"{first.suffix} and {second.suffix}")
        plain = _match_people(one.rsplit(" ", 1)[0], other) if first.suffix else _match_people(one, other.rsplit(" ", 1)[0])
        return (
            NameMatch(min(plain.score, 0.8), f"{plain.reason}, but only one is {first.suffix or second.suffix}", True)
            if plain.score
            else plain
        )
    if "".join((*first.given, first.surname)) == "".join((*second.given, second.surname)):
        return NameMatch(0.98, "the same letters, written apart")
    if not first.given or not second.given:
        return _match_short(first, second)
    direct = _match_ordered(first, second)
    if direct.score == 0 and len(first.given) == len(second.given) == 1 and min(map(len, (*first.given, *second.given))) > 2:
        swapped = _match_ordered(first, PersonName((second.surname,), second.given[0]))
        if swapped.score >= 0.95:
            return NameMatch(0.93, "the same names in the other order")
    return direct


def _match_short(first: PersonName, second: PersonName) -> NameMatch:
    """A single word against a full name: it may be the first name or the surname."""
    short, full = (first, second) if not first.given else (second, first)
    if not full.given:
        return NameMatch(0.9, f"{short.surname} is spelt {full.surname}") if _typo(short.surname, full.surname) else DIFFERENT
    if short.surname in (full.surname, full.given[0]):
        return NameMatch(0.8, "one name is a part of the other", partial=True)
    if same_given_name(short.surname, full.given[0]):
        return NameMatch(0.76, "a short form of the first name alone", partial=True)
    return DIFFERENT


def _match_ordered(first: PersonName, second: PersonName) -> NameMatch:
    surname = _surname_score(first, second)
    if surname == 0:
        return excluded("other surnames")
    given, reason, partial = _given_score(first, second)
    if given == 0:
        return excluded(reason)
    spelling = "" if surname == 1.0 else " and a surname spelt otherwise"
    if surname < 1.0 and given < 0.9:
        return NameMatch(round(surname * given * 0.95, 3), reason + spelling, partial)
    return NameMatch(round(surname * given, 3), reason + spelling, partial)


def _surname_score(first: PersonName, second: PersonName) -> float:
    one, other = first.surname, second.surname
    if one == other:
        return 1.0
    if _typo(one, other):
        return 0.94 if min(len(one), len(other)) >= 8 else 0.88  # Johnson and Johnston are two people
    return 0.0


def _typo(one: str, other: str) -> bool:
    """One slip in five letters or more, two in ten or more, the first letter kept."""
    shorter = min(len(one), len(other))
    if shorter < 5 or one[0] != other[0]:
        return False
    return bool(DamerauLevenshtein.distance(one, other) <= (2 if shorter >= 10 else 1))


def _is_glued(part: str) -> bool:
    """Whether a short given name is rather initials written together: `kc`, `jr`, `rtnlvs`."""
    return len(part) > 1 and (len(part) <= 2 or not re.search(r"[aeiouy]", part))


def _given_score(first: PersonName, second: PersonName) -> tuple[float, str, bool]:
    one, other = first.given[0], second.given[0]
    joined = "".join(first.given), "".join(second.given)
    if first.given == second.given or joined[0] == joined[1]:
        return 1.0, "the same given names", len(joined[0]) <= 2
    full = [len(part) > 1 and not _is_glued(part) for part in (one, other)]
    if all(full):
        score, reason = _full_given(one, other, joined)
    elif any(full):
        score, reason = _initial_against_full(first, second, full[0])
    else:
        score, reason = (0.9, "the same initials") if _initials_agree(first.initials, second.initials) else (0.0, "other initials")
    if score and all(full) and not _middle_agrees(first.given[1:], second.given[1:]):
        return 0.0, "other middle names", False
    return score, reason, not all(full)


def _full_given(one: str, other: str, joined: Sequence[str]) -> tuple[float, str]:
    if one == other:
        return 0.98, "the same first name"
    if other == joined[0] or one == joined[1]:
        return 0.98, "the same first name, written apart"
    if same_given_name(one, other):
        return 0.95, f"{one} and {other} are forms of one name"
    if _typo(one, other):
        return 0.93 if min(len(one), len(other)) >= 6 else 0.88, f"{one} and {other} differ by a slip"
    shorter, longer = sorted((one, other), key=lambda word: (len(word), word))
    if len(shorter) >= 3 and longer.startswith(shorter):
        return 0.86, f"{shorter} may be short for {longer}"
    if len(shorter) >= 4 and longer.endswith(shorter):
        return 0.86, f"{shorter} may be short for {longer}"
    return 0.0, "other first names"


def _initial_against_full(first: PersonName, second: PersonName, first_is_full: bool) -> tuple[float, str]:
    full, short = (first, second) if first_is_full else (second, first)
    if _initials_agree(full.initials, short.initials):
        return 0.92, "initials of the full name"
    if short.initials[0] in related_initials(full.given[0]) and len(short.initials) == 1:
        return 0.84, "the initial of a short form"
    if short.initials[0] in full.initials[1:] and len(short.initials) == 1:
        return 0.78, "the initial of a middle name"
    return 0.0, "other initials"


def _initials_agree(one: str, other: str) -> bool:
    """Whether one row of initials holds the other in order, from the same first letter."""
    shorter, longer = sorted((one, other), key=len)
    if shorter[0] != longer[0]:
        return False
    rest = iter(longer[1:])
    return all(letter in rest for letter in shorter[1:])


def _middle_agrees(one: Sequence[str], other: Sequence[str]) -> bool:
    if not one or not other:
        return True
    letters = "".join(part[0] for part in one), "".join(part[0] for part in other)
    return letters[0].startswith(letters[1]) or letters[1].startswith(letters[0])


def _match_things(one: str, other: str) -> NameMatch:
    first, second = thing_tokens(one), thing_tokens(other)
    if "".join(first) == "".join(second):
        return NameMatch(0.98, "the same words, written otherwise")
    if sorted(first) == sorted(second):
        inverted = one.count(",") + other.count(",") == 1
        return NameMatch(0.97, "the same words, the last one first") if inverted else NameMatch(0.93, "the same words in another order")
    bare = [bare_tokens(words) for words in (first, second)]
    if bare[0] and "".join(bare[0]) == "".join(bare[1]):
        kinds = [{word for word in words if word in _KIND_WORDS} for words in (first, second)]
        if all(kinds):
            return excluded("different kinds of thing")
        return NameMatch(0.92, "the same name with and without what it is", partial=True)
    if is_acronym(one, other) or is_acronym(other, one):
        return NameMatch(0.8, "one name is the acronym of the other", partial=True)
    return _spelling(" ".join(first), " ".join(second))


def _spelling(one: str, other: str) -> NameMatch:
    """Long names that differ by slips. Short ones are too often different things: `session-store` and `settings-store`."""
    shorter = min(len(one), len(other))
    if shorter < 8:
        return DIFFERENT
    distance = DamerauLevenshtein.distance(one, other)
    if distance <= (1 if shorter < 16 else 2) and one[0] == other[0]:
        return NameMatch(0.91, "names that differ by a slip")
    if shorter >= 20 and partial_ratio(one, other) >= 92:
        return NameMatch(0.84, "one name contains the other", partial=True)
    ratio = token_sort_ratio(one, other) / 100
    return NameMatch(round(ratio * 0.89, 3), "similar words") if shorter >= 16 and ratio >= 0.8 else DIFFERENT


@lru_cache(maxsize=16_384)
def _numbers(name: str) -> tuple[str, ...]:
    """The digits of a name, which are never a matter of spelling, and the letters that count like them (`v2`, `Beta II`)."""
    return tuple(sorted(number.lstrip("0") or "0" for number in re.findall(r"\d+", " ".join(thing_tokens(name)))))


def is_acronym(short: str, long: str) -> bool:
    """Whether a word in capitals consists of the first letters of a longer name, small words left out or counted."""
    letters = re.sub(r"[^A-Za-z]", "", short)
    words = re.findall(r"[^\W\d_]+", _CAMEL.sub(" ", long))
    if len(letters) < 2 or not letters.isupper() or len(words) < 2:
        return False
    telling = [word for word in words if word[0].isupper()]
    return letters.casefold() in ("".join(word[0] for word in row).casefold() for row in (words, telling))
