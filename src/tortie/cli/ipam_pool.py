"""`tortie ipam pool migrate`: pods move from one pool to another as they are restarted."""

import time

import click

from tortie.api.formats import parse_duration
from tortie.base.net import parse_prefix
from tortie.cli.completing import complete_pool
from tortie.cli.files import InputError
from tortie.cli.session import config_option, with_client
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DatastoreError
from tortie.ipam import moving
from tortie.ipam.allocator import Ipam
from tortie.ipam.moving import Holder, Scene
from tortie.ipam.store import Store

_SHOWN = 20
_POLL_SECONDS = 2.0


@click.group()
def pool() -> None:
    """IP pools as a whole."""


@pool.command()
@click.argument("old", shell_complete=complete_pool)
@click.argument("new", shell_complete=complete_pool)
@click.option(
    "--check", "only_check", is_flag=True, help="Look at both pools, change nothing. Exit code 2 if it cannot be done."
)
@click.option("--wait", metavar="DURATION", default="", help="Tell how many addresses are left until none is (10m).")
@click.option("--delete", is_flag=True, help="Delete OLD once nobody has an address of it.")
@click.option("--rollback", is_flag=True, help="Let OLD give addresses again; whoever has moved stays where he is.")
@config_option
@click.pass_context
def migrate(
    ctx: click.Context, old: str, new: str, *, only_check: bool, wait: str, delete: bool, rollback: bool, config: str
) -> None:
    """Move from pool OLD to pool NEW: OLD gives no more addresses, and pods get one of NEW when they are restarted.

    Give the same command again to see how far it is. Exit code 2 while somebody has an address of OLD.
    """
    if rollback:
        if only_check or wait or delete:
            raise InputError("--rollback goes alone")
        with_client(config, lambda client: moving.roll_back(client, old))
        click.echo(f"IP pool {old} gives addresses again. Pods that have moved to {new} stay there until they are restarted.")
        return
    try:
        seconds = parse_duration(wait) if wait else 0.0
    except ValueError as error:
        raise InputError(f"--wait: {error}") from error
    scene = with_client(config, lambda client: _scene(client, old, new))
    found = moving.review(scene)
    for note in found.notes:
        click.echo(f"Note: {note}")
    for blocker in found.blockers:
        click.echo(f"Problem: {blocker}", err=True)
    if only_check:
        click.echo(f"{len(moving.holders(scene))} addresses of {old} are in use.")
        ctx.exit(2 if found.blockers else 0)
    if found.blockers:
        raise InputError(f"IP pool {old} cannot be migrated to {new}; nothing was changed")
    with_client(config, lambda client: moving.begin(client, old, new))
    click.echo(f"IP pool {old} gives no more addresses (--rollback undoes that).")
    left = _left(config, old, new, seconds)
    if left:
        _tell(left, old)
        ctx.exit(2)
    click.echo(f"Nobody has an address of {old} any more.")
    if delete:
        with_client(config, lambda client: _remove(client, scene))
        click.echo(f"IP pool {old} is deleted.")
    else:
        click.echo(f"It may go: tortie delete ippool {old}, or this command with --delete.")


async def _scene(client: Client, old: str, new: str) -> Scene:
    return await moving.read_scene(client, old, new, reservations=await Store(client, time.time).reservations())


def _left(config: str, old: str, new: str, seconds: float) -> tuple[Holder, ...]:
    """Who has an address of the old pool; with a limit of time, as late as somebody has, telling how many."""

    async def work(client: Client) -> tuple[Holder, ...]:
        return moving.holders(await _scene(client, old, new))

    deadline = time.monotonic() + seconds
    said = -1
    while True:
        try:
            left = with_client(config, work)
        except DatastoreError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)  # the move is under way: a store that is away for a moment does not end it
            continue
        if not left or time.monotonic() >= deadline:
            return left
        if len(left) != said:
            said = len(left)
            click.echo(f"{said} addresses of {old} are still in use")
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _tell(left: tuple[Holder, ...], old: str) -> None:
    pods = [holder for holder in left if holder.is_pod]
    others = len(left) - len(pods)
    click.echo(f"{len(left)} addresses of {old} are in use: {len(pods)} of pods, {others} of nodes' tunnels and others.")
    if pods:
        click.echo("Restart these pods (their owners make new ones, which get addresses of the new pool):")
        for holder in pods[:_SHOWN]:
            click.echo(f"  {holder.name}  {holder.address}  on {holder.node or '<unknown>'}")
        if len(pods) > _SHOWN:
            click.echo(f"  and {len(pods) - _SHOWN} more")
    if others:
        click.echo("Agents change the addresses of tunnels by themselves.")


async def _remove(client: Client, scene: Scene) -> None:
    """Give up the blocks, then delete. The pool has been disabled for longer than any assignment takes."""
    await Ipam(client).release_pool(parse_prefix(scene.old.spec.cidr, strict=False))
    await operations.delete(client, scene.old.key)
