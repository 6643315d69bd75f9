"""The analyser: words, identifiers whole and in parts, scripts, and what never happens whatever the text."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag2_memory.errors import InvalidRequestError
from rag2_memory.records import LexicalDocument
from rag2_memory.tiers import analysis
from rag2_memory.tiers.analysis import ENGLISH_STOP_WORDS, MAX_TERM_CHARS, STANDALONE, Analyzer, fold, lexical_digest

ENGLISH = Analyzer()

WORDS = {
    "stems": ("Caches were migrating", ["cach", "migrat"]),
    "case": ("REDIS Redis redis", ["redi"] * 3),
    "accents": ("café naïve Łódź Ærø Straße", ["cafe", "naiv", "lodz", "aero", "strass"]),
    "stop words": ("the of and it", []),
    "contractions": ("don't isn’t we're", []),
    "possessive": ("Ada's Wood’s", ["ada", "wood"]),
    "apostrophe name": ("O'Brien", ["obrien", "brien"]),
    "initials": ("U.S. e.g. i.e.", ["us"]),
    "capitals": ("IT department of the US", ["it", "depart", "us"]),
    "shouting": ("WHERE IS THE CACHE", ["cach"]),
    "grouped number": ("1,250,000", ["1250000"]),
    "single letters": ("Vitamin C, plan B", ["vitamin", "c", "plan", "b"]),
    "ligatures and width": ("ﬁle ＡＢＣ", ["file", "abc"]),
    "soft hyphen": ("inter\u00adnational", ["internat"]),
    "cyrillic": ("Москва", ["москва"]),
    "greek": ("Αθήνα", ["αθηνα"]),
    "arabic points": ("كِتَاب", ["كتاب"]),
    "hindi": ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.values(), ids=WORDS)
def test_words_become_terms(text: str, expected: list[str]) -> None:
    assert ENGLISH.terms(text) == expected


PARTS = {
    "X-402-V2": ["x-402-v2", "x", "402", "v2"],
    "sys_init_v2": ["sys_init_v2", "sys", "init", "v2"],
    "getUserName": ["getUserName", "get", "user", "name", "getusernam"],
    "HTTPServerError": ["http", "server", "error"],
    "v2.3.1": ["v2.3.1", "2.3.1", "2.3"],
    "services/auth/token_cache.py": [
        "services/auth/token_cache.py",
        "token_cache.py",
        "token_cache",
        "auth",
        "token",
        "cach",
        "tokencach",
        "py",
    ],
    "C:\\Users\\ada": ["c:\\users\\ada", "user", "ada"],
    "ERR-5031": ["err-5031", "err", "5031"],
    "os.path.join": ["os.path.join", "os", "path", "join"],
    "std::vector": ["std::vector", "std", "vector"],
    "ada.lovelace@example.com": ["ada.lovelace@example.com", "ada", "lovelac", "example.com"],
    "https://example.com/a?b=1": ["https://example.com/a", "example.com"],
    "python3": ["python3", "python", "3"],
    "10.0.0.1:8080": ["10.0.0.1:8080", "10.0.0.1", "8080"],
    "C++": ["c++"],
    "C#": ["c#"],
    ".gitignore": [".gitignore", "gitignor"],
    "__init__": ["init"],
    "_private_name": ["private_name", "privat", "name"],
    "well-known": ["well-known", "known", "wellknown"],
    "X\u2011402\u2013V2": ["x-402-v2", "402"],
}


@pytest.mark.parametrize(("text", "expected"), PARTS.items(), ids=PARTS)
def test_an_identifier_gives_its_whole_and_its_parts(text: str, expected: list[str]) -> None:
    assert set(expected) <= set(ENGLISH.terms(text))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("e-mail", "emails"),
        ("token_cache", "TokenCache"),
        ("token cache", "token_cache"),
        ("getusername", "getUserName"),
        ("x-402-v2", "X-402-V2"),
        ("version 2.3", "v2.3.1"),
        ("iPhone 15", "iPhone15"),
        ("naive cafe", "naïve café"),
        ("US economy", "the U.S. economy"),
    ],
)
def test_what_means_the_same_shares_terms(query: str, text: str) -> None:
    assert set(ENGLISH.query(query)) & set(ENGLISH.terms(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What does X-402-V2 need, and sys_init_v2?", ["x-402-v2", "sys_init_v2"]),
        ("open services/auth/token_cache.py at v2.3.1", ["services/auth/token_cache.py", "v2.3.1"]),
        ("getUserName throws ERR-5031", ["getUserName", "err-5031"]),
        ("In 1998 the 20-year-old won 3-1 at 12:30 on 2023-05-08, in the mid-1980s", []),
        ("O'Brien's well-known McDonald and AT&T, U.S. and/or mRNA", []),
        ("X-402-V2 or x-402-v2", ["x-402-v2"]),
    ],
)
def test_identifiers_are_told_from_words_and_quantities(text: str, expected: list[str]) -> None:
    assert ENGLISH.identifiers(text) == expected


def test_an_identifier_by_itself_differs_from_one_inside_another() -> None:
    alone, inside = ENGLISH.terms("token_cache.py"), ENGLISH.terms("auth/token_cache.py")
    assert STANDALONE + "token_cache.py" in alone
    assert STANDALONE + "token_cache.py" not in inside
    assert "token_cache.py" in inside


def test_a_query_weighs_the_whole_more_than_the_parts() -> None:
    weights = ENGLISH.query("redis X-402-V2 redis")
    assert weights["redi"] == 2.0
    assert weights["x-402-v2"] > 1.0 > weights["402"] > 0.0


SCRIPTS = {
    "chinese": ("数据库迁移", "迁移"),
    "japanese": ("東京都に行くデータ", "データ"),
    "korean": ("한국어 검색은", "검색"),
    "thai": ("ภาษาไทย", "ไทย"),
    "mixed": ("Redis缓存v2", "缓存"),
}


@pytest.mark.parametrize(("text", "query"), SCRIPTS.values(), ids=SCRIPTS)
def test_scripts_without_spaces_are_found_by_words_inside(text: str, query: str) -> None:
    terms = set(ENGLISH.terms(text))
    assert set(ENGLISH.query(query)) <= terms
    assert set(ENGLISH.query(query[0])) <= terms


def test_latin_words_beside_other_scripts_keep_their_terms() -> None:
    assert {"redi", "v2"} <= set(ENGLISH.terms("Redis缓存v2"))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("german", "Häuser", "haus"),
        ("french", "continuellement", "continuel"),
        ("spanish", "canciones", "cancion"),
        ("none", "Running", "running"),
    ],
)
def test_other_languages_have_their_own_stemmer(language: str, text: str, expected: str) -> None:
    assert Analyzer(language).terms(text) == [expected]


def test_stop_words_may_be_chosen() -> None:
    assert Analyzer(stop_words=()).terms("the redis") == ["the", "redi"]
    assert Analyzer("german", stop_words=["Der"]).terms("der Fluß") == ["fluss"]


def test_names_differ_where_terms_would() -> None:
    analyzers = [Analyzer(), Analyzer(stop_words=()), Analyzer("german"), Analyzer("none"), Analyzer(stop_words=["the"])]
    assert len({analyzer.name for analyzer in analyzers}) == len(analyzers)
    assert Analyzer().name == ENGLISH.name


@pytest.mark.parametrize("options", [{"language": "klingon"}, {"stop_words": "the"}], ids=["language", "stop words"])
def test_settings_that_make_no_sense_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError, match="needed"):
        Analyzer(**options)


@given(st.text())
def test_terms_are_short_clean_and_always_the_same(text: str) -> None:
    terms = ENGLISH.terms(text)
    assert terms == Analyzer().terms(text)
    assert all(term and not any(char.isspace() for char in term) and len(term) <= MAX_TERM_CHARS for term in terms)
    assert all(term.encode() for term in terms)


@given(st.text())
def test_a_text_is_found_by_its_own_words(text: str) -> None:
    assert set(ENGLISH.query(text)) <= set(ENGLISH.terms(text))
    assert all(weight > 0 for weight in ENGLISH.query(text).values())


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Lt", "Lo", "Nd"]), min_size=1))
def test_no_letter_or_digit_vanishes(text: str) -> None:
    assert Analyzer(stop_words=()).terms(text)


@given(st.text())
@example("𝐀")
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_the_cache_of_tokens_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MAX_CACHED_TOKENS", 10)
    analyzer = Analyzer()
    assert analyzer.terms(" ".join(f"w{i}x" for i in range(100))) == Analyzer().terms(" ".join(f"w{i}x" for i in range(100)))
    assert len(analyzer._cache) <= 10


def test_threads_get_the_terms_of_one_thread() -> None:
    texts = [" ".join(f"migrating{chr(97 + (i * j) % 26)}s" for j in range(200)) for i in range(20)]
    expected = [Analyzer().terms(text) for text in texts]
    shared, results = Analyzer(), {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: shared.terms(texts[i])})) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(20)] == expected


def test_hostile_texts_take_no_time() -> None:
    started = time.monotonic()
    for text in ("a-" * 50_000, "a.b_" * 30_000, "'" * 100_000, "x" * 200_000, "aA" * 50_000, "1," * 50_000, "東" * 50_000, "::" * 50_000):
        ENGLISH.terms(text)
        ENGLISH.query(text)
    assert time.monotonic() - started < 10.0


def test_stop_words_are_folded_words() -> None:
    assert {fold(word) for word in ENGLISH_STOP_WORDS} == ENGLISH_STOP_WORDS
    assert all(word.isalpha() for word in ENGLISH_STOP_WORDS)


def test_a_digest_follows_text_and_window_alone() -> None:
    def digest(document_id: str, namespace: str, text: str, window: str = "") -> str:
        return lexical_digest(LexicalDocument(id=document_id, namespace=namespace, text=text, window=window))

    assert digest("a", "n", "text", "w") == digest("b", "m", "text", "w")
    assert len({digest("a", "n", "text", "w"), digest("a", "n", "text"), digest("a", "n", "textw"), digest("a", "n", "tex", "tw")}) == 4
    assert digest("a", "n", "half \ud800")
