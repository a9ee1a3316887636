"""Random numbers that are the same whenever, and in whichever process, the same task runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["seeded"]


@contextmanager
def seeded(unique_id: str) -> Iterator[dict[str, Any]]:
    """Seed ``random`` and numpy's global generator from a unique id; put them back as they were afterwards.

    The seed is the id's first eight hex digits, 32 bits, which is what numpy's legacy generator takes. The block gets
    the part of a sidecar that records it.
    """
    import numpy as np

    value = int(unique_id[:8], 16)
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(value)
    np.random.seed(value)
    try:
        yield {"value": value, "libraries": ["random", "numpy.random"]}
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
