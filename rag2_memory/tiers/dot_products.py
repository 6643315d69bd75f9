"""Matrix times vector, for what is multiplied right after a question was embedded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dot_products(rows: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply rows, shape (n, d), by a vector, shape (d,), in this thread; returns shape (n,).

    torch's threads spin for a while after an embedding, and BLAS's would wait for them (`bench_cache` times look-ups behind MiniLM).
    """
    return np.asarray(np.einsum("ij,j->i", rows, vector), dtype=np.float32)
