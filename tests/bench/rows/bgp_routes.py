"""10,000 routes by BGP: from a BIRD that starts, or is told of them, to the other node's kernel; told again; and one more.

Beside stand two BIRDs with configurations written by hand: the same routes and timers, no filters, `birdc configure`.
"""

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.agent.bird import Bird
from tortie.base.net import parse_interface, parse_prefix
from tortie.intent.routing import Bgp, BgpPeer, Block, Pool
from tortie.kernel import netns
from tortie.kernel.route import Routes

_COUNT = 10_000
_BY_HAND = "two BIRDs by hand"
_DEADLINE_SECONDS = 60.0
_BIRD_ROUTES = 12
_SPEAKER, _LISTENER = "172.18.0.3", "172.18.0.2"
_ROWS = (
    Row("bgp-10000-start", "BIRD starts with 10,000 blocks; in the other node's kernel", _BY_HAND, "ms"),
    Row("bgp-10000", "10,000 blocks are handed over; in the other node's kernel", _BY_HAND, "ms"),
    Row("bgp-10000-reload", "the configuration changes elsewhere; BIRD has it", _BY_HAND, "ms"),
    Row("bgp-10000-one", "one more block; in the other node's kernel", _BY_HAND, "ms"),
)
_BLOCKS = tuple(f"10.{16 + index // 1024}.{index // 4 % 256}.{index % 4 * 64}/26" for index in range(_COUNT + 1))

_OUR_BLOCKS = tuple(Block(parse_prefix(cidr), confirmed=True) for cidr in _BLOCKS)


class _Speaker(Protocol):
    """The node that has the routes; `apply` makes its BIRD run with so many of them."""

    def apply(self, count: int, *, debug: bool = False) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Tortie:
    space: str
    bird: Bird
    peer: str
    own: str

    def apply(self, count: int, *, debug: bool = False) -> None:
        wanted = replace(_intent(self.own, self.peer), blocks=_OUR_BLOCKS[:count], log_level="Debug" if debug else "Warning")
        netns.run_in_named(self.space, lambda: asyncio.run(self.bird.apply(wanted)))

    def stop(self) -> None:
        netns.run_in_named(self.space, lambda: asyncio.run(self.bird.stop()))


def _intent(own: str, peer: str) -> Bgp:
    waits = own < peer
    session = BgpPeer(f"Mesh_{peer.replace('.', '_')}", parse_interface(f"{peer}/16"), 64512, 179, "other", passive=waits)
    pool = Pool(parse_prefix("10.16.0.0/12"), False, "Never", "Never", disabled=False, disable_bgp_export=False)
    return Bgp(
        node=own, as_number=64512, router_id=own, ipv4=parse_interface(f"{own}/16"), ipv6=None, listen_port=179,
        bind_node_ip=False, log_level="Warning", blocks=(), pools=(pool,), peers=(session,), ignored_interfaces=(),
        cluster_id="", ipv4_priority=1024, ipv6_priority=1024, programs_no_encap=True,
    )  # fmt: skip


