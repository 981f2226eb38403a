"""Questions that have no answer."""

from tortie.base.errors import TortieError


class InsightError(TortieError):
    """Root of this boundary."""


class UnknownEnd(InsightError):
    """The question names something that the input does not hold."""


class NoAddress(InsightError):
    """An end of the question has no address of the family that is asked about."""
