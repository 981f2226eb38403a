"""tortie apiserver --standalone with the real kubectl: every verb, without any Kubernetes."""

import asyncio
import json
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import etcd_server
from tests.kubernetes.api_ground import Api, free_port, needs_kubectl, standalone, start, stop, wait_for

from tortie.api.networkset import NetworkSet
from tortie.api.resource import Metadata
from tortie.apiserver.certificates import Folder, kubeconfig
from tortie.datastore.sqlite.client import SqliteClient

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]

READER = "reader-token,bob,1,tortie:readers\nnobody-token,eve,2,\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("standalone")
    (folder / "tokens.csv").write_text(READER)
    with standalone(folder, f"--token-file={folder}/tokens.csv") as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"p-{time.monotonic_ns()}"


def policy(name: str, **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"selector": "all()"} | spec,
        }
    )


def sets(names: list[str], **labels: str) -> str:
    items = [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "NetworkSet",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"nets": ["192.0.2.0/24"]},
        }
        for name in names
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def owners(found: Any) -> dict[str, set[str]]:
    """Managers and the fields of spec that each owns."""
    return {entry["manager"]: set(entry["fieldsV1"].get("f:spec", {})) for entry in found["metadata"]["managedFields"]}


def test_create_get_replace_and_delete(api: Api, name: str) -> None:
    api.kubectl("create", "-f", "-", stdin=policy(name, order=1))
    assert f'globalnetworkpolicies.projectcalico.org "{name}" already exists' in api.refused(
        "create", "-f", "-", stdin=policy(name)
    )
    found = api.get("gnp", name)
    assert found["spec"] == {"order": 1, "selector": "all()", "tier": "default", "types": ["Ingress"]}
    assert found["metadata"]["uid"]
    assert found["metadata"]["creationTimestamp"]
    found["spec"]["order"] = 2
    api.kubectl("replace", "-f", "-", stdin=json.dumps(found))
    assert "the object has been modified" in api.refused("replace", "-f", "-", stdin=json.dumps(found))
    assert api.get("gnp", name)["spec"]["order"] == 2
    api.kubectl("delete", "gnp", name)
    assert "not found" in api.refused("get", "gnp", name)
    assert "not found" in api.refused("delete", "gnp", name)


def test_apply_label_annotate_and_every_patch(api: Api, name: str) -> None:
    api.kubectl("apply", "-f", "-", stdin=policy(name, order=1))
    assert "unchanged" in api.kubectl("apply", "-f", "-", stdin=policy(name, order=1))
    assert "configured" in api.kubectl("apply", "-f", "-", stdin=policy(name, order=2))
    api.kubectl("label", "gnp", name, "colour=red")
    api.kubectl("annotate", "gnp", name, "note=hello")
    api.kubectl("patch", "gnp", name, "-p", '{"spec":{"order":3}}')
    api.kubectl("patch", "gnp", name, "--type=merge", "-p", '{"metadata":{"labels":{"colour":null}}}')
    api.kubectl("patch", "gnp", name, "--type=json", "-p", '[{"op":"test","path":"/spec/order","value":3}]')
    said = api.refused("patch", "gnp", name, "--type=json", "-p", '[{"op":"test","path":"/spec/order","value":4}]')
    assert "4" in said
    found = api.get("gnp", name)
    assert found["spec"]["order"] == 3
    assert "colour" not in found["metadata"]["labels"]
    assert found["metadata"]["annotations"]["note"] == "hello"
    before = found["metadata"]["resourceVersion"]
    assert "no change" in api.kubectl("patch", "gnp", name, "-p", '{"spec":{"order":3}}')
    assert api.get("gnp", name)["metadata"]["resourceVersion"] == before


def test_what_was_applied_stays_unchanged_also_where_it_spells_out_what_silence_means(api: Api, name: str) -> None:
    spec = {"cidr": "198.51.100.0/24", "natOutgoing": False, "disabled": False, "assignmentMode": "Automatic"}
    wanted = json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": name},
            "spec": spec | {"ipipMode": "Never"},
        }
    )
    assert "created" in api.kubectl("apply", "-f", "-", stdin=wanted)
    before = api.get("ippool", name)
    assert before["spec"]["natOutgoing"] is False
    assert "unchanged" in api.kubectl("apply", "-f", "-", stdin=wanted)
    assert api.get("ippool", name) == before
    assert api.kubectl("diff", "-f", "-", stdin=wanted) == ""
    # What is shown can be patched by its path, too.
    api.kubectl("patch", "ippool", name, "--type=json", "-p", '[{"op":"replace","path":"/spec/natOutgoing","value":true}]')
    assert api.get("ippool", name)["spec"]["natOutgoing"] is True
    assert "configured" in api.kubectl("apply", "-f", "-", stdin=wanted)
    assert api.kubectl("get", "ippool", name).splitlines()[0].split() == [
        "NAME", "CIDR", "VXLAN", "IPIP", "NAT", "ALLOCATABLE", "AGE"
    ]  # fmt: skip
    api.kubectl("delete", "ippool", name)


