"""Logs: one line an event, `key=value` context, to stderr, as text or as JSON. Secrets never enter a log call; nothing here
filters them."""

import json
import logging
import sys
import time
from collections import Counter

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
_DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"

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

FORMATS = ("text", "json")

written: Counter[str] = Counter()
"""Lines written so far by level, e.g. ERROR."""


def configure(level: str = "info", format_: str = "text") -> None:
    """Send logs of the whole process to stderr, at a level by Calico's name; an unknown name means info.

    `format_` json writes one JSON object a line. Raises ValueError for any other format than those of FORMATS.
    """
    if format_ not in FORMATS:
        raise ValueError(f"log format {format_!r}: use {' or '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else logging.Formatter(_FORMAT, datefmt=_DATE_FORMAT))
    handler.addFilter(_counted)
    logging.basicConfig(level=LEVELS.get(level.lower(), logging.INFO), handlers=[handler], force=True)


def set_level(level: str) -> None:
    """Change the level of the running process; an unknown name means info."""
    logging.getLogger().setLevel(LEVELS.get(level.lower(), logging.INFO))


def get(name: str) -> logging.Logger:
    """The logger of one package, without the common prefix."""
    return logging.getLogger(name.removeprefix("tortie."))


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, message; and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        at = time.strftime(_DATE_FORMAT, time.gmtime(record.created))
        fields = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def _counted(record: logging.LogRecord) -> bool:
    written[record.levelname] += 1
    return True
