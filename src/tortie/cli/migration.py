"""`tortie datastore migrate export | import | migrate-policy-names`: all that a datastore holds, carried into another.

An import may be given again when it was interrupted: what is there already as the file has it is fine, anything else ends it
before the first write.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence

import click
import msgspec

from tortie.api.cluster import ClusterInformation
from tortie.api.kinds import KINDS
from tortie.api.resource import Key, Resource
from tortie.api.tier import PREDEFINED
from tortie.base.errors import TortieError
from tortie.cli import dump
from tortie.cli.files import InputError
from tortie.cli.locking import set_ready
from tortie.cli.progress import Progress
from tortie.cli.session import config_option, environment, with_client
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.config import is_kubernetes
from tortie.datastore.errors import AlreadyExists, DoesNotExist, InvalidRequest, NotSupported, UpdateConflict
from tortie.datastore.initialize import KUBERNETES_TYPE, ensure_initialized

_INFORMATION = Key("ClusterInformation", "", "default")
_AT_ONCE = 16
_SHOWN = 20
_POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy")


@click.command("export")
@click.option("--all", "everything", is_flag=True, help="Every kind, with uids and times, and nodes under the names they have.")
@config_option
def export(*, everything: bool, config: str) -> None:
    """Write all that the datastore holds to stdout, for `import`. The datastore must be locked.

    The file is calicoctl's. Profiles, endpoints and Kubernetes' own kinds are not in it, and nodes (with all that names them)
    get the names that Kubernetes has for them. With --all it is a full copy for another datastore of Tortie's.
    """
    kinds: tuple[str, ...] = dump.EXPORTED
    if everything:
        derived = is_kubernetes(environment(), config)
        # Where Kubernetes keeps the pods, endpoints and profiles are made of them at the other end too.
        kinds += tuple(kind for kind in dump.REST if not (derived and kind in dump.DERIVED))

    async def work(client: Client) -> tuple[Sequence[Resource], ClusterInformation]:
        information = await _information(client)
        if information.spec.datastore_ready is not False:
            raise InputError(
                "datastore is not locked. Run the `tortie datastore migrate lock` command in order to begin migration"
            )
        return (await client.list_many([*kinds, *dump.IPAM])).whole(), information

    resources, information = with_client(config, work)
    names = {} if everything else dump.renamed_nodes(resources)
    kept = [dump.without_identity(dump.renamed(item, names), keep_uid=everything) for item in resources if dump.is_kept(item)]
    for piece in dump.write(kept, information, kinds):
        click.echo(piece, nl=False)


@click.command("import")
@click.option("-f", "--filename", required=True, help="The file that `export` wrote, or - for stdin.")
@config_option
def import_(*, filename: str, config: str) -> None:
    """Bring a file of `export` into an empty datastore, which is locked before and after."""
    origin = "stdin" if filename == "-" else filename
    content = dump.read(_text(filename), origin=origin)
    on_kubernetes = is_kubernetes(environment(), config)

    async def work(client: Client) -> tuple[int, int, list[str]]:
        await _refuse_other_content(client, content)
        for tier in (item for item in content.resources if _is_built_in(item)):
            await _write_shared(client, tier)  # before those of a new datastore take the place
        await ensure_initialized(client)
        await set_ready(client, ready=False)
        notes: list[str] = []
        wanted = [item for item in content.resources if not (on_kubernetes and _is_kubernetes_own(item.kind))]
        if len(wanted) < len(content.resources):
            notes.append(f"{len(content.resources) - len(wanted)} resources are Kubernetes' own and were skipped")
        done = await _write_all(client, operations.in_order(wanted), "Imported resources", notes)
        await _take_identity(client, content.information)
        return done, await _write_all(client, content.ipam, "Imported IPAM resources", notes), notes

    # As calicoctl: a file of another release is the very reason to import.
    resources, ipam, notes = with_client(config, work, check_version=False)
    for note in notes:
        click.echo(f"[WARNING] {note}", err=True)
    click.echo(f"Successfully applied {resources} resource(s)")
    click.echo("Importing IPAM resources")
    click.echo(f"Successfully applied {ipam} IPAM resource(s)")
    click.echo("Datastore information successfully imported. It is locked: tortie datastore migrate unlock")


@click.command("migrate-policy-names")
@config_option
def migrate_policy_names(config: str) -> None:
    """Take the prefix `default.` off the names of policies of the default tier, as newer releases of Calico have them."""

    async def work(client: Client) -> int:
        policies = [item for item in (await client.list_many(_POLICIES)).whole() if _is_prefixed(item)]
        for policy in policies:
            await _without_prefix(client, policy)
        return len(policies)

    click.echo(f"Policy name migration complete, migrated {with_client(config, work)} policies.")


def _is_prefixed(policy: Resource) -> bool:
    tier = getattr(getattr(policy, "spec", None), "tier", "") or "default"
    return (
        dump.is_kept(policy)
        and tier == "default"
        and policy.metadata.name.removeprefix("default.")
        not in (
            "",
            policy.metadata.name,
        )
    )


async def _without_prefix(client: Client, policy: Resource) -> None:
    """The new name first: policy in force twice harms nobody, policy in force nowhere does."""
    name = policy.metadata.name.removeprefix("default.")
    metadata = msgspec.structs.replace(policy.metadata, name=name, uid="", resource_version="", creation_timestamp=None)
    wanted = msgspec.structs.replace(policy, metadata=metadata)
    try:
        await client.create(wanted)
    except AlreadyExists:
        if not _same(await client.get(wanted.key), wanted):
            raise InvalidRequest(f"{policy.key} cannot be renamed: {wanted.key} exists and differs") from None
    await client.delete(policy.key, revision=policy.metadata.resource_version)


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


async def _information(client: Client) -> ClusterInformation:
    try:
        found = await client.get(_INFORMATION)
    except DoesNotExist:
        raise InputError("the datastore is empty: there is nothing to export") from None
    assert isinstance(found, ClusterInformation)
    return found


def _is_kubernetes_own(kind: str) -> bool:
    return kind in dump.KUBERNETES or kind in dump.DERIVED


def _is_built_in(resource: Resource) -> bool:
    return resource.kind == "Tier" and resource.metadata.name in PREDEFINED


def _same(stored: Resource, wanted: Resource) -> bool:
    """True if both say the same, whatever datastore they are from."""
    if stored.kind in dump.IPAM:
        # What is stored of IPAM is its spec; Kubernetes adds labels of its own to find it by.
        return dump.said_of(stored) == dump.said_of(wanted)
    return dump.without_identity(stored, keep_uid=False) == dump.without_identity(wanted, keep_uid=False)


async def _refuse_other_content(client: Client, content: dump.Dump) -> None:
    """Raise InputError if the datastore holds anything that the file has not, or has otherwise."""
    wanted = {_identity(item): item for item in (*content.resources, *content.ipam)}
    for item in (await client.list_many([*dump.EXPORTED, *dump.IPAM])).whole():
        if item.kind == "Node" or _is_built_in(item) or not dump.is_kept(item):
            continue
        if _identity(item) not in wanted:
            words = f"Found existing {'IPAM' if item.kind in dump.IPAM else f'Calico {item.kind}'} resource {item.key}"
        elif not _same(item, wanted[_identity(item)]):
            words = f"Found existing {item.key}, which differs from the file's"
        else:
            continue
        raise InputError(f"Datastore already has Calico resources: {words}. Import into an empty datastore")


def _identity(resource: Resource) -> Key:
    """The key, where datastores agree on names; of IPAM's objects, whose names they make, what etcd calls them."""
    return Key(resource.kind, "", dump.said_of(resource)[0]) if resource.kind in dump.IPAM else resource.key


