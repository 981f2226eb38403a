"""Questions put to YAML."""

from tortie.base.net import Family
from tortie.insight.explain import Explanation, explain
from tortie.insight.files import Text, load
from tortie.insight.question import parse_question
from tortie.insight.world import World


def world_of(*documents: str) -> World:
    """The world of documents without `---` between them."""
    return load([Text("policy.yaml", "\n---\n".join(documents))]).world()


def ask(world: World, source: str, destination: str, question: str, family: Family | None = None) -> Explanation:
    return explain(world, source, destination, question=parse_question(question, family=family))


def pod(name: str, address: str = "", *, node: str = "n1", labels: str = "{}", namespace: str = "prod", extra: str = "") -> str:
    status = f"status: {{podIPs: [{{ip: {address}}}]}}" if address else ""
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec: {{nodeName: {node}, containers: [{{name: c, image: i, ports: [{{name: http, containerPort: 8080}}]}}]{extra}}}
{status}
"""


def node(name: str, address: str = "", labels: str = "{}") -> str:
    bgp = f"spec: {{bgp: {{ipv4Address: {address}/24}}}}" if address else ""
    return f"""\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: {name}, labels: {labels}}}
{bgp}
"""


def host_endpoint(name: str, node: str, interface: str = "", expected: str = "", profile: str = "") -> str:
    fields = [f"node: {node}"]
    fields += [f"interfaceName: {interface!r}"] if interface else []
    fields += [f"expectedIPs: [{expected}]"] if expected else []
    fields += [f"profiles: [{profile}]"] if profile else []
    return f"""\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: {name}, labels: {{host: {name}}}}}
spec: {{{", ".join(fields)}}}
"""


def global_policy(name: str, selector: str, rules: str, *, kind: str = "GlobalNetworkPolicy", more: str = "") -> str:
    return f"""\
apiVersion: projectcalico.org/v3
kind: {kind}
metadata: {{name: {name}}}
spec:
  selector: {selector}
{"".join(f"  {line}" + chr(10) for line in more.splitlines())}{"".join(f"  {line}" + chr(10) for line in rules.splitlines())}"""


def felix(name: str, spec: str) -> str:
    return f"""\
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {{name: {name}}}
spec: {{{spec}}}
"""
