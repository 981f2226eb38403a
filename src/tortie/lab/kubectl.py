"""kubectl as our way to an API server: create, patch, delete, list, watch, all as JSON documents."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tortie.base import process
from tortie.lab.kubernetes_plane import environment
from tortie.lab.spec import LabError

Document = dict[str, Any]
_APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=tortie-lab", "--validate=false")


class KubectlError(LabError):
    """The API server did not do what it was asked to, or could not be asked; kubectl's own words."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One user's kubectl, run in the network namespace at a path (None: ours)."""

    program: Path
    kubeconfig: Path
    netns_path: str | None = None

    def argv(self, *words: str) -> list[str]:
        """The whole command line, without the network namespace."""
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", *words]

    def inside(self, *words: str) -> list[str]:
        """The whole command line, which enters the network namespace itself."""
        return process.in_namespace(self.argv(*words), self.netns_path)

    async def run(self, *words: str, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """What it printed. Raises KubectlError."""
        try:
            done = await process.run(
                self.argv(*words), stdin=stdin, timeout=timeout, env=environment(), netns_path=self.netns_path
            )
        except process.ProcessError as error:
            raise KubectlError(str(error)) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise KubectlError(f"kubectl {' '.join(words)}: {said[-2000:]}")
        return done.stdout

    async def apply(self, documents: Sequence[Document]) -> None:
        """Create, or bring to what is said. The API server checks the documents; kubectl need not fetch its schemas first."""
        if documents:
            listing = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
            await self.run(*_APPLY, "-f", "-", stdin=msgspec.json.encode(listing))

    async def get(self, path: str) -> Document:
        """GET a path of the API."""
        return decode(await self.run("get", "--raw", path))

    async def create(self, path: str, document: Document) -> None:
        """POST a document to a path of the API."""
        await self.run("create", "--raw", path, "-f", "-", stdin=msgspec.json.encode(document))

    async def delete(self, path: str, options: Document) -> None:
        """DELETE a path of the API."""
        await self.run("delete", "--raw", path, "-f", "-", stdin=msgspec.json.encode(options))

    async def patch_status(self, kind: str, namespace: str, name: str, status: Document) -> None:
        """Merge into the status of one object."""
        patch = msgspec.json.encode({"status": status}).decode()
        place = [f"--namespace={namespace}"] if namespace else []
        await self.run("patch", kind, name, *place, "--subresource=status", "--type=merge", f"--patch={patch}")

    async def wait_ready(self, *, seconds: float) -> None:
        """Return when the API server says that it is ready. Raises KubectlError with what it said last."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                await self.run("get", "--raw", "/readyz", timeout=10)
            except KubectlError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    @contextlib.asynccontextmanager
    async def watching(self, path: str, version: str) -> AsyncIterator[AsyncIterator[Document]]:
        """Watch events of a collection after a version. They end when the server wishes; ERROR raises KubectlError."""
        query = f"{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        argv = self.argv("get", "--raw", query)
        async with process.reading(argv, env=environment(), netns_path=self.netns_path) as lines:

            async def events() -> AsyncIterator[Document]:
                try:
                    async for line in lines:
                        event = decode(line)
                        if event.get("type") == "ERROR":
                            raise KubectlError(f"watch of {path}: {event.get('object', {}).get('message')}")
                        yield event
                except process.ProcessError as error:
                    raise KubectlError(str(error)) from error

            yield events()


def decode(text: bytes) -> Document:
    """One JSON object. Raises KubectlError."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise KubectlError(f"the API server's answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise KubectlError(f"the API server's answer is not an object: {text[:100]!r}")
    return found
