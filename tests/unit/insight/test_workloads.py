"""Pod templates: which workloads count as a pod, and under which name."""

from itertools import combinations

import pytest
from tests.unit.insight.asking import ask, pod, world_of

from tortie.base.errors import TortieError
from tortie.insight.files import Text, load
from tortie.insight.lint.findings import findings_document
from tortie.insight.lint.reading import read

TEMPLATE = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}"
WORKLOADS = {
    kind: f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: backup, namespace: prod}}\nspec: {{{TEMPLATE}}}\n"
    for kind, version in {
        "Deployment": "apps/v1",
        "StatefulSet": "apps/v1",
        "DaemonSet": "apps/v1",
        "ReplicationController": "v1",
        "Job": "batch/v1",
    }.items()
}
WORKLOADS["CronJob"] = f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: backup, namespace: prod}}
spec: {{jobTemplate: {{spec: {{{TEMPLATE}}}}}}}
"""
DENY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: prod}
spec: {podSelector: {matchLabels: {app: web}}}
"""


@pytest.mark.parametrize("kind", sorted(WORKLOADS))
def test_each_kind_with_a_pod_template_is_a_pod_that_policies_select(kind: str) -> None:
    world = world_of(pod("client", "10.0.0.1"), WORKLOADS[kind], DENY)
    assert not ask(world, "prod/client", "prod/backup", "tcp/80").allowed


@pytest.mark.parametrize(("first", "second"), list(combinations(sorted(WORKLOADS), 2)))
def test_two_workloads_of_one_name_are_two_pods(first: str, second: str) -> None:
    world = world_of(pod("client", "10.0.0.1"), WORKLOADS[first], WORKLOADS[second].replace("app: web", "app: other"), DENY)
    assert not ask(world, "prod/client", "prod/backup", "tcp/80").allowed
    assert ask(world, "prod/client", f"prod/backup-{second.lower()}", "tcp/80").allowed


def test_a_workload_that_is_called_like_a_pod_is_there_as_well() -> None:
    world = world_of(pod("backup", "10.0.0.1"), WORKLOADS["Deployment"], DENY)
    assert not ask(world, "prod/backup", "prod/backup-deployment", "tcp/80").allowed


def test_workloads_by_generate_name_are_called_by_what_is_known_of_it() -> None:
    job = WORKLOADS["Job"].replace("name: backup", "generateName: backup-")
    world = world_of(pod("client", "10.0.0.1"), job, job, job, DENY)
    assert sorted(name for _, name in world.workloads) == ["backup", "backup-job", "backup-job-2", "client"]


def test_annotations_of_a_template_are_the_pods() -> None:
    limit = 'metadata: {annotations: {qos.projectcalico.org/ingressMaxConnections: "7"}, labels: {app: web}}'
    world = world_of(WORKLOADS["Deployment"].replace("metadata: {labels: {app: web}}", limit))
    (endpoint,) = world.state.endpoints.values()
    assert endpoint.ingress_max_connections == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WORKLOADS["Job"].replace("name: backup, ", ""), "Job: metadata.name is missing"),
        (WORKLOADS["Job"].replace("name: backup", "name: 7"), "Job prod/7"),
        (WORKLOADS["Job"].replace("template", "tmplate"), "Job prod/backup: spec.template is missing"),
        (WORKLOADS["CronJob"].replace("name: c,", "name: [c],"), "CronJob prod/backup: spec.jobTemplate.spec.template"),
        (WORKLOADS["Job"] + "---\n" + WORKLOADS["Job"], r"Job\(prod/backup\) is defined a second time"),
    ],
)
def test_what_is_wrong_with_a_workload_is_told_with_its_file_and_name(text: str, told: str) -> None:
    with pytest.raises(TortieError, match=f"jobs.yaml: {told}"):
        load([Text("jobs.yaml", text)])


def test_lint_reports_a_workload_that_is_defined_twice() -> None:
    found = read([Text("a.yaml", WORKLOADS["Job"]), Text("b.yaml", WORKLOADS["Job"])])
    (told,) = findings_document(found.findings)["findings"]
    assert (told["id"], told["file"], told["line"]) == ("TL002", "b.yaml", None)
