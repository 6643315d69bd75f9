"""Holding a line: results saved to be compared with later, and floors that a run must not fall below."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.measures import bootstrap
from rag2_memory.evaluation.report import Comparison


def save_baseline(comparison: Comparison, path: str | Path) -> None:
    """Write a comparison as JSON, with each query's values, so that `check_against` can pair them."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(comparison.as_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def check_against(comparison: Comparison, path: str | Path) -> list[str]:
    """Compare with a saved baseline, system by system and query by query.

    Returns:
        One sentence for each measure that fell: the 95 % interval of the paired difference lies below zero. Queries and
        systems that only one of the two has are left aside.

    Raises:
        InvalidRequestError: If the file is missing or no baseline, or shares no query with this comparison.
    """
    saved = _read(Path(path))
    falls = []
    shared = [system for system in comparison.systems if system in saved]
    if not shared:
        raise InvalidRequestError(f"{path} has the systems {', '.join(saved)}; needed one of {', '.join(comparison.systems)}.")
    for system in shared:
        before = {query_id: outcome["values"] for query_id, outcome in saved[system]["outcomes"].items()}
        if not before.keys() & {outcome.query_id for outcome in comparison.outcomes[system]}:
            raise InvalidRequestError(f"{path} and this run share no query; compare runs of one evaluation set.")
        falls += [fall for measure in comparison.measures if (fall := _fall(comparison, system, measure, before))]
    return falls


def _fall(comparison: Comparison, system: str, measure: str, before: Mapping[str, Mapping[str, float]]) -> str:
    changes = [
        outcome.values[measure] - before[outcome.query_id][measure]
        for outcome in comparison.outcomes[system]
        if measure in outcome.values and measure in before.get(outcome.query_id, {})
    ]
    change = bootstrap(changes)
    if not change.high < 0:
        return ""
    return f"{system}: {measure} fell by {-change.mean:.3f} (95 % interval {-change.high:.3f} to {-change.low:.3f}, {len(changes)} queries)"


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        systems = saved["systems"]
        if not all("outcomes" in system for system in systems.values()):
            raise KeyError("outcomes")
    except OSError as exc:
        raise InvalidRequestError(f"the baseline {str(path)!r} cannot be read ({exc.strerror}); save one first.") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidRequestError(f"{str(path)!r} is no saved baseline ({exc}); save one first.") from exc
    return dict(systems)


def read_floors(texts: Iterable[str]) -> dict[str, float]:
    """Read floors such as `recall@5=0.80`.

    Raises:
        InvalidRequestError: If one is not MEASURE=VALUE with a value in [0, 1].
    """
    floors = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            floor = float(value)
        except ValueError:
            floor = math.nan
        if not name.strip() or not 0 <= floor <= 1:
            raise InvalidRequestError(f"got the floor {text!r}; needed MEASURE=VALUE such as recall@5=0.80, the value in [0, 1].")
        floors[name.strip()] = floor
    return floors


def check_floors(comparison: Comparison, floors: Mapping[str, float], *, system: str | None = None) -> list[str]:
    """Return one sentence for each measure that lies below its floor.

    Args:
        comparison: What was measured.
        floors: By measure.
        system: Whose results count; default: the last system.

    Raises:
        InvalidRequestError: If a measure or the system is not in the comparison.
    """
    system = system or comparison.systems[-1]
    if system not in comparison.systems:
        raise InvalidRequestError(f"got system={system!r}; needed one of {', '.join(comparison.systems)}.")
    if unknown := [name for name in floors if name not in comparison.measures]:
        raise InvalidRequestError(f"got the measure {unknown[0]!r}; needed one of {', '.join(comparison.measures)}.")
    means = {name: comparison.mean(system, name) for name in floors}
    return [f"{system}: {name} is {means[name]:.3f}, below {floor:g}" for name, floor in floors.items() if not means[name] >= floor]
