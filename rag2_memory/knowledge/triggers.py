"""The words without which no sentence pattern can match: what a sentence is screened by."""

from __future__ import annotations

import re

TRIGGERS = frozenset(
    """
    according acquired replace replacing swap swaps swapped swapping substitute substituted ask asks builds fetch fetches get gets load loads pull pulls receive receives take amended applied appointed approved architect assigned assumed assumes audited author authored authors backed
    based begins belong belonged belongs builds built bumped bumps call calls care carried certified chaired change changed changes
    charge cited cites coded commits committed committer communicates conducted connect connects consume consumed consumes contribute
    contributed contributes contributing contributor converted corrected create created creates creator decided decommissioned defined
    depend depended dependencies dependency depending depends deployed deprecate deprecated deprecates described design designed
    designer designs details develop developed developer develops discontinued discovered documented dropped drops emit emits emitted
    engineer engineered explained export exported exports expose exposed exposes falls fell fix fixed fixes followed follows funded
    gave gives goes hand handed handing hands hardened hardens head headed heading heads helm helped helps hosted implement
    implemented implements import imported imports inherit inherited inherits instead integrate integrated integrates invoke invokes
    join joined joining joins keep keeps lead leader leadership leading leads leave leaves leaving led left link links listed looked
    looks made maintain maintained maintainer maintainers maintains manage managed manages member migrated migrates migration modified
    modifies move moved moves moving named need needed needs obsolete obsoleted obsoletes offer offered offers operated operates
    organised organized over own owned owner owners ownership owns part partner pass passed passes passing patch patched patches
    performed phased points ported powered proposed prototyped provide provided provides publish published publishes queried queries
    quit quits ran reads rebuilds rebuilt reconfigured recorded redeployed redeploys refactored refactors refer references refers
    reins reissued released relied relies rely relying removed removes renewed renews replace replaced replacement replaces reported
    require required requires resign resigned resigns responsible restarted retired retires reviewed revised revises reworked rewrites
    rewritten rewrote rolled rotate rotated rotates rotation run runs see serve served serves shipped since sits spearheaded
    spearheads specified sponsored started starts step stepped steps stopped store stores subscribe subscribes subsidiary succeed
    succeeded succeeds sunset sunsets supersede superseded supersedes superseding supplied switched switches take taken takes taking
    talks tested took transferred transfers update updated updates updating upgrade upgraded upgrades use used uses using went work
    worked working works wrap wraps writes written wrote
    """.split()
)
"""The words of the rules' verbs; a sentence with none of them states no edge."""

_WORDS = re.compile(r"[^\W\d_]+")


EVENTS = frozenset(
    """migration audit outage incident release launch review kick kickoff cut cutover upgrade roll rollout deployment meeting retrospective freeze handover merger
    acquisition breach attack failover window pilot live test inspection election conference workshop training reorganisation reorganization
    move switch rotation recall shutdown trial""".split()
)
"""Words of which one is in every name of an event that is dated."""


def is_trigger(word: str) -> bool:
    """Whether a lower-case word is one that rules look for."""
    return word in TRIGGERS


def words_of(text: str) -> frozenset[str]:
    """Return the lower-case words of a text that any rule could need; empty if no rule can match."""
    return TRIGGERS.intersection(_WORDS.findall(text.lower()))


def names_event(text: str) -> bool:
    """Whether a text has a word that an event's name could have."""
    return not EVENTS.isdisjoint(_WORDS.findall(text.lower()))