def test_a_patch_gives_no_other_name(api: Api, name: str) -> None:
    api.kubectl("apply", "-f", "-", stdin=policy(name, order=1))
    said = api.refused("patch", "gnp", name, "--type=merge", "-p", '{"metadata":{"name":"other"}}')
    assert f"the name of the object (other) does not match the name on the URL ({name})" in said


def test_server_side_apply_knows_who_owns_what(api: Api, name: str) -> None:
    def words(manager: str, *more: str) -> tuple[str, ...]:
        return ("apply", "--server-side", f"--field-manager={manager}", "-f", "-", *more)

    def succeed(manager: str, *more: str, **spec: Any) -> None:
        api.kubectl(*words(manager, *more), stdin=policy(name, **spec))

    succeed("one", selector="all()", order=1)
    version = api.get("gnp", name)["metadata"]["resourceVersion"]
    succeed("one", selector="all()", order=1)
    assert api.get("gnp", name)["metadata"]["resourceVersion"] == version
    succeed("two", selector="all()")
    said = api.refused(*words("two"), stdin=policy(name, order=2))
    assert 'conflict with "one": .spec.order' in said
    succeed("two", "--force-conflicts", selector="all()", order=2)
    assert owners(api.get("gnp", name)) == {"one": {"f:selector"}, "two": {"f:selector", "f:order"}}
    succeed("two", selector="all()")
    assert "order" not in api.get("gnp", name)["spec"]
    api.kubectl("patch", "gnp", name, "--type=merge", "-p", '{"spec":{"selector":"has(a)"}}', "--field-manager=three")
    assert owners(api.get("gnp", name)) == {"three": {"f:selector"}}


def test_a_port_that_is_spelt_otherwise_is_no_conflict(api: Api, name: str) -> None:
    rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["80"]}}
    api.kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=policy(name, ingress=[rule]))
    assert api.get("gnp", name)["spec"]["ingress"][0]["destination"]["ports"] == [80]
    api.kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=policy(name, ingress=[rule]))


def test_unknown_fields_are_refused_warned_of_or_passed_over(api: Api, name: str) -> None:
    assert 'unknown field "spec.ordr"' in api.refused("create", "-f", "-", stdin=policy(name, ordr=1))
    done = api.run("create", "--validate=warn", "-f", "-", stdin=policy(name, ordr=1))
    assert (done.returncode, done.stderr) == (0, 'Warning: unknown field "spec.ordr"\n')
    assert "ordr" not in api.get("gnp", name)["spec"]
    done = api.run("create", "--validate=false", "-f", "-", stdin=policy(f"{name}-2", ordr=1))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_field_that_nobody_acts_on_is_stored_and_warned_of(api: Api, name: str) -> None:
    own = {"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration", "metadata": {"name": f"node.{name}"}}
    done = api.run("create", "-f", "-", stdin=json.dumps(own | {"spec": {"bpfEnabled": True}}))
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: stored, but not enforced by this release of Tortie")
    assert "spec.bpfEnabled" in done.stderr
    api.kubectl("delete", "felixconfiguration", f"node.{name}")


def test_what_is_invalid_is_a_status_with_a_cause_for_each_field(api: Api, name: str) -> None:
    said = api.refused("create", "-f", "-", stdin=policy(name, ingress=[{"action": "Maybe"}]))
    assert f'The GlobalNetworkPolicy "{name}" is invalid: spec.ingress[0].action: Invalid value: "Maybe"' in said
    path, wrong = "/apis/projectcalico.org/v3/globalnetworkpolicies", json.loads(policy(name, selector="a = b", order="x"))
    code, status = _raw(api, path, method="POST", body=wrong)
    assert (code, status["reason"], [cause["field"] for cause in status["details"]["causes"]]) == (
        422,
        "Invalid",
        ["spec.order"],
    )
    wrong["spec"] = {"selector": "a = b", "namespaceSelector": "c d"}
    _, status = _raw(api, path, method="POST", body=wrong)
    assert {cause["field"] for cause in status["details"]["causes"]} == {"spec.selector", "spec.namespaceSelector"}
    assert "Tier(nowhere) does not exist" in api.refused("create", "-f", "-", stdin=policy(name, tier="nowhere"))
    assert "predefined" in api.refused("delete", "tier", "default")


