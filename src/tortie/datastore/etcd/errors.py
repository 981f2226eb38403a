"""What etcd's refusals mean to a caller: gRPC's code and etcd's own words become errors of the datastore boundary."""

from tortie.datastore.errors import Compacted, DatastoreError, Incompatible, InvalidRequest, Unauthorized, Unavailable


class Lost(Unavailable):
    """No answer that says what happened. A write may have been carried out, now or later; another member may answer."""


class TokenRefused(Unauthorized):
    """The token is unknown or old; nothing was carried out. Authenticate, and ask again."""


_TOKEN_TEXTS = ("invalid auth token", "revision of auth store is old", "user name is empty")
_PASSWORD_TEXTS = ("authentication failed", "user name not found")


def error_of(code: str, details: str, *, url: str) -> DatastoreError:
    """The error for a failed request to the member at `url`."""
    said = f"etcd {url}: {details or code}"
    text = details.lower()
    if code == "OUT_OF_RANGE" and ("compacted" in text or "future revision" in text):
        return Compacted(f"{said}: list again")
    if code == "UNAUTHENTICATED" or any(words in text for words in _TOKEN_TEXTS):
        return TokenRefused(f"{said}: check ETCD_USERNAME and ETCD_PASSWORD")
    if any(words in text for words in _PASSWORD_TEXTS):
        return Unauthorized(f"{said}: check ETCD_USERNAME and ETCD_PASSWORD")
    if code == "PERMISSION_DENIED":
        return Unauthorized(
            f"{said}: the user needs a role with readwrite on /calico/ and /tortie/ (from /calico/ to /tortie0)"
        )
    if code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED") and ("too large" in text or "larger than max" in text):
        return InvalidRequest(f"{said}: the resource is larger than etcd accepts (--max-request-bytes)")
    if code == "RESOURCE_EXHAUSTED" and "space exceeded" in text:
        return Unavailable(f"{said}: compact and defragment it, then disarm its alarm")
    if code == "UNIMPLEMENTED":
        return Incompatible(f"{said}: this is no etcd of API version 3")
    return Lost(said)
