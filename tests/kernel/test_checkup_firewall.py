"""Chains of others that drop are found in what the kernel really lists."""

import json

import pytest
from tests.kernel.spaces import named_space

from tortie.agent.checkup_firewall import find_foreign
from tortie.base import process
from tortie.kernel import netns

pytestmark = pytest.mark.kernel

RULES = b"""
table ip filter {
    chain FORWARD { type filter hook forward priority 0; policy drop
        iifname "docker0" accept
    }
    chain INPUT { type filter hook input priority 0
        counter reject
    }
    chain AFTER { type filter hook forward priority 5; policy drop
        accept
    }
}
table inet fw {
    chain forward { type filter hook forward priority 0; policy drop
        iifname "cali*" accept
    }
    chain plain {
        drop
    }
}
table inet tortie {
    chain f { type filter hook forward priority 0; policy drop
    }
}
"""


def test_only_chains_of_others_that_drop_by_default_are_named_and_forwarding_is_worse() -> None:
    with named_space("k5fw") as name:
        path = netns.path_of(name)
        process.run_blocking(["nft", "-f", "-"], stdin=RULES, netns_path=path).check()
        listed = process.run_blocking(["nft", "-j", "list", "ruleset"], netns_path=path).check()
    assert [(check.state, check.detail) for check in find_foreign(json.loads(listed.stdout))] == [
        ("problem", "chain FORWARD of table ip filter (hook forward) drops by default"),
        ("note", "chain INPUT of table ip filter (hook input) drops by default"),
        ("note", "chain forward of table inet fw drops by default, and lets pods' interfaces pass"),
    ]
