"""tortie ipam: how full the pools are, who has an address, and whether the data is consistent."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import click

from tortie.base.errors import TortieError
from tortie.base.net import parse_address
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.ipam.allocator import Ipam
from tortie.ipam.check import Finding, Snapshot, check_data, check_use, read_snapshot
from tortie.ipam.store import Store
from tortie.ipam.usage import Usage, usage

_T = TypeVar("_T")

_BARE_NUMBER = re.compile(r"[\d.]+(?:e\+\d+)?")
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


@ipam.command()
@click.option("--show-blocks", is_flag=True, help="Show the blocks of each pool too.")
@click.option("--ip", "address", metavar="ADDRESS", help="Show who has this address.")
@click.option("-c", "--config", "config_file", help="calicoctl.cfg of the datastore.")
def show(*, show_blocks: bool, address: str | None, config_file: str | None) -> None:
    """Show how many addresses are in use, or who has one."""
    if address is None:
        click.echo("\n".join(_with_client(config_file, lambda client: _usage_lines(client, show_blocks=show_blocks))))
    else:
        click.echo("\n".join(_with_client(config_file, lambda client: _address_lines(client, address))))


@ipam.command()
@click.option("--show-problem-ips", is_flag=True, help="Print every problem, not only their numbers.")
@click.option("-c", "--config", "config_file", help="calicoctl.cfg of the datastore.")
def check(*, show_problem_ips: bool, config_file: str | None) -> None:
    """Check IPAM's data for consistency."""
    click.echo("Checking IPAM for inconsistencies...")
    snapshot = _with_client(config_file, read_snapshot)
    click.echo("\n".join(_check_lines(snapshot, show_all=show_problem_ips)))


def _with_client(config_file: str | None, ask: Callable[[Client], Awaitable[_T]]) -> _T:
    async def session() -> _T:
        client = open_client(os.environ, config_file)
        try:
            return await ask(client)
        finally:
            await client.close()

    try:
        return asyncio.run(session())
    except TortieError as error:
        raise click.ClickException(str(error)) from error


async def _usage_lines(client: Client, *, show_blocks: bool) -> list[str]:
    snapshot = await read_snapshot(client)
    reservations = await Store(client, time.time).reservations()
    rows = [_cells(item) for item in usage(snapshot, reservations, with_blocks=show_blocks)]
    return list(_table(("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"), rows))


async def _address_lines(client: Client, text: str) -> list[str]:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise click.ClickException(f"--ip: {error}") from error
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


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A box as calicoctl draws it: headings in the middle, bare numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    yield rule
    yield "|" + "|".join(f" {text:^{width}} " for text, width in zip(header, widths, strict=True)) + "|"
    yield rule
    for row in rows:
        cells = (
            f" {text:>{width}} " if _BARE_NUMBER.fullmatch(text) else f" {text:<{width}} "
            for text, width in zip(row, widths, strict=True)
        )
        yield "|" + "|".join(cells) + "|"
    if rows:
        yield rule
