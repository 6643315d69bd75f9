"""A clock for tests: it stands still until it is moved."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class FakeClock:
    """Stands in for `Memory.open(clock=…)`."""

    def __init__(self, now: datetime = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **spent: float) -> None:
        """Move on by the arguments of a timedelta, such as `days=3`."""
        self.now += timedelta(**spent)
