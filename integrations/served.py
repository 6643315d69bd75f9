"""The one memory of a server process.

It stands apart from `server.py` because a server loads that file by its path, once for each thing it names, and a folder has one memory only.
"""

from __future__ import annotations

import atexit
import os
from functools import cache

from rag2_memory.memory import Memory

FOLDER_VARIABLE = "RAG2_MEMORY"
"""Environment variable that names the memory's folder."""


@cache
def served_memory() -> Memory:
    """Return the one memory of this server process; it is closed when the process ends."""
    memory = Memory.open(os.environ.get(FOLDER_VARIABLE, "memory"))
    atexit.register(memory.close)
    return memory
