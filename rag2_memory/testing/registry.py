"""Contract suite of `RegistryTier`. Subclass it and supply the fixture `registry`: an empty one per test."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from rag2_memory.ingestion.sync import embed_hash
from rag2_memory.ingestion.write import content_hash, document_key
from rag2_memory.records import Assertion, DocumentWrite, Entity, Knowledge, Mention, MergeRecord
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import INDEX_TIERS, AsOf, Chunk, Document, Parent, Scope, Turn

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
EMBEDDER = "unit"
KEEP = 5


def written(document: Document, *texts: str, namespace: str = "default", knowledge: Knowledge | None = None) -> DocumentWrite:
    """Return a write of a document with one parent and one chunk per text; chunk ids follow key and text."""
    key = document_key(namespace, document.id)
    parent = Parent(
        id=f"{key}-p{embed_hash(document.text)}", document_key=key, heading_path=(), text=document.text, tokens=9, start=0, end=9
    )
    chunks = tuple(
        Chunk(
            id=chunk_id(document.id, text, namespace=namespace),
            document_key=key,
            document_id=document.id,
            namespace=namespace,
            parent_id=parent.id,
            title=document.title,
            heading_path=("Part", "Section"),
            text=text,
            tokens=len(text.split()),
            ordinal=ordinal,
            start=ordinal,
            end=ordinal + 1,
            turn=document.turn,
        )
        for ordinal, text in enumerate(texts)
    )
    return DocumentWrite(
        key=key,
        document=document,
        namespace=namespace,
        content_hash=content_hash(document),
        parents=(parent,),
        chunks=chunks,
        embed_hashes=tuple(embed_hash(chunk.index_text) for chunk in chunks),
        knowledge=knowledge or Knowledge(),
    )


def chunk_id(document_id: str, text: str, *, namespace: str = "default") -> str:
    """Return the id that `written` gives a chunk."""
    return f"{document_key(namespace, document_id)}-c{embed_hash(text)}"


def vectors_of(*items: DocumentWrite) -> dict[str, np.ndarray]:
    """Return one unit vector per embedding hash."""
    return {key: np.eye(1, 4, dtype=np.float32)[0] for item in items for key in item.embed_hashes}


class RegistryContract:
    """What every registry must do."""

    def write(self, registry: RegistryTier, *items: DocumentWrite, at: datetime = START) -> None:
        """Record versions as pending."""
        registry.write(items, vectors=vectors_of(*items), embedder=EMBEDDER, now=at)

    def settle(self, registry: RegistryTier) -> None:
        """Pretend that every index took what it was owed."""
        for tier in INDEX_TIERS:
            registry.settle(registry.pending(tier, limit=10_000))

    def publish(self, registry: RegistryTier, *items: DocumentWrite, at: datetime = START) -> None:
        """Write, index and publish."""
        self.write(registry, *items, at=at)
        self.settle(registry)
        registry.publish(now=at, keep_versions=KEEP)
        self.settle(registry)

    def state(self, registry: RegistryTier, document_id: str, namespace: str = "default"):  # type: ignore[no-untyped-def]
        """Return a document's state, or `None`."""
        return next(registry.states(namespace=namespace, document_ids=[document_id]), None)

    def test_a_pending_version_is_invisible(self, registry: RegistryTier) -> None:
        self.write(registry, written(Document(id="a", text="alpha"), "alpha"))
        assert registry.visible([chunk_id("a", "alpha")], Scope()) == set()
        assert registry.document_text("a", Scope()) is None

    @pytest.mark.parametrize("owing", INDEX_TIERS)
    def test_publishing_waits_for_every_index(self, registry: RegistryTier, owing: str) -> None:
        self.write(registry, written(Document(id="a", text="alpha"), "alpha"))
        for tier in INDEX_TIERS:
            if tier != owing:
                registry.settle(registry.pending(tier))
        assert registry.publish(now=START, keep_versions=KEEP) == []
        registry.settle(registry.pending(owing))  # type: ignore[arg-type]
        assert registry.publish(now=START, keep_versions=KEEP) == [document_key("default", "a")]
        assert registry.visible([chunk_id("a", "alpha")], Scope()) == {chunk_id("a", "alpha")}

    def test_the_old_version_answers_until_the_new_one_is_published(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="old", title="T"), "old"))
        self.write(registry, written(Document(id="a", text="new", title="T2"), "new"))
        both = [chunk_id("a", "old"), chunk_id("a", "new")]
        assert registry.visible(both, Scope()) == {both[0]}
        assert registry.chunks(both, Scope())[both[0]].title == "T"
        self.settle(registry)
        registry.publish(now=START, keep_versions=KEEP)
        assert registry.visible(both, Scope()) == {both[1]}
        assert registry.document_text("a", Scope()) == "new"

    def test_a_shared_chunk_is_owed_to_no_index_again(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="x y"), "x", "y"))
        self.write(registry, written(Document(id="a", text="x z"), "x", "z"))
        owed = {chunk for entry in registry.pending("vector") for chunk in entry.chunk_ids}
        assert owed == {chunk_id("a", "z")}

    @pytest.mark.parametrize(
        ("scope", "seen"),
        [
            (Scope(), {"open"}),
            (Scope(user="ada"), {"open", "ada"}),
            (Scope(groups=frozenset({"eng"})), {"open", "eng"}),
            (Scope(user="ada", groups=frozenset({"eng", "hr"})), {"open", "ada", "eng"}),
            (Scope(user="eng"), {"open"}),
            (Scope(namespace="other", user="ada", groups=frozenset({"eng"})), set()),
        ],
        ids=["anonymous", "user", "group", "both", "a group's name as user", "other namespace"],
    )
    def test_a_scope_sees_only_what_it_may(self, registry: RegistryTier, scope: Scope, seen: set[str]) -> None:
        acls = {
            "open": frozenset[str](),
            "ada": frozenset({"user:ada"}),
            "eng": frozenset({"group:eng"}),
            "none": frozenset({"user:nobody"}),
        }
        self.publish(registry, *(written(Document(id=name, text=name, acl=acl), name) for name, acl in acls.items()))
        ids = {chunk_id(name, name): name for name in acls}
        assert {ids[found] for found in registry.visible(ids, scope)} == seen
        assert {ids[found] for found in registry.chunks(ids, scope)} == seen
        assert {ids[found] for found in registry.visible_ids(scope, limit=10) or []} == seen
        assert registry.visible_ids(scope, limit=10) is registry.visible_ids(scope, limit=10)
        assert {name for name in acls if registry.document_text(name, scope)} == seen

    def test_a_changed_acl_holds_at_once_and_outlives_a_reingest(self, registry: RegistryTier) -> None:
        document = Document(id="a", text="alpha")
        self.publish(registry, written(document, "alpha"))
        registry.set_acl(document_key("default", "a"), {"group:eng"})
        assert registry.visible([chunk_id("a", "alpha")], Scope()) == set()
        self.publish(registry, written(Document(id="a", text="beta"), "beta"))
        assert registry.visible([chunk_id("a", "beta")], Scope()) == set()
        assert registry.visible([chunk_id("a", "beta")], Scope(groups=frozenset({"eng"}))) == {chunk_id("a", "beta")}

    @pytest.mark.parametrize("before", ["deleted", "waiting"])
    def test_a_document_that_comes_anew_is_for_those_it_names_now(self, registry: RegistryTier, before: str) -> None:
        first = written(Document(id="a", text="alpha", acl=frozenset({"user:ada"})), "alpha")
        if before == "deleted":
            self.publish(registry, first)
            registry.hide([document_key("default", "a")], state="deleted", now=START, keep_versions=0)
            self.settle(registry)
        else:
            self.write(registry, first)
        self.publish(registry, written(Document(id="a", text="beta", acl=frozenset({"user:bob"})), "beta"))
        chunk = chunk_id("a", "beta")
        assert registry.visible([chunk], Scope(user="ada")) == registry.visible([chunk], Scope()) == set()
        assert registry.visible([chunk], Scope(user="bob")) == {chunk}
        assert next(iter(registry.states(document_ids=["a"]))).acl == {"user:bob"}

    def test_a_source_that_changes_its_acl_is_followed_when_published(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="alpha", acl=frozenset({"user:ada"})), "alpha"))
        self.write(registry, written(Document(id="a", text="beta"), "beta"))
        assert registry.visible([chunk_id("a", "alpha")], Scope()) == set()
        self.settle(registry)
        registry.publish(now=START, keep_versions=KEEP)
        assert registry.visible([chunk_id("a", "beta")], Scope()) == {chunk_id("a", "beta")}

    def test_a_deletion_hides_at_once_while_the_indexes_lag(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="alpha"), "alpha"))
        registry.hide([document_key("default", "a")], state="deleted", now=START, keep_versions=0)
        assert registry.visible([chunk_id("a", "alpha")], Scope()) == set()
        assert [entry.chunk_ids for entry in registry.pending("vector")] == [(chunk_id("a", "alpha"),)]
        assert registry.indexable([chunk_id("a", "alpha")]) == {}

    def test_transaction_time_answers_as_the_memory_stood(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="old"), "old"), at=START)
        self.publish(registry, written(Document(id="a", text="new"), "new"), at=START + timedelta(days=10))
        registry.hide([document_key("default", "a")], state="deleted", now=START + timedelta(days=20), keep_versions=KEEP)
        both = {chunk_id("a", "old"): "old", chunk_id("a", "new"): "new"}

        def seen(day: int) -> set[str]:
            return {both[found] for found in registry.visible(both, Scope(), AsOf(recorded=START + timedelta(days=day)))}

        assert [seen(day) for day in (-1, 0, 9, 10, 19, 20)] == [set(), {"old"}, {"old"}, {"new"}, {"new"}, set()]

    def test_a_first_version_counts_from_its_own_date(self, registry: RegistryTier) -> None:
        dated = Document(id="a", text="minutes", modified_at=START - timedelta(days=300))
        self.publish(registry, written(dated, "minutes"), at=START)
        chunk = chunk_id("a", "minutes")
        assert registry.visible([chunk], Scope(), AsOf(valid=START - timedelta(days=299))) == {chunk}
        assert registry.visible([chunk], Scope(), AsOf(valid=START - timedelta(days=301))) == set()
        assert registry.visible([chunk], Scope(), AsOf(recorded=START - timedelta(days=299))) == set()

    @pytest.mark.parametrize("moment", [START + timedelta(microseconds=1), datetime(1969, 7, 20, 20, 17, 40, 999_999, tzinfo=timezone.utc)])
    def test_a_chunk_is_read_as_it_was_written(self, registry: RegistryTier, moment: datetime) -> None:
        text, metadata = 'a "quoted" \\ \x01 \u2028 é 😀\n\ttext', {"rank": 0.1, "name": "«é»"}
        turn = Turn(thread_id="t", ordinal=0, speaker="Ann", at=moment)
        document = Document(id="a", text=text, title="T'", metadata=metadata, modified_at=moment, turn=turn)
        item = written(document, text)
        self.publish(registry, item)
        expected = replace(item.chunks[0], modified_at=moment, metadata=metadata, version=1)
        assert registry.chunks([expected.id, "unknown"], Scope()) == {expected.id: expected}

    def test_superseded_versions_beyond_the_limit_are_dropped(self, registry: RegistryTier) -> None:
        for day, text in enumerate(["one", "two", "three"]):
            item = written(Document(id="a", text=text), text)
            self.write(registry, item, at=START + timedelta(days=day))
            self.settle(registry)
            registry.publish(now=START + timedelta(days=day), keep_versions=1)
        assert set(registry.indexable()) == {chunk_id("a", "two"), chunk_id("a", "three")}
        assert chunk_id("a", "one") in {chunk for entry in registry.pending("lexical") for chunk in entry.chunk_ids}

    def test_an_archived_document_leaves_and_comes_back_whole(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="alpha"), "alpha"))
        key, chunk = document_key("default", "a"), chunk_id("a", "alpha")
        registry.hide([key], state="archived", now=START, keep_versions=KEEP)
        assert registry.visible([chunk], Scope()) == set()
        assert registry.indexable() == {}
        self.settle(registry)
        registry.unarchive(key)
        assert registry.visible([chunk], Scope()) == {chunk}
        assert registry.document_text("a", Scope()) == "alpha"

    def test_every_change_that_a_reader_could_see_counts(self, registry: RegistryTier) -> None:
        key = document_key("default", "a")
        seen = [registry.generation("default")]
        self.publish(registry, written(Document(id="a", text="alpha"), "alpha"))
        seen.append(registry.generation("default"))
        registry.set_acl(key, {"user:ada"})
        seen.append(registry.generation("default"))
        registry.hide([key], state="deleted", now=START, keep_versions=KEEP)
        seen.append(registry.generation("default"))
        assert seen == sorted(set(seen))
        assert registry.generation("elsewhere") == 0

    def test_the_size_follows_what_is_published(self, registry: RegistryTier) -> None:
        sizes = [registry.size("default")]
        self.publish(registry, written(Document(id="a", text="one two"), "one", "two"))
        self.publish(registry, written(Document(id="b", text="three"), "three"))
        sizes.append(registry.size("default"))
        self.publish(registry, written(Document(id="a", text="one"), "one"))
        sizes.append(registry.size("default"))
        registry.hide([document_key("default", "b")], state="deleted", now=START, keep_versions=KEEP)
        sizes.append(registry.size("default"))
        registry.purge(document_key("default", "b"), receipt_id="b", digest="d", now=START)
        registry.purge(document_key("default", "a"), receipt_id="a", digest="d", now=START)
        assert [*sizes, registry.size("default"), registry.size("elsewhere")] == [0, 3, 2, 1, 0, 0]

    def test_a_purge_leaves_no_row(self, registry: RegistryTier) -> None:
        secret = knowledge_of("a", "Zanzibar plan", "Ada", "Zanzibar")
        self.publish(registry, written(Document(id="a", text="Zanzibar plan"), "Zanzibar plan", knowledge=secret))
        counts = registry.purge(document_key("default", "a"), receipt_id="r", digest="d", now=START)
        assert counts["chunks"] == counts["versions"] == counts["edges"] == 1
        assert counts["entities"] == 2
        left = registry.counts()
        assert {
            name: left[name] for name in ("documents", "versions", "chunks", "entities", "mentions", "edges", "embeddings")
        } == dict.fromkeys(("documents", "versions", "chunks", "entities", "mentions", "edges", "embeddings"), 0)
        assert self.state(registry, "a") is None

    def test_a_purge_spares_what_another_document_states(self, registry: RegistryTier) -> None:
        for name in ("a", "b"):
            item = written(Document(id=name, text="shared"), "shared", knowledge=knowledge_of(name, "shared", "Ada", "Zanzibar"))
            self.publish(registry, item)
        counts = registry.purge(document_key("default", "a"), receipt_id="r", digest="d", now=START)
        assert counts["edges"] == counts["entities"] == counts["embeddings"] == 0
        assert [a.chunk_id for a in registry.assertions(Scope(), entity_ids=["default:ada"])] == [chunk_id("b", "shared")]
        assert set(registry.chunk_vectors([chunk_id("b", "shared")], EMBEDDER)) == {chunk_id("b", "shared")}

    def test_an_edge_exists_only_for_scopes_that_see_its_evidence(self, registry: RegistryTier) -> None:
        hidden = Document(id="a", text="plan", acl=frozenset({"user:ada"}))
        self.publish(registry, written(hidden, "plan", knowledge=knowledge_of("a", "plan", "Ada", "Zanzibar")))
        assert registry.assertions(Scope(), entity_ids=["default:ada"]) == []
        assert registry.surface_names(["default:ada"], Scope()) == []
        assert registry.seen_entities(["default:ada"], Scope()) == set()
        assert len(registry.assertions(Scope(user="ada"), entity_ids=["default:ada"])) == 1
        assert registry.seen_entities(["default:ada"], Scope(user="ada")) == {"default:ada"}

    def test_a_merge_joins_and_its_undo_restores_exactly(self, registry: RegistryTier) -> None:
        self.publish(registry, written(Document(id="a", text="plan"), "plan", knowledge=knowledge_of("a", "plan", "Ada", "Zanzibar")))
        self.publish(registry, written(Document(id="b", text="talk"), "talk", knowledge=knowledge_of("b", "talk", "A. Byron", "Zanzibar")))
        ids = [chunk_id("a", "plan"), chunk_id("b", "talk")]
        before = registry.graph_passages(ids)
        decision = MergeRecord(
            merge_id=0,
            namespace="default",
            kept_id="default:ada",
            absorbed_id="default:a. byron",
            decision="merge",
            score=0.9,
            reason="initials",
        )
        (merge,) = registry.record_merges([decision], now=START)
        assert registry.record_merges([decision], now=START) == [merge]
        assert registry.canonical("default", ["default:a. byron"]) == {"default:a. byron": "default:ada"}
        assert registry.graph_passages(ids)[ids[1]].edges[0].subject_id == "default:ada"
        assert {chunk for entry in registry.pending("graph") for chunk in entry.chunk_ids} >= {ids[1]}
        registry.decide_merge(merge, "undone", now=START)
        assert registry.graph_passages(ids) == before

    def test_a_failed_entry_waits_and_is_counted(self, registry: RegistryTier) -> None:
        self.write(registry, written(Document(id="a", text="alpha"), "alpha"))
        registry.postpone(registry.pending("vector"), error="disk full", until=START + timedelta(seconds=60))
        assert registry.pending("vector", now=START) == []
        assert [entry.attempts for entry in registry.pending("vector", now=START + timedelta(seconds=61))] == [1]
        assert registry.backlog() == {"vector": 1, "lexical": 1, "graph": 1}


def knowledge_of(document_id: str, text: str, subject: str, target: str, namespace: str = "default") -> Knowledge:
    """Return what a chunk states if it says that `subject` leads `target`."""
    chunk = chunk_id(document_id, text, namespace=namespace)
    ids = {name: f"{namespace}:{name.lower()}" for name in (subject, target)}
    return Knowledge(
        entities=tuple(Entity(id=ids[name], namespace=namespace, key=name.lower(), name=name) for name in ids),
        mentions=tuple(Mention(chunk_id=chunk, entity_id=ids[name], name=name) for name in ids),
        assertions=(
            Assertion(
                edge_id=f"{ids[subject]}>{ids[target]}",
                namespace=namespace,
                subject_id=ids[subject],
                predicate="LEADS",
                object_id=ids[target],
                chunk_id=chunk,
                recorded_at=START,
            ),
        ),
    )
