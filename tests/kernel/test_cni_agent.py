"""The plugin and a real agent: a pod's bandwidth is limited when ADD answers, follows its annotations, and goes with it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.spaces import named_space

from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kubernetes import Namespace, Pod, PodSpec
from tortie.api.resource import Metadata
from tortie.cni import build
from tortie.convert.names import veth_name
from tortie.kernel import netns
from tortie.kernel.qdisc import Shaper, ifb_name

pytestmark = pytest.mark.kernel

_QOS = "qos.projectcalico.org/"
DEVICE = veth_name("shop", "web")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cni") / "tortie-cni"
    build.build_shim(target, compiler="gcc")
    return target


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        made.apply(
            Namespace(metadata=Metadata(name="shop")),
            IPPool(metadata=Metadata(name="v4"), spec=IPPoolSpec(cidr="10.65.0.0/16")),
        )
        yield made


def web(**annotations: str) -> Pod:
    """The pod, with annotations of its quality of service."""
    full = {_QOS + name: text for name, text in annotations.items()}
    return Pod(metadata=Metadata(name="web", namespace="shop", annotations=full), spec=PodSpec(node_name="node1"))


def call(node: AgentNode, shim: Path, command: str, path: str) -> dict[str, Any]:
    """Execute the plugin."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": path,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web",
        "PATH": os.environ["PATH"],
        "TORTIE_CNI_SOCKET": str(node.run_dir / "cni.sock"),
    }
    config = {"cniVersion": "1.1.0", "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"}}
    done = subprocess.run([str(shim)], input=json.dumps(config).encode(), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, (done.stdout, node.log()[-2000:])
    document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return document


def rates(node: AgentNode) -> tuple[int, int]:
    """Bytes a second that the pod may receive and send; 0 is unlimited."""
    with netns.opened(node.stage.node) as fd, Shaper(fd) as shaper:
        found = shaper.read(DEVICE)
        return (found.received.rate if found.received else 0, found.sent.rate if found.sent else 0)


def detours(node: AgentNode) -> frozenset[str]:
    with netns.opened(node.stage.node) as fd, Shaper(fd) as shaper:
        return shaper.detours()


def test_limits_are_there_when_add_answers_and_gone_after_del(node: AgentNode, shim: Path) -> None:
    node.apply(web(ingressBandwidth="8M", ingressBurst="800k", egressBandwidth="16M", egressBurst="800k"))
    node.start()
    call(node, shim, "STATUS", "")
    with named_space("tca") as pod:
        path = netns.path_of(pod)
        call(node, shim, "ADD", path)
        assert rates(node) == (1_000_000, 2_000_000)
        assert detours(node) == {ifb_name(DEVICE)}
        call(node, shim, "CHECK", path)
        call(node, shim, "DEL", path)
        node.until(lambda: detours(node) == frozenset())


def test_limits_follow_the_pods_annotations(node: AgentNode, shim: Path) -> None:
    node.apply(web(ingressBandwidth="8M"))
    node.start()
    with named_space("tca") as pod:
        path = netns.path_of(pod)
        call(node, shim, "ADD", path)
        assert rates(node) == (1_000_000, 0)
        node.apply(web(egressBandwidth="80M"))
        node.until(lambda: rates(node) == (0, 10_000_000))
        node.stop()
        node.apply(web())
        node.start()
        node.until(lambda: rates(node) == (0, 0))
        assert detours(node) == frozenset()
        call(node, shim, "DEL", path)


def test_a_pod_gets_the_mtu_that_the_agent_finds_and_not_what_another_one_has_left(node: AgentNode, shim: Path) -> None:
    node.apply(web())
    (node.folder / "state").mkdir(exist_ok=True)
    (node.folder / "state" / "mtu").write_text("1234\n")
    node.stage.batch(node.stage.node, "link set uplink mtu 1380")
    node.start(FELIX_MTUIFACEPATTERN="^uplink$")
    with named_space("tca") as pod:
        found = call(node, shim, "ADD", netns.path_of(pod))
        assert {interface["mtu"] for interface in found["interfaces"]} == {1380}
        call(node, shim, "DEL", netns.path_of(pod))
