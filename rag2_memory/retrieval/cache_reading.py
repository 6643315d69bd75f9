"""What the cache's guard reads off a question: numbers, names, negation, what is asked for, who does what to whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rag2_memory.knowledge.mentions import identifiers, quoted_strings
from rag2_memory.retrieval import cache_lexicon as lexicon
from rag2_memory.tiers.analysis import Analyzer

READINGS_KEPT = 4_096
"""Questions whose reading is remembered: about 8 MB, 0.1 ms saved each."""

WORDS_KEPT = 16_384
"""Words whose stem is remembered."""

YES_NO_KINDS = frozenset({"yes_no", "can", "should", "will"})
"""Kinds of question that yes or no answers."""

_CONTRACTIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        ("[’‘`´]", "'"),
        (r"\bcan'?t\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"n't\b", " not"),
        (r"\b(do|does|did|is|are|was|were|has|have|had|would|should|could)nt\b", r"\1 not"),
        (r"\b(what|who|where|when|why|how|it|that|there|here|he|she)'?s\b", r"\1 is"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'d\b", " would"),
        (r"'m\b", " am"),
        (r"\b[vV](?=\d)", ""),
        (r"(?<=\d) ?%", " percent "),
        (r"[$](?=\d)", " usd "),
        (r"€", " euro "),
        (r"£", " gbp "),
        (r"(?<=\d),(?=\d{3}\b)", ""),
        (r"(?<=\d)k\b", "000"),
        (r"(?<=\d0)'?s\b", ""),
    )
)
_PHRASE = re.compile(
    r"\b(" + "|".join(phrase.replace(" ", r"(?:s|es|ed|ing)? ", 1) for phrase in sorted(lexicon.PHRASES, key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\d+(?:[.:/]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*[+#]*|\w+")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.:/]\d+)*(?:[a-zA-Z]\b)?")
_SENTENCE_END = re.compile(r"[.?!:]\W*$")

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty".split()
    )
    if word != "one"
}
_NUMBER_WORDS |= {word: str(30 + 10 * at) for at, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split())}
_NUMBER_WORDS |= {"hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12"}
_NUMBER_WORDS |= {word: f"{at}th" for at, word in enumerate("third fourth fifth sixth seventh eighth ninth tenth".split(), start=3)}

_CALENDAR_GROUPS = """january|jan february|feb march april|apr may june|jun july|jul august|aug september|sep|sept october|oct november|nov
    december|dec monday tuesday|tues wednesday thursday|thurs friday saturday sunday spring summer autumn winter morning afternoon
    evening night midnight noon today yesterday tomorrow tonight weekend weekday daily weekly monthly yearly|annually|annual hourly
    quarterly"""
_CALENDAR = {word: group.partition("|")[0] for group in _CALENDAR_GROUPS.split() for word in group.split("|")}

_SUBORDINATE = re.compile(
    r"^\W*(?:when|if|while|as|since|because|after|before|where)\b[^,?]*,\s*(?=.*\b(?:what|how|who|which|where|why|when)\b)"
)
_YES_NO = re.compile(
    r"^\W*(?:(?P<yes_no>is|are|am|was|were|do|does|did|has|have|had)|(?P<can>can|could|may|might)"
    r"|(?P<should>should|would|must|shall)|(?P<will>will))\b"
)
_WAY = r"(?:\w+[ -]+){0,4}?(?:ways?|methods?|steps|procedures?|process|techniques?|instructions|trick) (?:to|of|for|by|on|that|i|you|we|in which)\b"
_MEASURE = "(?:number|amount|count|price|cost|size|length|height|weight|distance|age|duration|frequency|percentage|share)"
_ACTOR = "person|people|team|company|vendor|supplier|employee|engineer|developer|customer|user|organi[sz]ation|department"
_POLITE = re.compile(
    r"^\W*(?:please |kindly )?(?:(?:can|could|would) (?:you|someone|anyone|anybody) )?(?:please )?"
    r"(?:tell|explain|show|give|list|describe|name)\b(?: (?:me|us|to me|to us))?(?: about)?"
)
_ASKED = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("why", r"\bwhat (?:is|are|was|were|could be|would be) (?:the |some |a )?(?:\w+ )?(?:reason|cause)s?\b|\bwhat caused?s?\b"),
        ("why", r"\breasons? (?:for|why|behind)\b|\bhow come\b|\bwhy\b"),
        (
            "how_to",
            rf"\b(?:(?:what|which) (?:is|are|would be|will be|could be) |(?:is|are) there )?(?:the |a |an |any |some |your )?{_WAY}",
        ),
        ("how_to", r"\bhow (?:do|can|could|should|would|might|to|does one|must|shall|i|you|we)\b"),
        (
            "how_to",
            r"\b(?:what|which) (?:things )?(?:should|can|could|do|would|must|shall|to|i|you|we|one) ?(?:should |can |could |must )?(?:i |you |we |one )?do\b",
        ),
        ("how_to", r"\b(?:instructions?|guide|tutorial|walkthrough|steps|tips)\b"),
        ("quantity", r"\bhow (?:many|much|long|often|far|old|big|large|tall|high|deep|heavy|wide|frequently|fast|hot|cold|soon|late)\b"),
        ("quantity", rf"\b(?:what|which) (?:(?:is|are|was|were) the (?:\w+ )?)?{_MEASURE}\b|^\W*(?:the )?(?:number|amount|frequency) of\b"),
        ("when", r"\b(?:what|which) (?:is|was|will be) the (?:\w+ ){0,2}date\b"),
        ("when", r"\b(?:at |on |in |by |since )?(?:what|which) (?:time|date|day|year|month|week)\b|\bwhen\b"),
        ("where", r"\b(?:in |at )?(?:what|which) (?:place|location)\b|\bwhere\b"),
        ("who", rf"\b(?:which|what) (?:{_ACTOR})\b|\bwho(?:m|se)?\b"),
        ("how", r"\bhow\b"),
        ("what", r"\bwhat\b|\bwhich\b"),
    )
)
_SECOND_QUESTION = re.compile(r"(?:\band|\bor|[?,.;]|\bbut) +(?:if (?:so|yes|not),? +)?(when|where|who|how (?:many|much|long|often))\b")
_TENSES = (
    ("present", frozenset({"is", "are", "am", "do", "does", "has", "have"})),
    ("past", frozenset({"was", "were", "did", "had"})),
    ("future", frozenset({"will", "shall"})),
    ("", frozenset({"can", "could", "should", "would", "may", "might", "must"})),
)
_MODALS = (("may", frozenset({"can", "could", "may", "might"})), ("must", frozenset({"must", "should", "shall"})))
_AUXILIARIES = frozenset().union(*(words for _, words in _TENSES))
_DO = frozenset({"do", "does", "did"})
_CAPITALS = frozenset({"IT", "US", "WHO"})
"""Names that are function words in small letters."""
_MARKERS = frozenset(
    "from to into onto than over before after by against of in on for with at as under above below instead through via".split()
)
"""Words that give the next content word a role."""

_stems = Analyzer(stop_words=()).terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One question as the guard compares it. Words are lower-cased; content words are stems, synonyms being one."""

    text: str
    """Case-folded."""
    words: tuple[str, ...]
    forms: frozenset[str]
    """Every word and every stem."""
    canonical: tuple[str, ...]
    """The words as stems, synonyms being one."""
    content: tuple[str, ...]
    """Words that carry a subject, in order, with numbers in between."""
    subjects: frozenset[str]
    """The content without numbers and dates."""
    numbers: frozenset[str]
    calendar: frozenset[str]
    identifiers: frozenset[str]
    quoted: frozenset[str]
    names: frozenset[str]
    """Content words with a capital inside a sentence."""
    negated: bool
    scope: frozenset[int]
    """Lines of `cache_lexicon.SCOPE` that the question holds."""
    strict_scope: frozenset[int]
    """Those that it must not hold alone."""
    kind: str
    """What is asked for: `who`, `when`, `how_to`, …; `none` for a bare list of words."""
    further: frozenset[str]
    """What a second question asks for."""
    tense: str
    modal: str
    """`may` or `must` where the question is about leave or duty."""
    subject_asked: bool
    """Whether the question word is the subject: `who reports to Ada`, not `who does Ada report to`."""
    roles: frozenset[tuple[str, str, str]]
    """(content word before, marker, content word after), such as (`euro`, `to`, `dollar`); a possessive has the marker `'s`."""
    passive_agent: str
    """The content word after `by`, where one is."""
    before_do: frozenset[str]
    """Content words in front of `do`, `does` or `did`: the object of `which team does Ada lead`."""


