"""Bugs in reading what users wrote, and in turning Kubernetes' kinds into Calico's."""

from tests.mutants.mutant import EVALUATOR, Mutant

CONVERSION = (
    Mutant(
        "an empty namespaceSelector means the policy's own namespace",
        "convert/labels.py",
        'return " && ".join(_terms(selector)) or "all()"',
        'return " && ".join(_terms(selector))',
        EVALUATOR,
    ),
    Mutant(
        "endPort is forgotten",
        "convert/ports.py",
        "last = first if entry.end_port is None else entry.end_port",
        "last = first",
        EVALUATOR,
    ),
    Mutant(
        "except is forgotten",
        "convert/policies.py",
        'not_nets=tuple(str(_cidr(text, "ipBlock.except")) for text in block.except_)',
        "not_nets=()",
        EVALUATOR,
    ),
    Mutant(
        "egress peers lose their namespace selector",
        "convert/policies.py",
        "        namespace_selector=side.namespace_selector,\n",
        "",
        EVALUATOR,
    ),
    Mutant(
        "a port entry without a port opens nothing beside numbered ones",
        "convert/ports.py",
        "() if each in whole else (*named[each], *_merged(numeric[each]))",
        "(*named[each], *_merged(numeric[each]))",
        EVALUATOR,
    ),
    Mutant(
        "a Pass of a cluster policy that cannot be converted is dropped",
        "convert/cluster_policies.py",
        '        if rule.action == "Accept":\n            report',
        '        if rule.action != "Deny":\n            report',
        EVALUATOR,
    ),
    Mutant(
        "baseline cluster policies stand in the admin tier",
        "convert/cluster_policies.py",
        '"Baseline": "kube-baseline"}',
        '"Baseline": "kube-admin"}',
        EVALUATOR,
    ),
    Mutant(
        "of several egress peers of a cluster policy only the first counts",
        "convert/cluster_policies.py",
        "for i, peer in enumerate(rule.to)]",
        "for i, peer in enumerate(rule.to[:1])]",
        EVALUATOR,
    ),
    Mutant(
        "the subject of a cluster policy is not for pods alone",
        "convert/cluster_policies.py",
        "return namespace_selector_text(subject.namespaces), pod_selector_text(None)",
        'return namespace_selector_text(subject.namespaces), ""',
        EVALUATOR,
    ),
    Mutant(
        "cluster policies are asked in the wrong order",
        "convert/cluster_policies.py",
        "order=float(spec.priority),",
        "order=-float(spec.priority),",
        EVALUATOR,
    ),
    Mutant(
        "allowed source prefixes of a pod are not read",
        "convert/pods.py",
        "allow_spoofed_source_prefixes=_source_prefixes(pod),",
        "allow_spoofed_source_prefixes=(),",
        EVALUATOR,
    ),
    Mutant(
        "a failsafe port is open to every address",
        "api/felix_params.py",
        'for part in (item.protocol.lower() or "tcp", net, str(item.port)) if part)',
        'for part in (item.protocol.lower() or "tcp", str(item.port)) if part)',
        EVALUATOR,
    ),
)
