"""The Kubernetes backend over a real API server with the CRDs that we ship."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kubernetes.control_plane import Cluster

from tortie.api.cluster import ClusterInformation
from tortie.api.documents import from_json
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.kinds import KINDS
from tortie.api.node import Node, NodeBGP, NodeInterface, NodeSpec, NodeStatus, NodeWireguard
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.tier import Tier
from tortie.convert.feed import convert_update
from tortie.datastore.client import Client, Event
from tortie.datastore.config import open_client
from tortie.datastore.errors import DoesNotExist, InvalidRequest, NotSupported, Unauthorized, UpdateConflict
from tortie.datastore.identity import KEY as CLUSTER_INFORMATION
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.kubernetes.places import is_custom
from tortie.datastore.syncer import Batch, Syncer

pytestmark = pytest.mark.kubernetes

GOLDEN = Path("tests/golden/datastore")
IPAM = ("IPAMBlock", "BlockAffinity", "IPAMHandle", "IPAMConfiguration")
"""Their golden files are etcd's; those of Kubernetes are in tests/unit/datastore/kubernetes."""
CUSTOM = [file for file in sorted(GOLDEN.glob("*.json")) if is_custom(kind := file.stem.partition("-")[0]) and kind not in IPAM]


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Cluster:
    """The shared cluster with our CRDs, the namespace `shop` and a node."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "manifests/crds")
    cluster.wait_served()
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "k2-node", "labels": {"rack": "r1"}}},
    )
    # What controllers add to both: a pod needs the account, and the note on the node is another version of it.
    cluster.kubectl("wait", "-n", "shop", "--for=create", "serviceaccount/default", "--timeout=40s")
    ttl = r"jsonpath={.metadata.annotations.node\.alpha\.kubernetes\.io/ttl}"
    cluster.kubectl("wait", "node/k2-node", f"--for={ttl}", "--timeout=40s")
    return cluster


def settings(cluster: Cluster, kubeconfig: Path | None = None) -> dict[str, str]:
    return {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(kubeconfig or cluster.admin)}


def run(cluster: Cluster, scenario: Callable[[Client], Awaitable[None]], **env: str) -> None:
    async def main() -> None:
        client = open_client(settings(cluster) | env, None)
        try:
            await asyncio.wait_for(scenario(client), 100)
        finally:
            await client.close()

    asyncio.run(main())


def pod(name: str, namespace: str = "shop", node: str = "k2-node", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "name": "http"}]}],
        },
    }


def endpoint_key(name: str, namespace: str = "shop") -> Key:
    return Key("WorkloadEndpoint", namespace, f"k2--node-k8s-{name.replace('-', '--')}-eth0")


@pytest.mark.parametrize("group", ["crd.projectcalico.org/v1", "projectcalico.org/v3"])
@pytest.mark.parametrize("file", CUSTOM, ids=lambda file: file.stem)
def test_every_kind_passes_the_schema_and_comes_back_as_it_was(served: Cluster, file: Path, group: str) -> None:
    kind = file.stem.partition("-")[0]

    async def scenario(client: Client) -> None:
        given = from_json(kind, json.dumps(json.loads(file.read_text())["value"]).encode())
        annotations = {name: text for name, text in given.metadata.annotations.items() if name != "projectcalico.org/metadata"}
        metadata = Metadata(name=given.metadata.name, namespace=given.metadata.namespace, labels=given.metadata.labels)
        given = msgspec.structs.replace(given, metadata=msgspec.structs.replace(metadata, annotations=annotations))
        if isinstance(given, GlobalNetworkPolicy):  # the stored one is older than the rule against egress beside preDNAT
            given = msgspec.structs.replace(given, spec=msgspec.structs.replace(given.spec, pre_dnat=False))
        try:
            await client.delete(given.key)
        except DoesNotExist:
            pass
        created = await client.create(given)
        try:
            assert created.metadata.labels == given.metadata.labels
            assert created.metadata.annotations == given.metadata.annotations
            assert await client.get(given.key) == created
            again = await client.update(created)
            assert bare(again) == bare(created)
        finally:
            await client.delete(given.key)

    run(served, scenario, **({"CALICO_API_GROUP": group} if group.startswith("project") else {}))


def bare(resource: Resource) -> Resource:
    return msgspec.structs.replace(resource, metadata=Metadata(name=resource.metadata.name))


def test_a_new_cluster_is_initialised_once(served: Cluster) -> None:
    async def scenario(client: Client) -> None:
        await ensure_initialized(client)
        first = await client.get(CLUSTER_INFORMATION)
        assert isinstance(first, ClusterInformation)
        assert len(first.spec.cluster_guid) == 32
        assert first.spec.cluster_type == "kdd"
        await ensure_initialized(client)
        assert await client.get(CLUSTER_INFORMATION) == first
        assert {"default", "kube-admin", "kube-baseline"} <= {item.metadata.name for item in (await client.list("Tier")).items}
        wrong: Any = "much"
        tier = await client.get(Key("Tier", "", "kube-admin"))
        assert isinstance(tier, Tier)
        with pytest.raises(InvalidRequest, match="Tier"):
            await client.update(msgspec.structs.replace(tier, spec=msgspec.structs.replace(tier.spec, order=wrong)))

    run(served, scenario)


def test_a_pods_endpoint_is_there_while_it_has_an_address(served: Cluster) -> None:
    served.apply(pod("web-0", app="web"))

    async def scenario(client: Client) -> None:
        key = endpoint_key("web-0")
        listing = await client.list_many(["WorkloadEndpoint"])
        assert key not in {item.key for item in listing.items}
        with pytest.raises(DoesNotExist):
            await client.get(key)
        spec = WorkloadEndpointSpec(
            orchestrator="k8s", node="k2-node", pod="web-0", endpoint="eth0", container_id="abc", ip_networks=("10.0.0.7/32",)
        )
        created = await client.create(WorkloadEndpoint(metadata=Metadata(name=key.name, namespace="shop"), spec=spec))
        assert isinstance(created, WorkloadEndpoint)
        assert created.spec.ip_networks == ("10.0.0.7/32",)
        assert created.spec.container_id == "abc"
        assert created.metadata.labels["app"] == "web"
        assert created.spec.profiles[0] == "kns.shop"
        notes = served.get("pod", "web-0", "-n", "shop")["metadata"]["annotations"]
        assert {name: text for name, text in notes.items() if "calico" in name} == {
            "cni.projectcalico.org/podIP": "10.0.0.7/32",
            "cni.projectcalico.org/podIPs": "10.0.0.7/32",
            "cni.projectcalico.org/containerID": "abc",
        }
        assert await client.get(key) == created
        assert created in (await client.list("WorkloadEndpoint", namespace="shop")).items
        stale = msgspec.structs.replace(created, metadata=msgspec.structs.replace(created.metadata, resource_version="1"))
        with pytest.raises(UpdateConflict):
            await client.update(stale)
        assert await client.delete(key, revision=created.metadata.resource_version) == created
        with pytest.raises(DoesNotExist):
            await client.get(key)
        seen = [event async for event in events(client, key, listing.revision, count=2)]
        assert [event.value for event in seen] == [created, None]

    run(served, scenario)


async def events(client: Client, key: Key, revision: str, *, count: int) -> AsyncIterator[Event]:
    """The next so many events of one key; others have theirs in a shared cluster."""
    async with aclosing(client.watch([key.kind], revision=revision)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for event in batch:
                if event.key == key:
                    yield event
                    count -= 1
            if count <= 0:
                return


def test_a_nodes_particulars_are_annotations_and_nodes_come_and_go_without_us(served: Cluster) -> None:
    wanted = Node(
        metadata=Metadata(name="k2-node", labels={"rack": "r1", "mine": "x"}),
        spec=NodeSpec(
            bgp=NodeBGP(as_number=64513, ipv4_address="172.18.0.2/24", ipv4_ipip_tunnel_addr="10.0.0.3"),
            ipv4_vxlan_tunnel_addr="10.0.0.1",
            vxlan_tunnel_mac_addr="66:00:00:00:00:01",
            wireguard=NodeWireguard(interface_ipv4_address="10.0.0.2"),
            interfaces=(NodeInterface(name="eth0", addresses=("172.18.0.2",)),),
        ),
        status=NodeStatus(wireguard_public_key="key of IPv4", wireguard_public_key_v6="key of IPv6"),
    )

    async def scenario(client: Client) -> None:
        found = await client.get(wanted.key)
        metadata = msgspec.structs.replace(wanted.metadata, resource_version=found.metadata.resource_version)
        written = await client.update(msgspec.structs.replace(wanted, metadata=metadata))
        assert isinstance(written, Node)
        assert written == await client.get(wanted.key)
        assert written.spec.bgp == wanted.spec.bgp
        assert written.spec.interfaces == wanted.spec.interfaces
        assert written.status is not None
        assert (written.status.wireguard_public_key, written.status.wireguard_public_key_v6) == ("key of IPv4", "key of IPv6")
        assert written.metadata.labels["mine"] == "x"
        node = served.get("node", "k2-node")
        notes = {name: text for name, text in node["metadata"]["annotations"].items() if name.startswith("projectcalico.org/")}
        assert notes == {
            "projectcalico.org/IPv4Address": "172.18.0.2/24",
            "projectcalico.org/ASNumber": "64513",
            "projectcalico.org/IPv4IPIPTunnelAddr": "10.0.0.3",
            "projectcalico.org/WireguardPublicKey": "key of IPv4",
            "projectcalico.org/WireguardPublicKeyV6": "key of IPv6",
            "projectcalico.org/IPv4VXLANTunnelAddr": "10.0.0.1",
            "projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:01",
            "projectcalico.org/IPv4WireguardInterfaceAddr": "10.0.0.2",
            "projectcalico.org/Interfaces": '[{"name":"eth0","addresses":["172.18.0.2"]}]',
            "projectcalico.org/labels": '{"mine":"x"}',
        }
        assert "mine" not in node["metadata"]["labels"]
        with pytest.raises(UpdateConflict):
            await client.update(msgspec.structs.replace(wanted, metadata=metadata))
        empty = await client.update(msgspec.structs.replace(written, spec=NodeSpec(), status=None))
        assert isinstance(empty, Node)
        assert empty.spec.bgp is None
        assert empty.status is None or not empty.status.wireguard_public_key
        left = served.get("node", "k2-node")["metadata"]["annotations"]
        assert [name for name in left if name.startswith("projectcalico.org/")] == ["projectcalico.org/labels"]
        for attempt in (client.create(wanted), client.delete(wanted.key)):
            with pytest.raises(NotSupported, match="kubelets"):
                await attempt

    run(served, scenario)


def test_namespaces_and_service_accounts_are_profiles(served: Cluster) -> None:
    async def scenario(client: Client) -> None:
        namespace = await client.get(Key("Profile", "", "kns.shop"))
        assert isinstance(namespace, Profile)
        assert namespace.spec.labels_to_apply["pcns.team"] == "a"
        account = await client.get(Key("Profile", "", "ksa.shop.default"))
        names = {item.metadata.name for item in (await client.list("Profile")).items}
        assert {namespace.metadata.name, account.metadata.name, "projectcalico-default-allow"} <= names
        with pytest.raises(DoesNotExist):
            await client.get(Key("Profile", "", "kns.nowhere"))

    run(served, scenario)


def test_what_kubectl_makes_reaches_the_agents_feed_and_leaves_it_again(served: Cluster) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in ("Pod", "AgentStatus"))

    async def scenario(client: Client) -> None:
        await ensure_initialized(client)
        state: dict[Key, Resource] = {}
        news = asyncio.Event()
        in_sync: list[bool] = []

        async def sink(batch: Batch) -> None:
            for key, value in batch.updates:
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
            in_sync.extend([True] * batch.in_sync)
            news.set()

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(40):
                while not condition():
                    news.clear()
                    await news.wait()

        following = asyncio.ensure_future(Syncer(client, kinds, convert=convert_update).run(sink))
        try:
            await until(lambda: bool(in_sync))
            policy = {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "deny", "namespace": "fed"},
                "spec": {"podSelector": {"matchLabels": {"app": "db"}}},
            }
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fed"}}
            await asyncio.to_thread(served.apply, namespace)
            account = ("wait", "-n", "fed", "--for=create", "serviceaccount/default", "--timeout=40s")
            await asyncio.to_thread(served.kubectl, *account)
            await asyncio.to_thread(served.apply, pod("db-0", "fed", app="db"), policy)
            status = json.dumps({"status": {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "phase": "Running"}})
            patch = ("patch", "pod", "db-0", "-n", "fed", "--subresource=status", "--type=merge", "-p", status)
            await asyncio.to_thread(served.kubectl, *patch)
            keys = [
                endpoint_key("db-0", "fed"),
                Key("KubernetesNetworkPolicy", "fed", "deny"),
                Key("Profile", "", "kns.fed"),
            ]
            await until(lambda: set(keys) <= set(state))
            endpoint, converted, _ = (state[key] for key in keys)
            assert isinstance(endpoint, WorkloadEndpoint)
            assert endpoint.spec.ip_networks == ("10.0.0.9/32",)
            assert isinstance(converted, NetworkPolicy)
            assert "app" in converted.spec.selector
            await asyncio.to_thread(served.kubectl, "delete", "pod", "db-0", "-n", "fed", "--grace-period=0", "--force")
            await asyncio.to_thread(served.kubectl, "delete", "netpol", "deny", "-n", "fed")
            await until(lambda: not set(keys[:2]) & set(state))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await asyncio.to_thread(served.kubectl, "delete", "namespace", "fed", "--wait=false")

    run(served, scenario)


def test_who_may_not_is_told_who_what_and_where(served: Cluster) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(Unauthorized) as caught:
            await client.list("NetworkPolicy")
        text = str(caught.value)
        for part in (served.server, "mallory", "list", "networkpolicies", "cluster scope"):
            assert part in text

    run(served, scenario, KUBECONFIG=str(served.kubeconfig("mallory")))


def kubeconfig(cluster: Cluster, path: Path, user: dict[str, Any]) -> str:
    """A kubeconfig for a user who logs in in another way than by a certificate in a file."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "wrong",
        "clusters": [{"name": "c", "cluster": {"server": cluster.server, "certificate-authority": str(cluster.ca)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "right", "context": {"cluster": "c", "user": "u"}},
            {"name": "wrong", "context": {"cluster": "nowhere", "user": "u"}},
        ],
    }
    path.write_text(json.dumps(config))
    return str(path)


