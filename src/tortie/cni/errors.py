"""What a CNI plugin answers when it cannot: one error with the specification's codes (CNI 1.1.0, "Error")."""

from typing import Any

from tortie.base.errors import TortieError

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
UNDECODABLE = 6
INVALID_CONFIG = 7
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
"""STATUS only: the plugin cannot serve ADD requests."""
CHECK_FAILED = 100
INTERNAL = 999


class CniError(TortieError):
    """An answer with a code. `details` is for people; it may be long."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.code = code
        self.message = message
        self.details = details

    def document(self, cni_version: str) -> dict[str, Any]:
        """The error as the runtime reads it."""
        found = {"cniVersion": cni_version, "code": self.code, "msg": self.message}
        return {**found, "details": self.details} if self.details else found
