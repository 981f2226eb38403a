"""The first pod of a block, from ADD to the first ping from another node, beside a later pod of the same block.

The difference is what BGP takes: affinity, BIRD's filters and routes, the other node's kernel.
"""

import contextlib
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping

import msgspec
from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.ipam import IPAMConfiguration, IPAMConfigurationSpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kubernetes import Pod, PodSpec
from tortie.api.resource import Metadata
from tortie.kernel import netns
from tortie.lab.cluster import Lab
from tortie.lab.runtime import find_plugin

_BLOCKS = 3
_DEADLINE_SECONDS = 20.0
_ROWS = (Row("first-block", "ADD to ping from another node, new block", "the same, block already known", "ms"),)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1", "n2", families=(4,)) as lab:
        limit = IPAMConfigurationSpec(max_blocks_per_host=10_000)
        await ground.fill(lab.client, [IPAMConfiguration(metadata=Metadata(name="default"), spec=limit)])
        with contextlib.ExitStack() as stack:

            async def measure(number: int) -> Mapping[str, Pair]:
                pair = Pair([], [])
                names = [f"pool-{number}-{block}" for block in range(_BLOCKS)]
                for block, name in enumerate(names):
                    cidr = f"10.{100 + number % 100}.{block}.0/24"
                    await ground.fill(lab.client, [IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr))])
                time.sleep(1.0)  # the pools have reached BIRD
                for name in names:
                    first = await _until_ping(lab, f"{name}-a", name, stack)
                    later = await _until_ping(lab, f"{name}-b", name, stack)
                    pair = Pair([*pair.ours, first], [*pair.peer, later])
                return {"first-block": pair}

            yield measure


async def _until_ping(lab: Lab, pod: str, pool: str, stack: contextlib.ExitStack) -> float:
    """Milliseconds; the pod stays, its namespace until the stage ends."""
    metadata = Metadata(
        name=pod,
        namespace=ground.NAMESPACE,
        annotations={"cni.projectcalico.org/ipv4pools": msgspec.json.encode([pool]).decode()},
    )
    await ground.fill(lab.client, [Pod(metadata=metadata, spec=PodSpec(node_name="n1", service_account_name="default"))])
    (sandbox,) = stack.enter_context(ground.spaces(1))
    socket_path = lab.names.cni_socket("n1")
    environment = ground.tortie_environment(
        "ADD", container=secrets.token_hex(8), namespace=sandbox, pod=pod, socket=socket_path
    )
    started = time.perf_counter()
    added = ground.execute(find_plugin(), environment, ground.TORTIE_CONFIG)
    address = added.answer["ips"][0]["address"].partition("/")[0]
    with netns.run_in_named(lab.names.node("n2"), _raw) as asking:
        while time.perf_counter() - started < _DEADLINE_SECONDS:
            if _ping(asking, address):
                return (time.perf_counter() - started) * 1000
    raise RuntimeError(f"{address} does not answer from another node after {_DEADLINE_SECONDS:g} s")


def _raw() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made.settimeout(0.001)
    return made


def _ping(asking: socket.socket, address: str) -> bool:
    packet = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    packet = packet[:2] + struct.pack("!H", ~sum(struct.unpack("!4H", packet)) & 0xFFFF) + packet[4:]
    try:
        asking.sendto(packet, (address, 0))
        while True:
            data, sender = asking.recvfrom(256)
            if sender[0] == address and data[20] == 0:
                return True
    except TimeoutError:
        return False
    except OSError:
        time.sleep(0.001)  # no route yet
        return False


BENCH = Bench("first-block", _ROWS, _stage)
