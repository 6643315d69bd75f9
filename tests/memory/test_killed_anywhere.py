"""Killed at any step of its work, or at any moment: the next process finds everything acknowledged, nothing half done, every index in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.memory.killing import OPERATIONS, planned

KILLS = 208
AT_ONCE = 2
"""Processes that kill, one a core; in this one engines of other tests may run, and their threads do not survive a fork."""
ROOT = Path(__file__).parent.parent.parent


def test_a_memory_killed_anywhere_keeps_what_it_acknowledged_and_shows_nothing_half_done() -> None:
    command = [sys.executable, "-m", "tests.memory.killing", str(KILLS), "--seed", "2026"]
    running = [
        subprocess.Popen([*command, "--part", str(part), str(AT_ONCE)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for part in range(AT_ONCE)
    ]
    reports = [json.loads(process.communicate()[0]) for process in running]
    assert [report["problems"] for report in reports] == [{}] * AT_ONCE
    assert sum(report["kills"] for report in reports) >= 200
    assert sum(report["at_steps"] for report in reports) >= 150
    assert max(report["operations"] for report in reports) == len(OPERATIONS)


def test_every_kind_of_operation_is_killed_and_a_seed_repeats_itself() -> None:
    points = [[f"before x {number}", f"after x {number}"] for number in range(10)]
    kills = planned(points, kills=20, seed=3)
    assert kills == planned(points, kills=20, seed=3)
    assert kills != planned(points, kills=20, seed=4)
    assert len({(kill.operation, kill.point) for kill in kills if kill.point}) == 15
