"""Text to index terms: one analyser for every lexical tier, for queries and for the features that a query is routed by.

A term is a folded, stemmed word, or an identifier. Identifiers are indexed whole and in parts at every level, so that
`services/auth/token_cache.py` is found by itself, by `token_cache.py`, `token_cache`, `TokenCache`, `token cache` and `auth`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import Stemmer

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import LexicalDocument

ANALYSIS_VERSION = 2
"""Part of every analyser's name; raised when the same text gives other terms, so that indexes of the old rules show as stale."""

WHOLE_WEIGHT = 2.0
"""Query weight of an identifier as a whole. With PART_WEIGHT it keeps the passage that holds `X-402-V2` ahead of one that repeats
`402` and `v2`: BM25 lets repetition raise a term at most k1 + 1 = 2.2 times."""

PART_WEIGHT = 0.5
"""Query weight of an identifier's parts."""

STANDALONE = "="
"""Begins a term that only an identifier by itself has, so that `token_cache.py` is found ahead of `services/auth/token_cache.py`."""

VERBATIM = "=="
"""Begins the term of an identifier by itself with its case, so that `TOKEN_CACHE` is found ahead of `token_cache`."""

MAX_TERM_CHARS = 200
"""Longer terms (encoded data, mostly) are cut; far below tantivy's limit of 65,530 bytes."""

MAX_CACHED_TOKENS = 65_536
"""Distinct tokens whose analysis is remembered, about 20 MB; by Zipf's law nearly every token of further text is among them."""

_FUNCTION_WORDS = """
a about above after again against all also am an and any are arent as at be because been before being below between both but by
can cannot cant could couldnt did didnt do does doesnt doing dont down during each eg etc few for from further had hadnt has hasnt have
havent having he her here hers herself him himself his how i ie if im in into is isnt it its itself ive just me more most my myself
no nor not of off on once only or other our ours ourselves out over own same she should shouldnt so some such than that thats the
their theirs them themselves then there these they this those through to too under until up us very was wasnt we were werent what
when where which while who whom whose why will with wont would wouldnt you your yours yourself yourselves youre
"""
ENGLISH_STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words. They make up nearly half of English text and say nothing about what it is about."""

_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece"
_MARKS += "\u0f18-\u0fbc\u102b-\u103e\u1056-\u109d\u17b4-\u17d3\u3099\u309a"
"""Combining marks, which `\\w` leaves out; a vowel sign must not split a Hindi or Thai word."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3031-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f"
)
_UNSPACED += "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts written without spaces between words (Thai, Lao, Burmese, Khmer, Chinese, Japanese), and Hangul, whose words take endings."""

_WORD = rf"[\w{_MARKS}]"
_TOKEN = re.compile(
    rf"(?:(?<![\w.])\.(?=[A-Za-z]))?{_WORD}+"
    rf"(?:(?:://|::|:\\|->|[-./\\:@'&+~]|(?<=\d),(?=\d)){_WORD}+)*"
    r"(?:\+\+(?!\w)|(?<=[A-Za-z])#(?!\w))?"
)
_SEPARATORS = tuple(re.compile(pattern) for pattern in (r"://|::|:\\|->|[/\\:@&+~#]", r"[.,]", r"[-_]"))
"""Levels of an identifier, outermost first."""

_HYPHEN_LEVEL = 2
_EDGES = "-./\\:@'&+~,_#"
_LETTER = rf"(?:[^\W\d_]|[{_MARKS}])"
_PROSE = re.compile(rf"{_LETTER}+(?:[-'&/]{_LETTER}+)*")
_SYMBOL = re.compile(r"[a-z]{3,}[A-Z]|[a-z]+[A-Z][a-z]{2}|[A-Z][a-z]+[A-Z][a-z]+[A-Z]")
"""Capitals as symbols have them: `getURL`, `userName`, `UserNameCache`; not `McDonald` or `mRNA`."""

_QUANTITY = re.compile(
    r"\d+(?:st|nd|rd|th|s)?(?:-[a-z]{3,})*|\d+[.:/-]\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{4}-\d\d-\d\d|(?:mid|early|late|pre|post)-\d{4}s?",
    re.IGNORECASE,
)
"""Numbers, ordinals, ranges, scores, times, dates, and what prose makes of them: `20-year-old`, `mid-1980s`."""


_HUMPS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_LETTERS_THEN_DIGITS = re.compile(r"[^\W\d_]{3,}(?=\d)|\d+(?=[^\W\d_]{3,})|[^\W\d_]{3,}|\d+")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_GROUPED_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_VERSION = re.compile(r"v?(\d+\.\d+)((?:\.\d+)*)", re.IGNORECASE)
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]+")
_UNSPACED_OR_OTHER = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_LATIN_OR_GREEK_ACCENT = re.compile(r"(?<=[a-zα-ω])[\u0300-\u036f]+")
_VOWEL_POINTS = re.compile(r"[\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670]")

