"""For every check one input that triggers it, and one that nearly does: `(id, triggers, near misses)`."""

CLUSTER = """\
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: x}}
---
apiVersion: v1
kind: Namespace
metadata: {name: b, labels: {team: y}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: a, labels: {app: client}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: b, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns, namespace: b, labels: {k8s-app: kube-dns}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: eth0, labels: {role: host}}
spec: {node: n1, interfaceName: eth0}
---
"""


def policy(spec: str, *, name: str = "p", kind: str = "NetworkPolicy") -> str:
    """One policy of namespace a, or a global one."""
    namespace = "" if "Global" in kind else ", namespace: a"
    head = f"apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec:\n"
    return head + "".join(f"  {line}\n" for line in spec.strip().splitlines()) + "---\n"


def web(rules: str) -> str:
    """A policy for the ingress of a/web."""
    return policy("selector: app == 'web'\ntypes: [Ingress]\ningress:\n" + rules)


def gnp(spec: str, *, name: str = "p") -> str:
    return policy(spec, name=name, kind="GlobalNetworkPolicy")


def tier(name: str, spec: str = "{order: 10}") -> str:
    return f"apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


def kubernetes(spec: str) -> str:
    return f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: k, namespace: a}}\nspec: {spec}\n---\n"


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: db, namespace: b}
spec: {selector: {app: db}, ports: [{port: 80}]}
---
"""
ALLOW_ALL = "- {action: Allow}"
SERVED = "selector: app == 'web'\ntypes: [Egress]\negress:\n- {action: Allow}\n"
IN_TIER = "tier: early\nselector: app == 'web'\ntypes: [Ingress]\ningress:\n"
LATER = policy("selector: app == 'web'\ntypes: [Ingress]\ningress: [{action: Allow, protocol: TCP}]", name="later")
UNTRACKED = "selector: role == 'host'\ndoNotTrack: true\napplyOnForward: true\n"
ALLOW_80 = "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]"

CASES: list[tuple[str, str, str]] = [
    ("TL001", web("- {action: Permit}"), web(ALLOW_ALL)),
    ("TL002", web(ALLOW_ALL) + web(ALLOW_ALL), web(ALLOW_ALL) + policy("selector: app == 'web'", name="q")),
    (
        "TL003",
        web("- {action: Allow, destination: {ports: [80]}}"),
        web("- {action: Allow, protocol: TCP, destination: {ports: [80]}}"),
    ),
    (
        "TL003",
        web("- {action: Allow, protocol: ICMP, destination: {ports: [80]}}"),
        web("- {action: Allow, protocol: ICMP}"),
    ),
    (
        "TL004",
        gnp("selector: role == 'host'\npreDNAT: true\ningress: [{action: Deny}]"),
        gnp("selector: role == 'host'\npreDNAT: true\napplyOnForward: true\ningress: [{action: Deny}]"),
    ),
    (
        "TL010",
        web("- {action: Allow, source: {nets: [10.1.0.0/16], notNets: [10.0.0.0/8]}}"),
        web("- {action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}"),
    ),
    ("TL010", web("- {action: Deny, protocol: UDP, notProtocol: UDP}"), web("- {action: Deny, protocol: UDP, notProtocol: 6}")),
    (
        "TL010",
        web("- {action: Allow, protocol: TCP, destination: {ports: [80, '90:95'], notPorts: ['80:99']}}"),
        web("- {action: Allow, protocol: TCP, destination: {ports: [80, '90:95'], notPorts: ['81:99']}}"),
    ),
    (
        "TL011",
        web("- {action: Deny, protocol: TCP}\n- {action: Allow, protocol: TCP, destination: {ports: [80]}}"),
        web("- {action: Log, protocol: TCP}\n- {action: Allow, protocol: TCP, destination: {ports: [80]}}"),
    ),
    (
        "TL011",
        web("- {action: Allow, source: {nets: [10.0.0.0/8]}}\n- {action: Deny, source: {nets: [10.2.0.0/16]}}"),
        web("- {action: Allow, source: {nets: [10.2.0.0/16]}}\n- {action: Deny, source: {nets: [10.0.0.0/8]}}"),
    ),
    (
        "TL011",
        web("- {action: Allow, source: {selector: has(app)}}\n- {action: Deny, source: {selector: app == 'client'}}"),
        web("- {action: Allow, source: {selector: app == 'client'}}\n- {action: Deny, source: {selector: has(app)}}"),
    ),
    (
        "TL012",
        gnp("order: 1\nselector: all()\ningress: [{action: Allow, protocol: TCP}, {action: Pass}]", name="first")
        .replace("order: 1", "order: 1\n  tier: early") + tier("early")
        + web("- {action: Allow, protocol: TCP, destination: {ports: [80]}}\n- {action: Allow, protocol: UDP}"),
        gnp("order: 1\nselector: app == 'db'\ningress: [{action: Allow, protocol: TCP}, {action: Pass}]", name="first")
        .replace("order: 1", "order: 1\n  tier: early") + tier("early")
        + web("- {action: Allow, protocol: TCP, destination: {ports: [80]}}\n- {action: Allow, protocol: UDP}"),
    ),
    (
        "TL013",
        gnp("order: 1\nselector: has(app)\ningress: [{action: Deny, protocol: TCP}]", name="first")
        + web("- {action: Allow, protocol: TCP, destination: {ports: [80]}}"),
        gnp("order: 1\nselector: has(app)\ningress: [{action: Deny, protocol: UDP}]", name="first")
        + web("- {action: Allow, protocol: TCP, destination: {ports: [80]}}"),
    ),
    (
        "TL014",
        web("- {action: Allow, source: {selector: app == 'cleint'}}"),
        web("- {action: Allow, source: {selector: app == 'client'}}"),
    ),
    (
        "TL015",
        web("- {action: Allow, destination: {selector: app == 'client'}}"),
        web("- {action: Allow, destination: {selector: app == 'web'}}"),
    ),
    ("TL016", web("- {action: Allow, protocol: TCP, http: {methods: [GET]}}"), web("- {action: Allow, protocol: TCP}")),
    (
        "TL017",
        gnp("selector: app == 'web'\ningress: [{action: Allow, source: {notSelector: app == 'client'}}]"),
        web("- {action: Allow, source: {notSelector: app == 'client'}}"),
    ),
    (
        "TL018",
        web("- {action: Allow, destination: {ports: [http]}}"),
        web("- {action: Allow, protocol: TCP, destination: {ports: [http]}}"),
    ),
    ("TL020", policy("selector: app == 'wbe'"), policy("selector: app == 'web'")),
    (
        "TL021",
        policy("selector: app == 'web'\ntypes: [Ingress]\ningress: [{action: Allow}]\negress: [{action: Allow}]"),
        policy("selector: app == 'web'\ntypes: [Ingress, Egress]\ningress: [{action: Allow}]\negress: [{action: Allow}]"),
    ),
    (
        "TL022",
        policy("selector: app == 'web'\ntypes: [Ingress, Egress]\ningress: [{action: Allow}]"),
        policy("selector: app == 'web'\ntypes: [Ingress, Egress]\ningress: [{action: Allow}]") + policy(SERVED, name="q"),
    ),
    ("TL022", kubernetes("{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}"),
     kubernetes("{podSelector: {}, policyTypes: [Ingress, Egress]}")),
    ("TL023", web("- {action: Log}"), web("- {action: Log}\n- {action: Deny}")),
    (
        "TL024",
        policy("selector: app == 'web'\ntypes: [Egress]"),
        policy("selector: app == 'web'\ntypes: [Egress]")
        + policy(
            "selector: all()\ntypes: [Egress]\negress:\n"
            "- {action: Allow, protocol: UDP, destination: {namespaceSelector: all(), selector: has(k8s-app), ports: [53]}}",
            name="dns",
        ),
    ),
    ("TL030", policy("tier: erly\nselector: app == 'web'"), policy("tier: early\nselector: app == 'web'") + tier("early")),
    (
        "TL031",
        policy(IN_TIER + "- {action: Allow, protocol: UDP}", name="first") + tier("early") + LATER,
        policy(IN_TIER + "- {action: Allow, protocol: UDP}\n- {action: Pass}", name="first") + tier("early") + LATER,
    ),
    (
        "TL032",
        policy(IN_TIER + "- {action: Deny, protocol: UDP}", name="first") + tier("early"),
        policy(IN_TIER + "- {action: Deny, protocol: UDP}", name="first") + tier("early", "{order: 10, defaultAction: Pass}"),
    ),
    ("TL033", tier("early"), tier("early") + policy("tier: early\nselector: app == 'web'")),
    (
        "TL040",
        policy("selector: app == 'web'\ntypes: [Egress]\negress: [{action: Allow, destination: {services: {name: db}}}]")
        + SERVICE,
        policy(
            "selector: app == 'web'\ntypes: [Egress]\n"
            "egress: [{action: Allow, destination: {services: {name: db, namespace: b}}}]"
        ) + SERVICE,
    ),
    (
        "TL041",
        web("- {action: Allow, protocol: UDP, destination: {ports: [http]}}"),
        web("- {action: Allow, protocol: TCP, destination: {ports: [http]}}"),
    ),
    (
        "TL042",
        web("- {action: Allow, source: {namespaceSelector: team == 'z'}}"),
        web("- {action: Allow, source: {namespaceSelector: team == 'y'}}"),
    ),
    (
        "TL043",
        web("- {action: Allow, source: {serviceAccounts: {names: [robot]}}}"),
        web("- {action: Allow, source: {serviceAccounts: {names: [default]}}}"),
    ),
    (
        "TL050",
        gnp(UNTRACKED + f"types: [Ingress]\ningress: {ALLOW_80}"),
        gnp(UNTRACKED + f"types: [Ingress, Egress]\ningress: {ALLOW_80}\negress: "
            "[{action: Allow, protocol: TCP, source: {ports: [80]}}]"),
    ),
    (
        "TL051",
        gnp(f"selector: app == 'web'\napplyOnForward: true\ningress: {ALLOW_80}"),
        gnp(f"selector: role == 'host'\napplyOnForward: true\ningress: {ALLOW_80}"),
    ),
    (
        "TL060",
        kubernetes("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}"),
        kubernetes("{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}"),
    ),
    (
        "TL061",
        policy("stagedAction: Delete", kind="StagedNetworkPolicy"),
        policy("stagedAction: Delete", kind="StagedNetworkPolicy") + web(ALLOW_ALL),
    ),
]  # fmt: skip
