"""KubeControllersConfiguration: what the cluster's controllers do (api.md, section 6).

A section of `controllers` that is there switches its controller on, one that is absent switches it off.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tortie.api.resource import V3, Metadata, Resource, Value

Enablement = Literal["Enabled", "Disabled"]
Port = Annotated[int, Meta(ge=0, le=65535)]
ControllersSeverity = Literal["None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"]


class ReconciledController(Value, frozen=True, kw_only=True):
    """A controller that compares all it knows with the datastore every `reconciler_period`; 0 is never."""

    reconciler_period: str | None = None


class HostEndpointTemplate(Value, frozen=True, kw_only=True):
    """Host endpoints to make for the nodes of `node_selector`: one for each interface that matches, or for the addresses."""

    generate_name: str = ""
    interface_cidrs: tuple[str, ...] = msgspec.field(default=(), name="interfaceCIDRs")
    interface_pattern: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    node_selector: str = ""


class AutoHostEndpoints(Value, frozen=True, kw_only=True):
    """Host endpoints that are made for every node."""

    auto_create: Enablement | None = None
    create_default_host_endpoint: str | None = None
    templates: tuple[HostEndpointTemplate, ...] = ()


class NodeController(Value, frozen=True, kw_only=True):
    """Cleans up after nodes and pods that are gone; a lost address is given back after `leak_grace_period`."""

    reconciler_period: str | None = None
    sync_labels: Enablement | None = None
    host_endpoint: AutoHostEndpoints | None = None
    leak_grace_period: str | None = None


class LoadBalancerController(Value, frozen=True, kw_only=True):
    """Gives addresses to services of type LoadBalancer."""

    assign_ips: Literal["AllServices", "RequestedServicesOnly"] | None = msgspec.field(default=None, name="assignIPs")


class MigrationController(Value, frozen=True, kw_only=True):
    """Rewrites what earlier releases have stored."""

    policy_name_migrator: Enablement | None = None


class Controllers(Value, frozen=True, kw_only=True):
    """Which controllers run, and how."""

    node: NodeController | None = None
    policy: ReconciledController | None = None
    workload_endpoint: ReconciledController | None = None
    service_account: ReconciledController | None = None
    namespace: ReconciledController | None = None
    load_balancer: LoadBalancerController | None = None
    migration: MigrationController | None = None


class KubeControllersConfigurationSpec(Value, frozen=True, kw_only=True):
    """Unset means: Info, health checks on, etcd compacted every 10 minutes, metrics on port 9094, no profiling."""

    controllers: Controllers = Controllers()
    log_severity_screen: ControllersSeverity | None = None
    health_checks: Enablement | None = None
    prometheus_metrics_port: Port | None = None
    etcd_v3_compaction_period: str | None = msgspec.field(default=None, name="etcdV3CompactionPeriod")
    debug_profile_port: Port | None = None


class KubeControllersConfigurationStatus(Value, frozen=True, kw_only=True):
    """What the controllers run with: the configuration after the environment has had its say, and that environment."""

    running_config: KubeControllersConfigurationSpec | None = None
    environment_vars: dict[str, str] = {}


class KubeControllersConfiguration(Resource, frozen=True, kw_only=True):
    """A singleton named `default`."""

    api_version: str = V3
    kind: str = "KubeControllersConfiguration"
    metadata: Metadata = Metadata()
    spec: KubeControllersConfigurationSpec = KubeControllersConfigurationSpec()
    status: KubeControllersConfigurationStatus | None = None
