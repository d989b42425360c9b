"""What a busy process tells Python's garbage collector, once it has started."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """What is loaded by now stays. With hundreds of messages in flight, a look after each 700 new objects finds nothing
    and takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
