"""Logs: one line an event, `key=value` context, to stderr. Secrets never enter a log call; nothing here filters them."""

import logging
import sys

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "critical": logging.CRITICAL,
}
"""Calico's level names (any case)."""


def configure(level: str = "info") -> None:
    """Send logs of the whole process to stderr, at a level by Calico's name; an unknown name means info."""
    logging.basicConfig(
        level=LEVELS.get(level.lower(), logging.INFO),
        format=_FORMAT,
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


def get(name: str) -> logging.Logger:
    """The logger of one package, without the common prefix."""
    return logging.getLogger(name.removeprefix("tortie."))
