"""`tortie apply | create | replace | validate | delete`: resources from files into the datastore (calicoctl.md, section 2)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from tortie.api.documents import Document
from tortie.api.errors import FieldError, ValidationError
from tortie.api.ippool import IPPool
from tortie.api.kinds import KINDS, kind_by_alias
from tortie.api.resource import Key, Resource
from tortie.base.errors import TortieError
from tortie.base.net import parse_prefix
from tortie.cli.completing import complete_kind, complete_name
from tortie.cli.files import InputError, checked, namespace_of, read_documents
from tortie.cli.node_deletion import delete_with_node
from tortie.cli.session import config_option, environment, namespace_option, with_client
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.config import is_kubernetes
from tortie.datastore.errors import AlreadyExists, DoesNotExist
from tortie.datastore.initialize import ensure_initialized

_F = TypeVar("_F", bound=Callable[..., Any])

_POOL_SETTLE_SECONDS = 0.5
Write = Callable[[Client, Resource], Awaitable[str]]
"""Writes one resource and returns what happened: created, updated, unchanged ..."""


def _file_options(required: bool) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in (
            click.option("-f", "--filename", "files", multiple=True, required=required, help="File, directory, or -."),
            click.option("-R", "--recursive", is_flag=True, help="Go into directories below a directory."),
            namespace_option,
            config_option,
        ):
            function = option(function)
        return function

    return decorate


_skip_empty = click.option("--skip-empty", is_flag=True, help="An empty file or directory is no error.")
_allow_unenforced = click.option("--allow-unenforced", is_flag=True, help="Accept fields that this release does not enforce.")


@click.command()
@_file_options(required=True)
@_skip_empty
@_allow_unenforced
def apply(
    files: tuple[str, ...], recursive: bool, namespace: str, config: str, skip_empty: bool, allow_unenforced: bool
) -> None:
    """Create or change resources to be as the files say. Everything is checked before anything is written."""

    async def write(client: Client, resource: Resource) -> str:
        return (await operations.apply(client, resource))[1]

    documents = read_documents(files, recursive=recursive, namespace=namespace, skip_empty=skip_empty)
    _write_all("apply", documents, write, config=config, allow_unenforced=allow_unenforced)


@click.command()
@_file_options(required=True)
@_skip_empty
@_allow_unenforced
@click.option("--skip-exists", is_flag=True, help="Leave what exists alone instead of failing.")
def create(
    files: tuple[str, ...],
    recursive: bool,
    namespace: str,
    config: str,
    skip_empty: bool,
    allow_unenforced: bool,
    skip_exists: bool,
) -> None:
    """Create resources that must not exist yet."""

    async def write(client: Client, resource: Resource) -> str:
        try:
            await operations.create(client, resource)
        except AlreadyExists:
            if not skip_exists:
                raise
            return "skipped"
        return "created"

    documents = read_documents(files, recursive=recursive, namespace=namespace, skip_empty=skip_empty)
    _refuse_versions(documents)
    _write_all("create", documents, write, config=config, allow_unenforced=allow_unenforced)


@click.command()
@_file_options(required=True)
@_skip_empty
@_allow_unenforced
def replace(
    files: tuple[str, ...], recursive: bool, namespace: str, config: str, skip_empty: bool, allow_unenforced: bool
) -> None:
    """Replace resources that must exist."""

    async def write(client: Client, resource: Resource) -> str:
        await operations.replace(client, resource)
        return "replaced"

    documents = read_documents(files, recursive=recursive, namespace=namespace, skip_empty=skip_empty)
    _write_all("replace", documents, write, config=config, allow_unenforced=allow_unenforced)


@click.command()
@_file_options(required=True)
@_skip_empty
@_allow_unenforced
def validate(
    files: tuple[str, ...], recursive: bool, namespace: str, config: str, skip_empty: bool, allow_unenforced: bool
) -> None:
    """Check files without writing anything and without a datastore."""
    documents = read_documents(files, recursive=recursive, namespace=namespace, skip_empty=skip_empty)
    resources = checked(documents)
    if not allow_unenforced:
        _refuse_unenforced(documents)
    click.echo(_success("validated", [resource.key for resource in resources]) if resources else "No resources specified")


@click.command()
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("names", nargs=-1, shell_complete=complete_name)
@_file_options(required=False)
@click.option("-s", "--skip-not-exists", is_flag=True, help="What is not there is no error.")
def delete(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    namespace: str,
    config: str,
    skip_not_exists: bool,
) -> None:
    """Delete resources: KIND NAME..., or everything that the files of -f name.

    A pool gives its blocks back first. With a Node go its addresses and blocks, its workload and host endpoints, and the BGP
    peers and configurations that are its alone.
    """
    keys = _keys_to_delete(kind, names, read_documents(files, recursive=recursive, namespace=namespace), namespace)
    in_kubernetes = is_kubernetes(environment(), config)

    async def work(client: Client) -> list[tuple[Key, TortieError | None]]:
        results: list[tuple[Key, TortieError | None]] = []
        went_along: set[Key] = set()
        for key in keys:
            try:
                if key.kind == "Node" and not in_kubernetes:
                    await delete_with_node(client, key.name, went_along.add)
                await _delete(client, key)
            except DoesNotExist as error:
                results.append((key, None if skip_not_exists or key in went_along else error))
            except TortieError as error:
                results.append((key, error))
            else:
                results.append((key, None))
        return results

    results = with_client(config, work)
    done = [key for key, error in results if error is None]
    if done:
        click.echo(_success("deleted", done))
    failed = [f"Failed to delete '{_kind_name(key)}' resource: {error}" for key, error in results if error is not None]
    if failed:
        raise InputError("\n".join(failed))


async def _delete(client: Client, key: Key) -> None:
    if key.kind == "IPPool":
        await _retire_pool(client, key)
    await operations.delete(client, key)


async def _retire_pool(client: Client, key: Key) -> None:
    """Before a pool goes: nobody takes addresses from it any more, and its blocks belong to nobody."""
    from tortie.ipam.allocator import Ipam

    pool = await client.get(key)
    assert isinstance(pool, IPPool)
    disabled = msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, disabled=True))
    await operations.apply(client, disabled)
    # Allocations that had read the pool before it was disabled get the time to finish.
    await asyncio.sleep(_POOL_SETTLE_SECONDS)
    await Ipam(client).release_pool(parse_prefix(pool.spec.cidr, strict=False))


def _keys_to_delete(kind: str | None, names: tuple[str, ...], documents: Sequence[Document], namespace: str) -> list[Key]:
    if kind is None:
        if not documents:
            raise InputError("name what to delete: KIND NAME..., or -f FILE")
        resources = [document.resource for document in documents]
        return [resource.key for resource in operations.in_order(resources, deleting=True)]
    if documents:
        raise InputError("give either KIND NAME... or -f FILE, not both")
    known = kind_by_alias(kind)
    if not names or not all(names):
        raise InputError(f"resource name may not be empty: say which {known.document_kind} to delete")
    place = namespace_of(known, namespace)
    return [Key(known.kind, place, name) for name in names]


def _refuse_versions(documents: Sequence[Document]) -> None:
    """What is to be created has no version yet: whoever names one means an object that exists, or did."""
    errors: list[FieldError] = []
    for document in documents:
        given = document.resource.metadata.resource_version
        if given:
            reason = "must not be set on what is to be created: take it out, or use apply"
            errors += document.located([FieldError("metadata.resourceVersion", given, reason)])
    if errors:
        raise ValidationError(errors)


def _write_all(verb: str, documents: Sequence[Document], write: Write, *, config: str, allow_unenforced: bool) -> None:
    """Check everything, then write one after the other, past errors that only the datastore can know; report."""
    resources = operations.in_order(checked(documents))
    if not allow_unenforced:
        _refuse_unenforced(documents)
    for resource in resources:
        operations.refuse_read_only(verb, resource.key)

    async def work(client: Client) -> tuple[list[str], list[TortieError]]:
        await ensure_initialized(client)
        try:
            await operations.check_references(client, resources)
        except DoesNotExist as error:
            raise _who_refers(documents, error) from None
        outcomes: list[str] = []
        errors: list[TortieError] = []
        for resource in resources:
            try:
                outcomes.append(await write(client, resource))
            except TortieError as error:
                errors.append(error)
        return outcomes, errors

    if not resources:
        click.echo("No resources specified")
        return
    outcomes, errors = with_client(config, work)
    _report(verb, [resource.key for resource in resources], outcomes, errors)


def _who_refers(documents: Sequence[Document], missing: DoesNotExist) -> TortieError:
    """The same refusal with the fields that name what is missing."""
    reason = f"{missing.key} does not exist"
    found: list[str] = []
    for document in documents:
        spec = getattr(document.resource, "spec", None)
        errors = []
        if missing.key.kind == "Tier" and getattr(spec, "tier", None) == missing.key.name:
            errors = [FieldError("spec.tier", missing.key.name, reason)]
        elif missing.key.kind == "BGPFilter" and missing.key.name in getattr(spec, "filters", ()):
            errors = [FieldError("spec.filters", missing.key.name, reason)]
        found += [f"{document.resource.key}: {error}" for error in document.located(errors)]
    return InputError("\n".join([str(missing), *found, "nothing was written"]))


def _report(verb: str, keys: Sequence[Key], outcomes: Sequence[str], errors: Sequence[TortieError]) -> None:
    kinds = {_kind_name(key) for key in keys}
    kind = f"'{next(iter(kinds))}' " if len(kinds) == 1 else ""
    past = f"{verb.removesuffix('e').replace('apply', 'appli')}ed"
    texts = ", ".join(map(str, errors))
    if errors and not outcomes:
        what = f"{kind}resource" if len(keys) == 1 else f"any {kind}resources"
        raise InputError(f"failed to {verb} {what}: [{texts}]")
    if errors:
        click.echo(f"Partial success: {past} the first {len(outcomes)} out of {len(keys)} {kind}resources:")
        raise InputError(f"hit error: [{texts}]")
    click.echo(_success(past, keys))
    if verb == "apply" or "skipped" in outcomes:
        counts = {outcome: outcomes.count(outcome) for outcome in ("created", "updated", "unchanged", "skipped")}
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count))


def _success(past: str, keys: Sequence[Key]) -> str:
    kinds = {_kind_name(key) for key in keys}
    kind = f"'{next(iter(kinds))}' " if len(kinds) == 1 else ""
    return f"Successfully {past} {len(keys)} {kind}resource(s)"


def _kind_name(key: Key) -> str:
    return KINDS[key.kind].document_kind


def _refuse_unenforced(documents: Sequence[Document]) -> None:
    from tortie.dataplane.enforcement import unenforced

    found = [
        f"{document.resource.key}: {error}"
        for document in documents
        for error in document.located(unenforced(document.resource))
    ]
    if found:
        raise InputError("\n".join([*found, "nothing was written; --allow-unenforced accepts such fields"]))
