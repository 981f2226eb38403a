"""What a request is refused with: a Kubernetes Status, made from our own errors where they have a meaning there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tortie.api.errors import ApiError, FieldError, ValidationError
from tortie.base.errors import TortieError
from tortie.datastore.errors import (
    AlreadyExists,
    Compacted,
    DatastoreError,
    DoesNotExist,
    InvalidRequest,
    NotSupported,
    StaleVersion,
    Unauthorized,
    Unavailable,
    UpdateConflict,
)

_REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiServerError(TortieError):
    """Root of this boundary: the server cannot start, or cannot go on."""


class Refusal(ApiServerError):
    """A request that is answered with a failure. `reason` is Kubernetes' word; `details` as in a Status."""

    def __init__(self, code: int, message: str, *, reason: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or _REASONS.get(code, "Unknown")
        self.details = dict(details or {})

    def status(self) -> dict[str, Any]:
        """The Status object that is the answer's body."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }
        return body | ({"details": self.details} if self.details else {})


def expired(message: str) -> Refusal:
    """410: the history or the listing that was asked for is gone."""
    return Refusal(410, message)


def invalid(what: "Subject", errors: Iterable[FieldError]) -> Refusal:
    """422 with one cause a field."""
    found = list(errors)
    causes = [{"reason": _cause_of(error), "message": _cause_text(error), "field": error.path} for error in found]
    texts = [f"{cause['field']}: {cause['message']}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {**what.details(), "kind": what.document_kind, "causes": causes}
    return Refusal(422, f'{what.document_kind}.{what.group} "{what.name}" is invalid: {joined}', details=details)


class Subject:
    """What a request is about, for messages: a kind's plural, its group, a name."""

    __slots__ = ("document_kind", "group", "name", "plural")

    def __init__(self, plural: str, group: str, name: str = "", *, document_kind: str = "") -> None:
        self.plural = plural
        self.group = group
        self.name = name
        self.document_kind = document_kind or plural

    @property
    def qualified(self) -> str:
        """plural.group, or the plural alone in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def named(self, name: str) -> "Subject":
        """The same kind, another object."""
        return Subject(self.plural, self.group, name, document_kind=self.document_kind)

    def details(self) -> dict[str, Any]:
        """For a Status."""
        found = {"name": self.name, "group": self.group, "kind": self.plural}
        return {key: value for key, value in found.items() if value}


def refusal_of(error: Exception, what: Subject) -> Refusal:
    """The answer to a request that failed with one of our errors."""
    details = what.details()
    match error:
        case Refusal():
            return error
        case ValidationError(errors=errors):
            return invalid(what, errors)
        case ApiError():
            return Refusal(400, str(error), details=details)
        case AlreadyExists():
            return Refusal(409, f'{what.qualified} "{what.name}" already exists', reason="AlreadyExists", details=details)
        case DoesNotExist(key=key):
            if key.name != what.name:  # something that the request refers to, such as a tier
                return invalid(what, [FieldError(_reference(key.kind), key.name, f"{key} does not exist: create it first")])
            return Refusal(404, f'{what.qualified} "{what.name}" not found', details=details)
        case UpdateConflict():
            more = f" ({error})" if isinstance(error, StaleVersion) else ""
            text = "the object has been modified; please apply your changes to the latest version and try again"
            return Refusal(
                409, f'Operation cannot be fulfilled on {what.qualified} "{what.name}": {text}{more}', details=details
            )
        case NotSupported():
            return Refusal(405, str(error), details=details)
        case InvalidRequest():
            return invalid(what, [FieldError("spec", None, str(error))])
        case Compacted():
            return expired(f"too old resource version: {error}")
        case Unauthorized() | Unavailable():
            # We have been patient already: asked to come back, kubectl would try ten times and say nothing meanwhile.
            return Refusal(503, f"the datastore does not answer: {error}")
        case DatastoreError():
            return Refusal(500, str(error), details=details)
        case _:
            return Refusal(500, f"internal error: {type(error).__name__}")


def strict_refusal(document_kind: str, version: str, problems: Sequence[str]) -> Refusal:
    """400 for fields that a strict request must not have."""
    return Refusal(
        400,
        f'{document_kind} in version "{version}" cannot be handled as a {document_kind}: '
        f"strict decoding error: {', '.join(problems)}",
    )


def _reference(kind: str) -> str:
    return f"spec.{kind.lower()}"


def _cause_of(error: FieldError) -> str:
    if error.reason == "is required":
        return "FieldValueRequired"
    return "FieldValueNotSupported" if error.reason.startswith("must be one of") else "FieldValueInvalid"


def _cause_text(error: FieldError) -> str:
    if error.reason == "is required":
        return "Required value"
    if error.value is None:
        return f"Invalid value: {error.reason}"
    return f"Invalid value: {_quoted(error.value)}: {error.reason}"


def _quoted(value: Any) -> str:
    text = str(value)
    text = text if len(text) <= 100 else f"{text[:100]}..."
    return f'"{text}"' if isinstance(value, str) else text
