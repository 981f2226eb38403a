"""Routes change hands between agents and BIRDs on a running lab, under traffic, as a user orders it: no packet is lost."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.bgp_stage import API, BgpLab, eventually, two_nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

RATE = 1000
BIRD, OURS, LATER = "12", "80", "81"
FLOWS = (
    ("default/a", "default/b", 4),
    ("default/b", "default/a", 4),
    ("default/a", "default/b", 6),
    ("default/b", "default/a", 6),
)
ELSEWHERE = {"n1": "default/b", "n2": "default/a"}
BY_BIRD: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
BY_AGENT = ({"programClusterRoutes": "Enabled"}, {"programClusterRoutes": "Disabled"})


class OwnersLab:
    """A lab whose routes are looked at."""

    def __init__(self, lab: BgpLab) -> None:
        self.lab = lab
        self._addresses = {node: lab.addresses(pod) for node, pod in ELSEWHERE.items()}

    def protocols(self) -> set[str]:
        """Of the routes that lead to the pod of the other node, from both nodes, in both families: all that there are."""
        found = set()
        for node, addresses in self._addresses.items():
            for address in addresses:
                space = f"/run/netns/tortie-{self.lab.name}.node.{node}"
                family = "-6" if ":" in address else "-4"
                command = ["nsenter", f"--net={space}", "ip", "-j", "-N", family, "route", "show", "match", address]
                routes = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                found |= {route["protocol"] for route in routes if route["dst"] != "default"} or {"none"}
        return found

    def wait_for(self, protocol: str) -> None:
        eventually(lambda: self.protocols() == {protocol}, self.protocols)


@pytest.fixture(scope="module")
def running() -> Iterator[OwnersLab]:
    with two_nodes("h2") as lab:
        made = OwnersLab(lab)
        made.wait_for(BIRD)
        yield made


def order(lab: BgpLab, felix: dict[str, Any], bgp: dict[str, Any]) -> None:
    documents = [
        {"apiVersion": API, "kind": kind, "metadata": {"name": "default"}, "spec": spec}
        for kind, spec in (("FelixConfiguration", felix), ("BGPConfiguration", bgp))
    ]
    lab.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})).ok()


def test_no_packet_is_lost_when_the_owner_of_all_routes_changes_and_changes_back(running: OwnersLab) -> None:
    with running.lab.traffic(*FLOWS, rate=RATE) as counts:
        for (felix, bgp), protocol in ((BY_AGENT, OURS), (BY_BIRD, BIRD), (BY_AGENT, OURS)):
            order(running.lab, felix, bgp)
            running.wait_for(protocol)
        order(running.lab, {**BY_AGENT[0], "deviceRouteProtocol": int(LATER)}, BY_AGENT[1])
        running.wait_for(LATER)
        order(running.lab, *BY_BIRD)
        running.wait_for(BIRD)
        time.sleep(0.3)
    assert {count.name: count.lost for count in counts} == {count.name: 0 for count in counts}
    assert all(count.sent > RATE for count in counts)
    for node in ELSEWHERE:
        assert running.lab.status(node)["problems"] == {}
