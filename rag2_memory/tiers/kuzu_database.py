"""One open Kuzu or ladybug database: its files, its connections, and its exceptions turned into ours."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rag2_memory.errors import BackendUnavailableError, CorruptIndexError, InvalidRequestError, MemoryInUseError, MissingExtraError

logger = logging.getLogger(__name__)

Run = Callable[..., list[list[Any]]]
"""Runs one statement with named parameters and returns its rows."""

DRIVERS = ("kuzu", "ladybug")

CHECKPOINT_BYTES = 128 * 1024 * 1024
"""Write-ahead log at which a commit folds it into the file. Folding rewrites most pages of a large graph, so a smaller log makes bulk loads
slower (500,000 edges: 33 s at 64 MiB, 28 s here, 26 s at 256 MiB), and a larger one opening after a crash (9 s for 150 MiB)."""

PROBE_SECONDS = 600.0

# Kuzu 0.11.3 takes the process down with it when pages are damaged, so files that were not closed in order are first read by another process.
PROBE = """
import importlib, sys
driver = importlib.import_module(sys.argv[1])
database = driver.Database(sys.argv[2], buffer_pool_size=int(sys.argv[3]))
connection = driver.Connection(database)
for name, kind in connection.execute("CALL show_tables() RETURN name, type").get_all():
    columns = [row[0] for row in connection.execute(f"CALL table_info('{name}') RETURN name").get_all()]
    pattern = f"(x:{name})" if kind == "NODE" else f"()-[x:{name}]->()"
    connection.execute(f"MATCH {pattern} RETURN count(*)" + "".join(f", max(x.{column})" for column in columns)).get_all()
