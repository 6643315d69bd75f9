"""A context from the cache says what the pipeline would say now, whatever was written, asked and waited for in between.

The suite runs a few dozen random histories. Many more: RAG2_CACHE_HISTORIES=10000 python -m pytest tests/memory/test_cache_coherence.py
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rag2_memory import Context, Document, Memory, MemoryConfig, Scope
from rag2_memory.graphs.cache_access import content
from rag2_memory.graphs.recall import build_recall_graph
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

HISTORIES = int(os.environ.get("RAG2_CACHE_HISTORIES", "12"))
NAMES = ("one", "two", "three", "four", "five")
SCOPES = (
    Scope(namespace="red"),
    Scope(namespace="red", user="ada"),
    Scope(namespace="red", user="ben", groups=frozenset({"eng"})),
    Scope(namespace="blue"),
)
PEOPLE = ("Ada Lovelace", "Ben Okri", "Cleo Vance", "A. Lovelace")
PROJECTS = ("Project Alpha", "Project Beta", "Project Gamma", "Alpha")
DAYS = ("2026-01-10", "2026-06-29", "2026-07-02", "2026-09-01")
PHRASES = (
    "The gateway listens on port 8443.",
    "The module X-402-V2 calls sys_init twice.",
    "Backups of the orchard run at night and are kept for three weeks.",
    "Zebras graze near the river.",
    "Nobody reads this line about the gateway and the river.",
)
QUESTIONS = (
    "Who leads Project Alpha?",
    "Who is leading Project Alpha?",
    "Who currently leads Project Beta?",
    "Which project does the lead of Project Beta also lead?",
    "What happened yesterday?",
    "Who led Project Alpha in July?",
    "Which port does the gateway listen on?",
    "On which port does the gateway listen?",
    "What calls X-402-V2?",
    "What was decided about the river?",
)
PRINCIPALS = ("user:ada", "group:eng", "user:nobody")

sentences = st.one_of(
    st.sampled_from(PHRASES),
    st.builds("{} leads {} since {}.".format, st.sampled_from(PEOPLE), st.sampled_from(PROJECTS), st.sampled_from(DAYS)),
    st.builds("{} leads {} until {}.".format, st.sampled_from(PEOPLE), st.sampled_from(PROJECTS), st.sampled_from(DAYS)),
    st.builds("{} depends on {}.".format, st.sampled_from(PROJECTS), st.sampled_from(PROJECTS)),
)
texts = st.lists(sentences, min_size=1, max_size=4).map("\n\n".join)
titles = st.sampled_from(("", "Gateway", "Project Alpha", "River notes"))
acls = st.frozensets(st.sampled_from(PRINCIPALS), max_size=1)
scopes, names, questions = st.sampled_from(SCOPES), st.sampled_from(NAMES), st.sampled_from(QUESTIONS)
budgets = st.sampled_from((700, 1_500, 20_000))


class Coherence(RuleBasedStateMachine):
    """Writes and asks at random; each answer is compared with that of the same memory without its cache."""

    @initialize(
        depth=st.sampled_from((3, 100)), aged=st.booleans(), first=st.lists(questions, min_size=2, max_size=3, unique=True), budget=budgets
    )
    def open(self, depth: int, aged: bool, first: list[str], budget: int) -> None:
        """Arms that cut off early make order and drift visible; passages that age make every context end soon."""
        self.clock = FakeClock()
        config = MemoryConfig(arm_depth=depth, half_life_days=30.0 if aged else None, cache_similarity=0.8)
        self.memory = Memory.in_memory(embedder=FakeEmbedder(), clock=self.clock, config=config)
        self.turns = 0
        self.asked: list[tuple[str, dict[str, Any]]] = [(question, {"scope": SCOPES[1], "budget": budget}) for question in first]
        for scope in SCOPES[2:]:
            self.memory.ingest([Document(id=name, text=text) for name, text in zip(NAMES, PHRASES, strict=True)], namespace=scope.namespace)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()

    @cached_property
    def without_cache(self) -> Any:
        return build_recall_graph(replace(self.memory.services, cache=None)).compile()

    def states(self, namespace: str, name: str) -> str:
        found = next(self.memory.services.registry.states(namespace=namespace, document_ids=[name]), None)
        return found.state if found is not None else ""

    @rule(scope=scopes, name=names, text=texts, title=titles, acl=acls)
    def ingest(self, scope: Scope, name: str, text: str, title: str, acl: frozenset[str]) -> None:
        self.memory.ingest(Document(id=name, text=text, title=title, acl=acl, modified_at=self.clock()), namespace=scope.namespace)

    @rule(scope=scopes, batch=st.lists(texts, min_size=2, max_size=5))
    def ingest_several(self, scope: Scope, batch: list[str]) -> None:
        self.memory.ingest([Document(id=f"batch-{at}", text=text) for at, text in enumerate(batch)], namespace=scope.namespace)

    @rule(scope=scopes, name=names)
    def remove(self, scope: Scope, name: str) -> None:
        self.memory.remove([name], namespace=scope.namespace)

    @rule(scope=scopes, name=names)
    def forget(self, scope: Scope, name: str) -> None:
        if self.states(scope.namespace, name):
            self.memory.forget(name, namespace=scope.namespace)

    @rule(scope=scopes, name=names, acl=acls)
    def set_acl(self, scope: Scope, name: str, acl: frozenset[str]) -> None:
        if self.states(scope.namespace, name):
            self.memory.set_acl(name, acl, namespace=scope.namespace)

    @rule(scope=scopes, name=names)
    def archive_or_restore(self, scope: Scope, name: str) -> None:
        state = self.states(scope.namespace, name)
        if state == "live":
            self.memory.archive(name, namespace=scope.namespace)
        elif state == "archived":
            self.memory.restore(name, namespace=scope.namespace)

    @rule(scope=scopes, text=texts)
    def remember(self, scope: Scope, text: str) -> None:
        self.turns += 1
        self.memory.remember([{"role": "user", "content": text, "id": f"m{self.turns}"}], thread_id="t", scope=scope)

    @rule(scope=scopes)
    def decide_a_merge(self, scope: Scope) -> None:
        reviews = self.memory.merge_reviews(scope=scope)
        if reviews:
            self.memory.decide_merge(reviews[0].merge_id, "merge")

    @rule(tier=st.sampled_from(("vector", "lexical", "graph")))
    def rebuild(self, tier: Any) -> None:
        self.memory.rebuild(tier)

    @rule(hours=st.sampled_from((1, 9, 30, 200)))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours=hours)

    @rule(scope=scopes, question=questions, budget=budgets, as_of=st.sampled_from((None, None, "2026-03-01")))
    def ask(self, scope: Scope, question: str, budget: int, as_of: str | None) -> None:
        request = {"scope": scope, "budget": budget, "as_of": as_of}
        for _ in range(2):  # the second time it is in the cache
            context = self.memory.recall(question, **request)  # type: ignore[arg-type]
            self.compare(context, question, request)
        self.asked.append((question, request))

    @invariant()
    def answers_hold(self) -> None:
        """After every step what was asked before is asked again: some answers are unchanged, some are not."""
        for question, request in getattr(self, "asked", [])[-3:]:
            self.compare(self.memory.recall(question, **request), question, request)

    @rule(scope=scopes, question=questions, budget=budgets)
    def ask_allowing_an_age(self, scope: Scope, question: str, budget: int) -> None:
        """What was withdrawn, closed or rewritten is never served, however old an answer may be."""
        context = self.memory.recall(question, scope=scope, budget=budget, max_stale_seconds=7 * 24 * 3600)
        shown = {chunk_id: block for block in context.blocks for chunk_id in block.chunk_ids}
        now = self.memory.services.registry.chunks(shown, scope)
        assert now.keys() == shown.keys()
        for chunk_id, block in shown.items():
            assert (now[chunk_id].version, now[chunk_id].title) == (block.version, block.title)
        evidence = {chunk_id for fact in context.facts for chunk_id in fact.evidence}
        assert self.memory.services.registry.visible(evidence, scope) == evidence

    def compare(self, context: Context, question: str, request: dict[str, Any]) -> None:
        served = next(record for record in context.trace["stages"] if record["stage"] == "cache_lookup")
        asked = served.get("question", question)
        expected = self.without_cache.invoke({"query": asked, **request})["context"]
        assert content(context) == content(expected), served


TestCoherence = Coherence.TestCase
TestCoherence.settings = settings(max_examples=HISTORIES, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck))
