"""How many requests a second `tortie apiserver` answers, beside kube-apiserver serving the same kind as a CRD.

Ours stands alone on a sqlite file; Kubernetes stands on etcd, as it always does. Both speak TLS with the same client: eight
connections that stay open. A list has a thousand objects.
"""

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import yaml
from tests.bench.measuring import Bench, Measure, Pair, Row
from tests.kubernetes.api_ground import REPOSITORY, standalone
from tests.kubernetes.control_plane import running

_CONNECTIONS = 8
_LISTED = 1000
_COUNTS = {"get": 400, "list": 12, "create": 200}
_GROUP = "/apis/projectcalico.org/v3"
_PATH = f"{_GROUP}/globalnetworksets"

ROWS = tuple(
    Row(f"api-{verb}", f"tortie apiserver, {text}", "kube-apiserver with the CRD", "/s", better="more")
    for verb, text in (("get", "get one"), ("list", f"list {_LISTED:,}"), ("create", "create one"))
)


class _Side:
    """One of the two servers."""

    def __init__(self, kubeconfig: Path) -> None:
        found = json.loads(kubeconfig.read_text())
        cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=context)
        # kube-apiserver would compress its lists, which is not what is compared.
        plain = {"Accept-Encoding": "identity"}
        self.session = aiohttp.ClientSession(cluster["server"], connector=connector, headers=plain, trust_env=False)
        self._made = 0

    async def get(self) -> None:
        await self._ask("GET", f"{_PATH}/listed-0500")

    async def list(self) -> None:
        await self._ask("GET", _PATH)

    async def create(self) -> None:
        self._made += 1
        await self.make(f"{_GROUP}/namespaces/default/networksets", f"made-{self._made}")

    async def make(self, path: str, name: str) -> None:
        kind = "NetworkSet" if "/namespaces/" in path else "GlobalNetworkSet"
        spec = {"nets": [f"192.0.2.{number}/32" for number in range(8)]}
        body = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}
        await self._ask("POST", path, body)

    async def rate(self, ask: Callable[[], Awaitable[None]], count: int) -> float:
        """Requests a second over a number of them, on all connections."""
        started = time.perf_counter()

        async def worker() -> None:
            for _ in range(count // _CONNECTIONS or 1):
                await ask()

        await asyncio.gather(*(worker() for _ in range(_CONNECTIONS)))
        return _CONNECTIONS * (count // _CONNECTIONS or 1) / (time.perf_counter() - started)

    async def _ask(self, method: str, path: str, body: object = None) -> None:
        async with self.session.request(method, path, json=body) as answer:
            content = await answer.read()
            if answer.status not in (200, 201):
                raise RuntimeError(f"{method} {path}: {answer.status}: {content[:300]!r}")


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tortie-bench-api-")))
        cluster = stack.enter_context(running(controllers=False))
        definitions = [
            one
            for path in sorted((REPOSITORY / "manifests" / "crds").rglob("*networksets.yaml"))
            for one in yaml.safe_load_all(path.read_text())
            if one and one["spec"]["group"] == "projectcalico.org"
        ]
        cluster.apply(*definitions)
        cluster.wait_served()
        ours = _Side(stack.enter_context(standalone(folder)).kubeconfig)
        theirs = _Side(cluster.admin)
        try:
            for side in (ours, theirs):
                await _fill(side)
            yield lambda number: _round(ours, theirs)
        finally:
            await ours.session.close()
            await theirs.session.close()


async def _fill(side: _Side) -> None:
    names = iter([f"listed-{number:04}" for number in range(_LISTED)])

    async def worker() -> None:
        for name in names:
            await side.make(_PATH, name)

    await asyncio.gather(*(worker() for _ in range(_CONNECTIONS)))


async def _round(ours: _Side, theirs: _Side) -> Mapping[str, Pair]:
    found: dict[str, Pair] = {}
    for verb, count in _COUNTS.items():
        rates = [await side.rate(getattr(side, verb), count) for side in (ours, theirs)]
        found[f"api-{verb}"] = Pair([rates[0]], [rates[1]])
    return found


BENCH = Bench("api", ROWS, _stage)