_CLEAN = {ord(char): "-" for char in "\u2010\u2011\u2012\u2013\u2212"} | {
    0x2019: "'",
    0x02BC: "'",
    0xAD: None,
    0x200B: None,
    0x2060: None,
    0xFEFF: None,
}
"""Hyphens and apostrophes in one form each; invisible characters gone."""

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})
"""Letters that Unicode does not decompose into a base and an accent."""


@dataclass(frozen=True, slots=True)
class _Analysis:
    """What one token gives."""

    terms: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]
    identifier: str = ""
    """The whole form, where the token is an identifier."""


def fold(word: str) -> str:
    """Return a word without case, and without accents on Latin and Greek letters; other scripts keep the marks that make their letters."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word.casefold()).casefold()).translate(_LETTERS)
    bare = _VOWEL_POINTS.sub("", _LATIN_OR_GREEK_ACCENT.sub("", decomposed))
    return unicodedata.normalize("NFC", bare)


def lexical_digest(document: LexicalDocument) -> str:
    """Return a hash of what is to be indexed; a tier reports another one where its analyser differs from the one that indexed."""
    content = f"{len(document.text)}:{document.text}{document.window}"
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Cache(dict[str, _Analysis]):
    """Analyses by token, each made on first use."""

    def __init__(self, analyse: Callable[[str], _Analysis]) -> None:
        super().__init__()
        self._analyse = analyse
        self._lock = threading.Lock()  # a stemmer is not safe to share

    def __missing__(self, token: str) -> _Analysis:
        with self._lock:
            if len(self) >= MAX_CACHED_TOKENS:
                self.clear()
            analysis = self[token] = self._analyse(token)
        return analysis


class Analyzer:
    """Turns text into terms; equal `name` means equal terms for equal text. Safe to share between threads.

    Args:
        language: A Snowball stemmer such as `english`, `german` or `french`; `none` leaves words as they are.
        stop_words: Words to leave out; by default a list for English and none elsewhere (BM25 weighs frequent words near zero by itself).

    Raises:
        InvalidRequestError: If the language is unknown.
    """

    def __init__(self, language: str = "english", *, stop_words: Collection[str] | None = None) -> None:
        if language != "none" and language not in Stemmer.algorithms():
            raise InvalidRequestError(f"got language={language!r}; needed 'none' or one of {', '.join(Stemmer.algorithms())}.")
        if isinstance(stop_words, str):
            raise InvalidRequestError(f"got stop_words={stop_words!r}; needed a collection of words, not one string.")
        if stop_words is None:
            stop_words = ENGLISH_STOP_WORDS if language == "english" else ()
        self._stop_words = frozenset(fold(word) for word in stop_words)
        self._stemmer = None if language == "none" else Stemmer.Stemmer(language, 0)
        self._fold_first = language in ("english", "none")  # other stemmers know their language's accents and need them
        self._cache = _Cache(self._analyse)
        words = hashlib.blake2b("\n".join(sorted(self._stop_words)).encode(), digest_size=4).hexdigest()
        self.name = f"{language}-{words}-v{ANALYSIS_VERSION}"

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in order, repeated as often as they occur; none contains white space."""
        return [term for analysis in self._analyses(text) for term in analysis.terms]

    def query(self, text: str) -> dict[str, float]:
        """Return the distinct terms of a query with their weights.

        A repeated word counts as often as it occurs; an identifier counts more as a whole (WHOLE_WEIGHT) than in parts (PART_WEIGHT).
        """
        weights: dict[str, float] = {}
        for analysis in self._analyses(text):
            for term, weight in analysis.weights:
                weights[term] = weights.get(term, 0.0) + weight
        return weights

    def identifiers(self, text: str) -> list[str]:
        """Return the distinct identifiers of a text in order, as terms: part numbers, symbols, paths, versions, addresses."""
        return list(dict.fromkeys(analysis.identifier for analysis in self._analyses(text) if analysis.identifier))

    def _analyses(self, text: str) -> Iterator[_Analysis]:
        return map(self._cache.__getitem__, _TOKEN.findall(_normalise(text)))

    def _analyse(self, token: str) -> _Analysis:
        if not token.isascii() and _UNSPACED_RUN.search(token):
            return self._analyse_unspaced(token)
        if token.isalpha() and (token.islower() or token[1:].islower() or token.isupper()):
            return _weighted((self._word(token),))
        token = token.strip("_'")
        if token[-2:].lower() == "'s":
            token = token[:-2]
        if not any(char.isalnum() for char in token):
            return _weighted(())
        if _ACRONYM.fullmatch(token):  # U.S. is US, whose capitals keep it from being a stop word
            return _weighted((self._word(token.replace(".", "")),))
        parts: list[str] = []
        whole = self._split(token, 0, parts)
        parts = list(dict.fromkeys(part for part in parts if part and part != whole))
        if not _is_identifier(token):
            return _weighted((whole, *parts))
        alone = (_cut(STANDALONE + fold(token)), _cut(VERBATIM + token))
        weights = ((whole, WHOLE_WEIGHT if parts else 1.0), *((term, PART_WEIGHT) for term in (*alone, *parts)))
        return _Analysis((whole, *alone, *parts), weights, identifier=whole)

    def _split(self, token: str, level: int, parts: list[str]) -> str:
        """Add the parts of a token at `level` and below, and return its whole form."""
        for deeper in range(level, len(_SEPARATORS)):
            pieces = [piece for piece in _SEPARATORS[deeper].split(token) if piece]
            if len(pieces) > 1 or (pieces and pieces[0] != token):
                return self._join(token, pieces, deeper, parts)
        return self._split_word(token, parts)

    def _join(self, token: str, pieces: list[str], level: int, parts: list[str]) -> str:
        """Add the pieces of a token that was split at `level`, and return its whole form."""
        if _GROUPED_NUMBER.fullmatch(token):
            return token.replace(",", "")
        if len(pieces) == 1 and len(pieces[0]) == 1:  # C++ and C# say nothing of C
            return fold(token)
        parts.extend([self._split(piece, level + 1, parts) for piece in pieces])
        if version := _VERSION.fullmatch(token):  # 2.3 and 2.3.1 find v2.3.1
            parts.extend((token.lstrip("vV"), version[1]))
        if level >= _HYPHEN_LEVEL and all(piece.isalpha() for piece in pieces):  # e-mail is email, token_cache is TokenCache
            parts.append(self._word("".join(pieces)))
        return _cut(fold(token))

    def _split_word(self, token: str, parts: list[str]) -> str:
        """Add the parts of `getUserName`, `python3` and `O'Brien`; the whole form of the first keeps its case, its folded form is a part."""
        if token.isdigit() or (token.isalpha() and (token.islower() or token[1:].islower() or token.isupper())):
            return self._word(token)
        if "'" in token:
            whole = self._word(token.replace("'", ""))
            parts.extend(self._word(piece) for piece in token.split("'") if whole and len(piece) > 1)
            return whole
        humps = _HUMPS.findall(token)
        if len(humps) > 1 and not (token.islower() or token.isupper() or token[1:].islower()):
            parts.extend(self._word(hump) for hump in (*humps, token.lower()))
            return _cut(token)
        runs = _LETTERS_THEN_DIGITS.findall(token)
        if len(runs) > 1:
            parts.extend(self._word(run) for run in runs)
        return _cut(fold(token))

    def _analyse_unspaced(self, token: str) -> _Analysis:
        """Index runs of unspaced scripts by characters and pairs; a query of two or more characters asks for the pairs alone."""
        terms: list[str] = []
        weights: list[tuple[str, float]] = []
        for run in _UNSPACED_OR_OTHER.findall(token):
            if _UNSPACED_RUN.match(run):
                characters = fold(run)
                pairs = [characters[i : i + 2] for i in range(len(characters) - 1)]
                terms.extend((*characters, *pairs))
                weights.extend((pair, 1.0) for pair in pairs or [characters])
            elif rest := run.strip(_EDGES):
                inner = self._analyse(rest)
                terms.extend(inner.terms)
                weights.extend(inner.weights)
        return _Analysis(tuple(terms), tuple(weights))

    def _word(self, word: str) -> str:
        """Return the term of a plain word, empty for a stop word; a word in capitals such as IT or US is none."""
        folded = fold(word)
        if folded in self._stop_words and not (len(word) > 1 and word.isupper()):
            return ""
        if self._stemmer is None:
            return _cut(folded)
        return _cut(self._stemmer.stemWord(folded) if self._fold_first else fold(self._stemmer.stemWord(word.lower())))


def _normalise(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_CLEAN)
    if text.isupper() and text.count(" ") > 1:  # in a text all in capitals they say nothing
        return text.lower()
    return text


def _weighted(terms: Iterable[str]) -> _Analysis:
    kept = tuple(filter(None, terms))
    return _Analysis(kept, tuple([(term, 1.0) for term in kept]))


def _is_identifier(token: str) -> bool:
    """Whether a token names one thing exactly, as part numbers, symbols and paths do, and is no word, compound, name, quantity or date."""
    if _PROSE.fullmatch(token):
        return bool(_SYMBOL.match(token))
    return not _QUANTITY.fullmatch(token)


def _cut(term: str) -> str:
    return term[:MAX_TERM_CHARS]
