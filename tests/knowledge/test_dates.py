"""Dates in text: spans, precision, what is completed against a reference, and what is no date."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.knowledge.dates import find_dates

CASES = [
    ("2026-03-15", "2026-03-15", "2026-03-16", "day"),
    ("2026-03", "2026-03-01", "2026-04-01", "month"),
    ("2026/3/5", "2026-03-05", "2026-03-06", "day"),
    ("15 March 2026", "2026-03-15", "2026-03-16", "day"),
    ("the 15th of March", "2026-03-15", "2026-03-16", "day"),
    ("March 15, 2026", "2026-03-15", "2026-03-16", "day"),
    ("Monday, 2 March 2026", "2026-03-02", "2026-03-03", "day"),
    ("Mar. 2026", "2026-03-01", "2026-04-01", "month"),
    ("15/3/2026", "2026-03-15", "2026-03-16", "day"),
    ("3/15/2026", "2026-03-15", "2026-03-16", "day"),
    ("04.05.2026", "2026-05-04", "2026-05-05", "day"),
    ("18 April 1783", "1783-04-18", "1783-04-19", "day"),
    ("March 1215", "1215-03-01", "1215-04-01", "month"),
    ("the 1870s", "1870-01-01", "1880-01-01", "decade"),
    ("the 19th century", "1801-01-01", "1901-01-01", "century"),
    ("late 18th century", "1768-01-01", "1801-01-01", "part"),
    ("in 1871", "1871-01-01", "1872-01-01", "year"),
    ("Q1 2026", "2026-01-01", "2026-04-01", "quarter"),
    ("2025 Q4", "2025-10-01", "2026-01-01", "quarter"),
    ("the first quarter of 2025", "2025-01-01", "2025-04-01", "quarter"),
    ("H2 2025", "2025-07-01", "2026-01-01", "half"),
    ("spring 2025", "2025-03-01", "2025-06-01", "season"),
    ("winter 2026", "2025-12-01", "2026-03-01", "season"),
    ("early 2025", "2025-01-01", "2025-05-01", "part"),
    ("mid-2024", "2024-05-01", "2024-09-01", "part"),
    ("late March 2026", "2026-03-21", "2026-04-01", "part"),
    ("end of 2025", "2025-12-01", "2026-01-01", "part"),
    ("the late 1990s", "1997-01-01", "2000-01-01", "part"),
    ("the 1990s", "1990-01-01", "2000-01-01", "decade"),
    ("last quarter", "2026-01-01", "2026-04-01", "quarter"),
    ("last month", "2026-05-01", "2026-06-01", "month"),
    ("last week", "2026-06-08", "2026-06-15", "week"),
    ("this year", "2026-01-01", "2027-01-01", "year"),
    ("beginning of last year", "2025-01-01", "2025-02-01", "part"),
    ("last March", "2026-03-01", "2026-04-01", "month"),
    ("last June", "2025-06-01", "2025-07-01", "month"),
    ("next March", "2027-03-01", "2027-04-01", "month"),
    ("last summer", "2025-06-01", "2025-09-01", "season"),
    ("last Tuesday", "2026-06-16", "2026-06-17", "day"),
    ("last Saturday", "2026-06-13", "2026-06-14", "day"),
    ("next Monday", "2026-06-22", "2026-06-23", "day"),
    ("yesterday", "2026-06-19", "2026-06-20", "day"),
    ("three weeks ago", "2026-05-25", "2026-06-01", "week"),
    ("a couple of months ago", "2026-04-01", "2026-05-01", "month"),
    ("two years ago", "2024-01-01", "2025-01-01", "year"),
    ("past 10 days", "2026-06-10", "2026-06-21", "range"),
    ("Q3", "2025-07-01", "2025-10-01", "quarter"),
]


@pytest.mark.parametrize(("text", "start", "end", "precision"), CASES, ids=[case[0] for case in CASES])
def test_an_expression_is_read_as_its_span(text: str, start: str, end: str, precision: str, now: datetime) -> None:
    for sentence in (text, f"It was so, {text}, they said."):
        (span,) = find_dates(sentence, reference=now)
        assert (span.start.date().isoformat(), span.end.date().isoformat(), span.precision) == (start, end, precision)
        assert sentence[span.begin : span.stop] in text


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("from 11 to 15 May 2026", ["2026-05-11", "2026-05-15"]),
        ("11–15 May 2026", ["2026-05-11", "2026-05-15"]),
        ("May 3–7, 2026", ["2026-05-03", "2026-05-07"]),
        ("Saturday 14 and Sunday 15 March 2026", ["2026-03-14", "2026-03-15"]),
        ("3, 4 and 5 June", ["2026-06-03", "2026-06-04", "2026-06-05"]),
        ("from October 7 to October 18, 2024", ["2024-10-07", "2024-10-18"]),
        ("from 20 December to 3 January 2026", ["2025-12-20", "2026-01-03"]),
        ("between March and May 2024", ["2024-03-01", "2024-05-01"]),
        ("yesterday and 5 May 2024", ["2026-06-19", "2024-05-05"]),
        ("last March to May 2024", ["2026-03-01", "2024-05-01"]),
        ("31 and 3 June 2026", ["2026-06-03"]),
        ("Room 3, 4 May 2026", ["2026-05-04"]),
        ("1 to 3 replicas on 5 May 2026", ["2026-05-05"]),
        ("On May 3 and 12 engineers", ["2026-05-03"]),
    ],
)
def test_days_named_together_share_their_month_and_year(text: str, days: list[str], now: datetime) -> None:
    assert [span.start.date().isoformat() for span in find_dates(text, reference=now, prefer="nearest")] == days


def test_a_time_of_day_keeps_its_zone(now: datetime) -> None:
    (span,) = find_dates("at 2026-03-15T09:30:00+02:00 sharp", reference=now)
    assert span.start == datetime(2026, 3, 15, 7, 30, tzinfo=timezone.utc)
    assert span.precision == "instant"


@pytest.mark.parametrize(
    "text",
    ["31 June 2026", "v2.3.1", "version 2026.1", "ADR-2026-03-15", "10.0.0.1", "nothing", "he marched on", "the second one", "1999-2000x"],
)
def test_what_is_no_date_is_not_read_as_one(text: str, now: datetime) -> None:
    assert [span for span in find_dates(text, reference=now) if not span.bare] == []


def test_a_months_name_and_a_year_alone_are_marked_as_bare(now: datetime) -> None:
    assert [span.bare for span in find_dates("May I go in 2024?", reference=now)] == [True, True]
    assert [span.bare for span in find_dates("May 2024", reference=now)] == [False]


def test_without_a_reference_only_complete_dates_are_read() -> None:
    assert find_dates("yesterday, in March, on 3 May, last week", reference=None) == []
    assert len(find_dates("on 3 May 2026", reference=None)) == 1


def test_a_missing_year_is_the_past_one_for_questions_and_the_nearest_one_for_documents(now: datetime) -> None:
    assert find_dates("on 8 July", reference=now)[0].start.year == 2025
    assert find_dates("on 8 July", reference=now, prefer="nearest")[0].start.year == 2026
    assert find_dates("29 February", reference=now)[0].start.year == 2024


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2099, 12, 31)))
def test_every_day_is_read_back_from_every_way_of_writing_it(moment: datetime) -> None:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=timezone.utc)
    for text in (
        f"{day:%Y-%m-%d}",
        f"{day.day} {day:%B} {day.year}",
        f"{day:%B} {day.day}, {day.year}",
        f"{day.day:02}.{day.month:02}.{day.year}",
    ):
        (span,) = find_dates(text, reference=None)
        assert (span.start, span.end) == (day, day + timedelta(days=1))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    spans = find_dates(text, reference=datetime(2026, 6, 20, tzinfo=timezone.utc))
    assert all(span.start < span.end for span in spans)
    assert all(one.stop <= two.begin for one, two in pairwise(spans))
