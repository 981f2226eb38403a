"""What `ipam check --fix` and `ipam release --from-report` do: mending IPAM's data, seen before it is done."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tortie import __version__
from tortie.api.cluster import ClusterInformation
from tortie.api.resource import Key
from tortie.base.errors import TortieError
from tortie.base.net import parse_address
from tortie.cli.files import InputError
from tortie.cli.progress import Progress
from tortie.cli.session import with_client
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.ipam.allocator import Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.check import Snapshot
from tortie.ipam.errors import ReleaseConflict
from tortie.ipam.repair import Plan, Repairer, plan_repairs

_SHOWN = 20
_INFORMATION = Key("ClusterInformation", "", "default")


def mend(snapshot: Snapshot, information: ClusterInformation, *, config: str, sure: bool, force: bool) -> None:
    """Tell what can be mended, and do it when `sure`, or when a person at a terminal says so. Raises InputError."""
    plan = plan_repairs(snapshot, now=time.time())
    click.echo("\n".join(_plan_lines(plan)))
    if not plan.repairs:
        return
    if not sure and (not sys.stdin.isatty() or not click.confirm(f"Do these {len(plan.repairs)} things?")):
        click.echo("Nothing was changed; --yes does it.")
        return
    if information.spec.datastore_ready is not False and not force:
        raise InputError(
            "nothing was changed: the datastore is not locked, and pods may be on their way. "
            "`tortie datastore migrate lock` first, or --force"
        )

    async def work(client: Client) -> list[str]:
        repairer, progress = Repairer(client), Progress("Fixed", len(plan.repairs))
        failed = []
        for repair in plan.repairs:
            reason = await repairer.mend(repair)
            if reason:
                failed.append(f"  not done: {repair}: {reason}")
            progress.step()
        progress.end()
        return failed

    failed = with_client(config, work)
    for line in failed[:_SHOWN]:
        click.echo(line)
    click.echo(f"Fixed {len(plan.repairs) - len(failed)} of {len(plan.repairs)}; `tortie ipam check` looks again.")
    if information.spec.datastore_ready is False:
        click.echo("The datastore may be unlocked now: tortie datastore migrate unlock")


def release_reported(files: Sequence[str], *, config: str, force: bool) -> None:
    """Release what is in use in none of some reports, and has not changed since. Raises InputError."""
    reports = [_report(name) for name in files]

    async def work(client: Client) -> list[str]:
        information = await _current(client)
        _refuse_unfit(reports, information, force=force)
        lines = []
        requests = list(_unused(reports))
        released, missed = await _release(client, requests)
        lines.append(f"Released {released} IPs successfully")
        if missed:
            lines += [f"{len(missed)} IPs were left alone:", *(f"  {text}" for text in missed[:_SHOWN])]
        handles = await _remove_handles(client, _leaked(reports))
        lines.append(f"Released {handles} handles successfully")
        return lines

    for line in with_client(config, work):
        click.echo(line)
    click.echo("You may now unlock the datastore: tortie datastore migrate unlock")


def _plan_lines(plan: Plan) -> Iterator[str]:
    yield f"{len(plan.repairs)} things can be fixed:" if plan.repairs else "There is nothing that can be fixed."
    yield from (f"  {repair}" for repair in plan.repairs)
    if plan.left:
        yield f"{len(plan.left)} things are left to you:"
        yield from (f"  {text}" for text in plan.left)


class _Allocation(msgspec.Struct, rename="camel"):
    # Where a report does not say whether an address is in use, it is no reason to release it.
    in_use: bool
    handle: str | None = None
    sequence_number: int | None = None
    cooling_down: bool = False


class _Handle(msgspec.Struct):
    id: str = msgspec.field(name="ID")
    revision: str = msgspec.field(name="Revision")


class _Contents(msgspec.Struct, rename="camel"):
    """What of a report is acted upon."""

    allocations: dict[str, list[_Allocation]]
    leaked_handles: list[_Handle] | None = None


def _report(name: str) -> Mapping[str, Any]:
    try:
        text = Path(name).read_text(encoding="utf-8")
        found = json.loads(text)
        msgspec.json.decode(text, type=_Contents)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--from-report: cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"--from-report: {name} is no report of `ipam check -o`: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--from-report: {name} is not JSON: {error}") from error
    assert isinstance(found, dict)
    return found


async def _current(client: Client) -> ClusterInformation:
    try:
        found = await client.get(_INFORMATION)
    except DoesNotExist:
        raise InputError("the datastore is empty: there is nothing to release") from None
    assert isinstance(found, ClusterInformation)
    return found


def _refuse_unfit(reports: Sequence[Mapping[str, Any]], information: ClusterInformation, *, force: bool) -> None:
    """Reports of another cluster are never taken; of another time or version only with --force."""
    spec = information.spec
    for report in reports:
        if report.get("clusterGUID") != spec.cluster_guid:
            raise InputError(f"report is of cluster {report.get('clusterGUID')}, the datastore is of {spec.cluster_guid}")
        if report.get("version") != __version__ and not force:
            raise InputError(f"report was made by version {report.get('version')}, this is {__version__}: --force overrides")
    revisions = [str(report.get("clusterInformationRevision")) for report in reports]
    if information.metadata.resource_version not in revisions:
        raise InputError("no report is up to date: lock the datastore, then make one with `tortie ipam check -o FILE`")
    if spec.datastore_ready is not False and not force:
        raise InputError("datastore is not locked: `tortie datastore migrate lock` first, or --force")


def _unused(reports: Sequence[Mapping[str, Any]]) -> Iterator[ReleaseRequest]:
    """Allocations that every report has, with the same handle and number, and none has in use."""
    common = set.intersection(*(set(report["allocations"]) for report in reports))
    for text in sorted(common):
        entries = [entry for report in reports for entry in report["allocations"][text]]
        identities = {(entry.get("handle"), entry.get("sequenceNumber")) for entry in entries}
        if len(identities) == 1 and not any(entry.get("inUse") or entry.get("coolingDown") for entry in entries):
            handle, number = identities.pop()
            try:
                yield ReleaseRequest(parse_address(text), handle=str(handle or ""), sequence_number=number)
            except ValueError as error:
                raise InputError(f"report: allocations: {error}") from error


async def _release(client: Client, requests: Sequence[ReleaseRequest]) -> tuple[int, list[str]]:
    """One by one: an address that somebody has by now keeps no other from being released."""
    ipam, progress = Ipam(client), Progress("Released", len(requests))
    missed: list[str] = []
    for request in requests:
        try:
            if await ipam.release([request]):
                missed.append(f"{request.address} is not assigned any more")
        except ReleaseConflict as error:
            missed.append(str(error))
        progress.step()
    progress.end()
    return len(requests) - len(missed), missed


def _leaked(reports: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Handles that are without addresses in every report, unchanged."""
    found = [
        {(str(one.get("ID")), str(one.get("Revision"))) for one in report.get("leakedHandles") or ()} for report in reports
    ]
    return set.intersection(*found)


async def _remove_handles(client: Client, handles: set[tuple[str, str]]) -> int:
    removed = 0
    for name, revision in sorted(handles):
        try:
            await client.delete(Key("IPAMHandle", "", name), revision=revision)
        except (DoesNotExist, UpdateConflict):
            continue
        except TortieError as error:
            raise InputError(f"handle {name} cannot be removed: {error}") from error
        removed += 1
    return removed
