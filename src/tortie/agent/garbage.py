"""The garbage collector, kept from holding the loop (decisions.md, B.1).

What an agent knows of its cluster is millions of objects that live long and hold no cycles; a full collection would walk them
all and hold the loop for a tenth of a second and more. So the collector is off while the first state is loaded and applied,
what has survived is then taken out of its sight, and from then on it looks at young objects only, and at what came since in
a slow round of its own.
"""

import gc

SETTLE_SECONDS = 90.0
"""How often to call `settle`."""
_YOUNG, _MIDDLE, _NEVER = 1000, 10, 1 << 30
"""A collection of the two young generations sees at most 11,000 objects: a few milliseconds."""


def start_loading() -> None:
    """No collections while the first state is loaded. May be called again."""
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
    gc.disable()


def loaded() -> None:
    """The first state is in the kernel, or as good as: from now on collect what is young."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


async def settle() -> None:
    """Collect what came since the last time, and let what remains be. Takes as long as that is much."""
    if gc.isenabled():
        gc.collect()
        gc.freeze()
