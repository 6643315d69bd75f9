"""Titles and headings: what a document is called, what a section is about, and which day a heading gives."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from rag2_memory.knowledge.dates import DateSpan, find_dates
from rag2_memory.knowledge.lexicon import Lexicon, NameSpan, find_names, form_type, looks_like_person
from rag2_memory.types import Chunk

TITLE_LABEL = re.compile(r"(?P<label>(?:ADR|RFC|RFP|PEP|KEP|SOP)[ -]?\d+)\b", re.IGNORECASE)
_VERSIONED = re.compile(r"[^\W\d_a-z][\w-]*(?: [^\W\d_a-z][\w-]*| firmware)* v?\d+(?:\.\d+)+[\w.-]*")
DOCUMENT_LIKE = re.compile(
    r":|\b(?:adr|runbook|report|notes?|polic(?:y|ies)|guide|handbook|minutes|meeting|retro(?:spective)?|summary|findings|plan(?:ning)?|directory|page"
    r"|release|changelog|incident|review|handover|briefing|memo|inventory|test|overview|brief|datasheet|architecture|how to|all-hands|agenda|faq|readme"
    r"|onboarding|checklist|proposal|roadmap|spec(?:ification)?|audit|index)\b",
    re.IGNORECASE,
)
CHANGES = re.compile(r"\b(?:release|changelog|change log|changes|what's new|version|upgrade notes)\b", re.IGNORECASE)


class Headings:
    """Titles and headings of one document, each read once."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._names: dict[str, list[NameSpan]] = {}
        self._dates: dict[tuple[str, datetime | None], DateSpan | None] = {}

    def names(self, text: str) -> list[NameSpan]:
        """Return the names in a heading, typed by what is known now."""
        if text not in self._names:
            self._names[text] = find_names(text, self._lexicon)
        return [span if span.type else replace(span, type=self._lexicon.type_of(span.name)) for span in self._names[text]]

    def date(self, text: str, reference: datetime | None) -> DateSpan | None:
        """Return the first day that a heading gives."""
        key = (text, reference)
        if key not in self._dates:
            found = find_dates(text, reference=reference, prefer="nearest")
            self._dates[key] = next((date for date in found if not date.bare and date.precision in ("day", "instant")), None)
        return self._dates[key]

    def dated(self, chunk: Chunk, reference: datetime | None) -> DateSpan | None:
        """Return the date of the nearest heading that gives one, else the title's."""
        texts = (*reversed(chunk.heading_path), chunk.title)
        return next((date for text in texts if (date := self.date(text, reference))), None)

    def subject(self, chunk: Chunk) -> NameSpan | None:
        """Return what a chunk is about: the project, component or person that its deepest telling heading or its title names."""
        for text in (*reversed(chunk.heading_path), chunk.title):
            for span in self.names(text):
                if span.type in ("Project", "Component", "Developer"):
                    return span
                if looks_like_person(span.name) and span.name == text.strip():
                    return replace(span, type="Developer")
        title = chunk.title.strip()
        if title and not DOCUMENT_LIKE.search(title) and len(title.split()) <= 4 and not self.date(title, chunk.modified_at):
            return NameSpan(title, -1, -1, form_type(title))
        return None

    def section(self, chunk: Chunk) -> NameSpan | None:
        """Return the project or component that the nearest heading below the title names."""
        if not chunk.heading_path or chunk.heading_path[-1] == chunk.title:
            return None
        spans = self.names(chunk.heading_path[-1])
        return spans[0] if len(spans) == 1 and spans[0].type in ("Project", "Component") else None


def document_name(title: str) -> str:
    """Return how other documents refer to one: its label (`ADR 0011`), the release that it announces, else its title."""
    label = TITLE_LABEL.match(title)
    if label:
        return label["label"]
    versioned = _VERSIONED.search(title) if CHANGES.search(title) else None
    return versioned[0] if versioned else title.strip()