@lru_cache(maxsize=READINGS_KEPT)
def read(question: str) -> Reading:
    """Read a question; a pure function of its text."""
    plain = question
    for pattern, replacement in _CONTRACTIONS:
        plain = pattern.sub(replacement, plain)
    plain = _PHRASE.sub(_meaning, plain)
    tokens = _TOKEN.findall(plain)
    words = tuple(_bare(token) for token in tokens)
    stems = tuple(stem(word) for word in words)
    canonical = tuple(_canonical(stem) for stem in stems)
    lower = " ".join(plain.lower().split())
    kind = _kind(lower)
    is_content = tuple(
        _is_content(word, token, before) or (token == "A" and bool(before))
        for word, token, before in zip(words, tokens, ("", *words), strict=False)
    )
    content = tuple(
        _number(word) or _date(word, token) or name
        for word, token, name, kept in zip(words, tokens, canonical, is_content, strict=True)
        if kept or _number(word) or _date(word, token)
    )
    subjects = frozenset(name for name, kept in zip(canonical, is_content, strict=True) if kept)
    strict = lexicon.STRICT_SCOPE | (lexicon.STRICT_IN_YES_NO if kind in YES_NO_KINDS else frozenset())
    subject_asked = kind in ("who", "what") and not _AUXILIARIES.intersection(words)
    past = any(_is_past(word) for word in words)
    roles = _roles(tokens, words, canonical, is_content)
    return Reading(
        text=question.casefold(),
        words=words,
        forms=frozenset(words) | frozenset(stems),
        canonical=canonical,
        content=content,
        subjects=subjects,
        numbers=frozenset(_NUMBER.findall(plain)) | frozenset(filter(None, map(_number, words))),
        calendar=frozenset(filter(None, map(_date, words, tokens))),
        identifiers=frozenset(name for name in map(_squashed, identifiers(question)) if not name.isdigit()),
        quoted=frozenset(" ".join(string.casefold().split()) for string in quoted_strings(question)),
        names=_names(plain),
        negated=_negations(words) % 2 == 1,
        scope=frozenset(_SCOPE[word] for word in words if word in _SCOPE),
        strict_scope=frozenset(_SCOPE[word] for word in words if word in strict),
        kind=kind,
        further=frozenset(_SECOND_QUESTION.findall(_SUBORDINATE.sub("", lower))),
        tense=_tense(words) or ("past" if subject_asked and past else "present" if subject_asked else ""),
        modal="" if kind in ("how", "how_to") else next((modal for modal, auxiliaries in _MODALS if auxiliaries.intersection(words)), ""),
        subject_asked=subject_asked,
        roles=roles,
        passive_agent=next((after for _, marker, after in roles if marker == "by"), ""),
        before_do=_before_do(words, canonical, is_content),
    )


