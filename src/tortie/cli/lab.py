"""`tortie lab`: clusters out of network namespaces on this machine."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from tortie.lab.spec import Datastore, LabError, ModeName, PodSpec, ProbeSpec, default_spec, load_spec

if TYPE_CHECKING:
    from tortie.lab.questions import Checked

T = TypeVar("T")
NAME = click.option(
    "--name", "-N", default="lab", show_default=True, help="Name of the lab; labs of different names run side by side."
)

DATASTORES = ["sqlite", "etcd", "kubernetes"]


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@click.group()
def lab() -> None:
    """Build, use and remove labs: nodes and pods as network namespaces, with real agents, BIRD and CNI."""
    from tortie.lab.privilege import ensure_root

    if {"--help", "-h"}.isdisjoint(sys.argv):
        ensure_root(sys.argv[1:])


# ---- life ----
@lab.command()
@click.option(
    "-f", "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="lab.yaml: a whole case."
)
@click.option("--name", "-N", default=None, help="Name of the lab (default: the file's, else `lab`).")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 250), help="How many nodes, without a file.")
@click.option("--family", type=click.Choice(["4", "6", "46"]), default=None, help="IP versions (default: both, or the file's).")
@click.option("--datastore", type=click.Choice(DATASTORES), default=None, help="Default: the file's, else sqlite.")
@click.option(
    "--kubeconfig",
    default=None,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With datastore kubernetes: somebody else's cluster, instead of one of the lab's own.",
)
def up(
    path: Path | None, name: str | None, nodes: int, family: str | None, datastore: Datastore | None, kubeconfig: Path | None
) -> None:
    """Build a lab and leave it running."""
    import msgspec

    from tortie.lab.cluster import Lab
    from tortie.lab.privilege import INSIDE
    from tortie.lab.spec import check_spec

    spec = load_spec(path) if path else default_spec(name or "lab", nodes)
    if name:
        spec = msgspec.structs.replace(spec, name=name)
    if family:
        spec = msgspec.structs.replace(spec, families=tuple(int(digit) for digit in family))
    if datastore:
        spec = msgspec.structs.replace(spec, datastore=datastore)
    if kubeconfig:
        spec = msgspec.structs.replace(spec, datastore=datastore or "kubernetes", kubeconfig=str(kubeconfig.resolve()))
    check_spec(spec, where=str(path or "lab"))

    async def build() -> None:
        built = await Lab.up(spec, progress=lambda text: click.echo(f"  {text}", err=True))
        await built.client.close()
        click.echo(f"lab {spec.name} is up: {len(spec.nodes)} nodes, {len(built.state.pods)} pods")
        if spec.datastore == "kubernetes":
            click.echo(f"`tortie lab kubectl --name {spec.name} get pods -A` asks its API server as the administrator")
        if os.environ.get(INSIDE):
            # The user namespace ends with this command, and the lab with it.
            click.echo("not root: the lab lives as long as this command; Ctrl-C removes it")
            with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
                await asyncio.Event().wait()

    _run(build())


@lab.command("run")
@click.option(
    "-f", "--file", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="lab.yaml"
)
@click.option("--name", "-N", default=None, help="Name of the lab (default: the file's).")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def run_case(path: Path, name: str | None, output: str) -> None:
    """Build the lab of a file, ask its probes, remove it. Exit code 2 if an `expect` is not met."""
    import msgspec

    from tortie.lab.cluster import Lab
    from tortie.lab.questions import run_probes
    from tortie.lab.spec import check_spec

    spec = load_spec(path)
    if name:
        spec = msgspec.structs.replace(spec, name=name)
        check_spec(spec, where=str(path))

    async def case() -> "list[Checked]":
        built = await Lab.up(spec, progress=lambda text: click.echo(f"  {text}", err=True))
        try:
            return await run_probes(built, spec.probes)
        finally:
            await asyncio.shield(built.down())

    _show_answers(_run(case()), output)


@lab.command()
@NAME
def down(name: str) -> None:
    """Remove a lab and everything it made. A lab that is not there is fine."""
    from tortie.lab.cluster import Lab, tear_down
    from tortie.lab.names import LabNames

    async def remove() -> None:
        names = LabNames(name)
        try:
            async with Lab.attached(name) as found:
                await found.down()
        except LabError:
            await tear_down(names)
        click.echo(f"lab {name} is gone")

    _run(remove())


@lab.command()
@NAME
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(name: str, output: str) -> None:
    """Nodes, agents, BGP sessions and pods of a lab."""
    from tortie.lab.overview import overview, print_overview

    async def look() -> None:
        from tortie.lab.cluster import Lab

        async with Lab.attached(name) as found:
            report = await overview(found)
            if output == "json":
                _print_json(report)
            else:
                print_overview(report)

    _run(look())


# ---- pods ----
@lab.group()
def pod() -> None:
    """Add and remove pods."""


@pod.command("add")
@click.argument("pod_name", metavar="NAMESPACE/NAME")
@NAME
@click.option("--node", default="", help="The node it runs on (default: the one with the fewest pods).")
@click.option("--labels", default="", help="key=value,key=value")
@click.option("--serve", default="", help="What it listens on: tcp:5432,udp:53")
@click.option("--service-account", default="default", show_default=True)
def pod_add(pod_name: str, name: str, node: str, labels: str, serve: str, service_account: str) -> None:
    """Start a pod, wired by tortie-cni."""
    from tortie.lab.cluster import Lab

    spec = PodSpec(
        name=pod_name,
        node=node,
        labels=_labels(labels),
        serve=tuple(part for part in serve.split(",") if part),
        service_account=service_account,
    )

    async def add() -> None:
        async with Lab.attached(name) as found:
            loads = {entry.name: 0 for entry in found.state.spec.nodes}
            for running in found.state.pods.values():
                loads[running.node] += 1
            state = await found.add_pod(spec, default_node=min(loads, key=lambda key: loads[key]))
            await found.wait_for_routes()
            click.echo(f"pod {pod_name} runs on {state.node}: {' '.join(state.sandbox.addresses)}")

    _run(add())


@pod.command("rm")
@click.argument("pod_name", metavar="NAMESPACE/NAME")
@NAME
def pod_remove(pod_name: str, name: str) -> None:
    """Remove a pod."""
    from tortie.lab.cluster import Lab

    async def remove() -> None:
        async with Lab.attached(name) as found:
            await found.remove_pod(pod_name)
            click.echo(f"pod {pod_name} is gone")

    _run(remove())


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--name", "-N", default="lab", show_default=True, help="Name of the lab.")
@click.argument("where", metavar="NAMESPACE/POD|node/NAME|fabric")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, where: str, command: tuple[str, ...]) -> None:
    """Run a command in the network namespace of a pod, a node or the fabric: tortie lab exec prod/db -- ip addr."""
    from tortie.lab.cluster import lab_environment
    from tortie.lab.names import LabNames, netns_path
    from tortie.lab.state import load_state

    names = LabNames(name)
    state = load_state(names)
    kind, _, rest = where.partition("/")
    environment = {**os.environ, **lab_environment(names)}
    if kind == "node" and rest in {entry.name for entry in state.spec.nodes}:
        namespace = names.node(rest)
        # `tortie node status` and `tortie doctor` then speak of this node's agent.
        environment |= {"TORTIE_RUN_DIR": str(names.run_dir(rest)), "TORTIE_STATE_DIR": str(names.state_dir(rest))}
    elif where == "fabric":
        namespace = names.fabric
    elif where in state.pods:
        namespace = state.pods[where].netns
    else:
        raise LabError(f"there is no pod or node {where!r} in lab {name}")
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise LabError("which command? tortie lab exec NAMESPACE/POD -- ip address")
    arguments = ["nsenter", f"--net={netns_path(namespace)}", "--", *words]
    # `tortie` itself is found too, also where its environment is not activated.
    environment["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}"
    os.execvpe(arguments[0], arguments, environment)  # noqa: S606  (becomes the user's command)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []})
@click.option("--name", "-N", default="lab", show_default=True, help="Name of the lab.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def kubectl(name: str, words: tuple[str, ...]) -> None:
    """kubectl as the administrator of a lab on Kubernetes: tortie lab kubectl get pods -A."""
    from tortie.lab import kubernetes_store
    from tortie.lab.kubernetes_plane import administration
    from tortie.lab.names import LabNames
    from tortie.lab.state import load_state

    names = LabNames(name)
    if load_state(names).spec.datastore != "kubernetes":
        raise LabError(f"lab {name} is not on Kubernetes: `tortie lab up --datastore kubernetes` builds one that is")
    arguments = kubernetes_store.kubectl(names, "admin").inside(*words)
    os.execvpe(arguments[0], arguments, administration(os.environ))  # noqa: S606  (becomes the user's command)


# ---- questions ----
@lab.command()
@NAME
@click.option("-f", "--file", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def probe(name: str, path: Path, output: str) -> None:
    """Ask a list of {from, to, protocol, port[, family, expect]} with real packets. Exit code 2 if an `expect` is not met."""
    import msgspec

    from tortie.api.documents import load_raw
    from tortie.lab.cluster import Lab
    from tortie.lab.questions import run_probes

    documents = load_raw(path.read_text())
    try:
        specs = msgspec.convert(documents[0] if documents else [], list[ProbeSpec])
    except msgspec.ValidationError as error:
        raise LabError(f"{path}: a list of {{from, to, protocol, port}} is expected: {error}") from error

    async def look() -> "list[Checked]":
        async with Lab.attached(name) as found:
            return await run_probes(found, specs)

    _show_answers(_run(look()), output)


@lab.command()
@NAME
@click.option("--port", "ports", multiple=True, required=True, metavar="PROTOCOL/PORT", help="tcp/5432; repeatable.")
@click.option("--family", type=click.Choice(["4", "6", "46"]), default="46", show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def matrix(name: str, ports: tuple[str, ...], family: str, output: str) -> None:
    """The from x to truth table of all pods, observed with real packets."""
    from tortie.lab.cluster import Lab
    from tortie.lab.questions import print_matrix, run_matrix

    async def look() -> None:
        async with Lab.attached(name) as found:
            answers = await run_matrix(found, ports, families=[int(digit) for digit in family])
        if output == "json":
            items = [answer.to_json() for answer in answers]
            _print_json({"apiVersion": "tortie.io/v1", "kind": "ObservedMatrix", "items": items})
        else:
            print_matrix(answers)

    _run(look())


@lab.command()
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write the result here."
)
@click.option("--name", "-N", default="demo", show_default=True, help="Name of the lab.")
@click.option("--datastore", type=click.Choice(DATASTORES), default="sqlite", show_default=True)
@click.option(
    "--mode",
    type=click.Choice(get_args(ModeName)),
    default=None,
    help="Show how packets cross in one mode, watched on the wire.",
)
def demo(json_path: Path | None, name: str, datastore: Datastore, mode: ModeName | None) -> None:
    """Three nodes, seven pods, BGP, one policy: everything shown and checked. Exit code 2 if anything is not as expected."""
    from tortie.lab.demo import run_demo

    if not _run(run_demo(name=name, json_path=json_path, datastore=datastore, mode=mode)):
        sys.exit(2)


def _show_answers(answered: "list[Checked]", output: str) -> None:
    from tortie.lab.questions import print_answers

    if output == "json":
        _print_json({"apiVersion": "tortie.io/v1", "kind": "ProbeResult", "items": [item.to_json() for item in answered]})
    else:
        print_answers(answered)
    if not all(item.as_expected for item in answered):
        sys.exit(2)


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, found, value = part.partition("=")
        if not found or not key:
            raise LabError(f"--labels {part!r}: key=value is expected")
        labels[key] = value
    return labels


def _print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
