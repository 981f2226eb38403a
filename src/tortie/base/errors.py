"""The root of every error that Tortie raises on purpose.

Each boundary (datastore, kernel, ipam, cni ...) has one tree of its own below `TortieError`; the command line turns any of
them into one clear line and exit code 1, anything else is a defect.
"""

import errno

OUT_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""An OSError with one of these says that we lack something for the moment, and nothing about the other side."""


class TortieError(Exception):
    """Something that a user or an operator can understand and act on. `str(error)` is the whole message."""
