"""tortie ipam: how full the pools are, who has an address, and whether the data is consistent."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tortie.api.cluster import ClusterInformation
from tortie.api.resource import Key
from tortie.base.net import parse_address
from tortie.cli import screen
from tortie.cli.boxes import box
from tortie.cli.files import InputError
from tortie.cli.ipam_changes import configuration_lines, configure, release, split
from tortie.cli.ipam_pool import pool
from tortie.cli.ipam_report import all_lines, allocated_to, report, type_of
from tortie.cli.session import config_option, with_client
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.allocator import Ipam
from tortie.ipam.borrowed import borrowed, without_node
from tortie.ipam.check import Finding, Snapshot, check_data, check_use, read_snapshot
from tortie.ipam.store import Store
from tortie.ipam.usage import Usage, usage

_SECTIONS = (
    ("unused", "Found {} IPs allocated in IPAM and not in use:"),
    ("outside", "Found {} in-use IPs that are not in active IP pools:"),
    ("unallocated", "Found {} in-use IPs that are in active IP pools but not allocated in IPAM:"),
    ("twice", "Found {} IPs in use more than once:"),
    ("handle", "Found {} handles without IPs:"),
    ("missing handle", "Found {} allocations that their handle does not count:"),
    ("affinity", "Found {} affinities that do not match their block:"),
    ("block", "Found {} invalid blocks:"),
)


@click.group()
def ipam() -> None:
    """IP address management."""


ipam.add_command(release)
ipam.add_command(configure)
ipam.add_command(split)
ipam.add_command(pool)


@ipam.command()
@click.option("--show-blocks", is_flag=True, help="Show the blocks of each pool too.")
@click.option("--show-borrowed", is_flag=True, help="Show addresses that a node took from another node's block.")
@click.option("--show-configuration", is_flag=True, help="Show how addresses are assigned.")
@click.option("--ip", "address", metavar="ADDRESS", help="Show who has this address.")
@config_option
def show(*, show_blocks: bool, show_borrowed: bool, show_configuration: bool, address: str | None, config: str) -> None:
    """Show how many addresses are in use, or who has one."""

    async def lines(client: Client) -> list[str]:
        if address is not None:
            return await _address_lines(client, address)
        if show_borrowed:
            return await _borrowed_lines(client)
        if show_configuration:
            return configuration_lines(await Store(client, time.time).configuration())
        return await _usage_lines(client, show_blocks=show_blocks)

    screen.show(with_client(config, lines))


@ipam.command()
@click.option("--show-all-ips", is_flag=True, help="Print every address that is allocated.")
@click.option("--show-problem-ips", is_flag=True, help="Print every problem, not only their numbers.")
@click.option("-o", "--output", "report_file", default="", metavar="FILE", help="Write a report as JSON.")
@click.option("--kubeconfig", default="", help="The kubeconfig to use (calicoctl's option; KUBECONFIG does the same).")
@click.option("--fix", is_flag=True, help="Tell what can be fixed; a terminal is asked before it is done.")
@click.option("--yes", is_flag=True, help="With --fix: do it without asking.")
@click.option("--force", is_flag=True, help="With --fix: even if the datastore is not locked.")
@config_option
def check(
    *,
    show_all_ips: bool,
    show_problem_ips: bool,
    report_file: str,
    kubeconfig: str,
    fix: bool,
    yes: bool,
    force: bool,
    config: str,
) -> None:
    """Check IPAM's data for consistency. Problems are told, and are no failure of the command.

    --fix releases addresses that nobody uses, removes handles without addresses and stale claims of blocks, and puts handles'
    counts and blocks' free lists right. Without --yes (or a yes at the terminal) it only tells what it would do.
    """
    if (yes or force) and not fix:
        raise InputError("--yes and --force go with --fix")
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig
    click.echo("Checking IPAM for inconsistencies...")
    snapshot, information = with_client(config, _read_all)
    if show_all_ips:
        for line in all_lines(snapshot):
            click.echo(line)
    click.echo("\n".join(_check_lines(snapshot, show_all=show_problem_ips)))
    if report_file:
        try:
            Path(report_file).write_text(report(snapshot, information), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--output: cannot write {report_file}: {error.strerror}") from error
        click.echo(f"The report is in {report_file}.")
    if fix:
        from tortie.cli.ipam_mending import mend

        mend(snapshot, information, config=config, sure=yes, force=force)


async def _read_all(client: Client) -> tuple[Snapshot, ClusterInformation]:
    snapshot = await read_snapshot(client)
    try:
        information = await client.get(Key("ClusterInformation", "", "default"))
    except DoesNotExist:
        information = ClusterInformation()
    assert isinstance(information, ClusterInformation)
    return snapshot, information


async def _borrowed_lines(client: Client) -> list[str]:
    snapshot = await read_snapshot(client)
    rows = [
        (str(item.address), item.borrower, str(item.block), item.owner, type_of(item.attributes), allocated_to(item.attributes))
        for item in borrowed(snapshot)
    ]
    lines = list(box(("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"), rows))
    nameless = without_node(snapshot)
    if nameless:
        lines.append(f"{nameless} allocations do not say which node they are on, and are not in this list.")
    return lines


async def _usage_lines(client: Client, *, show_blocks: bool) -> list[str]:
    snapshot = await read_snapshot(client)
    reservations = await Store(client, time.time).reservations()
    rows = [_cells(item) for item in usage(snapshot, reservations, with_blocks=show_blocks)]
    return list(box(("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"), rows))


async def _address_lines(client: Client, text: str) -> list[str]:
    try:
        address = parse_address(text)
    except ValueError:
        raise InputError(f"Error executing command: invalid IP address specified: {text}") from None
    holder = await Ipam(client).assignment(address)
    if holder is None or holder.released_at is not None:
        return [f"{address} is not assigned"]
    lines = [f"IP {address} is in use", f"Handle ID: {holder.handle_id or '<none>'}"]
    if holder.secondary:
        lines += ["Active Owner Attributes:", *_attributes(holder.secondary)]
    else:
        lines.append("No Active Owner attributes defined")
    if holder.alternate_owner_attrs:
        lines += ["Alternate Owner Attributes:", *_attributes(holder.alternate_owner_attrs)]
    return lines


def _attributes(attributes: dict[str, str]) -> list[str]:
    return [f"  {key}: {value}" for key, value in sorted(attributes.items())]


def _check_lines(snapshot: Snapshot, *, show_all: bool) -> Iterator[str]:
    yield f"Found {len(snapshot.blocks)} IPAM blocks, {len(snapshot.handles)} handles, {len(snapshot.pools)} IP pools,"
    yield f"{len(snapshot.endpoints)} workload endpoints, {len(snapshot.nodes)} nodes."
    findings: Sequence[Finding] = (*check_use(snapshot), *check_data(snapshot, now=time.time()))
    for kind, title in _SECTIONS:
        texts = [finding.text for finding in findings if finding.kind == kind]
        if texts:
            yield title.format(len(texts))
            yield from (f"  {text}" for text in (texts if show_all else texts[:20]))
            if len(texts) > 20 and not show_all:
                yield f"  and {len(texts) - 20} more (--show-problem-ips shows all)"
    yield f"Check complete; found {sum(finding.counts for finding in findings)} problems."


def _cells(item: Usage) -> tuple[str, ...]:
    figures = [f"{_number(count)} ({100 * count / item.total:.0f}%)" for count in (item.in_use, item.reserved, item.free)]
    return (item.grouping, str(item.cidr), _number(item.total), *figures)


def _number(count: int) -> str:
    """Five significant digits, as calicoctl prints them."""
    return f"{count:.5g}"
