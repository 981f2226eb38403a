"""`tortie patch` and `tortie label`: one stored resource changed in place, whole and checked, against other writers."""

from typing import Any

import click
import msgspec

from tortie.api.documents import decode, encode, load_raw
from tortie.api.kinds import Kind, kind_by_alias
from tortie.api.patching import PATCH_TYPES, PatchError, patched
from tortie.api.resource import Key, Resource
from tortie.api.validation import check
from tortie.base.errors import TortieError
from tortie.cli.completing import complete_kind, complete_name
from tortie.cli.files import InputError, namespace_of
from tortie.cli.session import config_option, namespace_option, with_client
from tortie.datastore import operations


@click.command()
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name", shell_complete=complete_name)
@click.option("-p", "--patch", "text", required=True, help="The patch, as JSON or YAML.")
@click.option("-t", "--type", "form", type=click.Choice(PATCH_TYPES), default="strategic", show_default=True)
@click.option("--allow-unenforced", is_flag=True, help="Accept fields that this release does not enforce.")
@namespace_option
@config_option
def patch(kind: str, name: str, text: str, form: str, *, allow_unenforced: bool, namespace: str, config: str) -> None:
    """Change fields of one resource.

    \b
    strategic  a merge patch; metadata.ownerReferences merges by uid, metadata.finalizers as a set, other lists are replaced
    merge      JSON merge patch (RFC 7386): maps merge, null removes a field, lists are replaced
    json       JSON patch (RFC 6902): a list of add, remove, replace, move, copy, test
    """
    known = kind_by_alias(kind)
    key = _key(known, name, namespace)
    content = _parsed(text)

    def change(stored: Resource) -> Resource:
        before = encode(stored)
        after = patched(before, content, form)
        if isinstance(after, dict):
            _refuse_other_identity(before, after)
        wanted = check(decode(after))
        if not allow_unenforced:
            _refuse_new_unenforced(stored, wanted)
        return wanted

    try:
        with_client(config, lambda client: operations.modify(client, key, change))
    except TortieError as error:
        raise InputError(f"Failed to patch '{known.document_kind}' resource: {error}") from error
    click.echo(f"Successfully patched 1 '{known.document_kind}' resource")


@click.command()
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name", shell_complete=complete_name)
@click.argument("label_text", metavar="KEY=VALUE | KEY --remove")
@click.option("--overwrite", is_flag=True, help="Change the value of a label that is there.")
@click.option("--remove", is_flag=True, help="Take the label away.")
@namespace_option
@config_option
def label(kind: str, name: str, label_text: str, *, overwrite: bool, remove: bool, namespace: str, config: str) -> None:
    """Set a label of one resource, or take one away."""
    known = kind_by_alias(kind)
    key = _key(known, name, namespace)
    label_key, equals, value = label_text.partition("=")
    if not label_key or bool(equals) == remove:
        raise InputError(f"invalid label {label_text}: write KEY=VALUE, or KEY with --remove")
    shown = f"{known.document_kind} {name}"
    done = ""

    def change(stored: Resource) -> Resource:
        nonlocal done
        labels = dict(stored.metadata.labels)
        if remove:
            if label_key not in labels:
                raise InputError(f"cannot remove label of {shown}, key {label_key} does not exist")
            del labels[label_key]
            done = "removed"
        else:
            if label_key in labels and not overwrite:
                text = f"key {label_key} is already present. please use '--overwrite' to set a new value"
                raise InputError(f"failed to update label of {shown}, {text}")
            done = "updated" if label_key in labels else "set"
            labels[label_key] = value
        return check(msgspec.structs.replace(stored, metadata=msgspec.structs.replace(stored.metadata, labels=labels)))

    with_client(config, lambda client: operations.modify(client, key, change))
    click.echo(f"Successfully {done} label {label_key} {'from' if remove else 'on'} {shown}")


def _key(kind: Kind, name: str, namespace: str) -> Key:
    if not name:
        raise InputError("resource name may not be empty")
    return Key(kind.kind, namespace_of(kind, namespace), name)


def _parsed(text: str) -> object:
    documents = load_raw(text, origin="--patch")
    if len(documents) != 1:
        raise PatchError(f"--patch: one document of JSON or YAML is expected, not {len(documents)}")
    return documents[0]


def _refuse_other_identity(before: dict[str, Any], after: dict[str, Any]) -> None:
    """A patch that made a resource into another one would leave the first where it is."""
    for field in ("apiVersion", "kind"):
        if after.get(field) != before[field]:
            raise PatchError(f"{field}: a patch cannot change it")
    metadata = after.get("metadata")
    for field in ("name", "namespace"):
        if not isinstance(metadata, dict) or metadata.get(field) != before["metadata"].get(field):
            raise PatchError(f"metadata.{field}: a patch cannot change it")


def _refuse_new_unenforced(stored: Resource, wanted: Resource) -> None:
    """What was stored unenforced before may stay: this change is not about it."""
    from tortie.dataplane.enforcement import unenforced

    before = set(map(str, unenforced(stored)))
    found = [error for error in map(str, unenforced(wanted)) if error not in before]
    if found:
        raise PatchError("\n".join([*found, "nothing was written; --allow-unenforced accepts such fields"]))
