"""Kills a memory's process at every step of its work, and looks at what the next one finds.

A step is a moment before or after a call that changes the registry or an index. Each kill starts from a copy of the folder as an undisturbed run left it before
one operation: a child opens it, begins the operation and is killed; another opens what is left, compares it with the undisturbed run, finishes the
operation and compares again. The parent opens no engine, so its children can be forked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rag2_memory import Memory, Scope, UnknownDocumentError
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder
from rag2_memory.tiers.cache_semantic import SemanticCache
from rag2_memory.tiers.graph_kuzu import KuzuGraphTier
from rag2_memory.tiers.lexical_tantivy import TantivyLexicalTier
from rag2_memory.tiers.registry_sql import SqlRegistry
from rag2_memory.tiers.vector_chroma import ChromaVectorTier

STEPS: dict[type, tuple[str, ...]] = {
    SqlRegistry: (
        *("write", "publish", "hide", "unarchive", "set_acl", "relocate", "purge", "compact", "annotate", "store_vectors", "set_windows"),
        *("settle", "postpone", "owe", "add_knowledge", "mark_compared", "record_merges", "note"),
        *("deepen", "keep_answer", "drop_stray_answers", "recheck_aliases", "retract_merges", "change_communities"),
    ),
    ChromaVectorTier: ("upsert", "delete", "clear"),
    TantivyLexicalTier: ("upsert", "delete", "clear"),
    KuzuGraphTier: ("upsert", "delete", "clear"),
    SemanticCache: ("put", "invalidate", "clear"),
}
"""What changes a tier."""

START = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
ADA = Scope(user="ada")
QUESTIONS = ("Who leads Project Zanzibar?", "giraffe number 3", "When does the harbour open?", "Where does Maria Lopez work?")
ASKED = (*((question, ADA) for question in QUESTIONS), (QUESTIONS[2], Scope()), (QUESTIONS[0], Scope(namespace="other")))
CHILD_SECONDS = 180.0
"""A child that takes longer hangs."""

Files = dict[str, str]


def page(name: str, version: int, sections: int = 3) -> str:
    """Return a page of several chunks, each of which names the page and its version."""
    parts = [f"# {name.capitalize()}\n\nAnna Schmidt leads Project Zanzibar. Maria Lopez works for {name.capitalize()} Systems.\n"]
    for number in range(sections):
        parts.append(f"## Part {number}\n\n" + f"The giraffe number {number} of {name} eats leaf{version}x{number}. " * 12)
    return "\n".join(parts)


def files_before(operation: int) -> Files:
    """Return the folder's pages as they are while an operation runs."""
    files = {f"{name}.md": page(name, 1) for name in ("alpha", "beta", "gamma", "delta")}
    files["harbour.md"] = "---\nacl: ['user:ada']\n---\nThe harbour opens at six. Captain Ines Duarte keeps the key.\n"
    if operation >= 1:
        files |= {"beta.md": page("beta", 2), "gamma.md": page("gamma", 2, sections=1), "epsilon.md": page("epsilon", 1)}
    if operation >= 4:
        files["alpha.md"] = page("alpha", 3)
        del files["delta.md"]
    return files


