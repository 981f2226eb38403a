"""tortie apiserver behind a real kube-apiserver: discovery, the verbs, who may what, and whose headers count."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kubernetes.api_ground import Api, behind, needs_kubectl
from tests.kubernetes.control_plane import Cluster, running

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def plane() -> Iterator[Cluster]:
    """A control plane of our own: the shared one may have CRDs of the same group."""
    needs_kubectl()
    with running(controllers=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with behind(plane, tmp_path_factory.mktemp("apiserver")) as found:
        yield found


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"selector": "all()", **spec},
    }


def put(api: Api, *documents: dict[str, Any]) -> None:
    api.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))


@contextmanager
def role(plane: Cluster, user: str, *rules: dict[str, Any]) -> Iterator[Path]:
    """A kubeconfig of a user who may do what the rules say."""
    metadata = {"name": f"test-{user}"}
    group = "rbac.authorization.k8s.io"
    plane.apply(
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": list(rules)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": metadata["name"]},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    )
    verb, resource, name = rules[0]["verbs"][0], rules[0]["resources"][0], "".join(rules[0]["resourceNames"][:1])
    plane.wait_allowed(verb, resource, user=user, group="projectcalico.org", name=name)
    yield plane.kubeconfig(user)


def rule(resources: list[str], verbs: list[str], *names: str) -> dict[str, Any]:
    return {"apiGroups": ["projectcalico.org"], "resources": resources, "verbs": verbs, "resourceNames": list(names)}


def test_kubectl_writes_and_reads_v3_through_kube_apiserver(api: Api) -> None:
    put(api, policy("through", order=10))
    assert "globalnetworkpolicies" in api.kubectl("api-resources", "--api-group=projectcalico.org")
    assert "through" in api.kubectl("get", "gnp")
    api.kubectl("patch", "gnp", "through", "--type=merge", "-p", '{"spec":{"order":20}}')
    put(api, policy("through", order=30))
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(policy("through", order=40)))
    assert api.get("gnp", "through")["spec"]["order"] == 40
    # Depending on which schemas kube-apiserver has fetched by now, kubectl leaves this check to the server or makes it itself.
    said = api.refused("create", "-f", "-", stdin=json.dumps(policy("bad", unknown=1)))
    assert (
        'unknown field "spec.unknown"' in said or 'ValidationError(GlobalNetworkPolicy.spec): unknown field "unknown"' in said
    )
    api.kubectl("delete", "gnp", "through")


@pytest.mark.timeout(200)
def test_kubectl_explains_once_kube_apiserver_has_fetched_the_schema(api: Api) -> None:
    deadline = time.monotonic() + 100  # kube-apiserver asks again after a minute where it was refused once
    while (done := api.run("explain", "globalnetworkpolicies.spec.selector")).returncode and time.monotonic() < deadline:
        time.sleep(1)
    assert "FIELD: selector" in done.stdout, done.stderr


def test_who_may_nothing_is_refused_and_who_may_read_reads(plane: Cluster, api: Api) -> None:
    assert "forbidden" in api.refused("get", "globalnetworksets", kubeconfig=plane.kubeconfig("stranger"))
    with role(plane, "reader", rule(["globalnetworksets"], ["get", "list"])) as reader:
        assert "No resources found" in api.run("get", "globalnetworksets", kubeconfig=reader).stderr
        assert "forbidden" in api.refused("delete", "globalnetworkset", "some", kubeconfig=reader)


def test_access_to_policies_is_decided_tier_by_tier(plane: Cluster, api: Api) -> None:
    tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "team"}, "spec": {"order": 5}}
    put(api, tier)
    put(api, policy("ours", tier="team"), policy("theirs", tier="default"))
    everything = rule(["globalnetworkpolicies"], ["*"])
    with role(
        plane, "team-owner", everything, rule(["tiers"], ["get"], "team"), rule(["tier.globalnetworkpolicies"], ["*"], "team.*")
    ) as owner:
        assert api.kubectl("get", "gnp", "-o", "name", kubeconfig=owner).split() == [
            "globalnetworkpolicy.projectcalico.org/ours"
        ]
        api.kubectl("label", "gnp", "ours", "seen=yes", kubeconfig=owner)
        said = api.refused("label", "gnp", "theirs", "seen=yes", kubeconfig=owner)
        assert 'cannot get globalnetworkpolicies.projectcalico.org in tier "default" (user cannot get tier)' in said
        moved = api.refused("patch", "gnp", "ours", "--type=merge", "-p", '{"spec":{"tier":"default"}}', kubeconfig=owner)
        assert 'in tier "default"' in moved
        assert 'in tier "default"' in api.refused("create", "-f", "-", stdin=json.dumps(policy("new")), kubeconfig=owner)
    with role(plane, "no-tier", everything) as nobody:
        assert "user cannot get tier" in api.refused("get", "gnp", kubeconfig=nobody)
    api.kubectl("delete", "gnp", "ours", "theirs")
    api.kubectl("delete", "tier", "team")


def test_headers_count_only_from_the_front_proxy(plane: Cluster, api: Api) -> None:
    url = f"https://127.0.0.1:{api.port}/apis/projectcalico.org/v3/tiers"
    headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    assert _ask(api, url, headers) == 401
    keys = plane.plane.authority.folder
    assert _ask(api, url, headers, (keys / "front-proxy-client.crt", keys / "front-proxy-client.key")) == 200
    client = plane.plane.authority.sign_client("front-proxy-imposter", user="front-proxy-client")
    assert _ask(api, url, headers, (client.certificate, client.key)) == 403  # it is that user, and that user may nothing
    other = plane.plane.front_proxy_authority.sign_client("another-name", user="another-name")
    assert _ask(api, url, headers, (other.certificate, other.key)) == 401


def test_tokens_are_asked_for_at_kubernetes(plane: Cluster, api: Api) -> None:
    url = f"https://127.0.0.1:{api.port}/apis/projectcalico.org/v3/tiers"
    token = plane.kubectl("-n", "tortie-system", "create", "token", "tortie-apiserver").strip()
    assert _ask(api, url, {"Authorization": f"Bearer {token}"}) == 403
    assert _ask(api, url, {"Authorization": "Bearer nonsense"}) == 401


def _ask(api: Api, url: str, headers: dict[str, str], pair: tuple[Path, Path] | None = None) -> int:
    context = ssl.create_default_context(cafile=str(api.folder / "pki" / "ca.crt"))
    if pair is not None:
        context.load_cert_chain(*pair)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
