"""Rules in words."""

from typing import Any

import pytest
from tests.graph.states import rules

from tortie.calc.rule_text import rule_text


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"action": "Deny"}, "Deny"),
        ({"action": "Allow", "ipVersion": 6, "notProtocol": "TCP"}, "Allow IPv6 not protocol TCP"),
        ({"action": "Log", "protocol": 47}, "Log protocol 47"),
        ({"action": "Pass", "protocol": "ICMP", "icmp": {"type": 8, "code": 0}}, "Pass ICMP type 8 code 0"),
        ({"action": "Pass", "protocol": "ICMP", "notICMP": {"type": 8}}, "Pass ICMP not type 8"),
        ({"action": "Allow", "destination": {"services": {"name": "web"}}}, "Allow to service web"),
        ({"action": "Allow", "source": {"services": {"name": "web", "namespace": "x"}}}, "Allow from service x/web"),
        (
            {"action": "Deny", "metadata": {"annotations": {"tortie.io/not-understood": "spec.egress[0].to[0]: nodes"}}},
            "Deny in the place of a rule that is not understood (spec.egress[0].to[0]: nodes)",
        ),
        (
            {
                "action": "Allow",
                "protocol": "TCP",
                "source": {"nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"], "notSelector": "has(x)"},
                "destination": {
                    "namespaceSelector": "all()",
                    "serviceAccounts": {"names": ["a", "b"]},
                    "notPorts": ["web", 80],
                },
            },
            "Allow TCP from not (has(x)) and 10.0.0.0/8 and not 10.1.0.0/16 "
            "to namespaces (all()) and service accounts a, b and not port web, 80",
        ),
    ],
)
def test_a_rule_reads_like_a_sentence(document: dict[str, Any], text: str) -> None:
    assert rule_text(rules(document)[0]) == text
