"""What stays for a while is not searched for cycles again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled() -> Iterator[None]:
    """Leave out of garbage collection, within the block, what exists when it begins; blocks may hold others. Python
    walks everything that lives whenever that has grown by a quarter: with the plans and keys of 100,000 samples a fifth
    of a resumed run's time, and there is nothing to be found among them."""
    outermost = gc.get_freeze_count() == 0
    gc.freeze()
    try:
        yield
    finally:
        if outermost:
            gc.unfreeze()
