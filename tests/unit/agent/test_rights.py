"""The rights that we ship for agents cover what agents follow. (tests/lab/test_kubernetes_rights: neither more nor less.)"""

from pathlib import Path

import pytest
import yaml

from tortie.api.resource import V3
from tortie.calc.graph import KINDS
from tortie.datastore.kubernetes.places import CRD_V1, sources_of

RIGHTS = Path(__file__).parents[3] / "manifests/rbac"


@pytest.mark.parametrize(("file", "group"), [("agent.yaml", CRD_V1), ("agent-native.yaml", V3)])
def test_every_kind_that_an_agent_follows_may_be_listed_and_watched(file: str, group: str) -> None:
    (role,) = [item for item in yaml.safe_load_all((RIGHTS / file).read_text()) if item["kind"] == "ClusterRole"]
    granted = {
        (verb, api_group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for api_group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    needed = {
        (verb, source.place.api_version.rpartition("/")[0], source.place.plural)
        for source in sources_of((*KINDS, "ClusterInformation"), group)
        for verb in ("list", "watch")
    }
    assert needed - granted == set()
