"""Every way to say which address is the node's, and what is said about it."""

import pytest

from tortie.agent.autodetect import Candidate, Choice, Chooser, reach
from tortie.agent.options import AgentError
from tortie.base.net import Address, Family, parse_address, parse_interface

_V4, _V6 = Family.V4, Family.V6
_MACHINE = (
    ("lo", "10.255.0.1/32"),
    ("docker0", "172.17.0.1/16"),
    ("eth0", "192.0.2.1/24"),
    ("eth0", "192.0.2.99/24"),
    ("eth0", "2001:db8::1/64"),
    ("eth1", "198.51.100.1/25"),
    ("enp3s0", "203.0.113.1/26"),
    ("enp3s0", "2001:db8:3::1/56"),
    ("vxlan.calico", "10.65.0.1/32"),
    ("cali123", "10.65.0.2/32"),
)


def choose(
    environment: dict[str, str],
    family: Family = _V4,
    *,
    machine: tuple[tuple[str, str], ...] = _MACHINE,
    stored: str = "",
    internal: str = "",
    way: str = "",
) -> Choice:
    def answer(destination: str, asked: Family) -> Address | None:
        assert (destination, asked) == ("far.example", family)
        return parse_address(way) if way else None

    return Chooser(
        environment,
        [Candidate(device, parse_interface(text)) for device, text in machine],
        stored={family: parse_interface(stored)} if stored else {},
        internal=[parse_address(internal)] if internal else [],
        reach=answer,
    ).choose(family)


@pytest.mark.parametrize(
    ("method", "address", "device"),
    [
        ("", "192.0.2.1/24", "eth0"),
        ("first-found", "192.0.2.1/24", "eth0"),
        ("interface=eth1", "198.51.100.1/25", "eth1"),
        ("interface=enp.*,eth.*", "203.0.113.1/26", "enp3s0"),
        ("interface=docker0", "172.17.0.1/16", "docker0"),
        ("skip-interface=eth.*", "203.0.113.1/26", "enp3s0"),
        ("skip-interface=eth0, eth1", "203.0.113.1/26", "enp3s0"),
        ("cidr=203.0.113.0/24,198.51.100.0/24", "198.51.100.1/25", "eth1"),
    ],
)
def test_a_method_finds_the_address_that_calico_would(method: str, address: str, device: str) -> None:
    choice = choose({"IP": "autodetect", "IP_AUTODETECTION_METHOD": method})
    assert (str(choice.interface), choice.device, choice.detected) == (address, device, True)
    assert choice.reason


def test_what_is_passed_over_is_told_with_the_reason() -> None:
    choice = choose({"IP": "autodetect", "IP_AUTODETECTION_METHOD": "cidr=203.0.113.0/24"})
    assert "10.255.0.1/32 of lo: not an uplink" in choice.passed_over
    assert "192.0.2.1/24 of eth0: outside of it" in choice.passed_over
    choice = choose({"IP": "autodetect", "IP_AUTODETECTION_METHOD": "skip-interface=eth.*"})
    assert any("198.51.100.1/25 of eth1" in text and "eth.*" in text for text in choice.passed_over)


@pytest.mark.parametrize(("way", "expected"), [("198.51.100.1", "198.51.100.1/25"), ("", "None"), ("198.51.100.77", "None")])
def test_can_reach_takes_the_address_that_the_kernel_would_send_from(way: str, expected: str) -> None:
    choice = choose({"IP_AUTODETECTION_METHOD": "can-reach=far.example"}, way=way)
    assert str(choice.interface) == expected
    assert "far.example" in choice.reason or "198.51.100.77" in choice.reason


def test_the_kernel_itself_says_how_it_would_speak_to_itself() -> None:
    assert str(reach("127.0.0.1", _V4)) == "127.0.0.1"
    assert reach("::1", _V4) is None


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "nowhere.invalid"])
def test_what_can_be_no_name_is_not_reached(name: str) -> None:
    assert reach(name, _V4) is None


