"""Runs every measurement one after another: `python -m tests.benchmarks.run --data ../shared/bench [--only memory graph]`. Slow.

Each is a module of its own that can be run alone with further options.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def plans(data: Path) -> dict[str, list[list[str]]]:
    """Return, by name, the modules and arguments of each measurement."""
    here = "tests.benchmarks"
    evaluated = ("hotpotqa", "2wiki", "musique", "scifact", "locomo", "timeqa")
    return {
        "memory": [[f"{here}.bench_memory", "--chunks", "10000", "100000"]],
        "scale": [[f"{here}.bench_scale", "--chunks", chunks] for chunks in ("50000", "100000")],
        "crash": [[f"{here}.bench_crash", "2000"]],
        "eval": [["rag2_memory.cli", "eval", str(data / name), "--k", "5"] for name in evaluated],
        "lexical": [[f"{here}.bench_lexical"]],
        "graph": [[f"{here}.bench_graph"]],
        "cache": [[f"{here}.bench_cache"]],
        "context": [[f"{here}.bench_context", "--data", str(data)]],
        "conversation": [[f"{here}.bench_conversation", "--data", str(data)]],
        "resolution": [[f"{here}.bench_resolution", str(data)]],
        "middleware": [[f"{here}.bench_middleware"]],
        "fusion": [[f"{here}.derive_fusion", str(data)]],
        "million": [[f"{here}.bench_memory", "--chunks", "1000000"]],
    }


def main() -> int:
    """Run what was asked for; returns the number of measurements that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the evaluation sets")
    parser.add_argument("--only", nargs="*", default=None, help="names of measurements")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no evaluation data at {options.data}; measurements that need it are left out", file=sys.stderr)
    failed = 0
    for name, commands in plans(options.data).items():
        if options.only is not None and name not in options.only:
            continue
        for command in commands:
            if not options.data.is_dir() and any(str(options.data) in argument for argument in command):
                continue
            print(f"\n$ python -m {' '.join(command)}", flush=True)
            failed += subprocess.run([sys.executable, "-m", *command], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
