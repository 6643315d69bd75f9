"""Systems compared on one set of queries: measures by class, confidence intervals of differences, and the queries that
went worst."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from rag2_memory.errors import InvalidRequestError
from rag2_memory.evaluation.datasets import Query
from rag2_memory.evaluation.measures import Interval, bootstrap, measures_at, once

ALL = "all"
"""Name of the row over every query."""

SHOWN_RANKS = 10
"""Found documents that are kept per query."""


class QuerySet(Protocol):
    """What is compared on; `evaluation.datasets.Dataset` is one."""

    @property
    def name(self) -> str:
        """Name of the set."""
        ...

    @property
    def queries(self) -> Sequence[Query]:
        """Its queries, with distinct ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a system found for one query."""

    documents: Sequence[str]
    """Document ids, best first; repeats count at their first rank."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage."""


System = Callable[[Query], "Sequence[str] | Found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One system on one query."""

    query_id: str
    found: tuple[str, ...]
    """The first documents, best first."""
    values: Mapping[str, float]
    """By measure; empty for a query without gold."""
    leaked: tuple[str, ...]
    """Forbidden documents anywhere in the ranking."""
    seconds: float
    stages: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every system on every query; the first system is what the others are compared with."""

    dataset: str
    k: int
    queries: tuple[Query, ...]
    outcomes: Mapping[str, tuple[Outcome, ...]]
    """By system, in the order of the queries."""
    _differences: dict[tuple[str, str, str], Interval] = field(default_factory=dict, repr=False, compare=False)

    @property
    def systems(self) -> tuple[str, ...]:
        """Names, the baseline first."""
        return tuple(self.outcomes)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names such as `recall@5`, in the order shown."""
        return tuple(measures_at(self.k))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The query classes by name, after the row over all; only that row where there are no classes."""
        kinds = sorted({query.kind for query in self.queries})
        return (ALL, *kinds) if len(kinds) > 1 else (ALL,)

    def values(self, system: str, measure: str, kind: str = ALL) -> list[float]:
        """Return a measure query by query, leaving out queries without gold."""
        return [
            outcome.values[measure]
            for query, outcome in zip(self.queries, self.outcomes[system], strict=True)
            if query.gold and kind in (ALL, query.kind)
        ]

    def mean(self, system: str, measure: str, kind: str = ALL) -> float:
        """Return the mean of a measure; NaN without queries."""
        values = self.values(system, measure, kind)
        return statistics.fmean(values) if values else float("nan")

    def difference(self, system: str, measure: str, kind: str = ALL) -> Interval:
        """Return how much better a system is than the baseline, paired by query, with its 95 % interval."""
        key = (system, measure, kind)
        if key not in self._differences:
            pairs = zip(self.values(*key), self.values(self.systems[0], measure, kind), strict=True)
            self._differences[key] = bootstrap([own - other for own, other in pairs])
        return self._differences[key]

    def leaks(self, system: str) -> list[Outcome]:
        """Return the queries for which a system found what must not be seen."""
        return [outcome for outcome in self.outcomes[system] if outcome.leaked]

    def latency(self, system: str) -> dict[str, tuple[float, float]]:
        """Return median and 95th percentile in seconds, of the whole and by stage."""
        outcomes = self.outcomes[system]
        stages = dict.fromkeys(stage for outcome in outcomes for stage in outcome.stages)
        rows = {"total": [outcome.seconds for outcome in outcomes]}
        rows |= {stage: [outcome.stages[stage] for outcome in outcomes if stage in outcome.stages] for stage in stages}
        return {stage: (statistics.median(times), _percentile(times, 0.95)) for stage, times in rows.items()}

    def worst(self, system: str, *, limit: int = 20) -> list[tuple[Query, Outcome]]:
        """Return the queries that a system answered worst: leaks first, then by recall at k, then by nDCG."""
        recall, ndcg = f"recall@{self.k}", f"ndcg@{self.k}"
        pairs = [
            (query, outcome)
            for query, outcome in zip(self.queries, self.outcomes[system], strict=True)
            if outcome.leaked or outcome.values.get(recall, 1.0) < 1.0
        ]
        pairs.sort(key=lambda pair: (not pair[1].leaked, pair[1].values.get(recall, 0.0), pair[1].values.get(ndcg, 0.0)))
        return pairs[:limit]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values: means and differences by class, latencies, leaks, and each query's
        outcome."""
        return {
            "dataset": self.dataset,
            "k": self.k,
            "queries": len(self.queries),
            "systems": {system: self._system_as_json(system) for system in self.systems},
        }

    def _system_as_json(self, system: str) -> dict[str, Any]:
        by_class = {
            kind: {measure: {"mean": self.mean(system, measure, kind), **self._against(system, measure, kind)} for measure in self.measures}
            for kind in self.classes
        }
        return {
            "measures": _without_nan(by_class),
            "latency_seconds": {stage: {"p50": half, "p95": tail} for stage, (half, tail) in self.latency(system).items()},
            "leaks": {outcome.query_id: list(outcome.leaked) for outcome in self.leaks(system)},
            "outcomes": {
                outcome.query_id: {
                    "found": list(outcome.found),
                    "values": dict(outcome.values),
                    "seconds": outcome.seconds,
                }
                for outcome in self.outcomes[system]
            },
        }

    def _against(self, system: str, measure: str, kind: str) -> dict[str, Any]:
        if system == self.systems[0]:
            return {}
        found = self.difference(system, measure, kind)
        return {"difference": found.mean, "low": found.low, "high": found.high}


def compare(
    dataset: QuerySet, systems: Mapping[str, System], *, k: int = 5, progress: Callable[[str, int], Any] | None = None
) -> Comparison:
    """Ask every system every query, one after the other.

    Args:
        dataset: The queries.
        systems: Callables by name that return document ids, best first, or `Found`; the first is the baseline.
        k: Cut-off of recall and nDCG, which are reported at 10 as well.
        progress: Told the system's name and how many queries it has answered.

    Raises:
        InvalidRequestError: If there is no system or no query, or `k` is below 1. What a system raises is not caught.
    """
    if not systems or not dataset.queries:
        raise InvalidRequestError(f"got {len(systems)} systems and {len(dataset.queries)} queries; needed at least one of each.")
    outcomes: dict[str, tuple[Outcome, ...]] = {}
    for name, system in systems.items():
        answered: list[Outcome] = []
        for query in dataset.queries:
            answered.append(_ask(system, query, k=k))
            if progress is not None:
                progress(name, len(answered))
        outcomes[name] = tuple(answered)
    return Comparison(dataset=dataset.name, k=k, queries=tuple(dataset.queries), outcomes=outcomes)


def _ask(system: System, query: Query, *, k: int) -> Outcome:
    started = time.perf_counter()
    answer = system(query)
    seconds = time.perf_counter() - started
    found = answer if isinstance(answer, Found) else Found(documents=answer)
    ranking = once(found.documents)
    return Outcome(
        query_id=query.id,
        found=tuple(ranking[: max(k, SHOWN_RANKS)]),
        values={name: measure(ranking, query.gold) for name, measure in measures_at(k).items()} if query.gold else {},
        leaked=tuple(document for document in ranking if document in query.forbidden),
        seconds=seconds,
        stages=dict(found.stages),
    )


def _percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and value != value else value