def _types(old: str, new: str) -> str:
    """The cluster's types, but for that of the datastore it comes from."""
    kept = [each for each in old.split(",") if each not in ("", KUBERNETES_TYPE)]
    return ",".join(dict.fromkeys((*kept, *(each for each in new.split(",") if each))))


async def _take_identity(client: Client, imported: ClusterInformation) -> None:
    """The new datastore is the old cluster's: agents go on with it."""
    while True:
        stored = await client.get(_INFORMATION)
        assert isinstance(stored, ClusterInformation)
        spec = msgspec.structs.replace(
            stored.spec,
            cluster_guid=imported.spec.cluster_guid or stored.spec.cluster_guid,
            calico_version=imported.spec.calico_version or stored.spec.calico_version,
            cluster_type=_types(imported.spec.cluster_type, stored.spec.cluster_type),
        )
        if spec == stored.spec:
            return
        try:
            await client.update(msgspec.structs.replace(stored, spec=spec))
        except UpdateConflict:
            continue
        return


async def _write_all(client: Client, resources: Sequence[Resource], what: str, notes: list[str]) -> int:
    """Write what is not there; return how many are. Kinds come one after the other, the resources of a kind together."""
    progress = Progress(what, len(resources))
    limit = asyncio.Semaphore(_AT_ONCE)
    errors: list[str] = []
    skipped = 0

    async def write(resource: Resource) -> None:
        nonlocal skipped
        async with limit:
            try:
                await _write(client, resource)
            except DoesNotExist as error:
                # Kubernetes' nodes are not ours to make.
                if resource.kind != "Node":
                    errors.append(str(error))
                else:
                    skipped += 1
                    notes.append(f"{resource.key} is no node of Kubernetes and was skipped")
            except TortieError as error:
                errors.append(str(error))
            progress.step()

    for kind in dict.fromkeys(item.kind for item in resources):
        await _together(write, (item for item in resources if item.kind == kind))
    progress.end()
    if errors:
        more = f" and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise InputError(f"Hit error(s): [{', '.join(errors[:_SHOWN])}]{more}; what succeeded stays: import again to go on")
    return len(resources) - skipped


async def _together(work: Callable[[Resource], Awaitable[None]], resources: Iterable[Resource]) -> None:
    async def one(resource: Resource) -> None:
        await work(resource)

    async with asyncio.TaskGroup() as group:
        for resource in resources:
            group.create_task(one(resource))


async def _write(client: Client, resource: Resource) -> None:
    """Make one resource be there as the file has it. What the file's writer has checked needs no look at other resources."""
    if resource.kind == "Node" or _is_built_in(resource):
        await _write_shared(client, resource)
        return
    try:
        await client.create(resource)
    except AlreadyExists:
        if not _same(await client.get(resource.key), resource):
            raise InvalidRequest(f"{KINDS[resource.kind].document_kind} {resource.key} exists and differs") from None


async def _write_shared(client: Client, resource: Resource) -> None:
    """Nodes and built-in tiers may be there before; where Kubernetes keeps the nodes, they must be."""
    try:
        await operations.replace(client, resource)
    except DoesNotExist:
        try:
            await client.create(resource)
        except NotSupported:
            raise DoesNotExist(resource.key) from None
