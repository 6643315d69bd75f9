"""Near-duplicates: passages that say the same in the same words. What differs in a number, a name or a `not` is no duplicate."""

from __future__ import annotations

import re
import string
from functools import cached_property, lru_cache
from typing import Final

WORD: Final = re.compile(r"\w+")

MIN_SHARED: Final = 0.9
"""Jaccard similarity of the word sets from which texts count as near-same; the usual choice for near-duplicate detection."""

FILLERS: Final = frozenset(
    ["a", "an", "the", "and", "that", "which", "this", "these", "is", "are", "was", "were", "be", "been", "also", "as", "it", "its"]
)
"""Words whose presence or place changes no statement. Negations and prepositions are left out on purpose."""

MIN_LENGTH_RATIO: Final = 0.75

SHORT_TEXT_CHARACTERS: Final = 40
"""Short texts may differ in punctuation and spacing by as much as their length."""

PUNCTUATION: Final = string.punctuation + "“”‘’«»…–—·。，、！？"
KEY_CHARACTERS: Final = 16

NEIGHBOURHOOD: Final = 8
"""Chunks before and after within which containment is looked for: where passages overlap or were joined."""

CROWD: Final = 32
"""Passages that another is compared with, the best ones, of those that share a key or a place: of hundreds made from one template each differs
from all others, and comparing every pair would take longer than all else."""

NEGATIONS: Final = frozenset(["no", "not", "never", "none", "neither", "nor", "without", "cannot", "unless", "except", "but", "however"])

UNSPACED_WORD_CHARACTERS: Final = 24
"""Mean word length beyond which a text is taken as written without spaces and compared by character 4-grams."""


class Fingerprint:
    """A text prepared for comparison; the costly parts are computed when first compared."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """The words in order, case folded; 4-grams of characters where the text has no spaces."""
        words = WORD.findall(self.text.casefold())
        if words and sum(map(len, words)) > UNSPACED_WORD_CHARACTERS * len(words):
            joined = "".join(words)
            return [joined[at : at + 4] for at in range(max(1, len(joined) - 3))]
        return words

    @cached_property
    def word_set(self) -> frozenset[str]:
        """The distinct words."""
        return frozenset(self.words)

    @cached_property
    def keys(self) -> tuple[str, str]:
        """The longest word of either half with the word after it: one edit leaves at least one of the two as it was."""
        words = self.text.lower().split()
        middle = (len(words) + 1) // 2
        first, second = words[:middle], words[middle:]
        return "1" + _key(first), "2" + _key(second or first)


@lru_cache(maxsize=4096)
def fingerprint_of(text: str) -> Fingerprint:
    """Return a text's fingerprint; a chunk that one context took is often a candidate of the next."""
    return Fingerprint(text)


def _similar_length(one: str, other: str) -> bool:
    """Whether two texts can be near-same at all: a tenth of the words may differ, and words differ in length."""
    return min(len(one), len(other)) >= MIN_LENGTH_RATIO * max(len(one), len(other)) - SHORT_TEXT_CHARACTERS


def _key(words: list[str]) -> str:
    if not words:
        return ""
    longest = max(words, key=len)
    at = words.index(longest) + 1
    following = words[at] if at < len(words) else ""
    return f"{longest.strip(PUNCTUATION)[:KEY_CHARACTERS]} {following.strip(PUNCTUATION)[:KEY_CHARACTERS]}"


def near_same(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two texts say the same in the same words.

    Case, punctuation, white space, fillers and a few added words may differ. A replaced word, another order, or an added number, name or
    negation makes them different: documents written from one template differ in just such a word.
    """
    if one.words == other.words:
        return True
    shared = len(one.word_set & other.word_set)
    if shared < MIN_SHARED * (len(one.word_set) + len(other.word_set) - shared):
        return False
    differing = one.word_set ^ other.word_set
    telling = differing - FILLERS
    if telling & one.word_set and telling & other.word_set:
        return False
    if any(word in NEGATIONS or not word.isalpha() or word.capitalize() in one.text + other.text for word in telling):
        return False
    ignored = differing | FILLERS
    return [word for word in one.words if word not in ignored] == [word for word in other.words if word not in ignored]


class Deduplicator:
    """Remembers passages and recognises those it has seen."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._texts: dict[str, str] = {}
        self._buckets: dict[str, list[tuple[str, Fingerprint]]] = {}
        self._places: dict[str, dict[int, list[tuple[str, str]]]] = {}

    def duplicate_of(self, *, chunk_id: str, document_id: str, text: str, ordinal: int = 0) -> str | None:
        """Return the id of an earlier passage that makes this one superfluous; else remember it and return `None`.

        Superfluous: the same chunk, near-same text anywhere, or text contained in an earlier passage from around the same place of the same
        document.
        """
        if chunk_id in self._seen:
            return chunk_id
        if text in self._texts:
            return self._texts[text]
        fingerprint = fingerprint_of(text)
        for key in fingerprint.keys:
            for other_id, other in self._buckets.get(key, ())[:CROWD]:
                if _similar_length(text, other.text) and near_same(fingerprint, other):
                    return other_id
        places = self._places.setdefault(document_id, {})
        around = range(ordinal - NEIGHBOURHOOD, ordinal + NEIGHBOURHOOD + 1)
        for near in [place for place in places if place in around] if len(places) < len(around) else around:
            for other_id, other_text in places.get(near, ())[:CROWD]:
                if text.strip() in other_text:
                    return other_id
        places.setdefault(ordinal, []).append((chunk_id, text))
        self._seen.add(chunk_id)
        self._texts[text] = chunk_id
        for key in fingerprint.keys:
            self._buckets.setdefault(key, []).append((chunk_id, fingerprint))
        return None
