"""Who may use a memory now: any number of readers, one writer at a time, and nobody once it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rag2_memory.errors import ClosedMemoryError


class Gate:
    """Counts readers, queues writers (one thread may take its turn again inside its turn), and lets both finish before it closes."""

    def __init__(self) -> None:
        self._writing = threading.RLock()
        self._in_flight = threading.Condition()
        self._readers = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read, beside other readers and the writer.

        Raises:
            ClosedMemoryError: If the memory is closed.
        """
        with self._in_flight:
            if self._closed:
                raise ClosedMemoryError
            self._readers += 1
        try:
            yield
        finally:
            with self._in_flight:
                self._readers -= 1
                self._in_flight.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait for the turn to write and hold it.

        Raises:
            ClosedMemoryError: If the memory is closed.
        """
        with self._writing:
            if self._closed:
                raise ClosedMemoryError
            yield

    def close(self, release: Callable[[], None]) -> None:
        """Let nobody in any more, wait for those inside, then call `release`; the second time nothing happens."""
        with self._writing:
            with self._in_flight:
                if self._closed:
                    return
                self._closed = True
                self._in_flight.wait_for(lambda: self._readers == 0)
            release()
