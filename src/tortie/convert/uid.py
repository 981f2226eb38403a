"""UIDs of derived objects (conversions.md, section 1)."""

import uuid

_REVERSED = tuple(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KEPT = frozenset({6, 8})  # these hold the version and the variant of a UUID


def converted_uid(uid: str) -> str:
    """The UID of what is derived from the object `uid`; applying it twice gives `uid` back. What is no UUID stays as it is."""
    try:
        packed = uuid.UUID(uid).bytes
    except ValueError:
        return uid
    return str(uuid.UUID(bytes=bytes(byte if i in _KEPT else _REVERSED[byte] for i, byte in enumerate(packed))))
