"""What the API server's refusals mean: its Status objects become errors of the datastore boundary."""

import msgspec

from tortie.api.resource import Key
from tortie.base.errors import TortieError
from tortie.datastore.errors import (
    AlreadyExists,
    Compacted,
    DatastoreError,
    DoesNotExist,
    InvalidRequest,
    Unauthorized,
    Unavailable,
    UpdateConflict,
)


class Lost(TortieError):
    """It is not known what became of a request; `sent` False: it surely never arrived."""

    def __init__(self, text: str, *, sent: bool = True) -> None:
        super().__init__(text)
        self.sent = sent


class Refused(TortieError):
    """The API server does not want to work on a request now, and did not: ask again after so many seconds."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class NotLoggedIn(TortieError):
    """401: our credentials have run out, or never were any."""


class Forbidden(Unauthorized):
    """403: who we are is known, and may not do this. Also what a server says that has not read its own roles yet."""


class Cause(msgspec.Struct, frozen=True):
    """One reason among several."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """What a Status is about."""

    name: str = ""
    kind: str = ""
    group: str = ""
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """metav1.Status."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


def read_status(code: int, body: bytes) -> Status:
    """The Status in an answer; of another body (a proxy's, a server's that starts) the beginning as its message."""
    try:
        status = msgspec.json.decode(body, type=Status)
        if status.kind == "Status":
            return status
    except msgspec.MsgspecError:
        pass
    return Status(message=body[:300].decode(errors="replace").strip() or f"HTTP status {code}", code=code)


def error_of(server: str, status: Status, code: int, *, verb: str, key: Key) -> DatastoreError:
    """The error to raise for a request about `key` that was answered with a final refusal."""
    text = f"{server}: {verb} {key.kind}: {status.message}"
    details = status.details or Details()
    match code:
        case 404 if not details.name and not details.kind:
            return NotInstalled(f"{server} does not serve {key.kind} ({status.message}): are the CRDs installed?")
        case 404 if details.kind == "namespaces" and key.kind != "Namespace":
            return DoesNotExist(Key("Namespace", "", details.name))
        case 404:
            return DoesNotExist(key)
        case 409 if status.reason == "AlreadyExists":
            return AlreadyExists(key)
        case 409 if "Precondition failed: UID" in status.message:
            return DoesNotExist(key)
        case 409:
            return UpdateConflict(key)
        case 410:
            return Compacted(f"{text}: list again")
        case 401:
            return Unauthorized(f"{server}: who we are is not accepted: {status.message}")
        case 403 if any(cause.reason == "NamespaceTerminating" for cause in details.causes or ()):
            return InvalidRequest(text)
        case 403:
            return Forbidden(f"{server}: {status.message}")
        case 504 if any(cause.reason == "ResourceVersionTooLarge" for cause in details.causes or ()):
            return Compacted(f"{text}: list again")
        case _ if 400 <= code < 500:
            return InvalidRequest(text)
        case _:
            return Unavailable(f"{text} (HTTP status {code})")


class NotInstalled(Unavailable):
    """The API server knows nothing of the resource: its CRD is missing."""