def put_files(folder: Path, operation: int) -> Path:
    """Make the folder hold exactly those pages, with the same dates every time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in files_before(operation).items():
        (folder / name).write_text(text)
        changed = START.timestamp() - 1_000 + (operation if operation and name in ("alpha.md", "beta.md") else 0)
        os.utime(folder / name, (changed, changed))
    return folder


def absent_is_fine(call: Callable[[], object]) -> None:
    """Run a removal that may have been completed before."""
    with suppress(UnknownDocumentError):
        call()


def archive_once(memory: Memory) -> None:
    """Archive a page unless it is archived."""
    if {state.document_id: state.state for state in memory.documents()}["beta.md"] == "live":
        memory.archive("beta.md")


def restore_once(memory: Memory) -> None:
    """Bring the archived page back unless it is back."""
    if {state.document_id: state.state for state in memory.documents()}["beta.md"] == "archived":
        memory.restore("beta.md")


def say(memory: Memory, *turns: tuple[str, str]) -> None:
    """Remember turns that carry ids."""
    memory.remember([{"role": "user", "name": "Ada", "content": text, "id": name} for name, text in turns], thread_id="t")


def recall_and_say(memory: Memory) -> None:
    """Have the cache hold a context, and then change what it was made of."""
    memory.recall(QUESTIONS[0], budget=4_000)
    say(memory, ("m4", "Zanzibar is far."))


OPERATIONS: tuple[tuple[str, Callable[[Memory, Path], object]], ...] = (
    ("ingest a folder", lambda memory, docs: memory.ingest(docs)),
    ("ingest what changed", lambda memory, docs: memory.ingest(docs)),
    (
        "remember",
        lambda memory, docs: say(memory, ("m1", "I adopted a greyhound."), ("m2", "She is called Pixie."), ("m3", "Pixie sleeps.")),
    ),
    ("restrict", lambda memory, docs: memory.set_acl("beta.md", ["user:ada"])),
    ("prune", lambda memory, docs: memory.ingest(docs)),
    ("recall, then remember", lambda memory, docs: recall_and_say(memory)),
    ("archive", lambda memory, docs: archive_once(memory)),
    ("restore", lambda memory, docs: restore_once(memory)),
    ("forget a page", lambda memory, docs: absent_is_fine(lambda: memory.forget("gamma.md"))),
    ("forget a turn", lambda memory, docs: absent_is_fine(lambda: memory.forget("m2"))),
    ("remove", lambda memory, docs: memory.remove(["epsilon.md"])),
    ("rebuild vector", lambda memory, docs: memory.rebuild("vector")),
    ("rebuild lexical", lambda memory, docs: memory.rebuild("lexical")),
    ("rebuild graph", lambda memory, docs: memory.rebuild("graph")),
    ("another namespace", lambda memory, docs: memory.ingest(docs / "alpha.md", namespace="other")),
    ("open without vectors", lambda memory, docs: None),
    ("open without words", lambda memory, docs: None),
    ("open without graph", lambda memory, docs: None),
    ("consolidate", lambda memory, docs: memory.consolidate(half_life_days=1, archive=True)),
)
LOST = {"open without vectors": "vector", "open without words": "lexical", "open without graph": "graph.kuzu"}
"""What is deleted before the operation; here the steps of opening count."""


class Stepper:
    """Counts the steps of an operation and kills its process at one of them."""

    def __init__(self, fatal: str | None) -> None:
        self.fatal = fatal
        self.armed = False
        self.seen: list[str] = []
        self._calls: Counter[str] = Counter()

    def wrap_tiers(self) -> None:
        """Have every changing call of every tier report its begin and end."""
        for tier, names in STEPS.items():
            for name in names:
                setattr(tier, name, self._wrapped(f"{tier.__name__}.{name}", getattr(tier, name)))

    def _wrapped(self, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **options: Any) -> Any:
            self._calls[label] += self.armed
            number = self._calls[label]
            self._step(f"before {label} {number}")
            result = call(*args, **options)
            self._step(f"after {label} {number}")
            return result

        return stepped

    def _step(self, point: str) -> None:
        if self.armed:
            self.seen.append(point)
            if point == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)


class WordCounter:
    """Counts words: what a token is does not matter here, and this loads nothing."""

    name = "words"

    def count(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())


def open_at(folder: Path, operation: int) -> Memory:
    """Open the memory at the moment of an operation."""
    return Memory.open(folder, embedder=FakeEmbedder(), token_counter=WordCounter(), clock=FakeClock(START + timedelta(days=operation)))


def picture(memory: Memory) -> dict[str, Any]:
    """Return what the memory holds and answers: documents, searches under every scope, facts and communities."""
    documents = {}
    for state in memory.documents():
        if state.state != "deleted":
            text = memory.services.registry.document_text(state.document_id, Scope(namespace=state.namespace, user="ada"))
            documents[f"{state.namespace}/{state.document_id}"] = [state.state, sorted(state.acl), text]
    searches = {
        f"{scope.namespace}/{scope.user}: {question}": [[p.document_id, p.text, p.title] for p in memory.search(question, k=8, scope=scope)]
        for question, scope in ASKED
    }
    facts = sorted(
        f"{f.subject} {f.predicate} {f.object} {len(f.evidence)}"
        for name in ("Project Zanzibar", "Maria Lopez")
        for f in memory.facts(name)
    )
    communities = sorted(f"{sorted(m.document_id for m in c.members)}: {c.summary}" for c in memory.communities(scope=ADA))
    return {"documents": documents, "searches": searches, "facts": facts, "communities": communities}


def forked(work: Callable[[Callable[[str, Any], None]], None], *, kill_after: float | None = None) -> dict[str, Any]:
    """Run work in a child that tells what it reached; `kill_after` counts from its word `opened`. Returns what it told, and `killed`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 0
        try:
            work(lambda key, value: _tell(writing, key, value))
        except BaseException:  # whatever it is, the parent must hear of it before the child ends
            _tell(writing, "error", traceback.format_exc())
            code = 1
        os._exit(code)
    os.close(writing)
    told = _listen(reading, child, kill_after)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return told | {"killed": os.WIFSIGNALED(status), "status": status}


