"""`tortie get`: resources as tables, YAML, JSON or names, once or as they change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from tortie.api.documents import encode
from tortie.api.kinds import KINDS, Kind, kind_by_alias
from tortie.api.resource import Key, Resource, Update
from tortie.cli.completing import complete_kind, complete_name
from tortie.cli.files import InputError, namespace_of, read_documents
from tortie.cli.formats import FORMATS, Form, read_form, without_identity
from tortie.cli.output import Table, as_json, as_yaml, listing, mixed_listing, short_name, tables
from tortie.cli.session import config_option, namespace_option, with_client
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.syncer import Batch, Syncer


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
@click.option("-o", "--output", "output", default="table", help=f"One of {', '.join(FORMATS)}.")
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
        if form.name in ("jsonpath", "custom-columns"):
            raise InputError(f"-o {form.name} prints one answer: use table, wide, yaml, json or name with --watch")
        _watch(question, form.name, namespaces=namespaces, config=config)
        return
    found, missing = with_client(config, lambda client: _read(client, question))
    if exported and question.keys:
        found = without_identity(found)
    _print(question, found, form, namespaces=namespaces)
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


async def _read(client: Client, question: Question) -> tuple[list[Resource], list[DoesNotExist]]:
    if question.kind is not None and not question.keys:
        return list((await client.list(question.kind.kind, namespace=question.namespace)).items), []
    found: list[Resource] = []
    missing: list[DoesNotExist] = []
    for key in question.keys:
        try:
            found.append(await client.get(key))
        except DoesNotExist as error:
            missing.append(error)
    return found, missing


def _print(question: Question, found: Sequence[Resource], form: Form, *, namespaces: bool) -> None:
    if form.name in ("yaml", "json", "jsonpath"):
        if not found and question.keys:
            return
        document = _document(question, found)
        if form.template is not None:
            click.echo(form.template.text(document), nl=False)
        else:
            click.echo(as_json(document) if form.name == "json" else as_yaml(document))
    elif form.name == "name":
        for resource in found:
            click.echo(short_name(resource))
    elif found or question.kind is None or question.keys:
        for line in _custom(found, form) if form.columns else tables(found, wide=form.name == "wide", namespaces=namespaces):
            click.echo(line)
    else:
        columns = form.columns_for(question.kind) if form.columns else None
        wide = form.name == "wide"
        table = Table.with_columns(columns, ()) if columns else Table.of(question.kind, (), wide=wide, namespaces=namespaces)
        click.echo(f"{table.heading}\n")


def _document(question: Question, found: Sequence[Resource]) -> Mapping[str, Any]:
    """All of a kind is a list of that kind, one name is that resource, several names are a list."""
    if question.kind is not None and not question.keys:
        return listing(question.kind, found)
    return encode(found[0]) if len(question.keys) == 1 and found else mixed_listing(found)


def _custom(found: Sequence[Resource], form: Form) -> Iterator[str]:
    for kind in dict.fromkeys(resource.kind for resource in found):
        group = [resource for resource in found if resource.kind == kind]
        table = Table.with_columns(form.columns_for(KINDS[kind]), group)
        yield table.heading
        yield from map(table.row, group)
        yield ""


def _watch(question: Question, form: str, *, namespaces: bool, config: str) -> None:
    kinds = sorted({key.kind for key in question.keys} or ({question.kind.kind} if question.kind else set()))
    printer = _printer(form, namespaces=namespaces)

    async def work(client: Client) -> None:
        known: dict[Key, Resource] = {}
        pending: list[tuple[str, Resource]] | None = []

        async def sink(batch: Batch) -> None:
            nonlocal pending
            changes = [_change(update, known) for update in batch.updates if question.covers(update.key)]
            if pending is None:
                printer(changes)
                return
            pending += changes
            if batch.in_sync:
                printer(pending)
                pending = None

        await Syncer(client, kinds, convert=lambda update: update).run(sink)

    try:
        with_client(config, work)
    except KeyboardInterrupt:
        return


def _change(update: Update, known: dict[Key, Resource]) -> tuple[str, Resource]:
    """What happened, in Kubernetes' words, and the resource (for a deletion, as it was last)."""
    if update.value is None:
        return "DELETED", known.pop(update.key)
    word = "MODIFIED" if update.key in known else "ADDED"
    known[update.key] = update.value
    return word, update.value


def _printer(form: str, *, namespaces: bool) -> Callable[[Sequence[tuple[str, Resource]]], None]:
    """A function that prints changes as they come; in tables, a heading stands above each kind's first rows."""
    seen: dict[str, Table] = {}

    def print_changes(changes: Sequence[tuple[str, Resource]]) -> None:
        for word, resource in changes:
            if form == "json":
                click.echo(as_json({"type": word, "object": encode(resource)}))
            elif form == "yaml":
                click.echo("---\n" + as_yaml({"type": word, "object": encode(resource)}))
            elif form == "name":
                click.echo(f"{word.lower()} {short_name(resource)}")
            else:
                if resource.kind not in seen:
                    group = [other for _, other in changes if other.kind == resource.kind]
                    table = Table.of(KINDS[resource.kind], group, wide=form == "wide", namespaces=namespaces)
                    seen[resource.kind] = table
                    click.echo(f"{'EVENT':<11}{table.heading}")
                click.echo(f"{word:<11}{seen[resource.kind].row(resource)}")

    return print_changes
