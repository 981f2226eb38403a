"""`tortie get --watch`: what is there, then every change, in each of get's formats.

A connection that is lost is made anew, and only what changed meanwhile is told.
"""

from collections.abc import Callable, Sequence

import click

from tortie.api.documents import encode
from tortie.api.kinds import KINDS
from tortie.api.resource import Key, Resource, Update
from tortie.cli import screen
from tortie.cli.formats import Form
from tortie.cli.output import Table, as_json, as_yaml, short_name
from tortie.cli.session import with_client
from tortie.cli.showing import Question
from tortie.datastore.client import Client
from tortie.datastore.syncer import Batch, Syncer

Change = tuple[str, Resource]


def watch_changes(question: Question, form: Form, *, namespaces: bool, config: str) -> None:
    """Print changes until somebody interrupts."""
    kinds = sorted({key.kind for key in question.keys} or ({question.kind.kind} if question.kind else set()))
    printer = _printer(form, namespaces=namespaces)

    async def work(client: Client) -> None:
        known: dict[Key, Resource] = {}
        pending: list[Change] | None = []

        async def sink(batch: Batch) -> None:
            nonlocal pending
            changes = [found for update in batch.updates if question.covers(update.key) and (found := _change(update, known))]
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


def _change(update: Update, known: dict[Key, Resource]) -> Change | None:
    """What happened, in Kubernetes' words, and the resource (for a deletion, as it was last). None: nothing that is new."""
    before = known.get(update.key)
    if update.value is None:
        known.pop(update.key, None)
        return None if before is None else ("DELETED", before)
    known[update.key] = update.value
    if before == update.value:
        return None
    return "ADDED" if before is None else "MODIFIED", update.value


def _printer(form: Form, *, namespaces: bool) -> Callable[[Sequence[Change]], None]:
    """A function that prints changes as they come; in tables, a heading stands above each kind's first rows."""
    seen: dict[str, Table] = {}

    def rows(changes: Sequence[Change], event: str, resource: Resource) -> None:
        kind = KINDS[resource.kind]
        if resource.kind not in seen:
            group = [other for _, other in changes if other.kind == resource.kind]
            columns = form.columns_for(kind) if form.columns else None
            wide = form.name == "wide"
            seen[resource.kind] = (
                Table.with_columns(columns, group) if columns else Table.of(kind, group, wide=wide, namespaces=namespaces)
            )
            click.echo(screen.heading(f"{'EVENT':<11}{seen[resource.kind].heading}"))
        click.echo(f"{screen.word(f'{event:<11}')}{seen[resource.kind].row(resource)}")

    def print_changes(changes: Sequence[Change]) -> None:
        for event, resource in changes:
            if form.go_template is not None:
                _echo_line(form.go_template.text([resource], config={}))
            elif form.template is not None:
                _echo_line(form.template.text(encode(resource)))
            elif form.name == "json":
                click.echo(screen.document(as_json({"type": event, "object": encode(resource)}), "json"))
            elif form.name == "yaml":
                click.echo("---\n" + screen.document(as_yaml({"type": event, "object": encode(resource)}), "yaml"))
            elif form.name == "name":
                click.echo(f"{event.lower()} {short_name(resource)}")
            else:
                rows(changes, event, resource)

    return print_changes


def _echo_line(text: str) -> None:
    """Templates rarely end a line; answers that come one by one need it."""
    click.echo(text, nl=not text.endswith("\n"))
