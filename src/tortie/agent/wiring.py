"""All of the agent in one visible table.

    datastore --syncer--> pipeline (calc) --messages--> applier --> LinuxDataplane --> kernel
                                        \\--BgpUpdate--> bird worker --> BIRD
    tortie-cni --socket--> cni server --> ipam, wiring, datastore --(waits for)--> applier
    nft and link notifications ----------> applier (repair, retry)
    nflog -------------------------------> packet log

SIGTERM ends the process and leaves the kernel and BIRD as they are.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from tortie.agent.applier import Applier
from tortie.agent.bird import Bird
from tortie.agent.guard import AgentLock, refuse_beside_felix
from tortie.agent.node import node_addresses, prepare_kernel, register
from tortie.agent.options import AgentOptions
from tortie.agent.packet_log import PacketLog
from tortie.agent.pipeline import Pipeline
from tortie.agent.status import StatusFile
from tortie.base import aio, log
from tortie.base.errors import TortieError
from tortie.base.metrics import Metrics
from tortie.calc.graph import KINDS, Graph
from tortie.cni.plugin import Plugin
from tortie.cni.server import CniServer
from tortie.convert.feed import convert_update
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.syncer import Syncer
from tortie.dataplane.linux import LinuxDataplane
from tortie.dataplane.render.logs import LOG_GROUPS
from tortie.intent.messages import BgpUpdate, Message
from tortie.intent.routing import Bgp
from tortie.ipam.allocator import Ipam
from tortie.kernel.link import Links
from tortie.kernel.nflog import NflogReader
from tortie.kernel.nft.monitor import NftMonitor
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import RouteTable

_log = log.get(__name__)
RESYNC_SECONDS = 90.0
"""The slow read-back behind the notifications (Calico's refresh interval)."""
