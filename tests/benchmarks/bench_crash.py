"""Kills a memory's process thousands of times, at every step of its work and at random moments, and checks what the next one finds.

Run with `python -m tests.benchmarks.bench_crash 2000`; the seed is printed and `--seed` repeats it. Exit code 1 if anything was lost or half done.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys

from tests.memory.killing import run


def main() -> int:
    """Kill as often as the command line says and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=2_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    report = run(kills=arguments.kills, seed=seed)
    print(json.dumps(report, indent=2))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
