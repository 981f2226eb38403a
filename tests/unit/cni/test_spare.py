"""A descriptor in reserve."""

import gc
import os

from tortie.cni.spare import SpareDescriptor


def lowest() -> int:
    """The number that the next open file gets."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_its_place_is_free_while_it_is_lent_and_taken_again_after() -> None:
    gc.collect()  # which would make others' descriptors free in the middle
    free = lowest()
    spare = SpareDescriptor()
    assert lowest() > free
    with spare.lent():
        assert lowest() == free
    assert lowest() > free
    spare.close()
    spare.close()
    assert lowest() == free
