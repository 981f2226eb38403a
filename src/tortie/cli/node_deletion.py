"""What `delete node` does before the Node itself goes: nothing of the node is left behind, as with calicoctl.

The Node goes last. So a run that failed, or died, is repeated by the same command, and what others do meanwhile is safe: an
address is released while its endpoint still tells whose it is, and a block is given up when the addresses in it are free.
"""

from collections.abc import Callable, Iterator, Sequence

import click

from tortie.api.resource import Key, Resource
from tortie.base.errors import TortieError
from tortie.cli.progress import Progress
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict

_TRIES = 10
_ENDPOINTS, _REST = operations.NODE_KINDS[:1], operations.NODE_KINDS[1:]


class Unfinished(TortieError):
    """A node that is not deleted yet: the text says why, and that the command may be given again."""


async def delete_with_node(client: Client, node: str, on_gone: Callable[[Key], None]) -> None:
    """Release and delete what a node leaves, and say what that was; `on_gone` is told each resource. Raises Unfinished."""
    from tortie.ipam.allocator import Ipam
    from tortie.ipam.leaving import release_addresses

    gone: list[Key] = []
    addresses, blocks = 0, 0

    def went(key: Key) -> None:
        gone.append(key)
        on_gone(key)

    try:
        addresses = len(await release_addresses(client, node))
        await _delete_all(client, node, _ENDPOINTS, went)
        blocks = len(await Ipam(client).release_node(node))
        await _delete_all(client, node, _REST, went)
    except TortieError as error:
        raise Unfinished(f"{error}. Not everything of node {node} is gone yet: give the same command again") from error
    finally:
        for line in _summary(node, addresses, blocks, gone):
            click.echo(line)


async def _delete_all(client: Client, node: str, kinds: Sequence[str], went: Callable[[Key], None]) -> None:
    """Each exactly as it was read: one that somebody has changed is looked at again."""
    found: list[Resource] = []
    for _ in range(_TRIES):
        found = await operations.of_node(client, node, kinds)
        if not found:
            return
        progress = Progress(f"Deleted of node {node}", len(found))
        for resource in sorted(found, key=lambda each: kinds.index(each.kind)):
            try:
                await client.delete(resource.key, revision=resource.metadata.resource_version)
            except (DoesNotExist, UpdateConflict):
                continue
            went(resource.key)
            progress.step()
        progress.end()
    raise UpdateConflict(found[0].key)


def _summary(node: str, addresses: int, blocks: int, gone: Sequence[Key]) -> Iterator[str]:
    if addresses or blocks:
        yield f"Released of node {node}: {_count(addresses, 'IP address', 'es')}, {_count(blocks, 'block', 's')}"
    kinds = list(dict.fromkeys(key.kind for key in gone))
    if kinds:
        counted = (_count(sum(key.kind == kind for key in gone), kind, "s") for kind in kinds)
        yield f"Deleted with node {node}: {', '.join(counted)}"


def _count(number: int, word: str, plural: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}{plural}"
