"""Contract suite of `ConsolidationTier`, the part of a registry that consolidation works on. Subclass it and supply the fixture `registry`: an empty one per test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rag2_memory.ingestion.write import document_key
from rag2_memory.records import Assertion, Community, CommunityMember, Entity, Knowledge, Mention, MergeRecord
from rag2_memory.testing.registry import KEEP, START, RegistryContract, chunk_id, written
from rag2_memory.tiers.base import RegistryTier
from rag2_memory.types import Document, Scope

HR = frozenset({"group:hr"})


def mentioning(chunk: str, *names: str, extractor: str = "one", type: str = "", properties: Mapping[str, Any] | None = None) -> Knowledge:
    """Return what an extractor read in a chunk: some names."""
    return Knowledge(
        entities=tuple(Entity(id=f"default:{name}", namespace="default", key=name, name=name, type=type) for name in names),
        mentions=tuple(
            Mention(chunk_id=chunk, entity_id=f"default:{name}", name=name, type=type, properties=dict(properties or {})) for name in names
        ),
        extractor=extractor,
    )


def stating(chunk: str, subject: str, target: str, *, extractor: str = "one", ended: bool = False) -> Knowledge:
    """Return what an extractor read in a chunk: a statement about two names."""
    edge = Assertion(
        edge_id=f"{subject}>{target}",
        namespace="default",
        subject_id=f"default:{subject}",
        predicate="KNOWS",
        object_id=f"default:{target}",
        chunk_id=chunk,
        valid_to=START if ended else None,
        recorded_at=START,
    )
    return replace(mentioning(chunk, subject, target, extractor=extractor), assertions=(edge,))


def community(name: str, *documents: str) -> Community:
    """Return a community of documents whose only chunk is their name."""
    members = tuple(
        CommunityMember(id=f"m{n}", document_id=each, document_key=document_key("default", each), chunk_id=chunk_id(each, each))
        for n, each in enumerate(documents, start=1)
    )
    return Community(
        id=name, namespace="default", members=members, names=("Tea",), summary="Tea is green. [m1]", summarised_by="extractive"
    )


class ConsolidationContract:
    """What every registry must do for consolidation."""

    def publish(self, registry: RegistryTier, name: str, *, knowledge: Knowledge | None = None, acl: frozenset[str] = frozenset()) -> str:
        """Publish a document whose only chunk is its name; returns the chunk's id."""
        RegistryContract().publish(registry, written(Document(id=name, text=name, acl=acl), name, knowledge=knowledge))
        return chunk_id(name, name)

    def test_a_chunk_is_unread_until_its_knowledge_is_recorded(self, registry: RegistryTier) -> None:
        read = self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea"))
        names_only = self.publish(registry, "b", acl=HR)
        assert [(item.chunk_id, item.principal) for item in registry.unread("default")] == [(names_only, "group:hr")]
        assert {item.chunk_id for item in registry.unread("default", extractor="two")} == {read, names_only}
        assert registry.unread("elsewhere") == []
        registry.keep_answer(names_only, "two", "{}")
        (first,) = registry.unread("default", extractor="two", limit=1)
        assert registry.unread("default", extractor="two")[0] == first
        later = max(document_key("default", name) for name in "ab")
        assert [item.document_key for item in registry.unread("default", extractor="two", after=later)] == [later]
        registry.deepen([names_only], mentioning(names_only, "tea", extractor="two"), now=START)
        assert registry.unread("default") == []
        assert [item.chunk_id for item in registry.unread("default", extractor="two")] == [read]
        assert registry.reading_counts("default") == {"one": 1, "two": 1}

    def test_only_published_chunks_wait_to_be_read(self, registry: RegistryTier) -> None:
        self.publish(registry, "a")
        self.publish(registry, "c")
        registry.hide([document_key("default", "c")], state="archived", now=START, keep_versions=KEEP)
        RegistryContract().write(registry, written(Document(id="b", text="b"), "b"))
        assert [item.chunk_id for item in registry.unread("default")] == [chunk_id("a", "a")]

    def test_a_chunk_written_again_keeps_the_note_of_who_read_it(self, registry: RegistryTier) -> None:
        chunk = chunk_id("a", "a")
        self.publish(registry, "a", knowledge=mentioning(chunk, "tea"))
        again = written(Document(id="a", text="a", title=""), "a", knowledge=mentioning(chunk, "tea", extractor="two"))
        RegistryContract().publish(registry, replace(again, content_hash="new"))
        assert [item.chunk_id for item in registry.unread("default", extractor="two")] == [chunk]

    def test_a_later_reading_completes_the_earlier_one(self, registry: RegistryTier) -> None:
        chunk = self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "ada", "zanzibar"))
        registry.mark_compared("default", {"default:ada": [], "default:zanzibar": []})
        RegistryContract().settle(registry)
        later = stating(chunk, "ada", "zanzibar", extractor="two")
        typed = replace(later, mentions=tuple(replace(m, type="Place", properties={"size": 3}) for m in later.mentions))
        assert registry.deepen([chunk], typed, now=START + timedelta(days=1)) == 1
        assert registry.deepen([chunk], typed, now=START + timedelta(days=2)) == 0
        assert {(m.name, m.type, m.properties.get("size")) for m in registry.mentions_in([chunk])} == {
            ("ada", "Place", 3),
            ("zanzibar", "Place", 3),
        }
        assert {use.entity.id for use in registry.entity_uses("default", compared=False)} == {"default:ada", "default:zanzibar"}
        assert [entry.chunk_ids for entry in registry.pending("graph")] == [(chunk,)]
        assert [edge.predicate for edge in registry.graph_passages([chunk])[chunk].edges] == ["KNOWS"]

    def test_what_was_known_of_a_mention_outweighs_a_later_reading(self, registry: RegistryTier) -> None:
        before = mentioning(chunk_id("a", "a"), "ada", type="Person", properties={"role": "lead", "aliases": ["A."]})
        chunk = self.publish(registry, "a", knowledge=before)
        registry.deepen([chunk], mentioning(chunk, "ada", type="Place", properties={"role": "cook", "aliases": ["B."]}), now=START)
        (mention,) = registry.mentions_in([chunk])
        assert (mention.type, mention.properties) == ("Person", {"role": "lead", "aliases": ["A.", "B."]})

    def test_an_answer_is_kept_per_chunk_and_extractor(self, registry: RegistryTier) -> None:
        chunk = self.publish(registry, "a")
        registry.keep_answer(chunk, "one", "first")
        registry.keep_answer(chunk, "one", "second")
        assert registry.kept_answer(chunk, "one") == "second"
        assert registry.kept_answer(chunk, "two") is None
        registry.keep_answer(chunk_id("never", "recorded"), "one", "stray")
        assert registry.drop_stray_answers() == 1
        assert registry.kept_answer(chunk, "one") == "second"

    def test_a_purge_takes_answers_and_communities_along(self, registry: RegistryTier) -> None:
        for name in ("a", "b", "c", "d"):
            self.publish(registry, name)
        registry.keep_answer(chunk_id("a", "a"), "one", "answer")
        registry.keep_answer(chunk_id("a", "never recorded"), "one", "answer of a version that was not finished")
        registry.change_communities(add=[community("x", "a", "b"), community("y", "c", "d")], now=START)
        registry.purge(document_key("default", "a"), receipt_id="r", digest="d", now=START)
        assert registry.kept_answer(chunk_id("a", "a"), "one") is None
        assert registry.kept_answer(chunk_id("a", "never recorded"), "one") is None
        assert [found.id for found in registry.communities("default")] == ["y"]

    def test_communities_are_stored_replaced_and_dropped(self, registry: RegistryTier) -> None:
        for name in ("a", "b", "c"):
            self.publish(registry, name)
        registry.change_communities(add=[community("x", "a", "b")], now=START)
        assert registry.communities("default") == [community("x", "a", "b")]
        assert registry.communities("elsewhere") == []
        registry.change_communities(add=[replace(community("x", "c", "b"), summary="New. [m2]")], now=START)
        assert [(found.summary, [m.document_id for m in found.members]) for found in registry.communities("default")] == [
            ("New. [m2]", ["c", "b"])
        ]
        registry.change_communities(drop=["x", "unknown"], now=START)
        assert registry.communities("default") == []

    def test_only_open_documents_type_names_and_give_aliases(self, registry: RegistryTier) -> None:
        properties = {"aliases": ["Chai"]}
        self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea", type="Drink", properties=properties), acl=HR)
        assert registry.public_types("default", ["tea"]) == {}
        assert registry.stated_aliases("default") == {}
        self.publish(registry, "b", knowledge=mentioning(chunk_id("b", "b"), "tea", type="Leaf", properties={"aliases": ["Cha", 7]}))
        assert registry.public_types("default", ["tea", "coffee"]) == {"tea": "Leaf"}
        assert registry.public_types("elsewhere", ["tea"]) == {}
        assert registry.stated_aliases("default") == {"default:tea": [frozenset({"Cha"})]}
        registry.set_acl(document_key("default", "a"), [])
        assert set(registry.stated_aliases("default")["default:tea"]) == {frozenset({"Cha"}), frozenset({"Chai"})}

    def test_a_new_alias_has_its_entity_compared_again(self, registry: RegistryTier) -> None:
        self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea"))
        registry.mark_compared("default", {"default:tea": []})
        self.publish(registry, "b", knowledge=mentioning(chunk_id("b", "b"), "tea", properties={"aliases": ["Cha"]}))
        assert [use.entity.id for use in registry.entity_uses("default", compared=False)] == ["default:tea"]
        assert registry.stated_aliases("default", compared=True) == {}

    def test_entities_are_read_in_pages_and_by_id_with_their_uses(self, registry: RegistryTier) -> None:
        one, two = chunk_id("a", "a"), chunk_id("b", "b")
        self.publish(registry, "a", knowledge=stating(one, "ada", "zanzibar"))
        self.publish(registry, "b", knowledge=mentioning(two, "ada", "tea"))
        everyone = registry.entity_uses("default")
        assert [(use.entity.id, use.mentions, sorted(use.neighbours)) for use in everyone] == [
            ("default:ada", 2, ["default:zanzibar"]),
            ("default:tea", 1, []),
            ("default:zanzibar", 1, ["default:ada"]),
        ]
        assert registry.entity_uses("default", limit=2) == everyone[:2]
        assert registry.entity_uses("default", after="default:ada", limit=1) == everyone[1:2]
        assert registry.entity_uses("default", ids=["default:zanzibar", "default:ada", "default:nobody"]) == [everyone[0], everyone[2]]
        assert registry.entity_uses("default", ids=[]) == registry.entity_uses("elsewhere") == []
        registry.mark_compared("default", {"default:tea": []})
        assert registry.entity_uses("default", compared=True) == everyone[1:2]
        assert registry.entity_uses("default", compared=False) == [everyone[0], everyone[2]]

    def test_compared_entities_are_found_by_the_keys_they_share(self, registry: RegistryTier) -> None:
        self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea", "cha", "ada"))
        registry.mark_compared("default", {"default:tea": ["hot", "drink"], "default:cha": ["drink"]})
        registry.mark_compared("default", {"default:tea": ["drink", "leaf"], "default:ada": ["drink"]})
        assert registry.sharing_blocks("default", ["hot", "leaf", "cold"], limit=2) == {"default:tea"}
        assert registry.sharing_blocks("default", ["drink"], limit=3) == {"default:tea", "default:cha", "default:ada"}
        assert registry.sharing_blocks("default", ["drink", "hot"], limit=2) == {"default:tea"}
        assert registry.sharing_blocks("elsewhere", ["drink"], limit=3) == registry.sharing_blocks("default", [], limit=3) == set()

    def test_an_entity_that_loses_a_mention_is_compared_again_under_what_is_left(self, registry: RegistryTier) -> None:
        self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea", "cha"))
        self.publish(registry, "b", knowledge=mentioning(chunk_id("b", "b"), "tea"))
        registry.mark_compared("default", {"default:tea": ["hot"], "default:cha": ["hot"]})
        registry.purge(document_key("default", "a"), receipt_id="r", digest="d", now=START)
        assert registry.sharing_blocks("default", ["hot"], limit=9) == set()
        assert [use.entity.id for use in registry.entity_uses("default", compared=False)] == ["default:tea"]

    def test_a_retracted_merge_leaves_no_trace_and_is_decided_anew(self, registry: RegistryTier) -> None:
        chunk = self.publish(registry, "a", knowledge=mentioning(chunk_id("a", "a"), "tea", "cha"))
        decision = MergeRecord(
            merge_id=0, namespace="default", kept_id="default:tea", absorbed_id="default:cha", decision="merge", score=0.9, reason="same"
        )
        before = registry.graph_passages([chunk])
        (merge,) = registry.record_merges([decision], now=START)
        registry.mark_compared("default", {"default:tea": [], "default:cha": []})
        assert registry.graph_passages([chunk]) != before
        registry.retract_merges([merge])
        assert registry.merges("default") == []
        assert registry.graph_passages([chunk]) == before
        assert len(registry.entity_uses("default", compared=False)) == 2
        assert registry.record_merges([decision], now=START) != []
        assert registry.canonical("default", ["default:cha"]) == {"default:cha": "default:tea"}

    @pytest.mark.parametrize(
        ("asked", "told"), [(("a",), {}), (("a", "b"), {"a": 1, "b": 1}), (("c",), {})], ids=["another", "both", "over"]
    )
    def test_documents_that_alone_state_something_are_told(
        self, registry: RegistryTier, asked: tuple[str, ...], told: dict[str, int]
    ) -> None:
        for name in ("a", "b"):
            self.publish(registry, name, knowledge=stating(chunk_id(name, name), "ada", "zanzibar"))
        self.publish(registry, "c", knowledge=stating(chunk_id("c", "c"), "ada", "kenya", ended=True))
        keys = {document_key("default", name): name for name in asked}
        assert {keys[key]: count for key, count in registry.alone_in_stating(keys).items()} == told

    def test_live_chunks_are_those_that_readers_may_find(self, registry: RegistryTier) -> None:
        RegistryContract().publish(registry, written(Document(id="a", text="one two"), "two", "one"))
        RegistryContract().write(registry, written(Document(id="b", text="b"), "b"))
        assert registry.live_chunks("default") == {document_key("default", "a"): [chunk_id("a", "two"), chunk_id("a", "one")]}
        assert set(registry.live_chunks("default")[document_key("default", "a")]) == set(registry.visible_ids(Scope(), limit=9) or ())