@pytest.mark.parametrize(("internal", "expected"), [("203.0.113.1", "203.0.113.1/26"), ("", "None"), ("203.0.113.77", "None")])
def test_the_internal_address_of_kubernetes_gets_the_subnet_of_its_interface(internal: str, expected: str) -> None:
    choice = choose({"IP_AUTODETECTION_METHOD": "kubernetes-internal-ip"}, internal=internal)
    assert str(choice.interface) == expected


def test_each_family_has_its_own_method() -> None:
    environment = {
        "IP6": "autodetect",
        "IP6_AUTODETECTION_METHOD": "interface=enp",
        "IP_AUTODETECTION_METHOD": "interface=eth1",
    }
    assert str(choose(environment, _V6).interface) == "2001:db8:3::1/56"
    assert str(choose(environment, _V4).interface) == "198.51.100.1/25"


def test_a_family_can_be_switched_off() -> None:
    assert choose({"IP": "none", "IP_AUTODETECTION_METHOD": "first-found"}, stored="192.0.2.1/24").interface is None


@pytest.mark.parametrize(
    ("text", "expected", "device"),
    [
        ("198.51.100.1/28", "198.51.100.1/28", "eth1"),
        ("198.51.100.1", "198.51.100.1/25", "eth1"),
        ("198.51.100.2", "198.51.100.2/32", ""),
    ],
)
def test_an_address_that_is_given_is_taken_and_without_a_mask_gets_its_interfaces(
    text: str, expected: str, device: str
) -> None:
    choice = choose({"IP": text}, stored="192.0.2.1/24")
    assert (str(choice.interface), choice.device, choice.detected) == (expected, device, False)
    assert device or "no interface" in choice.reason


def test_without_a_word_the_address_that_the_node_has_stays_as_long_as_the_machine_has_it() -> None:
    assert str(choose({}, stored="198.51.100.1/25").interface) == "198.51.100.1/25"
    assert str(choose({}, stored="198.51.100.55/25").interface) == "192.0.2.1/24"
    assert str(choose({"IP": "autodetect"}, stored="198.51.100.1/25").interface) == "192.0.2.1/24"


def test_an_address_that_is_not_found_any_more_is_kept_and_that_is_told() -> None:
    choice = choose({"IP": "autodetect"}, stored="192.0.2.1/24", machine=(("lo", "10.255.0.1/32"),))
    assert str(choice.interface) == "192.0.2.1/24"
    assert "kept" in choice.reason
    assert choose({"IP": "autodetect"}, machine=()).interface is None


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"IP": "nonsense"}, "IP=nonsense"),
        ({"IP": "2001:db8::1/64"}, "an IPv4 address is expected"),
        ({"IP": "0.0.0.0/0"}, "IP=0.0.0.0/0: no address by which other nodes reach this one"),
        ({"IP": "224.0.0.1"}, "IP=224.0.0.1: no address by which"),
        ({"IP_AUTODETECTION_METHOD": "skip-interface=,"}, "skip-interface=,': use first-found"),
        ({"IP_AUTODETECTION_METHOD": "interface="}, "interface=': use first-found"),
        ({"IP_AUTODETECTION_METHOD": "cidr= ,"}, "cidr= ,': use first-found"),
        ({"IP_AUTODETECTION_METHOD": "guess"}, "IP_AUTODETECTION_METHOD='guess'.*first-found, can-reach="),
        ({"IP_AUTODETECTION_METHOD": "interface="}, "use first-found"),
        ({"IP_AUTODETECTION_METHOD": "interface=eth(0"}, "not a regular expression"),
        ({"IP_AUTODETECTION_METHOD": "cidr=10.0.0.0/99"}, "cidr=10.0.0.0/99"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(environment: dict[str, str], named: str) -> None:
    with pytest.raises(AgentError, match=named):
        choose(environment)
