"""Timing calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def timed(call: Callable[[Item], object], items: Iterable[Item]) -> str:
    """Call once per item; returns the median and the 95th percentile in milliseconds."""
    spent = []
    for item in items:
        started = time.perf_counter()
        call(item)
        spent.append((time.perf_counter() - started) * 1000)
    return f"p50 {np.percentile(spent, 50):8.2f} ms   p95 {np.percentile(spent, 95):8.2f} ms"