def _meaning(phrase: re.Match[str]) -> str:
    first, _, rest = phrase[0].lower().partition(" ")
    bases = (first, first[:-1], first[:-2], first[:-3])  # look, looks, passes or looked, looking
    return next(lexicon.PHRASES[f"{base} {rest}"] for base in bases if f"{base} {rest}" in lexicon.PHRASES)


def _bare(token: str) -> str:
    word = token.lower()
    return word[:-2] if word.endswith("'s") else word.replace("'", "")


@lru_cache(maxsize=WORDS_KEPT)
def stem(word: str) -> str:
    """Return the stem of one lower-cased word."""
    terms = _stems(lexicon.IRREGULAR.get(word, word)) if word.isalpha() else []
    return terms[0] if terms else word


def _is_past(word: str) -> bool:
    return word in lexicon.PAST_FORMS or (word.endswith("ed") and stem(word) != word)


def _canonical(stem: str) -> str:
    return _SYNONYMS.get(stem, stem)


def _is_content(word: str, token: str, before: str = "") -> bool:
    if len(word) == 1:
        return word not in "ai" and (token.isupper() or bool(_number(before)))  # vitamin C, 5 g
    if token in _CAPITALS:
        return True
    return not (
        word[:1].isdigit()
        or word in lexicon.FUNCTION_WORDS
        or word in lexicon.FILLERS
        or word in _NUMBER_WORDS
        or word in _SCOPE
        or _date(word, token)
    )


