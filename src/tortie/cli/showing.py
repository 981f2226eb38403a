"""`tortie get`: resources as tables, YAML, JSON or names, once or as they change."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from tortie.api.bgp import BGPConfiguration
from tortie.api.columns import Column
from tortie.api.documents import encode
from tortie.api.kinds import KINDS, Kind, kind_by_alias
from tortie.api.resource import Key, Resource
from tortie.cli import screen
from tortie.cli.completing import complete_kind, complete_name
from tortie.cli.files import InputError, namespace_of, read_documents
from tortie.cli.formats import FORMATS, Form, read_form, without_identity
from tortie.cli.gotemplate import ListResult
from tortie.cli.output import Table, as_json, as_yaml, listing, mixed_listing, short_name, tables
from tortie.cli.session import config_option, namespace_option, with_client
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist

_AS_NUMBER = "64512"
"""What nodes have where nobody says."""


class Question(NamedTuple):
    """What was asked for: a kind (all of it, or of one namespace when `namespace` is set), or keys."""

    kind: Kind | None
    namespace: str
    keys: tuple[Key, ...]

    def covers(self, key: Key) -> bool:
        """True if a change of this key belongs to the answer."""
        if self.keys:
            return key in self.keys
        return not self.namespace or key.namespace == self.namespace


@click.command()
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("names", nargs=-1, shell_complete=complete_name)
@click.option("-f", "--filename", "files", multiple=True, help="Show what these files name, as it is stored.")
@click.option("-R", "--recursive", is_flag=True, help="Go into directories below a directory.")
@click.option(
    "-o",
    "--output",
    "output",
    default="table",
    shell_complete=lambda _ctx, _param, typed: [form.partition("=")[0] for form in FORMATS if form.startswith(typed)],
    help=f"One of {', '.join(FORMATS)}.",
)
@namespace_option
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("--export", "exported", is_flag=True, help="Leave out what belongs to this cluster alone (names are needed).")
@click.option("-w", "--watch", is_flag=True, help="Go on with every change, until Ctrl-C.")
@config_option
def get(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    output: str,
    namespace: str,
    all_namespaces: bool,
    exported: bool,
    watch: bool,
    config: str,
) -> None:
    """Show resources: all of a KIND, those of some NAMES, or those that files name."""
    form = read_form(output)
    if namespace and all_namespaces:
        raise InputError("cannot use both --namespace and --all-namespaces flags at the same time")
    if kind is None:
        question = _question_of_files(files, recursive=recursive, namespace=namespace)
    elif files:
        raise InputError("give either KIND [NAME...] or -f FILE, not both")
    else:
        question = _question(kind_by_alias(kind), names, namespace=namespace, all_namespaces=all_namespaces)
    namespaces = bool(namespace) or all_namespaces
    if watch:
        from tortie.cli.watching import watch_changes

        watch_changes(question, form, namespaces=namespaces, config=config)
        return
    found, missing, as_number = with_client(config, lambda client: _read(client, question, form))
    if exported and question.keys:
        found = without_identity(found)
    _print(question, found, form, namespaces=namespaces, as_number=as_number)
    if missing:
        raise InputError("\n".join(f"failed to get resources: {error}" for error in missing))


def _question(kind: Kind, names: tuple[str, ...], *, namespace: str, all_namespaces: bool) -> Question:
    if names and all_namespaces:
        raise InputError("cannot use --all-namespace flag for getting a single resource")
    if not all(names):
        raise InputError("resource name may not be empty")
    place = "" if all_namespaces else namespace_of(kind, namespace)
    return Question(kind, place, tuple(Key(kind.kind, place, name) for name in names))


def _question_of_files(files: Sequence[str], *, recursive: bool, namespace: str) -> Question:
    if not files:
        kinds = ", ".join(sorted(kind.lower() for kind in KINDS))
        raise InputError(f"say what to get: KIND [NAME...], or -f FILE. Kinds: {kinds}")
    documents = read_documents(files, recursive=recursive, namespace=namespace)
    return Question(None, "", tuple(document.resource.key for document in documents))


async def _read(client: Client, question: Question, form: Form) -> tuple[list[Resource], list[DoesNotExist], str]:
    """What is there, what is not, and the AS number of nodes that have none of their own where that will be shown."""
    as_number = _AS_NUMBER
    if form.name == "go-template" or (form.name == "wide" and question.kind is KINDS["Node"]):
        as_number = await _cluster_as_number(client)
    if question.kind is not None and not question.keys:
        return list((await client.list(question.kind.kind, namespace=question.namespace)).items), [], as_number
    found: list[Resource] = []
    missing: list[DoesNotExist] = []
    for key in question.keys:
        try:
            found.append(await client.get(key))
        except DoesNotExist as error:
            missing.append(error)
    return found, missing, as_number


async def _cluster_as_number(client: Client) -> str:
    try:
        found = await client.get(Key("BGPConfiguration", "", "default"))
    except DoesNotExist:
        return _AS_NUMBER
    assert isinstance(found, BGPConfiguration)
    return str(found.spec.as_number or _AS_NUMBER)


def _print(question: Question, found: Sequence[Resource], form: Form, *, namespaces: bool, as_number: str) -> None:
    if form.go_template is not None:
        all_of_a_kind = question.kind is not None and not question.keys
        results = [ListResult(tuple(found))] if all_of_a_kind else found
        click.echo(form.go_template.text(results, config={"asnumber": as_number}), nl=False)
    elif form.name in ("yaml", "json", "jsonpath"):
        if not found and question.keys:
            return
        document = _document(question, found)
        if form.template is not None:
            click.echo(form.template.text(document), nl=False)
        else:
            text = as_json(document) if form.name == "json" else as_yaml(document)
            screen.show([screen.document(text, form.name)])
    elif form.name == "name":
        for resource in found:
            click.echo(short_name(resource))
    elif found or question.kind is None or question.keys:
        wide = form.name == "wide"
        kinds = _kinds(as_number)
        screen.show(_custom(found, form) if form.columns else tables(found, wide=wide, namespaces=namespaces, kinds=kinds))
    else:
        columns = form.columns_for(question.kind) if form.columns else None
        wide = form.name == "wide"
        table = Table.with_columns(columns, ()) if columns else Table.of(question.kind, (), wide=wide, namespaces=namespaces)
        click.echo(f"{screen.heading(table.heading)}\n")


def _kinds(as_number: str) -> Mapping[str, Kind]:
    """The kinds, where nodes without an AS number of their own show the cluster's."""
    if as_number == _AS_NUMBER:
        return KINDS
    node = KINDS["Node"]

    def text(resource: Any) -> str:
        own = resource.spec.bgp.as_number if resource.spec.bgp else None
        return f"({as_number})" if own is None else str(own)

    wide = tuple(Column("ASN", text) if column.heading == "ASN" else column for column in node.wide_columns)
    return {**KINDS, "Node": dataclasses.replace(node, wide_columns=wide)}


def _document(question: Question, found: Sequence[Resource]) -> Mapping[str, Any]:
    """All of a kind is a list of that kind, one name is that resource, several names are a list."""
    if question.kind is not None and not question.keys:
        return listing(question.kind, found)
    return encode(found[0]) if len(question.keys) == 1 and found else mixed_listing(found)


def _custom(found: Sequence[Resource], form: Form) -> Iterator[str]:
    for kind in dict.fromkeys(resource.kind for resource in found):
        group = [resource for resource in found if resource.kind == kind]
        table = Table.with_columns(form.columns_for(KINDS[kind]), group)
        yield screen.heading(table.heading)
        yield from map(table.row, group)
        yield ""
