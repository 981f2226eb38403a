"""Names of devices and profiles."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.convert.names import service_account_profile, veth_name


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_device_name_fits_the_kernel(namespace: str, pod: str) -> None:
    assert len(veth_name(namespace, pod)) == 15


def test_a_device_name_tells_namespaces_apart() -> None:
    assert veth_name("a", "pod") != veth_name("b", "pod")
    assert veth_name("a", "pod", " tap , cali")[:3] == "tap"
    assert veth_name("a", "pod", "") == veth_name("a", "pod")


def test_a_service_account_without_namespace_lies_in_default() -> None:
    assert service_account_profile("", "x") == "ksa.default.x"
