"""The filter language of LangGraph stores: plain values for equality, `$eq $ne $gt $gte $lt $lte` for comparisons, nested mappings for nested values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from rag2_memory.errors import InvalidRequestError

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {"$eq": eq, "$ne": ne, "$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def check_filter(wanted: Any) -> None:
    """Refuse a filter that could never be applied.

    Raises:
        InvalidRequestError: If it is no mapping of names.
    """
    if wanted is not None and not (isinstance(wanted, Mapping) and all(isinstance(key, str) for key in wanted)):
        raise InvalidRequestError(f"got filter={wanted!r}; needed a mapping such as {{'color': 'red', 'score': {{'$gt': 3}}}}.")


def matches_all(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a value meets every condition of a filter; a key with dots that the value lacks is a path into nested mappings.

    Raises:
        InvalidRequestError: If the filter has an unknown operator.
    """
    return all(matches(_at(value, key), condition) for key, condition in (wanted or {}).items())


def _at(value: Mapping[str, Any], key: str) -> Any:
    if key in value or "." not in key:
        return value.get(key)
    found: Any = value
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def matches(value: Any, wanted: Any) -> bool:
    """Return whether a stored value meets a filter.

    Raises:
        InvalidRequestError: If the filter has an unknown operator.
    """
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_compares(str(name), value, operand) for name, operand in wanted.items())
        return isinstance(value, Mapping) and all(matches(value.get(key), part) for key, part in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(value) == len(wanted) and all(map(matches, value, wanted))
    return bool(value == wanted)


def _compares(name: str, value: Any, operand: Any) -> bool:
    if name not in OPERATORS:
        raise InvalidRequestError(f"got the filter operator {name!r}; needed one of {', '.join(OPERATORS)}.")
    if name not in ("$eq", "$ne"):
        if value is None:
            return False
        if isinstance(value, str) != isinstance(operand, str):
            try:
                value, operand = float(value), float(operand)
            except (TypeError, ValueError):
                return False
    return bool(OPERATORS[name](value, operand))