"""

_open_paths: weakref.WeakValueDictionary[Path, KuzuDatabase] = weakref.WeakValueDictionary()
_open_paths_lock = threading.Lock()


class KuzuDatabase:
    """A database handle with a pool of reading connections and one that writes.

    Two handles on one file would lose a committed write without an error, so a path is open once in a process.
    """

    def __init__(self, path: Path | None, *, driver: str, buffer_pool_bytes: int) -> None:
        """Open or create a database.

        Raises:
            MissingExtraError: If the driver is not installed.
            InvalidRequestError: If the process has imported the other driver.
            MemoryInUseError: If this process, or another one, has the file open.
            CorruptIndexError: If the file is not one that this driver can read.
        """
        self.path = path
        self._name = driver
        self._driver = _module(driver)
        self._buffer_pool_bytes = buffer_pool_bytes
        self._returned = threading.Condition()
        self._idle: list[Any] = []
        self._lent = 0
        self._database: Any = None
        if path is not None:
            with _open_paths_lock:
                if path in _open_paths:
                    raise MemoryInUseError(path=path, holder="another graph tier of this process")
                _open_paths[path] = self
        try:
            self._open()
        except BackendUnavailableError:
            self._leave()
            raise

    @contextmanager
    def reading(self) -> Iterator[Run]:
        """Give a connection of one's own for some reads."""
        with self._connection() as connection, self._translated():
            yield _runner(connection)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Run statements that are committed together, or not at all. The caller sees to it that no other transaction is open."""
        with self._connection() as connection, self._translated():
            run = _runner(connection)
            run("BEGIN TRANSACTION")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                with suppress(RuntimeError):  # the engine rolls back by itself after some failures, and then there is nothing to roll back
                    run("ROLLBACK")
                raise

    def sibling(self, suffix: str) -> Path | None:
        """Return a file beside the database that belongs to it."""
        return None if self.path is None else self.path.with_name(self.path.name + suffix)

    def close(self) -> None:
        """Release the file; a note beside it says that it was closed in order. Idempotent."""
        if self._database is None:
            return
        self._release()
        if (seal := self.sibling(".closed")) is not None:
            with suppress(OSError):  # without the note the next open only takes longer
                seal.write_text(json.dumps(self._stamp()))
        self._leave()

    def clear(self) -> None:
        """Remove the files, readable or not, and begin anew."""
        self._release()
        self._remove_files()
        self._open()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._returned:
            if self._database is None:
                raise BackendUnavailableError("this graph is closed, or just being emptied. Open it again.")
            self._lent += 1
            connection = self._idle.pop() if self._idle else None
        try:
            with self._translated():
                connection = connection or self._driver.Connection(self._database)
            yield connection
        finally:
            with self._returned:
                self._lent -= 1
                if connection is not None:
                    self._idle.append(connection)
                self._returned.notify_all()

    def _open(self) -> None:
        existed = self.path is not None and self.path.exists()
        if not existed:
            self._remove_files()  # a write-ahead log without its file would be replayed into the new one
        elif self._stamp() != self._sealed():
            self._probe()
        try:
            self._database = self._driver.Database(
                str(self.path) if self.path else ":memory:",
                buffer_pool_size=self._buffer_pool_bytes,
                checkpoint_threshold=CHECKPOINT_BYTES,
            )
        except (RuntimeError, MemoryError) as exc:
            raise self._failure(str(exc), existed=existed) from exc
        if (seal := self.sibling(".closed")) is not None:
            seal.unlink(missing_ok=True)

    def _remove_files(self) -> None:
        if self.path is None:
            return
        for file in self.path.parent.iterdir() if self.path.parent.is_dir() else ():
            if file == self.path or file.name.startswith(f"{self.path.name}."):
                shutil.rmtree(file) if file.is_dir() else file.unlink()

    def _probe(self) -> None:
        """Have another process read everything."""
        command = [sys.executable, "-c", PROBE, self._name, str(self.path), str(self._buffer_pool_bytes)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        except OSError as exc:
            logger.warning("no process could be started that tries to read %s: %s", self.path, exc)
            return
        except subprocess.TimeoutExpired as exc:
            raise CorruptIndexError(tier="graph", problem=f"reading {str(self.path)!r} took more than {PROBE_SECONDS:g} s") from exc
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "Error: " in line]
            raise self._failure(told[-1] if told else f"reading it ended a process with exit code {done.returncode}", existed=True)

    def _failure(self, problem: str, *, existed: bool) -> BackendUnavailableError:
        if "Could not set lock" in problem and self.path is not None:
            return MemoryInUseError(path=self.path, holder="another process")
        if existed:
            return CorruptIndexError(tier="graph", problem=f"{self._name}: {problem.strip()}")
        return BackendUnavailableError(
            f"{self._name} cannot create {str(self.path)!r}: {problem.strip()}. Check the folder and its permissions."
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            hint = (
                f" Its limit is {self._buffer_pool_bytes:,} bytes: pass a larger `buffer_pool_bytes` to the graph tier."
                if "buffer pool is full" in str(exc)
                else ""
            )
            raise BackendUnavailableError(f"the graph engine {self._name} failed: {exc}{hint}") from exc

    def _release(self) -> None:
        """Close the database once every connection has been given back; using one later could end the process."""
        with self._returned:
            database, self._database = self._database, None
            self._returned.wait_for(lambda: self._lent == 0)
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if database is not None:
            database.close()

    def _leave(self) -> None:
        with _open_paths_lock:
            if self.path is not None and _open_paths.get(self.path) is self:
                del _open_paths[self.path]

    def _stamp(self) -> list[int]:
        """Return what changes whenever the files do."""
        state = [path.stat() for path in (self.path, self.sibling(".wal")) if path is not None and path.exists()]
        return [value for stat in state for value in (stat.st_size, stat.st_mtime_ns)]

    def _sealed(self) -> list[int] | None:
        seal = self.sibling(".closed")
        try:
            return json.loads(seal.read_text()) if seal else None
        except (OSError, ValueError):
            return None


def _module(driver: str) -> Any:
    """Import a driver; with the other one in the process, using it would end the process."""
    if other := next((name for name in DRIVERS if name != driver and name in sys.modules), None):
        raise InvalidRequestError(
            f"got driver={driver!r} in a process that has imported {other!r}; needed a process that imports only one of the two."
        )
    try:
        return importlib.import_module(driver)
    except ImportError as exc:
        raise MissingExtraError(package=driver, extra=driver, purpose=f"the graph tier with driver={driver!r}") from exc


def _runner(connection: Any) -> Run:
    def run(statement: str, **parameters: Any) -> list[list[Any]]:
        result = connection.execute(statement, parameters)
        try:
            rows: list[list[Any]] = result.get_all()
        finally:
            result.close()
        return rows

    return run