def test_a_dry_run_says_what_would_be_and_does_nothing(api: Api, name: str) -> None:
    api.kubectl("create", "--dry-run=server", "-f", "-", stdin=policy(name))
    assert "not found" in api.refused("get", "gnp", name)
    assert "invalid" in api.refused("create", "--dry-run=server", "-f", "-", stdin=policy(name, selector="a = b"))
    api.kubectl("create", "-f", "-", stdin=policy(name))
    assert "already exists" in api.refused("create", "--dry-run=server", "-f", "-", stdin=policy(name))
    patch = ("patch", "gnp", name, "--type=merge", "-p", '{"spec":{"order":9}}', "--dry-run=server", "-o", "json")
    assert json.loads(api.kubectl(*patch))["spec"]["order"] == 9
    api.kubectl("delete", "gnp", name, "--dry-run=server")
    assert "order" not in api.get("gnp", name)["spec"]


def test_selectors_tables_and_collections(api: Api, name: str) -> None:
    api.kubectl("create", "-f", "-", stdin=sets([f"{name}-a", f"{name}-b"], run=name, kind="x"))
    api.kubectl("create", "-f", "-", stdin=sets([f"{name}-c"], run=name, kind="y"))
    listed = ("-n", "shop", "get", "netsets", "-o", "name", "-l")
    prefix = "networkset.projectcalico.org/"
    assert api.kubectl(*listed, f"run={name},kind in (y)").split() == [f"{prefix}{name}-c"]
    assert len(api.kubectl(*listed, f"run={name},kind!=y,!nope").split()) == 2
    by_field = api.kubectl("get", "netsets", "-A", "--field-selector", f"metadata.name={name}-b").splitlines()
    assert by_field[0].split() == ["NAMESPACE", "NAME", "AGE"]
    assert by_field[1].split()[:2] == ["shop", f"{name}-b"]
    assert "NETS" in api.kubectl("-n", "shop", "get", "netsets", "-o", "wide").splitlines()[0]
    assert "field label not supported: spec.x" in api.refused("get", "netsets", "-A", "--field-selector", "spec.x=1")
    assert "No resources found" in api.run("-n", "other", "get", "netsets").stderr
    api.kubectl("-n", "shop", "delete", "netsets", "-l", f"run={name},kind=x")
    assert api.kubectl(*listed, f"run={name}").split() == [f"{prefix}{name}-c"]
    _raw(api, f"/apis/projectcalico.org/v3/namespaces/shop/networksets?labelSelector=run%3D{name}", method="DELETE")
    assert api.kubectl(*listed, f"run={name}") == ""


def test_generated_names_differ(api: Api) -> None:
    document = json.loads(policy("x"))
    document["metadata"] = {"generateName": "gen-"}
    made = {api.kubectl("create", "-f", "-", "-o", "name", stdin=json.dumps(document)) for _ in range(2)}
    assert len(made) == 2
    assert all("/gen-" in one for one in made)


def test_a_watch_sees_what_begins_and_ceases_to_match(api: Api, name: str) -> None:
    every = "/apis/projectcalico.org/v3/globalnetworkpolicies"
    path, version = f"{every}?watch=1&labelSelector=run%3D{name}", _raw(api, every)[1]["metadata"]["resourceVersion"]
    with api.watching(f"{path}&resourceVersion={version}") as live:
        api.kubectl("create", "-f", "-", stdin=policy(name))
        for change in (f"run={name}", "other=1", "run-", f"run={name}"):
            api.kubectl("label", "gnp", name, change)
        api.kubectl("delete", "gnp", name)
        seen = [next(live) for _ in range(5)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    late = api.kubectl("get", "--raw", f"{path}&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=3")
    *events, last = [json.loads(line) for line in late.splitlines()]
    assert events == seen, "who comes late is told the same"
    assert last["type"] == "BOOKMARK"
    events.append(last)
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)


