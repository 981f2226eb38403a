"""`tortie ipam release | configure | split`: what changes IPAM's data by hand."""

from typing import Any

import click
import msgspec

from tortie.api.ipam import IPAMConfiguration, IPAMConfigurationSpec
from tortie.api.ippool import IPPool
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.validation import check
from tortie.base.net import parse_address, parse_prefix
from tortie.cli.boxes import box
from tortie.cli.completing import complete_pool
from tortie.cli.files import InputError
from tortie.cli.session import config_option, with_client
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.allocator import Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.pools import cidr_of
from tortie.ipam.split import SplitError, split_pool

_CONFIGURATION = Key("IPAMConfiguration", "", "default")


@click.command()
@click.option("--ip", "text", metavar="ADDRESS", default="", help="The address to release.")
@click.option("--from-report", "reports", multiple=True, metavar="FILE", help="Release what is unused in all of these reports.")
@click.option("--force", is_flag=True, help="Take reports of another version, and do not ask for the lock.")
@config_option
def release(*, text: str, reports: tuple[str, ...], force: bool, config: str) -> None:
    """Release addresses that nobody uses. What has one keeps using it, and another may get it too: be sure.

    Reports come from `tortie ipam check -o FILE`; of several, only what is unused in all of them, unchanged, is released.
    """
    if bool(text) == bool(reports):
        raise InputError("say what to release: --ip ADDRESS, or --from-report FILE")
    if reports:
        from tortie.cli.ipam_mending import release_reported

        release_reported(reports, config=config, force=force)
        return
    try:
        address = parse_address(text)
    except ValueError:
        raise InputError(f"Error executing command: invalid IP address specified: {text}") from None
    missing = with_client(config, lambda client: Ipam(client).release([ReleaseRequest(address)]))
    if missing:
        raise InputError(f"IP address {address} is not assigned")
    click.echo(f"Successfully released IP address {address}")


@click.command()
@click.argument("what", required=False, type=click.Choice(["show"]))
@click.option("--strictaffinity", type=click.BOOL, help="Nodes take addresses from their own blocks only.")
@click.option("--max-blocks-per-host", type=click.IntRange(min=0), help="How many blocks a node may have; 0: the default.")
@click.option("--kubevirt-ip-persistence", type=click.Choice(["Enabled", "Disabled"]), help="Virtual machines keep addresses.")
@click.option("--ip-cooldown-seconds", type=int, help="How long a released address rests; negative leaves it as it is.")
@config_option
def configure(
    *,
    what: str | None,
    strictaffinity: bool | None,
    max_blocks_per_host: int | None,
    kubevirt_ip_persistence: str | None,
    ip_cooldown_seconds: int | None,
    config: str,
) -> None:
    """Show or change how addresses are assigned in this cluster."""
    cooldown = ip_cooldown_seconds if ip_cooldown_seconds is not None and ip_cooldown_seconds >= 0 else None
    settings: dict[str, tuple[str, Any]] = {
        "strict_affinity": ("StrictAffinity", strictaffinity),
        "max_blocks_per_host": ("MaxBlocksPerHost", max_blocks_per_host),
        "kube_virt_vm_address_persistence": ("KubeVirtVMAddressPersistence", kubevirt_ip_persistence),
        "ip_cooldown_seconds": ("IPCooldownSeconds", cooldown),
    }
    wanted = {field: value for field, (_, value) in settings.items() if value is not None}
    if what == "show":
        if wanted:
            raise InputError("ipam configure show only shows: leave the options or `show` out")
        click.echo("\n".join(configuration_lines(with_client(config, _read_configuration).spec)))
        return
    if not wanted:
        raise InputError("at least one configuration option must be specified")

    def change(stored: Resource) -> Resource:
        assert isinstance(stored, IPAMConfiguration)
        return check(msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, **wanted)))

    async def work(client: Client) -> None:
        try:
            await operations.modify(client, _CONFIGURATION, change)
        except DoesNotExist:
            await operations.create(client, change(IPAMConfiguration(metadata=Metadata(name="default"))))

    with_client(config, work)
    for field in wanted:
        click.echo(f"Successfully set {settings[field][0]} to: {_shown(wanted[field])}")


@click.command()
@click.argument("number", type=int)
@click.option("--cidr", default="", help="The pool of this CIDR.")
@click.option("--name", default="", shell_complete=complete_pool, help="The pool of this name.")
@config_option
def split(number: int, cidr: str, name: str, config: str) -> None:
    """Split a pool into NUMBER equal ones. Blocks and addresses stay; the datastore must be locked."""
    if bool(cidr) == bool(name):
        raise InputError("say which pool to split: --cidr or --name")

    async def work(client: Client) -> list[str]:
        parts = await split_pool(client, await _pool(client, cidr, name), number)
        return [f"{part.metadata.name} {part.spec.cidr}" for part in parts]

    parts = with_client(config, work)
    click.echo(f"Successfully split the pool into {len(parts)}:\n" + "\n".join(f"  {part}" for part in parts))
    click.echo("The datastore may be unlocked now: tortie datastore migrate unlock")


def configuration_lines(spec: IPAMConfigurationSpec) -> list[str]:
    """The cluster's settings as a table."""
    rows = [
        ("StrictAffinity", _shown(spec.strict_affinity)),
        ("AutoAllocateBlocks", _shown(spec.auto_allocate_blocks)),
        ("MaxBlocksPerHost", _shown(spec.max_blocks_per_host)),
        ("KubeVirtVMAddressPersistence", spec.kube_virt_vm_address_persistence or "<unset>"),
        ("IPCooldownSeconds", _shown(spec.ip_cooldown_seconds)),
    ]
    return list(box(("PROPERTY", "VALUE"), rows))


async def _read_configuration(client: Client) -> IPAMConfiguration:
    try:
        found = await client.get(_CONFIGURATION)
    except DoesNotExist:
        found = IPAMConfiguration()
    assert isinstance(found, IPAMConfiguration)
    return found


async def _pool(client: Client, cidr: str, name: str) -> Key:
    if name:
        return Key("IPPool", "", name)
    try:
        wanted = parse_prefix(cidr)
    except ValueError as error:
        raise InputError(f"--cidr: {error}") from error
    for pool in (await client.list("IPPool")).items:
        assert isinstance(pool, IPPool)
        if cidr_of(pool) == wanted:
            return pool.key
    raise SplitError(f"--cidr: there is no IP pool {wanted}")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
