"""Names in a sentence: where they stand and what kind of thing each seems to be, from form and context alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from rag2_memory.knowledge.mentions import FUNCTION_WORDS, normalize_name
from rag2_memory.knowledge.nicknames import is_given_name, same_given_name
from rag2_memory.knowledge.triggers import is_trigger

_key = lru_cache(maxsize=16_384)(normalize_name)
"""A document repeats its names; normalising each once saves a third of the reading time."""

_UPPER = "".join(chr(code) for code in range(0x41, 0x530) if chr(code).isupper())
"""Capital letters of the Latin, Greek and Cyrillic scripts; `re` has no class for them."""

_CAPITAL = rf"[{_UPPER}]\w*(?:['’](?!s\b)\w+|[-&]\w+|[.](?=\w\w)\w+)*[+#]*"
_INITIAL = rf"[{_UPPER}]\.(?:[{_UPPER}]\.)*"
_NUMBER = r"v?\d[\w.-]*\w|\d"
_WORD = rf"(?:{_INITIAL}|{_CAPITAL})"
_INNER = r"(?:of(?: the)?|de(?: la)?|del|della|di|da|dos|du|van(?: de[rn]?)?|von|der|den|la|le|bin|ibn|al|y|&)"
_PLAIN = (
    "(?:same|new|old|other|whole|entire|main|single|first|second|third|last|next|right|wrong|own|current|previous|former|small|large|big|different|such|one|two|only"
    "|actual|existing|external|internal|separate|underlying|given|good|bad|best|usual|following|resulting|corresponding|appropriate|relevant|original|local|remote|in|on|of|to|and|or)"
)
"""Words that single out no component: `the same database`."""
_HEADS = "service|library|module|database|gateway|engine|broker|cache|daemon|api|store|portal|scheduler|worker|router|proxy|pipeline|collector|exporter"
NAME = re.compile(
    rf"""`(?P<code>[^`\s]{{1,80}})`
    | (?:\b(?:[Tt]he|[Oo]ur|[Bb]oth)|['’]s)\ (?P<phrase>(?!{_PLAIN}(?![\w-]))[a-z]+(?:[ -](?!{_PLAIN}(?![\w-]))[a-z]+)?\ (?:{_HEADS}|application|app|programme|program|initiative))\b(?![-/])
    | \b[Tt]he\ (?P<head>{_HEADS})\b(?![-/])
    | (?<![\w@#])(?P<run>{_WORD}(?:[ \u00a0](?:{_INNER}\ )?(?:{_WORD}|{_NUMBER}))*)
    | (?<![\w@#/.:-])(?P<ident>[a-z][a-z0-9]*(?:[-_][a-z0-9]+)+(?:\(\))?|[a-z]+(?:[A-Z][a-z0-9]*)+(?:\(\))?|[a-z]\w*\(\))(?![\w/@-])
    | (?<!\w)[“"](?P<quoted>[{_UPPER}][^”"\n]{{2,80}})[”"]""",
    re.VERBOSE,
)

_ADJECTIVE_ENDS = frozenset(
    """time term level day week month year scale based only in up on off out over date to end class wide free ready related specific
    driven aware source quality party standing sized like facing hand hours minute second person sided effort side proof friendly
    line test house site prem premise premises duty by and or the of a page word way fold""".split()
)
_ADJECTIVE_STARTS = frozenset(
    """non re pre co self well long short high low full part open real read write one two three four five six half up on in off multi
    so not all built follow back front cross day month year third first second mid""".split()
)
_PROJECT_WORDS = "project|initiative|programme|program"
_COMPONENT_WORDS = (
    "component|service|microservice|library|module|package|repository|repo|database|db|api|sdk|gateway|engine|broker|cluster|queue|cache|server"
    "|daemon|plugin|driver|framework|client|app|application|store|function|endpoint|table|model|firmware|tool"
)
_DOCUMENT_WORDS = "document|page|runbook|report|record|policy|guide|handbook|memo|minutes|adr|rfc"
_TYPE_OF_WORD = {
    **dict.fromkeys(_PROJECT_WORDS.split("|"), "Project"),
    **dict.fromkeys(_COMPONENT_WORDS.split("|"), "Component"),
    **dict.fromkeys(_DOCUMENT_WORDS.split("|"), "Document"),
    "team": "Team",
    "group": "Team",
    "squad": "Team",
}
TYPE_WORD = "|".join(_TYPE_OF_WORD)
"""Alternation of the common nouns that say what the name beside them is."""

_TECHNICAL = frozenset(
    """service services svc db database api apis gateway cache store storage router worker workers server client lib library core engine sdk cli ui proxy queue bus
    broker controller builder runner agent daemon loader parser renderer updater model models table scheduler monitor exporter collector
    operator plugin bot hub registry vault mesh pipeline portal frontend backend infra platform tools utils common auth data log logs sync
    shipper config settings search index indexer web app apps firmware driver kernel compiler runtime sdk job jobs cron node nodes cluster pod
    token session user payment payments billing ledger order orders inventory catalog email mailer notifier notification webhook stream
    streams ingest ingestion etl warehouse lake metrics alert alerts tracing telemetry id identity login sso""".split()
)
"""Words of which one stands in most names of components."""

_LABEL = re.compile(r"(?:ADR|RFC|RFP|PEP|KEP|SOP|DEP)[ -]?\d+", re.IGNORECASE)
_ROLE = re.compile(
    r"\b(?:head|lead|leader|owner|author|maintainer|architect|director|chief|vp|president|manager|engineer|developer|member)\b",
    re.IGNORECASE,
)
_NO_PERSON = frozenset(
    """inc ltd llc gmbh corp corporation company co plc sons bros brothers holdings partners ventures capital solutions technologies tech industries group
    university college school institute academy department faculty museum hospital church cathedral temple theatre theater studio studios records pictures
    films film movie album song single episode series show music band orchestra ensemble choir club team fc united league cup championship championships
    tournament olympics olympic games game award awards medal prize festival society association foundation federation union party committee
    commission council ministry court congress senate parliament government agency authority bureau board administration office army navy
    force forces corps regiment squadron division brigade fleet police bank trust fund insurance airlines airways airport station railway road street
    avenue bridge park garden gardens island islands lake river mountain mountains mount valley bay beach sea ocean north south east west northern
    southern eastern western central county city town village district province state states republic kingdom empire war battle revolution treaty act law
    theory physics science sciences studies history art arts literature press books news times post journal magazine radio television tv network
    networks channel media entertainment international national american british english french german european asian african australian canadian
    indian chinese japanese russian italian spanish mexican new old great saint fort port cape san santa los las big red blue black white green
    golden silver royal grand high street house home hall tower center centre square market mall hotel building audit incident review release version system
    platform security data cloud week day month year conference meeting notes plan engineering finance legal operations support sales marketing design
    research project product development quality reliability customer customers business service services management programme program policy report
    guide manual page team teams the a an of and for by in on at to from with down up out over under is was""".split()
)
"""Words of which none stands in a person's name."""

_ABSTRACT = re.compile(
    r"^(?:one|two|three|four|five|six|seven|eight|nine|ten|list|point|step|part|number|item|someone|everyone|anyone|nobody|somebody)$|"
    r"(?:tion|ment|ness|ity|ance|ence|ship|ism|ing|ure|sis|ers|ors|ees|ees|ies|als|ings|ments|tions)$|^(?:everything|nothing|work|people|"
    r"customers|success|access|time|users|teams?|deploys?|changes|code|data|security|performance|status|results?|both|others?|engineers|"
    r"today|tomorrow|yesterday|note|notes|warning|example|details?|yes|no|ok|thanks|please|goodbyes|new|moves?|open|news|questions?)$",
    re.IGNORECASE,
)
_SURNAMES = frozenset(
    """park parks lake rivers river hill house hall home church temple bridge street page day west north south east white black green
    brown red gold silver king prince bishop wood woods stone field fields marsh ford rice price cook baker law court bank banks cross moon major
    english french german holland england london paris story books music power best good new little grand royal college school great
    big show bay fort forest garden gardens market hotel cloud guide mann plan sea case may june march march april august""".split()
)
"""Words that are surnames as well: as a name's last word they rule no person out."""
_NOMINAL = re.compile(r"(?:tion|ment|ness|ity|ics|ology|graphy|ship|ism|ance|ence)$")
_PARTICLES = frozenset("van von de der den del la di da dos bin ibn al ter ten du le".split())
_VERB = re.compile(r"See|Use|Call|Prefer|[A-Z][a-z]+(?:s|ed)")
"""A verb that opens a note: `Supersedes ADR 4`."""
_PERSON_WORD = re.compile(rf"(?:[{_UPPER}][^\W\d_]*(?:['’-][^\W\d_]+)*|{_INITIAL}|van|von|de|der|den|del|la|di|da|dos|bin|ibn|al)")


@dataclass(frozen=True, slots=True)
class NameSpan:
    """A name at a place of a text."""

    name: str
    begin: int
    stop: int
    type: str = ""
    first: bool = False
    """Whether a single capitalised word that opens its sentence, so that the capital says nothing."""
    team: bool = False
    """Whether the words around it make it a team's name: `the Alpha team`."""
    article: bool = False
    """Whether an article stands before it, as before no person's name."""


@dataclass(slots=True)
class Lexicon:
    """What names are known to be, by normalised key: from the graph, and from the document that is being read."""

    known: Mapping[str, str] = field(default_factory=dict)
    """Key → node type, of what the graph already knows."""
    seen: dict[str, str] = field(default_factory=dict)
    """Key → node type, of what this document has typed; an empty type where it only named it."""
    plain: frozenset[str] = frozenset()
    """Words that this document also writes in lower case: at the start of a sentence their capital says nothing."""
    longer: dict[str, set[str]] = field(default_factory=dict)
    """Key of a short form → the full names of this document that it may stand for: `vatsal` for `Vatsal Shah`, `alpha` for `Project Alpha`."""

    described: dict[str, str] = field(default_factory=dict)
    """Description → the name that this document has explained by it: `boot routine` for `sys_start`, after "sys_start, the boot routine"."""

    def type_of(self, name: str) -> str:
        """Return the node type of a name: as the document or the graph has it, else as its form suggests, else empty."""
        key = _key(name)
        return self.seen.get(key) or self.known.get(key) or form_type(name)

    def learn(self, name: str, node_type: str = "") -> None:
        """Remember a name, and its type where it has none yet."""
        key = _key(name)
        if not key or self.seen.get(key):
            return
        self.seen[key] = node_type
        words = name.split()
        if node_type == "Project" and len(words) > 1 and words[0].casefold() == "project":
            self._shorten(" ".join(words[1:]), name, "Project")
        elif node_type == "Developer" and len(words) > 1 and looks_like_person(name):
            first, last = (words[0], words[-1]) if "," not in name else (words[-1], words[0].rstrip(","))
            for word in (first, last):
                if len(word) > 2:
                    self._shorten(word, name, "Developer")

    def note(self, name: str) -> None:
        """Remember the short forms of a name by its form alone: `Edith` for `Edith Marlowe`, `the gateway` for `ingest-gateway`; it gets no type."""
        words = name.split()
        if len(words) > 1 and looks_like_person(name):
            for word in (words[0], words[-1]) if is_given_name(_key(words[0])) else words[:1]:
                if len(word) > 2:
                    self.longer.setdefault(_key(word), set()).add(name)
        elif form_type(name) == "Component":
            last = re.split(r"[ _-]", name.removesuffix("()"))[-1].casefold()
            if last != name.casefold():
                self.longer.setdefault(last, set()).add(name)

    def named_by(self, kind: str) -> list[str]:
        """Return the things of this document that a common noun can mean, one per normalised name: `gateway` means `ingest-gateway`."""
        return sorted({_key(name): name for name in sorted(self.longer.get(kind, ()))}.values())

    def _shorten(self, short: str, name: str, node_type: str) -> None:
        key = _key(short)
        self.longer.setdefault(key, set()).add(name)
        self.seen.setdefault(key, node_type)

    def full_name(self, name: str, text: str) -> str:
        """Return the only full name that a short one can stand for: of those in the given text, else of the people in the document; else the name."""
        key = _key(name)
        longer = self.longer.get(key, ())
        if not longer and is_given_name(key):
            longer = {each for first, full in self.longer.items() if same_given_name(key, first) for each in full}
        standing = {_key(each): each for each in sorted(longer) if each in text}
        if not standing:
            standing = {_key(each): each for each in sorted(longer) if looks_like_person(each)}
        return next(iter(standing.values())) if len(standing) == 1 else name

    def __contains__(self, name: object) -> bool:
        key = _key(str(name))
        return key in self.seen or key in self.known


@lru_cache(maxsize=16_384)
def form_type(name: str) -> str:
    """Return the node type that a name's form suggests: `Project X`, `ADR 7`, `ledger-db`, `Auth Service`; empty if none."""
    words = name.split()
    if not words:
        return ""
    if _LABEL.match(name):
        return "Document"
    if len(words) > 1:
        first, last = words[0].casefold(), words[-1].casefold()
        return _TYPE_OF_WORD.get(last) or (_TYPE_OF_WORD.get(first, "") if first != "client" else "")
    return "Component" if looks_like_code(name) and "/" not in name else ""


def looks_like_code(name: str) -> bool:
    """Whether a single word is written as code: `sys_init_v2`, `ledger-db`, `getName`, `run()`; of plain words with hyphens a part must be technical."""
    if re.fullmatch(r"[a-z]+(?:-[a-z]+)+", name) and not any(part in _TECHNICAL for part in name.split("-")):
        return False
    return bool(re.fullmatch(r"[a-z][\w.-]*(?:[-_.]\w+|[A-Z]\w*)+(?:\(\))?|\w+\(\)|\w+_\w+|[A-Z]+-\d\w*-[\w-]+|[A-Z]{1,2}\d?-\d+", name))


def may_be_person(name: str) -> bool:
    """Whether a name can be a person's where something else says that it is one: a column of people, a key such as `Owner`."""
    plain = " ".join(reversed([part.strip() for part in name.split(",")])) if name.count(",") == 1 else name
    words = plain.split()
    if not 1 < len(words) <= 5 or any(
        word.casefold() in _TYPE_OF_WORD or word.casefold() in ("inc", "ltd", "llc", "gmbh") for word in words
    ):
        return False
    return all(_PERSON_WORD.fullmatch(word) for word in words) and not words[-1].endswith(".")


@lru_cache(maxsize=16_384)
def looks_like_person(name: str) -> bool:
    """Whether a name has the form of a person's full name: two to four capitalised words or initials that name no thing."""
    if "," in name:
        last, _, first = name.partition(",")
        return looks_like_person(f"{first.strip()} {last.strip()}")
    words = name.split()
    if not 2 <= len(words) <= 5 or not all(_PERSON_WORD.fullmatch(word) for word in words):
        return False
    folded = [word.casefold().rstrip(".") for word in words]
    if any(word in _NO_PERSON or word in _TYPE_OF_WORD for word in folded[:-1]) or words[-1].endswith("."):
        return False
    if folded[-1] not in _SURNAMES and (folded[-1] in _NO_PERSON or folded[-1] in _TYPE_OF_WORD):
        return False
    if any(word.isupper() and len(word) > 2 and "." not in word for word in words) or _NOMINAL.search(folded[-1]):
        return False
    main = [word for word in folded if word not in _PARTICLES]
    return len(main) <= 2 or len(words[0].rstrip(".")) == 1 or any(is_given_name(word) for word in main[:2])


def is_abstract(word: str) -> bool:
    """Whether a capitalised word is rather a common noun (`Performance`, `Customers`) than a name."""
    return bool(_ABSTRACT.search(word))


def find_names(text: str, lexicon: Lexicon) -> list[NameSpan]:
    """Return the names of one sentence, in order, without overlaps."""
    spans: list[NameSpan] = []
    for match in NAME.finditer(text):
        group = match.lastgroup
        if group == "run":
            spans += _run_spans(text, match, lexicon)
        elif group == "ident":
            if _is_identifier(match["ident"]) or match["ident"] in lexicon:
                spans.append(_span(match["ident"], match.start(), match.end(), lexicon))
        elif group == "phrase":
            spans.append(
                NameSpan(match["phrase"], match.start("phrase"), match.end("phrase"), lexicon.type_of(match["phrase"]) or "Component")
            )
        elif group == "head":
            meant = lexicon.named_by(match["head"])
            if len(meant) == 1:
                spans.append(NameSpan(meant[0], match.start("head"), match.end("head"), "Component"))
        elif group in ("code", "quoted"):
            spans.append(_span(match[group], match.start(), match.end(), lexicon))
    return spans


def _span(name: str, begin: int, stop: int, lexicon: Lexicon, *, first: bool = False) -> NameSpan:
    return NameSpan(name=name, begin=begin, stop=stop, type=lexicon.type_of(name), first=first)


def _run_spans(text: str, match: re.Match[str], lexicon: Lexicon) -> Iterable[NameSpan]:
    """Take a capitalised run apart where its first word only opens the sentence, or where `Lead of X` joined a role to a name."""
    begin, run = match.start("run"), match["run"]
    opens = not text[:begin].strip(" *_“\"'(") or text[:begin].rstrip(" *_“\"'(")[-1:] in ".!?:"
    while True:
        word, _, rest = run.partition(" ")
        if re.match(r"I['’]", word):
            if not rest:
                return
            begin, run = begin + len(word) + 1, rest
            continue
        if rest and opens and _VERB.fullmatch(word) and is_trigger(word.casefold()):
            begin, run = begin + len(word) + 1, rest
            break
        if word.casefold() not in FUNCTION_WORDS or (word.isupper() and len(word) > 1) or (not opens and word != "The"):
            break
        if not rest:
            return
        begin, run = begin + len(word) + 1, rest
    while run[0].islower():  # a connector left at the front
        word, _, run = run.partition(" ")
        begin += len(word) + 1
    of = run.find(" of ")
    if of > 0 and _ROLE.search(run[:of]):
        tail = re.sub(r"^the ", "", run[of + 4 :])
        yield _span(tail, begin + len(run) - len(tail), begin + len(run), lexicon)
        return
    single = " " not in run
    if single and opens and run not in lexicon and (run.casefold() in lexicon.plain or is_trigger(run.casefold()) or _ABSTRACT.search(run)):
        return
    yield _span(run, begin, begin + len(run), lexicon, first=single and opens)


def _is_identifier(word: str) -> bool:
    if "-" not in word or "_" in word or any(character.isdigit() for character in word):
        return True
    parts = word.split("-")
    if parts[-1] in _ADJECTIVE_ENDS or parts[0] in _ADJECTIVE_STARTS or len(parts) > 3:
        return False
    return not parts[-1].endswith(("ed", "ing", "ly"))
