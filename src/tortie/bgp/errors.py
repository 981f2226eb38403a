"""Errors of the BGP boundary."""

from tortie.base.errors import TortieError


class BgpError(TortieError):
    """Root of this boundary."""


class ConfigError(BgpError):
    """A value cannot be expressed in BIRD's configuration; the text names the field."""


class ControlError(BgpError):
    """BIRD refused a command, or answered with what is not its protocol."""