def _number(word: str) -> str:
    return word if word[:1].isdigit() else _NUMBER_WORDS.get(word, "")


def _date(word: str, token: str) -> str:
    if word in ("may", "march", "second") and not token[0].isupper():
        return ""
    return _CALENDAR.get(word) or (_CALENDAR.get(word[:-1], "") if word.endswith("s") else "")


def _squashed(name: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"^v(?=\d)", "", name.casefold()))


def _names(plain: str) -> frozenset[str]:
    tokens = [match for match in _TOKEN.finditer(plain) if match[0][0].isalpha()]
    if 2 * sum(match[0][0].isupper() for match in tokens) > len(tokens) + 2:  # a headline: capitals say nothing
        return frozenset()
    return frozenset(
        _canonical(stem(_bare(match[0])))
        for match in tokens
        if match[0][0].isupper()
        and match.start()
        and not _SENTENCE_END.search(plain[: match.start()])
        and _is_content(_bare(match[0]), match[0])
    )


def _negations(words: Sequence[str]) -> int:
    asks_rhetorically = len(words) > 1 and words[0] in _AUXILIARIES and words[1] == "not"  # "can't we" asks the same as "can we"
    return sum(word in lexicon.NEGATIONS for word in words) - asks_rhetorically


def _kind(lower: str) -> str:
    question = _POLITE.sub("", _SUBORDINATE.sub("", lower))
    found = [(match.start(), at) for at, (_, pattern) in enumerate(_ASKED) if (match := pattern.search(question))]
    yes_no = _YES_NO.match(question)
    if yes_no is not None and not (found and min(found)[0] == 0):
        return str(yes_no.lastgroup)
    return _ASKED[min(found)[1]][0] if found else "none"


def _before_do(words: Sequence[str], canonical: Sequence[str], is_content: Sequence[bool]) -> frozenset[str]:
    at = next((i for i, word in enumerate(words) if word in _DO), 0)
    return frozenset(name for name, kept in zip(canonical[:at], is_content[:at], strict=True) if kept)


def _tense(words: Sequence[str]) -> str:
    first = next((word for word in words if word in _AUXILIARIES), "")
    if first in ("is", "are", "am") and ("going", "to") in pairwise(words):
        return "future"
    if first in ("has", "have") and any(word == "been" or _is_past(word) for word in words):
        return ""  # the perfect goes with both past and present
    return next((tense for tense, auxiliaries in _TENSES if first in auxiliaries), "")


def _roles(tokens: Sequence[str], words: Sequence[str], names: Sequence[str], kept: Sequence[bool]) -> frozenset[tuple[str, str, str]]:
    says = [keep or word not in lexicon.FUNCTION_WORDS for keep, word in zip(kept, words, strict=True)]
    roles = set()
    for at, word in enumerate(words):
        for counts in (kept, says) if word in _MARKERS else ():  # a filler may be a name ("main"), or stand in the way of one
            before = next((names[i] for i in range(at - 1, max(-1, at - 4), -1) if counts[i]), "")
            after = next((names[i] for i in range(at + 1, min(at + 4, len(words))) if counts[i]), "")
            if after:
                roles.add((before, word, after))
        if tokens[at].lower().endswith("'s") and kept[at]:
            roles.add(("", "'s", names[at]))
    return frozenset(roles)


_SCOPE = {word: line for line, words in enumerate(lexicon.SCOPE) for word in words}
_SYNONYMS: dict[str, str] = {}
for _line in lexicon.SYNONYMS:
    for _word in _line:
        _SYNONYMS.setdefault(stem(_word), stem(_line[0]))