def _tell(pipe: int, key: str, value: Any) -> None:
    data = (json.dumps([key, value]) + "\n").encode()
    while data:
        data = data[os.write(pipe, data) :]


def _listen(pipe: int, child: int, kill_after: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    rest, deadline = b"", time.monotonic() + CHILD_SECONDS
    while True:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            told |= {} if kill_after is not None and "opened" in told else {"error": f"no end within {CHILD_SECONDS} s"}
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + CHILD_SECONDS
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            return told
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            key, value = json.loads(line)
            told[key] = value
            if key == "opened" and kill_after is not None:
                deadline = time.monotonic() + kill_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill to be done: at a step, or a while after the operation began."""

    operation: int
    point: str | None = None
    fraction: float = 0.0
    """Of the time that the undisturbed operation took."""


class Harness:
    """Holds the undisturbed run and does kills against it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.docs = base / "docs"
        self.pictures: list[dict[str, Any]] = []
        self.points: list[list[str]] = []
        self.seconds: list[float] = []
        self._run_undisturbed()

    def _run_undisturbed(self) -> None:
        current = self.base / "undisturbed"
        for number, (name, _) in enumerate(OPERATIONS):
            if number:
                shutil.copytree(current, self.base / f"before-{number}")
            else:
                (self.base / "before-0").mkdir()
                current.mkdir()
            told = self._begin(current, number, None, close=True)
            if "error" in told:
                raise RuntimeError(f"the undisturbed run failed at {name!r}: {told['error']}")
            self.pictures.append(told["picture"])
            self.points.append(told["steps"])
            self.seconds.append(told["seconds"])

    def _begin(self, folder: Path, number: int, kill: Kill | None, *, close: bool = False) -> dict[str, Any]:
        """Do an operation in a child, up to its kill."""
        put_files(self.docs, number)
        name, operation = OPERATIONS[number]
        if name in LOST:
            _remove(folder, LOST[name])

        def work(tell: Callable[[str, Any], None]) -> None:
            stepper = Stepper(kill.point if kill else None)
            stepper.wrap_tiers()
            stepper.armed = name in LOST
            started = time.monotonic()
            if name in LOST:
                tell("opened", True)
            memory = open_at(folder, number)
            if name not in LOST:
                tell("opened", True)
                started = time.monotonic()
            stepper.armed = True
            operation(memory, self.docs)
            stepper.armed = False
            tell("acknowledged", True)
            if close:
                tell("seconds", time.monotonic() - started)
                tell("steps", stepper.seen)
                if not (report := memory.verify()).ok:
                    raise AssertionError(str(report))
                tell("picture", picture(memory))
                memory.close()
            else:
                time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)

        kill_after = kill.fraction * self.seconds[number] if kill and kill.point is None else None
        return forked(work, kill_after=kill_after)

    def kill(self, kill: Kill) -> list[str]:
        """Do one kill; returns what was wrong afterwards."""
        folder = self.base / "work"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base / f"before-{kill.operation}", folder)
        first = self._begin(folder, kill.operation, kill)
        if "error" in first:
            return [f"before the kill: {first['error']}"]
        if not first["killed"]:
            return ["was not killed"]
        second = forked(lambda tell: self._look(folder, kill.operation, tell))
        if "error" in second or second["killed"]:
            return [f"after the kill: {second.get('error', second['status'])}"]
        return list(self._problems(kill.operation, first, second))

    def _look(self, folder: Path, number: int, tell: Callable[[str, Any], None]) -> None:
        memory = open_at(folder, number)
        report = memory.verify()
        tell("verified", "" if report.ok else str(report))
        found = picture(memory)
        tell("found", found)
        if found != self.pictures[number]:
            OPERATIONS[number][1](memory, self.docs)
            report = memory.verify()
            tell("verified again", "" if report.ok else str(report))
            tell("finished", picture(memory))

    def _problems(self, number: int, first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
        for key in ("verified", "verified again"):
            if second.get(key):
                yield f"{key}: {second[key]}"
        empty: dict[str, Any] = {"documents": {}}
        before = self.pictures[number - 1] if number else empty
        after, found = self.pictures[number], second["found"]
        old, new, held = before["documents"], after["documents"], found["documents"]
        for name in old.keys() | new.keys() | held.keys():
            if held.get(name) not in (old.get(name), new.get(name)):
                yield f"{name} is neither as before nor as after: {held.get(name)}"
        if first.get("acknowledged") or held == new != old:
            yield from _differences(found, after, "kept")
        elif held == old != new and number:
            yield from _differences(found, before, "undone")
        yield from _differences(second.get("finished", after), after, "finished")


def _remove(folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _differences(found: dict[str, Any], wanted: dict[str, Any], when: str) -> Iterator[str]:
    for part in ("documents", "searches"):
        for key in found[part].keys() | wanted[part].keys():
            if found[part].get(key) != wanted[part].get(key):
                yield f"{when}, {part} {key}: {found[part].get(key)} instead of {wanted[part].get(key)}"
    if found["facts"] != wanted["facts"]:
        yield f"{when}, facts: {found['facts']} instead of {wanted['facts']}"
    if (
        when != "undone" and found["communities"] != wanted["communities"]
    ):  # each is stored by itself: some may stand before the night is over
        yield f"{when}, communities: {found['communities']} instead of {wanted['communities']}"


def planned(points: list[list[str]], *, kills: int, seed: int) -> list[Kill]:
    """Return kills: every step once, as far as they go, three of four at steps; the rest at random moments."""
    chance = random.Random(seed)
    steps = [Kill(operation=number, point=point) for number, listed in enumerate(points) for point in listed]
    chance.shuffle(steps)
    at_steps = steps[: max(kills * 3 // 4, 1)]
    others = [Kill(operation=chance.randrange(len(points)), fraction=chance.uniform(0.0, 1.1)) for _ in range(kills - len(at_steps))]
    return at_steps + others


def run(
    *, kills: int, seed: int, seconds: float | None = None, base: Path | None = None, only: str = "", part: tuple[int, int] = (0, 1)
) -> dict[str, Any]:
    """Do kills and return what happened; with `seconds`, stop after that long."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=base) as folder:
        harness = Harness(Path(folder))
        undisturbed = time.monotonic() - started
        problems: dict[str, list[str]] = {}
        done: list[Kill] = []
        for kill in planned(harness.points, kills=kills, seed=seed)[part[0] :: part[1]]:
            if seconds is not None and time.monotonic() - started > seconds:
                break
            if only and only not in OPERATIONS[kill.operation][0]:
                continue
            if wrong := harness.kill(kill):
                problems[f"{OPERATIONS[kill.operation][0]}, {kill.point or f'at {kill.fraction:.3f}'}"] = wrong
                print(
                    f"{OPERATIONS[kill.operation][0]}, {kill.point or f'at {kill.fraction:.3f}'}: {wrong[0][:600]}",
                    file=sys.stderr,
                    flush=True,
                )
            done.append(kill)
    return {
        "seed": seed,
        "kills": len(done),
        "at_steps": sum(kill.point is not None for kill in done),
        "steps": sum(map(len, harness.points)),
        "operations": len({kill.operation for kill in done}),
        "undisturbed_seconds": round(undisturbed, 2),
        "seconds": round(time.monotonic() - started, 1),
        "problems": problems,
    }


def main() -> None:
    """Do kills as the command line says and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--only", default="", help="operations whose name holds this")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="which part of how many that share a seed")
    arguments = parser.parse_args()
    print(
        json.dumps(
            run(kills=arguments.kills, seed=arguments.seed, seconds=arguments.seconds, only=arguments.only, part=tuple(arguments.part))
        )
    )


if __name__ == "__main__":
    main()
