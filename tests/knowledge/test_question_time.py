"""The time of a question: windows, events, and events resolved."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag2_memory.knowledge.question_time import DatedEvent, EventReference, TimeWindow, match_event, question_window, time_expression
from rag2_memory.types import utc

WINDOWS: list[tuple[str, str | None, str | None]] = [
    ("Who led it in March?", "2026-03-01", "2026-04-01"),
    ("Who led it in December?", "2025-12-01", "2026-01-01"),
    ("What changed last quarter?", "2026-01-01", "2026-04-01"),
    ("Who has led it since 2024?", "2024-01-01", None),
    ("Which components changed after March?", "2026-04-01", None),
    ("Who led it before 2024?", None, "2024-01-01"),
    ("until March", None, "2026-04-01"),
    ("What was true on 2026-03-15?", "2026-03-15", "2026-03-16"),
    ("between March and May", "2026-03-01", "2026-06-01"),
    ("between November and February", "2025-11-01", "2026-03-01"),
    ("from March to May 2025", "2025-03-01", "2025-06-01"),
    ("Who owned it in early 2025?", "2025-01-01", "2025-05-01"),
    ("after March and before June", "2026-04-01", "2026-06-01"),
    ("by the end of March", None, "2026-04-01"),
    ("in the week of 4 March 2026", "2026-03-02", "2026-03-09"),
    ("Who led it in 2024, and who came next?", "2024-01-01", None),
    ("who led it in June 2025 and who in March 2026?", "2025-06-01", "2026-04-01"),
    ("Who ruled Westland in the 19th century?", "1801-01-01", "1901-01-01"),
    ("Who was mayor from 1871 to 1880?", "1871-01-01", "1881-01-01"),
    ("Three weeks ago", "2026-05-25", "2026-06-01"),
    ("Who was on call from 11 to 15 May?", "2026-05-11", "2026-05-16"),
    ("What broke between 28 and 30 May 2025?", "2025-05-28", "2025-05-31"),
    ("incidents of 11-15 May 2026", "2026-05-11", "2026-05-16"),
    ("What was decided on 14 and 15 March?", "2026-03-14", "2026-03-16"),
]


def day(moment: datetime | None) -> str | None:
    return moment.date().isoformat() if moment else None


@pytest.mark.parametrize(("question", "start", "end"), WINDOWS, ids=[case[0] for case in WINDOWS])
def test_a_question_names_its_window(question: str, start: str | None, end: str | None, now: datetime) -> None:
    window = time_expression(question, now=now)
    assert isinstance(window, TimeWindow)
    assert (day(window.start), day(window.end)) == (start, end)
    assert window.phrase


EVENTS: list[tuple[str, str, str, str | None]] = [
    ("who was leading Project Alpha when the database migration occurred in March?", "database migration", "during", "2026-03-01"),
    ("which component in Project Alpha was updated after the May security audit?", "security audit", "after", "2026-05-01"),
    ("before the May audit", "audit", "before", "2026-05-01"),
    ("when the migration occurred", "migration", "during", None),
    ("Who ran the on-call programme at the time of the token cache stampede?", "token cache stampede", "during", None),
    ("what did we decide after the incident, and who owns it?", "incident", "after", None),
    ("Who led Alpha before Vatsal took over?", "Vatsal took over", "before", None),
    ("Who kept the light by the time the pier was finished?", "pier", "during", None),
    ("Was she still leading Alpha when v2.1.0 shipped?", "v2.1.0", "during", None),
]


@pytest.mark.parametrize(("question", "phrase", "relation", "within"), EVENTS, ids=[case[0] for case in EVENTS])
def test_a_question_names_the_event_it_dates_itself_by(
    question: str, phrase: str, relation: str, within: str | None, now: datetime
) -> None:
    event = time_expression(question, now=now)
    assert isinstance(event, EventReference)
    assert (event.phrase, event.relation) == (phrase, relation)
    assert day(event.within.start if event.within else None) == within


@pytest.mark.parametrize(
    "question",
    [
        "May I change the cache?",
        "what happens when the cache is full?",
        "when did the migration happen?",
        "what does sys_init_v2 check before it jumps to the application?",
        "Who looked after auth-service?",
        "ERR-5031 in 2025.4",
        "Is there a version 2.3.1?",
        "the second step",
        "Two machines have died. What now?",
        "",
    ],
)
def test_a_question_without_time_names_none(question: str, now: datetime) -> None:
    assert time_expression(question, now=now) is None


def test_now_is_a_moment(now: datetime) -> None:
    window = time_expression("Who currently leads Alpha?", now=now)
    assert isinstance(window, TimeWindow)
    assert window.start == now


def test_an_event_is_replaced_by_its_dates(now: datetime) -> None:
    migration = TimeWindow(start=utc("2026-03-14"), end=utc("2026-03-16"))
    for question, expected in [
        ("Who led Alpha when the migration happened?", (migration.start, migration.end)),
        ("What changed after the migration?", (migration.end, None)),
        ("Who led Alpha before the migration?", (None, migration.start)),
    ]:
        window = question_window(question, now=now, event_dates=lambda _: migration)
        assert window is not None
        assert (window.start, window.end) == expected
        assert not window.approximate


def test_an_unknown_event_falls_back_to_the_month_the_question_gives(now: datetime) -> None:
    window = question_window("What was updated after the May security audit?", now=now, event_dates=lambda _: None)
    assert window is not None
    assert (day(window.start), window.end, window.approximate) == ("2026-05-01", None, True)
    assert question_window("What was updated after the audit?", now=now) is None


def test_an_event_is_matched_by_its_words_and_its_month() -> None:
    events = [
        DatedEvent(name="Security audit 2024: summary", start=utc("2024-11-04"), end=utc("2024-11-05")),
        DatedEvent(name="Security audit May 2026: summary for staff", start=utc("2026-05-20"), end=utc("2026-05-21")),
        DatedEvent(name="Retro: moving telemetry-db", start=utc("2026-03-19"), end=utc("2026-03-20")),
    ]
    may = TimeWindow(start=utc("2026-05-01"), end=utc("2026-06-01"))
    found = match_event(EventReference(phrase="security audit", relation="after", within=may), events)
    assert found is not None
    assert found.start == utc("2026-05-20")
    assert match_event(EventReference(phrase="birthday party", relation="after"), events) is None
    assert match_event(EventReference(phrase="penetration test", relation="after", within=may), events) is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_question_breaks_the_reader(question: str) -> None:
    window = question_window(question, now=datetime(2026, 6, 20, tzinfo=timezone.utc))
    assert window is None or window.start is None or window.end is None or window.start < window.end


def test_reading_a_question_takes_less_than_three_milliseconds(now: datetime) -> None:
    questions = [case[0] for case in WINDOWS] + [case[0] for case in EVENTS]
    started = time.process_time()
    for _ in range(10):
        for question in questions:
            time_expression(question, now=now)
    assert (time.process_time() - started) / (10 * len(questions)) < 0.003
