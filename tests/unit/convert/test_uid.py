"""UIDs of derived objects."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tortie.convert.uid import converted_uid


@given(st.uuids())
def test_converting_twice_gives_the_uid_back(uid: UUID) -> None:
    assert converted_uid(converted_uid(str(uid))) == str(uid)


def test_bits_are_reversed_but_in_the_bytes_of_version_and_variant() -> None:
    assert converted_uid("01000000-0000-4000-8000-000000000003") == "80000000-0000-4000-8000-0000000000c0"


def test_what_is_no_uid_stays() -> None:
    assert converted_uid("") == ""
    assert converted_uid("plain") == "plain"
