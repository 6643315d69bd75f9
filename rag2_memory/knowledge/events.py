"""Dated events: what took place when, so that a question can refer to it ("when the migration occurred")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag2_memory.knowledge.dates import find_dates
from rag2_memory.knowledge.shapes import Context
from rag2_memory.knowledge.triggers import names_event
from rag2_memory.records import NamedEntity

OCCURRED_AT = "occurred_at"
"""Node property: the day on which an event took place or began, ISO 8601."""
ENDED_AT = "ended_at"

EVENT_NOUN = (
    r"migration|audit|outage|incident|release|launch|review|kick-?off|cut-?over|upgrade|roll-?out|deployment|meeting|retrospective|freeze|handover|"
    r"merger|acquisition|breach|attack|failover|maintenance window|pilot|go-live|test|inspection|election|conference|workshop|training|reorganisation|"
    r"reorganization|move|switch|rotation|recall|shutdown|trial"
)
_EVENT = re.compile(
    rf"\b(?P<name>(?:[\w-]+ ){{0,3}}?(?:{EVENT_NOUN}))\b(?P<of>(?: of (?:the )?`?[\w-]+`?(?: [A-Z][\w-]*)?)?)[^.;:]{{0,50}}?\b"
    r"(?:happened|occurred|took place|takes place|(?:was|were|is|has been) (?:completed|done|carried out|performed|finished|held|made|run)|ran|completed|finished"
    r"|started|began|starts|ended)\b",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^(?:(?:the|a|an|this|that|our|its|their|on|in|after|before|during|when|and|of|as|to|for|which|while|since|first|last|next)\s+)+",
    re.IGNORECASE,
)


def dated_events(sentence: str, context: Context) -> Iterator[NamedEntity]:
    """Yield the events that a sentence dates, each with `occurred_at`; what has no date of its own is left out."""
    match = _EVENT.search(sentence) if names_event(sentence) else None
    if not match:
        return
    dates = [
        date for date in find_dates(sentence, reference=context.observed, prefer="nearest") if not date.bare or date.precision == "month"
    ]
    if not dates:
        return
    name = _LEADING.sub("", match["name"]).strip("` ")
    if not name:
        return
    first, last = dates[0], dates[-1]
    properties = {OCCURRED_AT: first.start.date().isoformat()}
    if last is not first or first.precision not in ("day", "instant"):
        properties[ENDED_AT] = last.end.date().isoformat()
    yield NamedEntity(name=name + match["of"].replace("`", ""), weight=0.5, properties=properties)
