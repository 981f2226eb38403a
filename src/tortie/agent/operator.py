"""The agent as an operator sees it: parameters put into force, health, metrics, status files and reports, in one place.

It reads the parts that work and never changes them, apart from what parameters say: the log's level, where pages are served,
how often the kernel is read back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tortie.agent import health, prometheus
from tortie.agent.addresses import NodeAddresses
from tortie.agent.applier import Applier
from tortie.agent.bird_keeper import BirdKeeper
from tortie.agent.census import Census
from tortie.agent.endpoint_rescue import EndpointRescue
from tortie.agent.endpoint_status import EndpointStatusFiles
from tortie.agent.health import Condition, Health
from tortie.agent.http import Address, Answer, Page, TextServer
from tortie.agent.mtu import MtuKeeper
from tortie.agent.parameters import Parameters
from tortie.agent.pipeline import Pipeline
from tortie.agent.reports import Schedule, StatusReports
from tortie.agent.settings import Settings
from tortie.agent.tunnel_addresses import TunnelAddresses
from tortie.agent.wireguard_keys import WireguardKeys
from tortie.api.agent import AgentStatusSpec
from tortie.api.resource import Key
from tortie.base import log
from tortie.base.metrics import Metrics
from tortie.calc.graph import Graph
from tortie.cni.server import CniServer
from tortie.dataplane.linux import LinuxDataplane
from tortie.datastore.client import Client
from tortie.datastore.identity import Identity
from tortie.datastore.syncer import Syncer
from tortie.intent.messages import ConfigUpdate, Message, OverlayUpdate
from tortie.kernel.nft.table import NftTable

_log = log.get(__name__)
_T = TypeVar("_T")
_CALCULATION_SECONDS = 30.0
_MOST_PROBLEMS = 100
_REFRESH_POLL_SECONDS = 1.0
DATAPLANE = "InternalDataplaneMainLoop"
"""Names of parts are Calico's where the meaning is the same: HealthTimeoutOverrides refers to them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that work."""

    client: Client
    syncer: Syncer
    identity: Identity
    pipeline: Pipeline
    rescue: EndpointRescue | None
    graph: Graph
    applier: Applier
    dataplane: LinuxDataplane
    table: NftTable
    mtu: MtuKeeper
    addresses: NodeAddresses
    tunnels: TunnelAddresses
    wireguard: WireguardKeys
    cni: CniServer
    bird: BirdKeeper | None