def token(cluster: Cluster) -> str:
    """A token of a service account that may read everything."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "k2", "namespace": "shop"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "k2"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "k2", "namespace": "shop"}],
        },
    )
    cluster.wait_allowed("list", "namespaces", user="system:serviceaccount:shop:k2")
    return cluster.kubectl("create", "token", "k2", "-n", "shop").strip()


def test_a_token_that_was_replaced_is_read_again_when_the_old_one_is_refused(served: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("not a token")
    config = kubeconfig(served, tmp_path / "config", {"tokenFile": str(file)})

    async def scenario(client: Client) -> None:
        with pytest.raises(Unauthorized, match="not accepted"):
            await client.list("Tier")
        file.write_text(token(served))
        assert (await client.list("Namespace")).items

    run(served, scenario, KUBECONFIG=config, K8S_CURRENT_CONTEXT="right")


def test_a_program_logs_in_and_is_asked_again_when_its_token_is_refused(served: Cluster, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"spoiled\n{token(served)}\n")
    program = tmp_path / "login"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib\n"
        "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        "tokens = pathlib.Path(os.environ['TOKENS'])\n"
        "first, *rest = tokens.read_text().splitlines()\n"
        "tokens.write_text('\\n'.join(rest))\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': {'token': first}}))\n"
    )
    os.chmod(program, 0o755)
    login = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program),
        "env": [{"name": "TOKENS", "value": str(tokens)}],
        "interactiveMode": "Never",
    }
    config = kubeconfig(served, tmp_path / "config", {"exec": login})

    async def scenario(client: Client) -> None:
        assert (await client.list("Namespace")).items
        assert tokens.read_text() == ""

    run(served, scenario, KUBECONFIG=config, K8S_CURRENT_CONTEXT="right")
