"""Nothing of a document reaches a scope that may not see it, by any route, whatever was written before: random memories against a plain model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rag2_memory import Document, Memory, Rag2MemoryError, Scope
from rag2_memory.graphs.arm_nodes import search_dense
from rag2_memory.graphs.arms import dense_hits, visible_arms
from rag2_memory.graphs.state import request_of
from rag2_memory.testing.clock import FakeClock
from rag2_memory.testing.fakes import FakeEmbedder

NAMESPACES = ("red", "blue")
PRINCIPALS = ("user:ada", "user:bob", "group:eng", "group:hr")
SCOPES = (
    Scope(namespace="red"),
    Scope(namespace="red", user="ada"),
    Scope(namespace="red", user="bob", groups=frozenset({"eng"})),
    Scope(namespace="blue", user="ada", groups=frozenset({"hr"})),
)
SYLLABLES = ("ka", "zu", "mo", "ri", "ve", "lo", "ta", "ni")


@dataclass(frozen=True)
class Held:
    """What the model knows of a live document."""

    acl: frozenset[str]
    marks: tuple[str, ...]
    """Words that occur in this version of this document and nowhere else."""

    def visible_to(self, scope: Scope) -> bool:
        return not self.acl or bool(self.acl & scope.principals)


def word(number: int) -> str:
    """Return a distinct capitalised word."""
    digits = [SYLLABLES[number // 8**place % 8] for place in range(4)]
    return "".join(digits).capitalize()


class NoLeaks(RuleBasedStateMachine):
    """Writes at random; after every step each scope asks about everything."""

    @initialize()
    def open(self) -> None:
        self.memory = Memory.in_memory(embedder=FakeEmbedder(), clock=FakeClock())
        self.held: dict[tuple[str, str], Held] = {}
        self.made = 0

    def teardown(self) -> None:
        self.memory.close()

    def fresh(self, name: str, acl: frozenset[str]) -> tuple[Document, Held]:
        """Return a document about things that nobody else names."""
        self.made += 3
        person, project, place = (word(self.made + offset) for offset in range(3))
        text = f"# {place} report\n\nOwner: {person}\n\n{person} leads Project {project}. The shared word is giraffe. Project {project} depends on {place}."
        marks = (person.lower(), project.lower(), place.lower())
        return Document(id=name, text=text, title=f"{place} page", acl=acl, metadata={"origin": person}), Held(acl, marks)

    @rule(namespace=st.sampled_from(NAMESPACES), name=st.sampled_from("abcd"), acl=st.frozensets(st.sampled_from(PRINCIPALS), max_size=2))
    def write(self, namespace: str, name: str, acl: frozenset[str]) -> None:
        document, held = self.fresh(name, acl)
        before = self.held.get((namespace, name))
        self.memory.ingest(document, namespace=namespace)
        # An ACL that the source repeats leaves one that was set here alone; the model follows what the registry then says.
        state = next(self.memory.services.registry.states(namespace=namespace, document_ids=[name]))
        assert state.acl == acl or (before is not None and state.acl == before.acl)
        self.held[namespace, name] = Held(state.acl, held.marks)

    @rule(data=st.data(), acl=st.frozensets(st.sampled_from(PRINCIPALS), max_size=2))
    def change_acl(self, data: st.DataObject, acl: frozenset[str]) -> None:
        if self.held:
            namespace, name = data.draw(st.sampled_from(sorted(self.held)))
            self.memory.set_acl(name, acl, namespace=namespace)
            self.held[namespace, name] = Held(acl, self.held[namespace, name].marks)

    @rule(data=st.data(), how=st.sampled_from(("forget", "archive")))
    def remove(self, data: st.DataObject, how: str) -> None:
        if self.held:
            namespace, name = data.draw(st.sampled_from(sorted(self.held)))
            getattr(self.memory, how)(name, namespace=namespace)
            if how == "archive":
                self.memory.forget(name, namespace=namespace)
            del self.held[namespace, name]

    @rule(data=st.data())
    def lag(self, data: st.DataObject) -> None:
        """Hide a document in the registry alone: the indexes still hold it."""
        if self.held:
            namespace, name = data.draw(st.sampled_from(sorted(self.held)))
            services = self.memory.services
            key = next(services.registry.states(namespace=namespace, document_ids=[name])).key
            services.registry.hide([key], state="deleted", now=services.clock(), keep_versions=0)
            del self.held[namespace, name]

    @invariant()
    def every_scope_sees_exactly_what_it_may(self) -> None:
        for scope in SCOPES:
            mine = {name: held for (namespace, name), held in self.held.items() if namespace == scope.namespace}
            visible = {name for name, held in mine.items() if held.visible_to(scope)}
            allowed = {mark for name in visible for mark in mine[name].marks}
            forbidden = [word(number).lower() for number in range(3, self.made + 3) if word(number).lower() not in allowed]
            told = self.answers(scope, forbidden)
            assert {passage["document_id"] for passage in told["search"]} == visible
            text = json.dumps(told, default=str).lower()
            leaked = [mark for mark in forbidden if mark in text]
            assert not leaked, (scope, leaked)

    def answers(self, scope: Scope, forbidden: list[str]) -> dict[str, Any]:
        """Ask by every route; the questions themselves name nothing."""
        question = "Who leads the project with the giraffe?"
        context = self.memory.recall(question, scope=scope, budget=4_000)
        again = self.memory.recall(question, scope=scope, budget=4_000)
        assert again.text == context.text
        routes = {
            route: [asdict(p) for p in self.memory.search(question, k=20, scope=scope, route=route)] for route in ("dense", "lexical")
        }
        return {
            "search": [asdict(passage) for passage in self.memory.search(question, k=20, scope=scope)],
            "routes": routes,
            "context": json.loads(context.to_json()),
            "trace": [context.trace, again.trace],
            "facts": [self.named_answers(mark, scope) for mark in forbidden[-6:]],
        }

    def named_answers(self, mark: str, scope: Scope) -> list[Any]:
        """Ask by a name that the scope must not know: nothing may tell it from a name that never was."""
        facts = [str(fact) for name in (mark, f"Project {mark}") for fact in self.memory.facts(name, scope=scope)]
        context = self.memory.recall(f"What does {mark.capitalize()} lead?", scope=scope, budget=4_000)
        entities = [name for stage in context.trace["stages"] for name in stage.get("entities", ())]
        assert entities == []
        return facts


TestNoLeaks = NoLeaks.TestCase
TestNoLeaks.settings = settings(max_examples=12, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck))


def test_an_error_reveals_no_hidden_document(memory: Memory) -> None:
    memory.ingest(Document(id="hidden", text="Zanzibar.", title="Zanzibar", acl=frozenset({"user:ada"})))
    messages = []
    for name in ("hidden", "absent"):
        with pytest.raises(Rag2MemoryError) as caught:
            memory.document(name, scope=Scope(user="bob"))
        messages.append(str(caught.value).replace(name, "X"))
    assert messages[0] == messages[1]


def test_a_failing_arm_reveals_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.ingest(Document(id="hidden", text="Zanzibar.", acl=frozenset({"user:ada"})))

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("disk gone")

    monkeypatch.setattr(memory.services.vector, "search", fail)
    context = memory.recall("Where is it?", scope=Scope(user="bob"))
    degraded = [stage for stage in context.trace["stages"] if stage["stage"] == search_dense.__name__]
    assert "disk gone" in degraded[0]["degraded"]
    assert "zanzibar" not in json.dumps(context.trace).lower()


def test_one_percent_visible_gives_the_exact_filtered_ranking(memory: Memory) -> None:
    documents = [
        Document(
            id=f"d{i}",
            text=f"Giraffe number {i} eats {word(i)} leaves near {word(i + 7)}.",
            acl=frozenset({"user:ada"} if i % 100 == 0 else {"user:bob"}),
        )
        for i in range(1_500)
    ]
    memory.ingest(documents)
    ada = Scope(user="ada")
    services = memory.services
    question = "Which giraffe eats leaves?"
    (query,) = services.embedder.embed([question])
    ids = services.registry.visible_ids(ada, limit=10_000) or ()
    vectors = services.registry.chunk_vectors(ids, services.embedder.name)
    exact = sorted(ids, key=lambda chunk: -float(vectors[chunk] @ query))
    assert len(ids) == 15
    request = request_of({"query": question, "scope": ada})
    for _ in range(3):  # the first search learns how little ada sees, the others use it
        arms, _, _ = visible_arms(*dense_hits(query, request, services), request, services, vector=query)
        assert [chunk_id for chunk_id, _ in arms["dense"]] == exact
    assert {passage.chunk_id for passage in memory.search(question, k=15, scope=ada, route="dense")} == set(exact)
