"""Names without a language model: what a chunk is about, what it mentions, and the key under which both meet.

Ingestion order does not matter: a chunk that mentions "Ed Wood" and a page titled "Ed Wood (film)" are linked because both
lead to the key `ed wood`, whichever arrives first. Several pages may share a key; ranking divides the link among them.

Measured on MuSiQue, 2Wiki and HotpotQA passages: these patterns find 67 to 83 % of the title mentions that a full scan of
all word n-grams for known titles finds, at precision 0.99, and rank as well. Lower-case matches of titles ("photosynthesis")
lowered recall@5 on all three, so none are made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from rag2_memory.knowledge.generic_headings import is_generic_heading


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_NAME_WORDS = 10
"""A longer title is a sentence (a paper's, a headline's): nobody mentions it in full, so it makes no entity."""

MAX_QUERY_NAME_WORDS = 8
"""Longest n-gram of a query that is looked up; 99 % of the page titles in the development sets are shorter."""

FUNCTION_WORDS = _words(
    """
    a an the this that these those i you he she it we they me him her us them my your his its our their mine yours hers ours theirs
    who whom whose which what when where why how whether if as at by for from in into of off on onto out over per since than through
    to toward towards under until up upon via with within without about above across after against along among around before behind
    below beneath beside besides between beyond despite down during except inside near outside past throughout and or but nor so yet
    not no because although though while whereas unless once both either neither each every all any some few many most much more
    several such other another same own only just also even still then there here now is am are was were be been being do does did
    has have had having can could may might must shall should will would however thus therefore hence moreover furthermore meanwhile
    later earlier yes yeah ok okay hey hi hello thanks wow well oh let please sure really see too very
    """
)
"""Words that open a sentence with a capital without naming anything; alone they are never a name."""

_IDENTIFIER = re.compile(
    r"""(?<![\w/.@-])(?:
        https?://[^\s<>"'`]+[^\s<>"'`.,;:!?)\]]              # URL
      | (?:~|\.{1,2})?(?:/[\w.@+-]*\w){2,}                    # /etc/app/main.conf, ./src/lib
      | /[A-Za-z_][\w.-]*\w                                   # /metrics
      | (?:[\w.-]+/)+[\w-]+\.[A-Za-z]{1,5}\b                  # src/app/main.py
      | [A-Za-z]:\\[^\s"'<>|]+                                # C:\logs\app.log
      | --[a-z][\w-]+                                         # --dry-run
      | v\d+(?:\.\d+)*(?:-[a-z0-9.]+)?\b                      # v2, v2.3.1-rc1
      | \d+(?:\.\d+){2,}(?:-[a-z0-9.]+)?\b                    # 2.3.1
      | (?P<code>[A-Za-z0-9]+(?:-\w+)+)                       # X-402-V2, IL-6
      | [A-Za-z_]\w+(?:(?:\.|::|->)[A-Za-z_]\w+)*\(\)         # run(), os.path.join()
      | [A-Za-z_]\w+(?:::[A-Za-z_]\w+)+                       # std::vector
      | [a-z_]\w+(?:\.[a-z_]\w+)+                            # os.path, config.yaml
      | (?=\w*[^\W_]_\w)\w+ | __\w+__                        # sys_init_v2, ERR_TIMEOUT, __init__
      | [a-z]{2}[a-z0-9]*(?:[A-Z][a-z0-9]+)+[A-Z]?            # getUserName
      | (?:[A-Z][a-z0-9]+){3,}                                # UserNameParser
      | [A-Z]{1,4}\d{3,}\b                                    # E0502, HTTP404
    )""",
    re.VERBOSE,
)
_CODE_PART = re.compile(r"(?!(?:19|20)\d\ds?$)\w*\d\w*$")
"""A part with a digit makes a hyphenated word a code, a year does not: `IL-6`, not `mid-1990s`."""

MAX_IDENTIFIER_CHARS = 200
"""Longer words are data, not names; the bound also keeps matching linear in the text."""

_MAYBE_IDENTIFIER = re.compile(r"[_/\\]|[A-Za-z]-?\d|\d-?[A-Za-z]|[a-z][A-Z]|\.\w|::|->|\(\)|--")
"""A cheap test that every identifier passes and nearly every word fails."""

_QUOTED = re.compile(r'["“„«‹「『]\s*([^"“”„«»‹›「」『』\n]{2,120}?)\s*["”“»›」』]|`([^`\n]{2,120})`')
_WORD = re.compile(r"\w+[+#]*")
_TOKEN = re.compile(r"[^\W_](?:\w|['’](?=\w)|[-&.](?=\w))*[+#]*")
_COMBINING = re.compile("[\u0300-\u036f]+")
_POSSESSIVE = re.compile(r"'s\b")
_PARENTHESIS = re.compile(r"\s*[(（\[][^()（）\[\]]*[)）\]]")
_FOLD = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ı": "i", "’": "'", "&": " and "})
_ARTICLES = frozenset({"the", "a", "an"})
_ABBREVIATIONS = _words("mr mrs ms dr st jr sr prof gen col lt rev hon capt sgt mt ft vs no sen gov rep bros inc ltd co corp dept")
_INNER = _words("of the de la le les du des von van der den di da do del dos das della y e el al bin ibn zu af")
"""Lower-case words inside one name: `University of Copenhagen`, `Ludwig van Beethoven`."""
_JOINING = _words("and in at for on with to from a an or n by into &")
"""Words that may stand inside a name or between two: the whole and the parts are given."""
_CLOCK_WORDS = _words(
    """
    january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct
    nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun am pm at on utc gmt
    """
)
_CLOCK_NUMBER = re.compile(r"\d+(?:st|nd|rd|th|am|pm|s)?")

_Run = list[tuple[str, bool]]
"""Tokens of one capitalised run, each with whether it is capitalised or a number (else a connector)."""


def normalize_name(name: str) -> str:
    """Return the key under which spellings of one name meet.

    Case, accents, punctuation, possessives, leading articles and the spacing of initials do not count: `The Beatles`,
    `beatles` and `Beatles'` share a key, as do `J. K. Rowling` and `J.K. Rowling`, `Simon & Garfunkel` and `Simon and Garfunkel`.

    Args:
        name: A name as written.

    Returns:
        Words separated by single spaces; empty if the name has neither a letter nor a digit.
    """
    folded = name
    if not name.isascii():
        folded = unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFKD", name.casefold())))
    folded = folded.casefold().translate(_FOLD)
    if "'" in folded:
        folded = _POSSESSIVE.sub("", folded)
    words: list[str] = []
    after_initial = False
    for word in _WORD.findall(folded):
        initial = len(word) == 1 and word.isalpha()
        if initial and after_initial:
            words[-1] += word
        else:
            words.append(word)
        after_initial = initial
    while len(words) > 1 and words[0] in _ARTICLES:
        del words[0]
    return " ".join(words)


def subject_names(title: str, heading_path: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names that a chunk is about: its title and headings, each also without a disambiguation in parentheses.

    Dates and times (session titles), bare numbers, titles longer than `MAX_NAME_WORDS` words and headings that any document may have (`Security`,
    `Early life`) name nothing and are left out.

    Args:
        title: The document's title, may be empty.
        heading_path: Headings above the chunk, outermost first.

    Returns:
        Names as written, one per key of `normalize_name`, title first.
    """
    names: dict[str, str] = {}
    for label in (title, *(heading for heading in heading_path if not is_generic_heading(heading))):
        text = label.strip()
        for name in (text, _PARENTHESIS.sub("", text).strip()):
            key = normalize_name(name)
            if key and len(key.split()) <= MAX_NAME_WORDS and not _only_clock_words(key):
                names.setdefault(key, name)
    return tuple(names.values())


def mentioned_names(text: str) -> tuple[str, ...]:
    """Return the names that a text mentions: capitalised runs, their parts around connectors, quoted titles and identifiers.

    A sentence's first word counts only if it is no function word. `Lil Jon and Dillon Francis` gives the whole and both
    parts, `University of Copenhagen` the whole and `Copenhagen`, since either may be a subject.

    Args:
        text: A chunk's own text.

    Returns:
        Names as written, one per key of `normalize_name`, in order of appearance. Empty for text without capitals.
    """
    names: dict[str, str] = {}
    for name in _candidates(text):
        key = normalize_name(name)
        if key and len(key.split()) <= MAX_NAME_WORDS and not _only_clock_words(key):
            names.setdefault(key, name)
    return tuple(names.values())


def identifiers(text: str) -> tuple[str, ...]:
    """Return codes, versions, paths, flags and code names as written, each once, in order of appearance."""
    found: dict[str, None] = {}
    for word in text.split():
        if len(word) <= MAX_IDENTIFIER_CHARS and _MAYBE_IDENTIFIER.search(word):
            for match in _IDENTIFIER.finditer(word):
                if match["code"] is None or any(_CODE_PART.match(part) for part in match["code"].split("-")[1:]):
                    found[match[0]] = None
    return tuple(found)


def quoted_strings(text: str) -> tuple[str, ...]:
    """Return what stands in double quotes, guillemets, corner brackets or backticks, each once, in order of appearance."""
    return tuple(dict.fromkeys((match[1] or match[2]).strip() for match in _QUOTED.finditer(text)))


def query_names(query: str, known: Callable[[Sequence[str]], set[str]]) -> tuple[str, ...]:
    """Return the keys of known entities that a query names, in any case.

    The longest match wins: inside `university of copenhagen` the key `copenhagen` is not reported unless it also stands alone.

    Args:
        query: The question.
        known: Given keys of `normalize_name`, returns those that are entities; called once.

    Returns:
        Distinct keys in order of appearance.
    """
    words = _query_words(query)
    spans: list[tuple[int, int, str]] = []
    for start in range(len(words)):
        for end in range(start + 1, min(len(words), start + MAX_QUERY_NAME_WORDS) + 1):
            if end - start == 1 and words[start].casefold() in FUNCTION_WORDS and not _is_acronym(words[start]):
                continue
            key = normalize_name(" ".join(words[start:end]))
            if key and not _only_clock_words(key):
                spans.append((start, end, key))
    entities = known([key for _, _, key in spans]) if spans else set()
    found: list[tuple[int, int, str]] = []
    for start, end, key in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if key in entities and not any(a <= start and end <= b for a, b, _ in found):
            found.append((start, end, key))
    return tuple(dict.fromkeys(key for _, _, key in sorted(found)))


def _query_words(query: str) -> list[str]:
    return [word for word in re.findall(r"[^\s,;:?!()\[\]\"“”]+", query) if normalize_name(word)]


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _only_clock_words(key: str) -> bool:
    return all(word in _CLOCK_WORDS or _CLOCK_NUMBER.fullmatch(word) for word in key.split())


def _candidates(text: str) -> Iterator[str]:
    runs = list(_capitalised_runs(text))
    inside = {token for opens, run in runs for token, _ in run[opens:]}
    for opens, run in runs:
        if not opens or len(run) > 1 or run[0][0] in inside or _is_acronym(run[0][0]):
            yield from _names_of(run)
    for quoted in quoted_strings(text):
        if len(quoted.split()) <= MAX_NAME_WORDS:
            yield quoted
    yield from identifiers(text)


def _names_of(run: _Run) -> Iterator[str]:
    """Give a run as a whole, then its parts around `and`, `in` …, then its parts around `of` and `the` too."""
    for connectors in (frozenset[str](), _JOINING, _JOINING | {"of", "the"}):
        if connectors and not any(token in connectors and not capital for token, capital in run):
            continue
        part: list[str] = []
        for token, capital in [*run, ("", False)]:
            if token and (capital or token not in connectors):
                if capital or part:
                    part.append(token)
            else:
                while len(part) > 1 and part[-1] != "I" and _is_function_word(part[-1]):  # OBJECTIVE To, but World War I
                    part.pop()
                if part and _names_something(part):
                    yield " ".join(part)
                part = []


def _names_something(tokens: Sequence[str]) -> bool:
    if not any(token[0].isupper() for token in tokens):
        return False
    return len(tokens) > 1 or (len(tokens[0]) > 1 and not _is_function_word(tokens[0]))


def _is_function_word(token: str) -> bool:
    """Whether a word names nothing in any spelling: `The`, `It's`, `Don't`, but not `US`."""
    stem, apostrophe, _ = token.replace("’", "'").partition("'")
    return (stem.casefold() in FUNCTION_WORDS or bool(apostrophe and stem[-1:] == "n")) and not _is_acronym(token)


def _capitalised_runs(text: str) -> Iterator[tuple[bool, _Run]]:
    """Cut a text into runs of capitalised words and numbers, joined by spaces and lower-case connectors.

    Yields whether a run opens a sentence, where a capital says nothing about its first word, and the run.
    """
    run: _Run = []
    pending: _Run = []
    opens = False
    end = 0
    for match in _TOKEN.finditer(text):
        token, gap = match[0], text[end : match.start()]
        end = match.end()
        if run and not _continues(gap, (pending or run)[-1][0]):
            yield opens, run
            run, pending = [], []
        if token[0].isupper() or (token[0].isdigit() and (run or token.isdigit())):
            if pending and not any(word[0].isupper() for word, _ in run):
                run = []
            if not run:
                if _is_function_word(token) and _opens_sentence(gap, match.start()):
                    continue
                opens, pending = _opens_sentence(gap, match.start()), []
            elif not pending and gap.strip() == "&":
                pending = [("&", False)]
            run += [*pending, (token, True)]
            pending = []
        elif run:
            if (token in _INNER or token in _JOINING) and len(pending) < 2:
                pending.append((token, False))
            else:
                yield opens, run
                run, pending = [], []
    if run:
        yield opens, run


def _continues(gap: str, last: str) -> bool:
    """Whether a name may go on across what stands between two tokens."""
    if gap in (" ", " & ") or (gap.isspace() and "\n" not in gap):
        return True
    return gap == ". " and (len(last) == 1 or "." in last or last.casefold() in _ABBREVIATIONS)


def _opens_sentence(gap: str, start: int) -> bool:
    return start == len(gap) or any(mark in gap for mark in '.!?:;\n"“(')
