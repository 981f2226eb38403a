"""All of the agent in one visible table.

    datastore --syncer--> endpoint rescue --> pipeline (calc) --messages--> applier --> LinuxDataplane --> kernel
                                                            \\--BgpUpdate--> bird keeper --> BIRD
                                                             \\--OverlayUpdate--> tunnel addresses --> ipam, datastore
    tortie-cni --socket--> cni server --> ipam, wiring, datastore --(waits for)--> applier
    nft and link notifications ----------> applier (repair, retry)
    nflog -------------------------------> packet log
    FELIX_*, felix.cfg, datastore -------> settings --> operator (health, metrics, status, refresh), dataplane

SIGTERM ends the process and leaves the kernel and BIRD as they are; so does a restart in place (SIGHUP, or a parameter that
cannot change otherwise).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tortie.agent import garbage, node_reports, pod_upkeep
from tortie.agent.addresses import NodeAddresses
from tortie.agent.applier import Applier
from tortie.agent.bird import Bird
from tortie.agent.bird_farewell import BirdFarewell
from tortie.agent.bird_keeper import BirdKeeper
from tortie.agent.endpoint_rescue import EndpointRescue, attached
from tortie.agent.gate import Gate
from tortie.agent.guard import AgentLock, refuse_beside_felix
from tortie.agent.mtu import CALICO_DIRECTORY_VARIABLE, MtuKeeper
from tortie.agent.node import prepare_kernel
from tortie.agent.notifications import (
    follow_addresses,
    follow_entries,
    follow_links,
    follow_paths,
    follow_routes,
    follow_rules,
    follow_table,
)
from tortie.agent.operator import Operator, Parts, while_waiting
from tortie.agent.options import CALICO_MTU_FILE, AgentOptions, bgp_environment
from tortie.agent.overlays import Overlays
from tortie.agent.packet_log import PacketLog
from tortie.agent.pipeline import Pipeline
from tortie.agent.route_report import RouteReport
from tortie.agent.secrets import SecretsDirectory
from tortie.agent.settings import Settings, check_sources, local_sources, stored_values
from tortie.agent.start import PatientStart
from tortie.agent.status import StatusFile, left_route_protocols
from tortie.agent.tunnel_addresses import TunnelAddresses
from tortie.agent.wireguard_keys import WireguardKeys
from tortie.base import aio, log
from tortie.base.metrics import Metrics
from tortie.calc.graph import KINDS, Graph
from tortie.cni.plugin import Plugin
from tortie.cni.server import CniServer
from tortie.convert.feed import convert_update
from tortie.dataplane.linux import LinuxDataplane
from tortie.dataplane.reachability_manager import ReachabilityManager
from tortie.dataplane.render.policy import LOG_GROUPS
from tortie.datastore.client import Client
from tortie.datastore.config import is_kubernetes, open_client
from tortie.datastore.identity import Identity
from tortie.datastore.initialize import ensure_cluster_information
from tortie.datastore.syncer import Syncer
from tortie.intent.messages import BgpUpdate, Message
from tortie.ipam.allocator import Ipam
from tortie.kernel.announce import Announcer
from tortie.kernel.arp_responder import ArpResponder
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.forwarding import Forwarding
from tortie.kernel.link import AddressMonitor, LinkMonitor, Links
from tortie.kernel.nflog import NflogReader
from tortie.kernel.nft.monitor import NftMonitor
from tortie.kernel.nft.table import NftTable
from tortie.kernel.proxy_neighbours import ProxyNeighbours
from tortie.kernel.qdisc import Shaper
from tortie.kernel.remotes import EntryMonitor
from tortie.kernel.route import RouteMonitor, Routes
from tortie.kernel.route_table import RouteTable
from tortie.kernel.rule import RuleMonitor

_log = log.get(__name__)
RESTART = 129
"""Exit code of an agent that wants to be started again in place (Calico's)."""


async def run_agent(options: AgentOptions) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises AgentError when it may not start.

    The exit code RESTART means: everything is closed, the kernel is as it was, replace this process by a new one.
    """
    options.run_dir.mkdir(parents=True, exist_ok=True)
    refuse_beside_felix()
    lock = AgentLock(options.run_dir)
    lock.acquire()
    client: Client | None = None
    try:
        local = local_sources(options)
        own = check_sources(local)  # what may not be put into force is said before anything waits
        identity = Identity(options.cluster_guid_file, accept=options.accept_datastore)
        config_file = options.environment.get("CALICO_CONFIG_FILE")
        # Who has followed a cluster before waits for its datastore, and puts no empty file in its place.
        client = store = open_client(options.environment, config_file, create=not identity.guid)
        start = PatientStart(options, identity)
        if not identity.guid:  # who has followed a cluster before makes no new one of what stands in its place
            await while_waiting(own, start.ask(lambda: ensure_cluster_information(store)))
        await while_waiting(own, start.ask(lambda: identity.admit_client(store)))
        stored = await while_waiting(own, start.ask(lambda: stored_values(store, options.node)))
        agent = Agent(options, client, Settings(local, stored), identity)
        return await agent.run()
    finally:
        if client is not None:
            await client.close()
        lock.release()


class Agent:
    """Everything that runs on one node. The constructor connects; `run` runs."""

    def __init__(self, options: AgentOptions, client: Client, settings: Settings, identity: Identity) -> None:
        prefixes: tuple[str, ...] = settings.in_force["InterfacePrefix"]
        self._options = options
        self._client = client
        self._settings = settings
        self._metrics = Metrics()
        self._links = Links()
        self._table = NftTable(owned=options.own_tables)
        self._arp = NftTable(family="arp", owned=options.own_tables)
        self._routes = Routes()
        self._conntrack = Conntrack()
        self._shaper = Shaper()
        self._overlays = Overlays(
            self._links, self._routes, run_dir=options.run_dir, state_dir=options.state_dir, ipip=options.ipip
        )
        self._proxies, self._announcer, self._responder = ProxyNeighbours(), Announcer(), ArpResponder()
        self._dataplane = self._make_dataplane(prefixes)
        self._applier = Applier(self._dataplane, self._metrics)
        self._mtu = self._mtu_keeper()
        self._addresses = NodeAddresses(options, client, self._links)
        self._tunnels = TunnelAddresses(client, options.node)
        self._wireguard = self._wireguard_keys()
        self._graph = Graph(
            options.node,
            backend=options.networking_backend,
            overrides=settings.local_texts,
            bgp=bgp_environment(options),
            use_pod_cidrs=options.environment.get("USE_POD_CIDR", "").lower() == "true",
        )
        self._on_kubernetes = is_kubernetes(options.environment, options.environment.get("CALICO_CONFIG_FILE"))
        self._pipeline = Pipeline(self._graph, self._metrics, self._deliver)
        self._identity = identity
        self._rescue = self._endpoint_rescue()
        # Profiles are read from the same namespaces and service accounts there: once is enough.
        kinds = [kind for kind in KINDS if not (self._on_kubernetes and kind in ("Namespace", "ServiceAccount"))]
        self._syncer = Syncer(client, kinds, convert=convert_update, identity=identity)
        bird = Bird(options.run_dir / "bird")
        self._bird: BirdKeeper | None = None
        self._node_reports: node_reports.NodeReports | None = None
        self._farewell = BirdFarewell(
            bird, is_ready=lambda: not self._not_ready(), taken_over=self._applier.wait_until_taken_over
        )
        if options.networking_backend == "bird":
            keeper = self._bird = BirdKeeper(bird, SecretsDirectory(options.secrets_dir), self._applier.wait_until_taken_over)
            self._node_reports = node_reports.NodeReports(client, options.node, bird=bird, sessions=lambda: keeper.peers)
        gate = Gate(client, self._syncer, pipeline=self._pipeline, applier=self._applier)
        self._plugin = Plugin(
            client=client,
            ipam=Ipam(client),
            node=options.node,
            interface_prefix=prefixes[0],
            wait_until_programmed=gate.wait_until_programmed,
            mtu_files=(options.state_dir / "mtu", CALICO_MTU_FILE),
            not_ready=self._not_ready,
        )
        self._cni = CniServer(options.cni_socket, self._plugin)
        self._operator = Operator(options.node, settings, metrics=self._metrics, parts=self._operated())
        self._reported_routes = RouteReport(options.node, options.run_dir)
        self._status = StatusFile(options.run_dir, self._report)

    def _endpoint_rescue(self) -> EndpointRescue | None:
        if self._on_kubernetes:  # there pods are the API server's
            return None
        sink = self._pipeline.on_batch
        return EndpointRescue(self._client, self._options.node, identity=self._identity, attached=attached, sink=sink)

    def _wireguard_keys(self) -> WireguardKeys:
        options, manager = self._options, self._overlays.wireguard
        return WireguardKeys(self._client, options.node, manager=manager, applier=self._applier, run_dir=options.run_dir)

    def _make_dataplane(self, prefixes: tuple[str, ...]) -> LinuxDataplane:
        return LinuxDataplane(
            self._table,
            RouteTable(self._routes, workload_prefixes=prefixes, earlier=left_route_protocols(self._options.run_dir)),
            conntrack=self._conntrack,
            forwarding=Forwarding(),
            shaper=self._shaper,
            links=self._links,
            reachability=ReachabilityManager(self._links, self._proxies, self._announcer, responder=self._responder),
            arp=self._arp,
            overlays=self._overlays.managers,
        )

    def _mtu_keeper(self) -> MtuKeeper:
        calico = self._options.environment.get(CALICO_DIRECTORY_VARIABLE)
        return MtuKeeper(
            self._links,
            parameters=lambda: self._settings.in_force,
            files=(self._options.state_dir / "mtu", *([Path(calico) / "mtu"] if calico else [])),
            tell=self._uplink_changed,
        )

    def _operated(self) -> Parts:
        return Parts(
            client=self._client,
            syncer=self._syncer,
            identity=self._identity,
            pipeline=self._pipeline,
            rescue=self._rescue,
            graph=self._graph,
            applier=self._applier,
            dataplane=self._dataplane,
            table=self._table,
            mtu=self._mtu,
            addresses=self._addresses,
            tunnels=self._tunnels,
            wireguard=self._wireguard,
            cni=self._cni,
            bird=self._bird,
        )

    async def run(self) -> int:
        """Register the node, then run every part until a signal comes. Returns the exit code."""
        if self._settings.in_force["IPForwarding"] != "Disabled":
            prepare_kernel()
        start = PatientStart(self._options, self._identity)
        await start.ask(self._addresses.start)
        _log.info("agent of node %s: %s", self._options.node, ", ".join(map(str, self._addresses.addresses.values())))
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._operator.ask_restart, "SIGHUP")
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(part, name=name) for name, part in self._parts().items()]
                await _first(ended, self._operator.restart)
                for task in parts:
                    task.cancel()
        finally:
            with contextlib.suppress(OSError):
                self._status.write()
            await self._table.close()
            await self._arp.close()
            self._links.close()
            self._proxies.close()
            self._announcer.close()
            self._responder.close()
            self._routes.close()
            self._conntrack.close()
            self._shaper.close()
            self._overlays.close()
        if not ended.is_set():
            _log.info("agent starts again in place: %s; the kernel and BIRD stay as they are", self._operator.restart_reason)
            return RESTART
        _log.info("agent ends; the kernel and BIRD stay as they are")
        return 0

    def _parts(self) -> dict[str, Any]:
        """Every task of the agent, by name."""
        parts = {
            "syncer": self._syncer.run(self._pipeline.on_batch if self._rescue is None else self._rescue.on_batch),
            "applier": self._applier.run(),
            "nft notifications": follow_table(NftMonitor(own_ports=[self._table.port_id]), self._applier),
            "nft notifications, arp": follow_table(NftMonitor(family="arp", own_ports=[self._arp.port_id]), self._applier),
            "link notifications": follow_links(LinkMonitor(), self._dataplane, self._applier),
            "address notifications": follow_addresses(AddressMonitor(), self._dataplane, self._applier),
            "route notifications": follow_routes(
                RouteMonitor(ignore_port=self._routes.port_id),
                self._dataplane,
                wireguard=self._overlays.wireguard,
                applier=self._applier,
            ),
            "rule notifications": follow_rules(
                RuleMonitor(ignore_port=self._overlays.rules.port_id), self._overlays.wireguard, self._applier
            ),
            "vxlan notifications": follow_entries(EntryMonitor(), self._overlays.vxlan, self._applier),
            "path notifications": follow_paths(
                self._overlays.path_errors, self._overlays.ipip, dataplane=self._dataplane, applier=self._applier
            ),
            "mtu": self._mtu.run(LinkMonitor()),
            "node addresses": self._addresses.run(),
            "wireguard": self._wireguard.run(),
            "packet log": PacketLog(NflogReader(LOG_GROUPS), log.get("packets")).run(),
            "cni": self._cni.run(),
            "garbage": aio.repeat(garbage.SETTLE_SECONDS, garbage.settle),
            "loop lag": aio.measure_lag(lambda seconds: self._metrics.observe("tortie_loop_lag_seconds", seconds)),
            "status": self._status.run(),
            "routes file": self._reported_routes.run(),
            **self._operator.tasks(),
        }
        if self._options.environment.get("USE_POD_CIDR", "").lower() != "true":  # there they follow from the node's own CIDR
            parts["tunnel addresses"] = self._tunnels.run()
        if self._bird is not None:
            parts["bird"] = self._bird.run()
        else:
            parts["no bird"] = self._farewell.run()
        if self._node_reports is not None:
            asked = Syncer(self._client, node_reports.KINDS, convert=lambda update: update, identity=self._identity)
            parts["node status, asked"] = asked.run(self._node_reports.on_batch)
            parts["node status"] = self._node_reports.run()
        if self._rescue is not None:
            parts["endpoint rescue"] = self._rescue.run()
        if not self._on_kubernetes:
            pods = pod_upkeep.PodUpkeep(self._client, self._options.node)
            stored = Syncer(self._client, pod_upkeep.KINDS, convert=lambda update: update, identity=self._identity)
            parts["pod upkeep"] = stored.run(pods.on_batch)
            parts["pod upkeep, again"] = aio.repeat(pod_upkeep.RETRY_SECONDS, pods.retry)
        return parts

    def _deliver(self, messages: Sequence[Message]) -> None:
        self._reported_routes.on_messages(messages)
        messages = self._operator.on_messages(messages)
        self._mtu.on_messages(messages)
        self._tunnels.on_messages(messages)
        self._applier.on_messages(messages, seen_at=self._pipeline.seen_at)
        if self._bird is not None:
            for message in messages:
                if isinstance(message, BgpUpdate):
                    self._bird.want(message.bgp)

    def _uplink_changed(self, mtu: int) -> None:
        self._dataplane.host_mtu_changed(mtu)
        self._applier.retry()

    def _not_ready(self) -> str:
        """Why a pod could not be wired now, "" if it could."""
        if not self._pipeline.in_sync:
            return "the datastore has not been read completely yet"
        if not self._applier.in_sync:
            return self._applier.failure or "the kernel has no policy yet"
        return self._mtu.blocking

    def _report(self) -> dict[str, Any]:
        return {
            "apiVersion": "tortie.io/v1",
            "kind": "AgentStatus",
            "node": self._options.node,
            "pid": os.getpid(),
            "ready": self._operator.ready(),
            **self._operator.describe(),
            "inSync": self._pipeline.in_sync,
            "datastoreConnected": self._syncer.connected,
            "datastoreFailure": self._syncer.failure,
            "datastoreRefused": self._identity.refusal,
            "applies": self._applier.applies,
            "failure": self._applier.failure,
            "bird": "" if self._bird is None else self._bird.failure or "running",
            "bgpPeers": [] if self._bird is None else self._bird.peers,
            "addresses": self._addresses.describe(),
            "mtu": self._mtu.describe(),
            "wireguard": self._wireguard.describe(),
            "ipip": self._overlays.ipip.describe(),
            "routes": self._reported_routes.summary(),
            "problems": self._operator.resource_problems(),
            "routeProtocols": sorted(self._dataplane.route_protocols),
        }


async def _first(*events: asyncio.Event) -> None:
    """Return once one of the events is set."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