@dataclass(slots=True)
class _Hand:
    space: str
    folder: Path
    peer: str
    own: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    def apply(self, count: int, *, debug: bool = False) -> None:
        routes = "\n".join(f"  route {cidr} blackhole;" for cidr in _BLOCKS[:count])
        waits = "passive on;" if self.own < self.peer else ""
        (self.folder / "bird.conf").write_text(
            f"log stderr all;\nrouter id {self.own};\n{'debug protocols all;' if debug else ''}\n"
            "protocol device { scan time 2; }\nprotocol direct { ipv4; }\n"
            "protocol kernel { ipv4 { import all; export where source != RTS_DEVICE; }; learn; persist; scan time 2; }\n"
            f"protocol static {{\n  ipv4;\n{routes}\n}}\n"
            f"protocol bgp peer1 {{ local {self.own} as 64512; neighbor {self.peer} as 64512; multihop; {waits}"
            " connect delay time 2; connect retry time 5; error wait time 5, 30; graceful restart on;"
            " ipv4 { gateway recursive; add paths on; import all; export where source = RTS_STATIC; }; }\n"
        )
        if self.process is None:
            files = [
                text
                for option, name in (("-c", "conf"), ("-s", "ctl"), ("-P", "pid"))
                for text in (option, f"{self.folder}/bird.{name}")
            ]
            self.process = netns.run_in_named(
                self.space, lambda: subprocess.Popen(["bird", "-f", *files], stderr=subprocess.DEVNULL)
            )
            return
        command = ["birdc", "-s", str(self.folder / "bird.ctl"), "configure"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise RuntimeError(f"birdc configure: {done.stdout} {done.stderr}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()  # BIRD says goodbye to its neighbours
            self.process.wait(20)
            self.process = None


@dataclass(frozen=True, slots=True)
class _Duo:
    """Who tells routes, and the kernel that gets them."""

    speaker: _Speaker
    routes: Routes

    def measure(self) -> dict[str, float]:
        """Milliseconds by row; at the end there is no route, and no BIRD that tells any."""
        found = {}
        started = time.perf_counter()
        self.speaker.apply(_COUNT)
        found["bgp-10000-start"] = self._until(_COUNT, since=started)
        started = time.perf_counter()
        self.speaker.apply(_COUNT, debug=True)
        found["bgp-10000-reload"] = (time.perf_counter() - started) * 1000
        started = time.perf_counter()
        self.speaker.apply(_COUNT + 1, debug=True)
        found["bgp-10000-one"] = self._until(_COUNT + 1, since=started)
        self.speaker.apply(0)
        self._until(0, since=time.perf_counter())
        started = time.perf_counter()
        self.speaker.apply(_COUNT)
        found["bgp-10000"] = self._until(_COUNT, since=started)
        self.speaker.stop()
        self._until(0, since=time.perf_counter())
        return found

    def _until(self, count: int, *, since: float) -> float:
        """Milliseconds until the kernel has exactly so many routes. Counting them takes some of that, on both sides."""
        while len(self.routes.list(protocol=_BIRD_ROUTES)) != count:
            if time.perf_counter() - since > _DEADLINE_SECONDS:
                raise RuntimeError(f"the other node has not {count} routes after {_DEADLINE_SECONDS:g} s")
            time.sleep(0.005)
        return (time.perf_counter() - since) * 1000


@contextlib.contextmanager
def _duo(make: Callable[[str, Path, str, str], _Speaker]) -> Iterator[_Duo]:
    with contextlib.ExitStack() as stack:
        speaker, listener = stack.enter_context(ground.spaces(2))
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tk-")))
        ip = ["ip", "-n", speaker, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", listener]
        subprocess.run(ip, check=True)
        for space, address in ((speaker, _SPEAKER), (listener, _LISTENER)):
            for words in (("address", "add", f"{address}/16", "dev", "eth0"), ("link", "set", "eth0", "up")):
                subprocess.run(["ip", "-n", space, *words], check=True)
            (base / address).mkdir()
        other = make(listener, base / _LISTENER, _SPEAKER, _LISTENER)
        stack.callback(other.stop)
        other.apply(0)
        telling = make(speaker, base / _SPEAKER, _LISTENER, _SPEAKER)
        stack.callback(telling.stop)
        yield _Duo(telling, stack.enter_context(contextlib.closing(Routes(stack.enter_context(netns.opened(listener))))))


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    with _duo(_tortie) as ours, _duo(_Hand) as beside:

        async def measure(_: int) -> Mapping[str, Pair]:
            mine, theirs = [await asyncio.to_thread(duo.measure) for duo in (ours, beside)]
            return {name: Pair([mine[name]], [theirs[name]]) for name in mine}

        yield measure


def _tortie(space: str, folder: Path, peer: str, own: str) -> _Tortie:
    return _Tortie(space, Bird(folder), peer, own)


BENCH = Bench("bgp-routes", _ROWS, _stage)
