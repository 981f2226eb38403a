"""Resources from files: all of them read, checked and given a namespace, or none."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tortie.api.documents import Document, load_documents
from tortie.api.errors import FieldError, ValidationError
from tortie.api.kinds import KINDS, Kind
from tortie.api.resource import Key, Resource
from tortie.api.validation import check_document
from tortie.base.errors import TortieError

DEFAULT_NAMESPACE = "default"
_SUFFIXES = (".yaml", ".yml", ".json")


class InputError(TortieError):
    """Files or arguments that we cannot work with."""


def read_documents(names: Sequence[str], *, recursive: bool, namespace: str, skip_empty: bool = False) -> list[Document]:
    """Every document of files, directories and `-` (standard input), namespaces filled in; no other check.

    Raises InputError, or ValidationError with the misfits of all files.
    """
    documents: list[Document] = []
    errors: list[FieldError] = []
    for name in names:
        found: list[Document] = []
        before = len(errors)
        for origin, text in _texts(name, recursive=recursive):
            try:
                found += load_documents(text, origin=origin)
            except ValidationError as error:
                errors += error.errors
        if not found and len(errors) == before and not skip_empty:
            place = "directory" if Path(name).is_dir() else "file"
            raise InputError(f"no resources specified in {place} {name}")
        documents += found
    if errors:
        raise ValidationError(errors)
    return [_placed(document, namespace) for document in documents]


def checked(documents: Iterable[Document]) -> list[Resource]:
    """Their resources with defaults. Raises ValidationError with everything that is wrong, InputError for a key given twice."""
    resources: list[Resource] = []
    errors: list[FieldError] = []
    seen: dict[Key, Document] = {}
    for document in documents:
        key = document.resource.key
        try:
            resources.append(check_document(document))
        except ValidationError as error:
            errors += error.errors
        other = seen.setdefault(key, document)
        if other is not document:
            raise InputError(
                f"{key} is given twice, at {other.origin}:{other.line} and {document.origin}:{document.line}: leave one out"
            )
    if errors:
        raise ValidationError(errors)
    return resources


def namespace_of(kind: Kind, namespace: str) -> str:
    """The namespace that a name given on the command line lies in. Raises InputError for -n with a cluster-wide kind."""
    if not kind.namespaced:
        if namespace:
            raise InputError(f"{kind.document_kind} is not namespaced")
        return ""
    return namespace or DEFAULT_NAMESPACE


def _placed(document: Document, namespace: str) -> Document:
    """The document in its namespace: its own, else the client's, else `default`."""
    resource = document.resource
    kind, own = KINDS[resource.kind], resource.metadata.namespace
    if not kind.namespaced:
        if own:
            raise InputError(
                "namespace should not be specified for a non-namespaced resource. "
                f"{kind.document_kind} is not a namespaced resource ({document.origin}:{document.line})"
            )
        return document
    if own and namespace and own != namespace:
        raise InputError(
            f"resource namespace does not match client namespace. {own} != {namespace} ({document.origin}:{document.line})"
        )
    if own:
        return document
    metadata = msgspec.structs.replace(resource.metadata, namespace=namespace or DEFAULT_NAMESPACE)
    return dataclasses.replace(document, resource=msgspec.structs.replace(resource, metadata=metadata))


def _texts(name: str, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """Origin and text of each file behind one -f."""
    if name == "-":
        yield "stdin", sys.stdin.read()
        return
    path = Path(name)
    files = [path]
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        files = sorted(file for file in found if file.suffix in _SUFFIXES and file.is_file())
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
