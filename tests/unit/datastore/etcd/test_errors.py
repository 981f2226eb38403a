"""etcd's refusals, as callers see them."""

import pytest

from tortie.datastore.errors import Compacted, DatastoreError, Incompatible, InvalidRequest, Unauthorized, Unavailable
from tortie.datastore.etcd.errors import Lost, TokenRefused, error_of


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", Compacted),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision", Compacted),
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", TokenRefused),
        ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", TokenRefused),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", TokenRefused),
        ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password", Unauthorized),
        ("PERMISSION_DENIED", "etcdserver: permission denied", Unauthorized),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", InvalidRequest),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5 vs. 4)", InvalidRequest),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Unavailable),
        ("UNIMPLEMENTED", "unknown service", Incompatible),
        ("UNAVAILABLE", "etcdserver: leader changed", Lost),
        ("UNAVAILABLE", "etcdserver: request timed out", Lost),
        ("DEADLINE_EXCEEDED", "", Lost),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", Lost),
        ("INTERNAL", "Received RST_STREAM", Lost),
    ],
)
def test_a_refusal_becomes_the_error_that_says_what_to_do(code: str, details: str, expected: type[DatastoreError]) -> None:
    error = error_of(code, details, url="https://a:1")
    assert type(error) is expected
    assert "https://a:1" in str(error)
    assert (details or code) in str(error)


def test_every_loss_and_refusal_of_credentials_is_something_to_wait_out() -> None:
    assert issubclass(Lost, Unavailable)
    assert issubclass(Unauthorized, Unavailable)
