"""Names of endpoints and devices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.convert.errors import ConversionError
from tortie.convert.names import endpoint_name, veth_name

SEGMENT = st.text("ab-.", min_size=1, max_size=8).filter(lambda text: not text.startswith("-") and not text.endswith("-"))


@given(SEGMENT, SEGMENT, SEGMENT, SEGMENT)
def test_different_pods_have_different_endpoint_names(node: str, pod: str, node2: str, pod2: str) -> None:
    assert (endpoint_name(node, pod) == endpoint_name(node2, pod2)) == ((node, pod) == (node2, pod2))


@pytest.mark.parametrize(("node", "pod"), [("", "p"), ("n", ""), ("-n", "p"), ("n", "p-")])
def test_a_segment_that_would_be_ambiguous_is_refused(node: str, pod: str) -> None:
    with pytest.raises(ConversionError, match="workload endpoint"):
        endpoint_name(node, pod)


def test_a_device_name_fits_the_kernel() -> None:
    assert len(veth_name("a-namespace", "a-pod-with-a-long-name")) == 15
