"""Sets and elements to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Address, Family, Prefix, masked, parse_address, parse_prefix
from tortie.kernel.errors import NftError
from tortie.kernel.netlink import iterate_attributes, parse_attributes
from tortie.kernel.nft.elements import (
    ElementKey,
    ElementValue,
    check_member,
    check_spec,
    decode_elements,
    decode_spec,
    element_lists,
    encode_key,
    key_size,
    prefix_range,
    set_attributes,
    stored_spec,
)
from tortie.kernel.nft.intervals import PrefixCover
from tortie.kernel.nft.objects import ACCEPT, DROP, RETURN, ElementType, Goto, Jump, SetSpec
from tortie.kernel.nft.uapi import SetAttr

FAMILIES = st.sampled_from(list(Family))
NAMES = st.text("abcdefgh0123456789.-", min_size=1, max_size=15)
VERDICTS = st.sampled_from([ACCEPT, DROP, RETURN]) | NAMES.map(Jump) | NAMES.map(Goto)


@st.composite
def addresses(draw: st.DrawFn, family: Family) -> Address:
    return Address(family, draw(st.integers(0, (1 << family.bits) - 1)))


def through_netlink(elements: dict[bytes, ElementValue], spec: SetSpec) -> dict[bytes, ElementValue]:
    """Encode, then decode what the kernel would repeat."""
    payloads = []
    for listed, _ in element_lists(elements.items(), interval=spec.interval):
        payloads += [payload for _, payload in iterate_attributes(listed)]
    return decode_elements(payloads, interval=spec.interval, size=key_size(spec))


@given(st.data(), FAMILIES)
def test_disjoint_ranges_survive_the_way_there_and_back(data: st.DataObject, family: Family) -> None:
    lengths = st.integers(0, family.bits)
    drawn = data.draw(st.lists(st.tuples(addresses(family), lengths), max_size=20))
    members = [masked(address, length) for address, length in drawn]
    kind = ElementType.IPV4 if family is Family.V4 else ElementType.IPV6
    elements: dict[bytes, ElementValue] = {prefix_range(p): None for p in PrefixCover(family, members).cover()}
    assert through_netlink(elements, SetSpec("s", kind, interval=True)) == elements


@given(st.data(), FAMILIES)
def test_addresses_with_ports_survive_the_way_there_and_back(data: st.DataObject, family: Family) -> None:
    entry = st.tuples(addresses(family), st.integers(0, 255), st.integers(0, 65535))
    keys: list[ElementKey] = [*data.draw(st.sets(entry, max_size=20))]
    elements: dict[bytes, ElementValue] = {encode_key(key): None for key in keys}
    assert len(elements) == len(keys)
    kind = ElementType.IPV4_PORT if family is Family.V4 else ElementType.IPV6_PORT
    assert through_netlink(elements, SetSpec("s", kind)) == elements


@given(st.dictionaries(NAMES, VERDICTS, max_size=20))
def test_map_elements_survive_the_way_there_and_back(members: dict[str, ElementValue]) -> None:
    elements = {encode_key(key): value for key, value in members.items()}
    assert through_netlink(elements, SetSpec("m", ElementType.IFNAME, is_verdict_map=True)) == elements


def test_touching_ranges_stay_two() -> None:
    halves = [parse_prefix("10.0.0.0/25"), parse_prefix("10.0.0.128/25")]
    elements: dict[bytes, ElementValue] = {prefix_range(half): None for half in halves}
    assert through_netlink(elements, SetSpec("s", ElementType.IPV4, interval=True)) == elements


def test_no_list_is_longer_than_an_attribute_may_be() -> None:
    keys = [(prefix_range(Prefix(Family.V6, n << 64, 64)), None) for n in range(5000)]
    lists = list(element_lists(keys, interval=True))
    assert sum(count for _, count in lists) == 5000
    assert max(len(listed) for listed, _ in lists) < 65536
    assert len(lists) < 10


@pytest.mark.parametrize(
    "spec",
    [
        SetSpec("s", ElementType.IPV4, interval=True, comment="has(role)"),
        SetSpec("s", ElementType.IPV6),
        SetSpec("s", ElementType.IPV4_PORT, comment="é" * 200),
        SetSpec("s", ElementType.IPV6_PORT),
        SetSpec("s", ElementType.IFNAME),
        SetSpec("s", ElementType.IFNAME, is_verdict_map=True),
    ],
)
def test_a_spec_survives_the_way_there_and_back_with_its_comment_clipped(spec: SetSpec) -> None:
    attributes = parse_attributes(set_attributes(spec, 1))
    decoded = decode_spec(attributes | {SetAttr.NAME: b"s\0"})
    assert decoded == stored_spec(spec)
    assert spec.comment.startswith(stored_spec(spec).comment)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (SetSpec("s", ElementType.IFNAME, interval=True), "interval"),
        (SetSpec("s", ElementType.IPV4, is_verdict_map=True), "interface names"),
        (SetSpec("", ElementType.IPV4), "set name"),
    ],
)
def test_a_set_that_the_kernel_cannot_hold_is_refused(spec: SetSpec, complaint: str) -> None:
    with pytest.raises(NftError, match=complaint):
        check_spec(spec)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (ElementType.IPV4, parse_prefix("10.0.0.0/8")),
        (ElementType.IPV4, parse_prefix("fd00::1/128")),
        (ElementType.IPV4, parse_address("10.0.0.1")),
        (ElementType.IPV4, "10.0.0.1"),
        (ElementType.IPV4_PORT, parse_prefix("10.0.0.1/32")),
        (ElementType.IPV4_PORT, (parse_address("fd00::1"), 6, 80)),
        (ElementType.IPV4_PORT, (parse_address("10.0.0.1"), 6, 65536)),
        (ElementType.IPV6_PORT, (parse_address("fd00::1"), 256, 1)),
        (ElementType.IFNAME, "sixteen-letters0"),
        (ElementType.IFNAME, ""),
        (ElementType.IFNAME, parse_prefix("10.0.0.1/32")),
    ],
)
def test_a_member_of_another_type_is_refused(kind: ElementType, key: object) -> None:
    with pytest.raises(NftError, match="set 's'"):
        check_member(SetSpec("s", kind), key, None)