def test_a_watch_without_a_version_begins_with_the_state_and_a_forgotten_version_is_gone(api: Api, name: str) -> None:
    api.kubectl("create", "-f", "-", stdin=policy(name))
    selected = f"/apis/projectcalico.org/v3/globalnetworkpolicies?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}"
    for more in ("", "&resourceVersion=0", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"):
        events = [json.loads(line) for line in api.kubectl("get", "--raw", f"{selected}{more}").splitlines()]
        assert [event["object"]["metadata"].get("name") for event in events if event["type"] == "ADDED"] == [name]
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert _raw(api, "/apis/projectcalico.org/v3/tiers?watch=1&resourceVersion=nonsense")[0] == 400
    api.get("ipreservations")
    code, body = _raw(api, "/apis/projectcalico.org/v3/ipreservations?watch=1&resourceVersion=1")
    assert (code, body["reason"]) == (410, "Expired")


def test_kubectl_waits_and_explains(api: Api, name: str) -> None:
    api.kubectl("create", "-f", "-", stdin=policy(name, order=1))
    waiting = api.process_of("wait", f"gnp/{name}", "--for=jsonpath={.spec.order}=7", "--timeout=40s")
    api.kubectl("patch", "gnp", name, "--type=merge", "-p", '{"spec":{"order":7}}')
    out, said = waiting.communicate(timeout=45)
    assert "condition met" in out, said
    gone = api.process_of("wait", f"gnp/{name}", "--for=delete", "--timeout=40s")
    api.kubectl("delete", "gnp", name)
    assert gone.wait(45) == 0
    gone.communicate()
    assert "FIELD: destination" in api.kubectl("explain", "gnp.spec.ingress.destination")
    assert "nodeSelector" in api.kubectl("explain", "ippool.spec", "--recursive")


def test_a_long_list_comes_in_pages_of_one_moment(api: Api) -> None:
    names = [f"many-{number:04}" for number in range(5000)]
    path = "/apis/projectcalico.org/v3/namespaces/crowd/networksets"
    asyncio.run(_store(api.folder / "store.sqlite", names))
    assert len(api.kubectl("-n", "crowd", "get", "netsets", "-o", "name").split()) == 5000
    _, first = _raw(api, f"{path}?limit=2000")
    assert (len(first["items"]), first["metadata"]["remainingItemCount"]) == (2000, 3000)
    assert _raw(api, f"{path}/many-3999", method="DELETE")[0] == 200
    _, second = _raw(api, f"{path}?limit=2000&continue={first['metadata']['continue']}")
    _, third = _raw(api, f"{path}?limit=2000&continue={second['metadata']['continue']}")
    listed = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert listed == names
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {first["metadata"]["resourceVersion"]}
    assert "continue" not in third["metadata"]
    assert _raw(api, f"{path}?limit=500&continue=bm9uc2Vuc2U=")[0] == 400


def test_a_list_of_one_version_is_of_that_version_or_none(api: Api) -> None:
    url = "/apis/projectcalico.org/v3/tiers?resourceVersion="
    now = _raw(api, url)[1]["metadata"]["resourceVersion"]
    assert _raw(api, f"{url}{now}&resourceVersionMatch=Exact")[1]["metadata"]["resourceVersion"] == now
    code, said = _raw(api, f"{url}1&resourceVersionMatch=Exact")
    assert (code, said["reason"]) == (410, "Expired")
    assert _raw(api, f"{url}1&resourceVersionMatch=NotOlderThan")[0] == 200
    assert _raw(api, f"{url}nonsense")[0] == 400


def test_namespaces_are_served_so_that_kubectl_can_choose_one(api: Api) -> None:
    api.kubectl("create", "namespace", "shop")
    api.kubectl("label", "namespace", "shop", "team=a")
    assert "shop" in api.kubectl("get", "ns")


def test_readers_read_strangers_are_refused_and_nobody_is_not_let_in(api: Api, tmp_path: Path) -> None:
    url = "/apis/projectcalico.org/v3/tiers"
    reader, nobody = {"Authorization": "Bearer reader-token"}, {"Authorization": "Bearer nobody-token"}
    assert _raw(api, url, login=reader)[0] == 200
    assert _raw(api, url, login=reader, method="DELETE")[0] == 403
    assert _raw(api, url, login=nobody)[0] == 403
    assert _raw(api, url, login={"Authorization": "Bearer wrong"})[0] == 401
    assert _raw(api, url, login={})[0] == 401
    assert _raw(api, url, login={"X-Remote-User": "x", "X-Remote-Group": "system:masters"})[0] == 401
    assert _raw(api, "/readyz", login={})[0] == 200
    config = tmp_path / "bob"
    server = f"https://127.0.0.1:{api.port}"
    config.write_bytes(kubeconfig(Folder(api.folder / "pki"), server=server, user="bob", groups=("tortie:readers",)))
    assert "default" in api.kubectl("get", "tiers", kubeconfig=config)
    assert 'User "bob" cannot delete' in api.refused("delete", "tier", "x", kubeconfig=config)
    assert api.kubectl("auth", "can-i", "list", "cnp", "-A", kubeconfig=config).strip() == "yes"
    assert api.run("auth", "can-i", "delete", "cnp", "-A", kubeconfig=config).returncode == 1
    assert "bob" in api.kubectl("auth", "whoami", kubeconfig=config)
    assert "[get list watch]" in api.kubectl("auth", "can-i", "--list", kubeconfig=config)


def test_it_lives_without_its_datastore_and_stops_when_told(tmp_path: Path) -> None:
    needs_kubectl()
    missing = {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "http://127.0.0.1:1"}
    port, config = free_port(), tmp_path / "kubeconfig"
    words = ("--standalone", f"--port={port}", f"--dir={tmp_path}/pki", f"--write-kubeconfig={config}")
    process = start(tmp_path, *words, environment=missing)
    try:
        wait_for(tmp_path, process, "not ready")
        here = Api(process, tmp_path, config, port=port)
        assert _raw(here, "/livez", login={})[0] == 200
        assert _raw(here, "/readyz", login={})[0] == 503
        taken = start(tmp_path, *words, environment=missing)
        assert taken.wait(40) == 1
        assert "somebody else listens there: choose another --port" in here.log()
    finally:
        assert stop(process) == 0


def test_on_etcd_it_survives_that_etcd_is_killed(tmp_path: Path, name: str) -> None:
    with etcd_server.cluster() as (member,):
        environment = {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": member.url}
        with standalone(tmp_path, environment=environment) as api:
            api.kubectl("create", "-f", "-", stdin=policy(name, order=1))
            path = "/apis/projectcalico.org/v3/globalnetworkpolicies?watch=1"
            with api.watching(f"{path}&fieldSelector=metadata.name%3D{name}") as events:
                assert next(events)["type"] == "ADDED"
                api.kubectl("label", "gnp", name, "seen=yes")
                assert next(events)["type"] == "MODIFIED"  # by which etcd is known again: who knows nothing has to list
                member.kill()
                member.start()
                wait_until(lambda: _raw(api, "/readyz", login={})[0] == 200)
                api.kubectl("patch", "gnp", name, "--type=merge", "-p", '{"spec":{"order":2}}')
                assert next(events)["type"] == "MODIFIED"
                api.kubectl("delete", "gnp", name)
                assert next(events)["type"] == "DELETED"
            member.kill()
            killed = time.monotonic()
            wait_until(lambda: _raw(api, "/readyz", login={})[0] == 503)
            assert time.monotonic() - killed < 8, "whoever balances load goes on sending requests here meanwhile"
            assert "does not answer" in api.refused("get", "gnp", name, "--request-timeout=30s")


def test_sigterm_ends_watches_at_once(tmp_path: Path) -> None:
    with standalone(tmp_path) as api:
        watch = api.process_of("get", "--raw", "/apis/projectcalico.org/v3/tiers?watch=1")
        wait_until(lambda: watched(api, "Tier"))
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(30) == 0
        out, said = watch.communicate(timeout=30)
        assert (len(out.splitlines()), watch.returncode) == (3, 0), f"it was cut off, not ended: {said}"


def watched(api: Api, kind: str) -> bool:
    return f'tortie_apiserver_watchers{{kind="{kind}"}} 1\n' in api.kubectl("get", "--raw", "/metrics")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def _store(path: Path, names: list[str]) -> None:
    client = SqliteClient(str(path))
    try:
        for name in names:
            await client.create(NetworkSet(metadata=Metadata(name=name, namespace="crowd")))
    finally:
        await client.close()


def _raw(api: Api, path: str, *, method: str = "GET", body: Any = None, login: dict[str, str] | None = None) -> tuple[int, Any]:
    """One request past kubectl: status and decoded body. Without `login`, as an administrator."""
    context = ssl.create_default_context(cafile=str(api.folder / "pki" / "ca.crt"))
    if login is None:
        admin = Folder(api.folder / "pki").pair("user-YWRtaW4")
        context.load_cert_chain(admin.certificate, admin.key)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(login or {})}
    request = urllib.request.Request(f"https://127.0.0.1:{api.port}{path}", data=data, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=20) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, content = error.code, error.read()
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content