class Operator:
    """One for each agent. `restart` is set when the agent must start again in place; `restart_reason` says why."""

    def __init__(self, node: str, settings: Settings, *, metrics: Metrics, parts: Parts) -> None:
        self._node = node
        self._settings = settings
        self._metrics = metrics
        self._parts = parts
        self._census = Census()
        self._has_node = True
        self._health = _health(parts, settings)
        self._health_server = TextServer("health", {"/liveness": self._liveness, "/readiness": self._readiness})
        self._metrics_server = TextServer("metrics", {"/metrics": self._metrics_page})
        self._reports = StatusReports(parts.client, node, report=self._status, schedule=self._schedule)
        self._files: EndpointStatusFiles | None = None
        self._files_prefix = ""
        self._files_failure = ""
        self.restart = asyncio.Event()
        self.restart_reason = ""
        self._put_into_force()

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Everything that runs, by name."""
        return {
            "health server": self._health_server.run(),
            "metrics server": self._metrics_server.run(),
            "endpoint status": self._follow_endpoints(),
            "status reports": self._reports.run(),
            "refresh": self._refresh(),
        }

    def on_messages(self, messages: Sequence[Message]) -> list[Message]:
        """The same messages, the configuration replaced by the one in force."""
        passed: list[Message] = []
        for message in messages:
            if isinstance(message, ConfigUpdate):
                self._settings.on_stored(message.values)
                self._put_into_force()
                message = self._settings.config_update()
            elif isinstance(message, OverlayUpdate):
                self._has_node = message.overlay is not None
            passed.append(message)
        self._census.on_messages(passed)
        return passed

    def ask_restart(self, reason: str) -> None:
        """Start again in place, soon."""
        self.restart_reason = reason
        self.restart.set()

    def ready(self) -> bool:
        """The same as the page says."""
        return self._health.readiness().good

    def describe(self) -> dict[str, Any]:
        """What the status file says of all this."""
        return {
            "reasons": list(self._health.reasons()),
            "parameters": list(self._problems()),
            "healthAddresses": [f"{each.host} {each.port}" for each in self._health_server.bound],
            "metricsAddresses": [f"{each.host} {each.port}" for each in self._metrics_server.bound],
        }

    # ---- parameters ----
    def _put_into_force(self) -> None:
        now = self._settings.in_force
        log.set_level(now["LogSeverityScreen"] or "fatal")
        self._health.set_limits({DATAPLANE: now["DataplaneWatchdogTimeout"], **(now["HealthTimeoutOverrides"] or {})})
        self._health_server.want(_address(now, "HealthEnabled", "HealthHost", "HealthPort"))
        metrics = _address(now, "PrometheusMetricsEnabled", "PrometheusMetricsHost", "PrometheusMetricsPort")
        self._metrics_server.want(None if _wants_tls(now) else metrics)
        reason = self._settings.restart_wanted
        if reason and not self.restart.is_set():
            self.ask_restart(reason)

    def _problems(self) -> list[str]:
        found = list(self._settings.problems)
        if _wants_tls(self._settings.in_force):
            found.append(
                "metrics are not served: they are asked for with TLS, which is not supported by this release of Tortie"
            )
        found += [
            text
            for text in (
                self._parts.addresses.problem,
                self._parts.mtu.failure,
                self._health_server.failure,
                self._metrics_server.failure,
                self._files_failure,
            )
            if text
        ]
        return found

    # ---- health ----
    def _liveness(self) -> Answer:
        return health.answer(self._health.liveness())

    def _readiness(self) -> Answer:
        return health.answer(self._health.readiness())

    # ---- metrics ----
    def _metrics_page(self) -> Answer:
        self._collect()
        now = self._settings.in_force
        return prometheus.page(
            self._metrics,
            host=self._node,
            process=bool(now["PrometheusProcessMetricsEnabled"]),
            runtime=bool(now["PrometheusGoMetricsEnabled"]),
            wireguard=self._parts.wireguard.devices() if now["PrometheusWireGuardMetricsEnabled"] else (),
        )

    def _collect(self) -> None:
        parts, counts = self._parts, self._parts.syncer.counts()
        chains, rules, sets = parts.table.size
        connected = parts.syncer.connected
        peers = [] if parts.bird is None else parts.bird.peers
        gauges: dict[str, float] = {
            "felix_active_local_endpoints": self._census.endpoints,
            "felix_active_local_policies": self._census.policies,
            "felix_active_local_selectors": self._census.selectors,
            "felix_cluster_num_hosts": counts["Node"],
            "felix_cluster_num_host_endpoints": counts["HostEndpoint"],
            "felix_cluster_num_workload_endpoints": counts["WorkloadEndpoint"],
            "felix_cluster_num_policies": sum(number for kind, number in counts.items() if kind.endswith("NetworkPolicy")),
            "felix_cluster_num_profiles": counts["Profile"] + counts["Namespace"] + counts["ServiceAccount"],
            "felix_cluster_num_tiers": counts["Tier"],
            "felix_ipsets_calico": sets,
            "felix_nft_chains": chains,
            "felix_nft_rules": rules,
            "felix_resync_state": 3 if parts.pipeline.in_sync else 2 if connected else 1,
            "felix_route_table_num_routes": parts.dataplane.routes,
            "tortie_bird_peers": len(peers),
            "tortie_bird_peers_established": sum(bool(peer["established"]) for peer in peers),
            "tortie_datastore_connected": connected,
            "tortie_parameters_reported": len(self._problems()),
            "tortie_ready": self.ready(),
        }
        for name, value in gauges.items():
            self._metrics.set(name, value)
        self._metrics.count("felix_log_errors", _log_errors() - self._metrics.counters.get("felix_log_errors", 0))
        for name in ("felix_int_dataplane_failures", "felix_nft_errors", "felix_nft_calls", "felix_nft_list_calls"):
            self._metrics.count(name, 0)

    # ---- status ----
    async def _follow_endpoints(self) -> None:
        """Keep the files below EndpointStatusPathPrefix true, without end."""
        while True:
            turns = self._parts.applier.turns
            try:
                await self._sync_files()
                self._files_failure = ""
            except OSError as error:
                failure = f"endpoint status files below {self._files_prefix}: {error.strerror}; will be tried again"
                if failure != self._files_failure:
                    _log.error("%s", failure)
                self._files_failure = failure
                await asyncio.sleep(_REFRESH_POLL_SECONDS)
                continue
            await self._parts.applier.wait_for_turn(turns)

    async def _sync_files(self) -> None:
        prefix = self._settings.in_force["EndpointStatusPathPrefix"]
        if prefix != self._files_prefix:
            if self._files is not None:
                await asyncio.to_thread(self._files.clear)
            self._files = EndpointStatusFiles(Path(prefix)) if prefix else None
            self._files_prefix = prefix
        if self._files is not None and self._parts.applier.in_sync:
            await asyncio.to_thread(self._files.sync, self._parts.dataplane.programmed_endpoints)

    def _schedule(self) -> Schedule:
        now = self._settings.in_force
        return Schedule(now["ReportingIntervalSecs"], now["ReportingTTLSecs"], now["EndpointReportingDelaySecs"])

    def resource_problems(self) -> dict[str, str]:
        """What this node cannot put into force of what users wrote, by resource."""
        found = {str(key): text for key, text in self._parts.graph.problems.items()}
        found |= {str(key): text for key, text in self._parts.syncer.unreadable.items()}
        found |= {f"nft {name}": text for name, text in self._parts.dataplane.refused.items()}
        for endpoint, text in (*self._parts.dataplane.problems.items(), *self._parts.dataplane.floating_problems.items()):
            key = str(Key("WorkloadEndpoint", endpoint.namespace, endpoint.name))
            found[key] = "; ".join(part for part in (found.get(key, ""), text) if part)
        for host, text in self._parts.dataplane.host_problems.items():
            key = str(Key("HostEndpoint", "", host.name))
            found[key] = "; ".join(part for part in (found.get(key, ""), text) if part)
        found |= self._parts.dataplane.overlay_problems
        if self._parts.rescue is not None:
            found |= self._parts.rescue.problems
        if self._parts.tunnels.problem:
            found["tunnel addresses"] = self._parts.tunnels.problem
        if not self._has_node:
            found[str(Key("Node", "", self._node))] = (
                "is not in the datastore, or has no address there: no node has a way to another's pods; "
                "start this agent again, which writes it, or create it"
            )
        return dict(sorted(found.items()))

    def _status(self) -> AgentStatusSpec:
        problems = [f"{key}: {text}" for key, text in self.resource_problems().items()]
        endpoints: dict[str, str] = {}
        if self._settings.in_force["EndpointReportingEnabled"]:
            up = self._parts.dataplane.programmed_endpoints
            endpoints = {
                f"{each.namespace}/{each.name}": "up" if each in up else "down" for each in sorted(self._census.endpoint_ids)
            }
        return AgentStatusSpec(
            node=self._node,
            ready=self.ready(),
            in_sync=self._parts.pipeline.in_sync,
            reasons=self._health.reasons(),
            problems=tuple((*self._problems(), *problems)[:_MOST_PROBLEMS]),
            local_endpoints=self._census.endpoints,
            endpoints=endpoints,
        )

    # ---- the slow read-back behind the notifications ----
    async def _refresh(self) -> None:
        """Read back what the kernel has, every so often, by the intervals that are in force; 0 means never."""
        loop = asyncio.get_running_loop()
        due: dict[str, tuple[tuple[str, ...], Callable[[], None]]] = {
            "nft": (("NftablesRefreshInterval", "IpsetsRefreshInterval"), self._refresh_table),
            "routes": (("RouteRefreshInterval", "InterfaceRefreshInterval"), self._refresh_routes),
        }
        last = dict.fromkeys(due, loop.time())
        while True:
            await asyncio.sleep(_REFRESH_POLL_SECONDS)
            now = self._settings.in_force
            for name, (parameters, action) in due.items():
                intervals = [now[parameter] for parameter in parameters if now[parameter] > 0]
                if intervals and loop.time() - last[name] >= min(intervals):
                    last[name] = loop.time()
                    action()

    def _refresh_table(self) -> None:
        self._parts.dataplane.invalidate_table("periodic refresh")
        self._parts.applier.retry()

    def _refresh_routes(self) -> None:
        self._parts.dataplane.invalidate_routes()
        self._parts.applier.retry()


async def while_waiting(parameters: Parameters, request: Awaitable[_T]) -> _T:
    """The answer to a request that the agent cannot start without; meanwhile it is alive, and says why it is not ready."""
    waiting = Health()
    waiting.register("FelixStartup", lambda: Condition(False, "waiting for the datastore"))
    pages: dict[str, Page] = {
        "/liveness": lambda: health.answer(waiting.liveness()),
        "/readiness": lambda: health.answer(waiting.readiness()),
    }
    server = TextServer("health", pages)
    server.want(_address(parameters, "HealthEnabled", "HealthHost", "HealthPort"))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.run())
        try:
            return await request
        finally:
            serving.cancel()


def _health(parts: Parts, settings: Settings) -> Health:
    """Every part's own word on how it is."""
    found = Health()
    found.register(
        "CalculationGraph",
        lambda: Condition(
            parts.pipeline.in_sync,
            "" if parts.pipeline.in_sync else "the datastore has not delivered all it holds yet",
            busy_seconds=parts.pipeline.busy_seconds,
        ),
        limit_seconds=_CALCULATION_SECONDS,
    )
    found.register(
        DATAPLANE,
        lambda: Condition(
            parts.applier.in_sync,
            parts.applier.failure or ("" if parts.applier.in_sync else "the kernel does not hold a complete state yet"),
            busy_seconds=parts.applier.busy_seconds,
        ),
    )
    found.register(
        "Configuration",
        lambda: Condition(not settings.refused, settings.problems[0] if settings.refused else ""),
    )
    found.register("MTU file", lambda: Condition(not parts.mtu.blocking, parts.mtu.blocking))
    found.register("CNI", lambda: Condition(parts.cni.serving, "" if parts.cni.serving else "the socket is not served"))
    found.register("Datastore", lambda: Condition(not parts.identity.refusal, parts.identity.refusal))
    bird = parts.bird
    if bird is not None:
        found.register("BIRD", lambda: Condition(bird.ready, bird.failure or ("" if bird.ready else "not configured yet")))
        found.note("BGP peers", lambda: _peers_down(bird))
    found.note(
        "datastore",
        lambda: "" if parts.syncer.connected else f"what is known stays in force: {parts.syncer.failure or 'no answer yet'}",
    )
    return found


def _peers_down(bird: BirdKeeper) -> str:
    down = [str(peer["name"]) for peer in bird.peers if not peer["established"]]
    return f"not established: {', '.join(sorted(down))}" if down else ""


def _address(now: Parameters, enabled: str, host: str, port: str) -> Address | None:
    return Address(now[host], int(now[port])) if now[enabled] else None


def _wants_tls(now: Parameters) -> bool:
    return any(now[f"PrometheusMetrics{name}"] for name in ("CAFile", "CertFile", "KeyFile"))


def _log_errors() -> int:
    return log.written["ERROR"] + log.written["CRITICAL"]
