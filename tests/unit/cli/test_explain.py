"""tortie explain as a person runs it."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.insight.asking import felix, global_policy, host_endpoint, node, pod
from tests.unit.insight.test_explain import DEPLOYMENT, KUBERNETES, PODS

from tortie.api.documents import load_documents
from tortie.cli.explain import explain
from tortie.datastore.config import open_client


def run(*arguments: str, text: str = "", env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(explain, arguments, input=text, env=env)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "pods.yaml").write_text(PODS + DEPLOYMENT)
    (tmp_path / "sub" / "policy.yml").write_text(KUBERNETES)
    (tmp_path / "notes.txt").write_text("not yaml: [")
    return tmp_path


def test_the_deciding_line_comes_first_and_the_walk_of_both_directions_after_it(folder: Path) -> None:
    result = run("dev/client", "prod/web", "tcp/81", "-f", str(folder))
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[0] == "DENY  dev/client -> prod/web  (TCP 10.0.0.2:49152 -> 10.0.0.1:81)"
    assert lines[1] == "  ingress of prod/web: no rule matched and tier default denies by default"
    assert lines.index("Egress of dev/client: allow, profile kns.dev egress rule 0 says Allow") < lines.index(
        "Ingress of prod/web: deny, no rule matched and tier default denies by default"
    )
    assert "destination port 81 is not 80" in result.stdout or "is not selected by" in result.stdout
    assert "1 ConfigMap" in result.stderr


def test_an_allowed_packet_exits_with_0_and_names_policy_rule_and_place(folder: Path) -> None:
    result = run("dev/client", "prod/web", "tcp/http", "-f", str(folder / "pods.yaml"), "-f", str(folder / "sub"))
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()[:2]
    assert first.startswith("ALLOW")
    assert "KubernetesNetworkPolicy prod/web ingress rule 1 says Allow, tier default" in second
    assert second.endswith("policy.yml:9)")


def test_json_is_one_document_and_nothing_else(folder: Path) -> None:
    result = run("dev/client", "prod/api", "tcp/81", "-f", str(folder), "-o", "json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["verdict"] == "deny"


def test_made_up_addresses_are_marked(folder: Path) -> None:
    shown = run("dev/client", "prod/api", "tcp/81", "-f", str(folder)).stdout
    assert "prod/api has no address and no node yet; 198.18.0.1, 2001:db8::1, node/offline stand in for it." in shown


def test_standard_input_is_a_file_too() -> None:
    assert run("dev/client", "prod/web", "icmp", "-f", "-", text=PODS).exit_code == 0


@pytest.mark.parametrize(("question", "told"), [("80", True), ("tcp/80", False), ("icmp", False), ("udplite", False)])
def test_a_number_alone_is_said_to_be_that_of_a_protocol(folder: Path, question: str, told: bool) -> None:
    result = run("dev/client", "prod/web", question, "-f", str(folder))
    assert ("write tcp/80 for a port" in result.stderr) is told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dev/client", "prod/wep", "tcp/80"), "did you mean prod/web"),
        (("dev/client", "prod/web", "tcp"), "which port"),
        (("dev/client", "prod/web", "tcp/80", "--family", "6"), "ask with --family 4"),
        (("dev/client", "prod/web", "tcp/80", "-f", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    ],
)
def test_a_question_without_an_answer_exits_with_1_and_says_what_to_do(
    arguments: tuple[str, ...], message: str, folder: Path
) -> None:
    result = run(*arguments, "-f", str(folder))
    assert result.exit_code == 1
    assert message in result.stderr
    assert not result.stdout


STAGED = "StagedGlobalNetworkPolicy"
SERVED = (
    pod("web-1", "10.0.0.1", labels="{app: web}"),
    pod("web-2", "10.0.0.2", labels="{app: web}", node="n2"),
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: prod}\n"
    "spec: {clusterIP: 10.96.0.7, selector: {app: web}, ports: [{port: 80, targetPort: http}]}\n",
    host_endpoint("one", "n1", "eth0"),
    global_policy("draft", "app == 'web'", "types: [Ingress]\ningress: [{action: Deny}]", kind=STAGED),
)


def test_a_service_is_followed_to_its_backends_and_drafts_are_previewed(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("\n---\n".join(SERVED))
    result = run("192.0.2.2", "svc/prod/web", "tcp/80", "-f", str(file))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "ALLOW  node/n2 -> prod/web-1  (TCP 192.0.2.2:49152 -> 10.0.0.1:8080)"
    assert lines[2].startswith("  with staged policies: deny, because ingress of prod/web-1: StagedGlobalNetworkPolicy draft")
    assert (
        lines[3] == "svc/prod/web at 10.96.0.7, TCP port 80: kube-proxy picks one of 2 backends, worked out from its selector:"
    )
    assert "  allow  prod/web-2 (10.0.0.2, port 8080): a node always reaches its own pods (health checks depend on it)" in lines
    assert any("StagedGlobalNetworkPolicy draft (staged: asked for the record, not enforced)" in line for line in lines)
    assert "Note: traffic of node/n1 is assumed to pass by eth0 (one)." in lines


def test_what_a_floating_address_is_stands_before_the_walk_and_one_not_in_force_is_denied(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    annotated = "annotations: {cni.projectcalico.org/floatingIPs: '[\"203.0.113.7\"]'}, labels"
    pods = (pod("web", "10.0.0.1").replace("labels", annotated), pod("client", "10.0.0.2"), node("n1", "192.0.2.1"))
    file.write_text("\n---\n".join((*pods, felix("default", "floatingIPs: Enabled"))))
    result = run("prod/client", "203.0.113.7", "tcp/80", "-f", str(file))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "ALLOW  prod/client -> prod/web  (TCP 10.0.0.2:49152 -> 10.0.0.1:80)"
    assert lines[2].startswith("203.0.113.7 is a floating address of prod/web: node/n1 translates it to 10.0.0.1;")
    file.write_text("\n---\n".join(pods))
    result = run("prod/client", "203.0.113.7", "tcp/80", "-f", str(file))
    assert result.exit_code == 2
    assert "FloatingIPs is Disabled; set floatingIPs: Enabled" in result.stdout.splitlines()[1]


def test_annotations_of_rules_are_shown_beside_them(tmp_path: Path) -> None:
    rules = "types: [Ingress]\ningress: [{action: Allow, metadata: {annotations: {owner: shop}}}]"
    file = tmp_path / "all.yaml"
    file.write_text("\n---\n".join((*SERVED, global_policy("noted", "app == 'web'", rules))))
    asked = ("192.0.2.2", "prod/web-1", "tcp/80", "-f", str(file))
    assert "> rule 0, Allow [owner=shop]: matches" in run(*asked).stdout
    assert '"owner": "shop"' in run(*asked, "-o", "json").stdout


def test_the_hooks_of_host_endpoints_are_named(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("\n---\n".join(SERVED))
    result = run("203.0.113.9", "node/n1", "tcp/80", "-f", str(file))
    assert result.exit_code == 2
    where = "ngress of node/n1 (normal policy of host endpoint one, filter input): "
    assert f"I{where}deny, the endpoint has no profile, and the end of all rules denies" in result.stdout
    assert f"  i{where}" in result.stdout.splitlines()[1]
    assert "with staged policies: deny, as now" in result.stdout


def test_without_files_the_datastore_is_asked(tmp_path: Path) -> None:
    env = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(tmp_path / "store.sqlite")}
    endpoints = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-NAME-eth0, namespace: prod, labels: {app: NAME}}
spec:
  orchestrator: k8s
  node: n1
  pod: NAME
  endpoint: eth0
  interfaceName: caliNAME
  ipNetworks: [ADDRESS/32]
  profiles: [kns.prod]
"""
    policy = KUBERNETES.replace("---\n", "")
    texts = [
        endpoints.replace("NAME", "web").replace("ADDRESS", "10.0.0.1"),
        endpoints.replace("NAME", "client").replace("ADDRESS", "10.0.0.2"),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n",
        policy,
        felix("default", "defaultEndpointToHostAction: Drop"),
        felix("node.n1", "defaultEndpointToHostAction: Accept"),
        node("n1", "192.0.2.1"),
        global_policy("draft", "app == 'web'", "types: [Ingress]\ningress: [{action: Deny}]", kind=STAGED, more="order: 1"),
    ]

    async def fill() -> None:
        client = open_client(env, None)
        for text in texts:
            for document in load_documents(text):
                await client.create(document.resource)
        await client.close()

    asyncio.run(fill())
    assert run("prod/client", "prod/web", "tcp/80", env=env).exit_code == 0
    denied = run("prod/client", "prod/web", "tcp/443", env=env)
    assert denied.exit_code == 2, denied.output
    assert "KubernetesNetworkPolicy prod/web" in denied.stdout
    drafted = run("prod/client", "prod/web", "tcp/80", "-o", "json", env=env)
    assert json.loads(drafted.stdout)["pending"]["verdict"] == "deny"
    to_node = run("prod/client", "node/n1", "tcp/80", env=env)
    assert to_node.exit_code == 0, "its node's own configuration counts"
    assert "DefaultEndpointToHostAction is Accept" in to_node.stdout
