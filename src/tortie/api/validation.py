"""Is this resource acceptable? Every rule that needs no datastore (api.md), every problem at once.

check(resource)            # the resource with its defaults, or ValidationError
check_document(document)   # the same, with line numbers in the errors
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tortie.api.defaults import with_defaults
from tortie.api.documents import Document
from tortie.api.errors import FieldError, ValidationError
from tortie.api.findings import Findings
from tortie.api.kinds import KINDS
from tortie.api.resource import Resource
from tortie.api.validation_bgp import check_bgp_configuration, check_bgp_peer
from tortie.api.validation_bgp_filter import check_bgp_filter
from tortie.api.validation_cluster import check_controllers_configuration, check_node_status
from tortie.api.validation_cluster_policy import check_cluster_network_policy
from tortie.api.validation_endpoint import check_host_endpoint, check_workload_endpoint
from tortie.api.validation_felix import check_felix_configuration
from tortie.api.validation_kubernetes import check_endpoint_slice, check_kubernetes_policy, check_pod, check_service
from tortie.api.validation_metadata import check_metadata
from tortie.api.validation_network import (
    check_block_affinity,
    check_ip_pool,
    check_ip_reservation,
    check_ipam_block,
    check_ipam_configuration,
    check_network_set,
    check_node,
)
from tortie.api.validation_policy import check_global_network_policy, check_network_policy, check_profile, check_tier

_R = TypeVar("_R", bound=Resource)

_SPEC_CHECKS: Mapping[str, Callable[[Findings, Any], None]] = {
    "NetworkPolicy": check_network_policy,
    "GlobalNetworkPolicy": check_global_network_policy,
    "StagedNetworkPolicy": check_network_policy,
    "StagedGlobalNetworkPolicy": check_global_network_policy,
    "StagedKubernetesNetworkPolicy": check_kubernetes_policy,
    "KubernetesClusterNetworkPolicy": check_cluster_network_policy,
    "Tier": check_tier,
    "Profile": check_profile,
    "NetworkSet": check_network_set,
    "GlobalNetworkSet": check_network_set,
    "WorkloadEndpoint": check_workload_endpoint,
    "HostEndpoint": check_host_endpoint,
    "Node": check_node,
    "IPPool": check_ip_pool,
    "IPReservation": check_ip_reservation,
    "IPAMBlock": check_ipam_block,
    "BlockAffinity": check_block_affinity,
    "IPAMConfiguration": check_ipam_configuration,
    "BGPConfiguration": check_bgp_configuration,
    "BGPPeer": check_bgp_peer,
    "BGPFilter": check_bgp_filter,
    "CalicoNodeStatus": check_node_status,
    "KubeControllersConfiguration": check_controllers_configuration,
    "FelixConfiguration": check_felix_configuration,
    "KubernetesNetworkPolicy": check_kubernetes_policy,
    "Pod": check_pod,
    "KubernetesService": check_service,
    "KubernetesEndpointSlice": check_endpoint_slice,
}


def validate(resource: Resource) -> list[FieldError]:
    """Everything that is wrong with `resource`, which has its defaults already (`with_defaults`)."""
    findings = Findings()
    check_metadata(findings, KINDS[resource.kind], resource.metadata)
    check_spec = _SPEC_CHECKS.get(resource.kind)
    if check_spec is not None:
        check_spec(findings, resource)
    return findings.errors


def check(resource: _R) -> _R:
    """`resource` with its defaults. Raises ValidationError with everything that is wrong."""
    filled = with_defaults(resource)
    errors = validate(filled)
    if errors:
        raise ValidationError(errors)
    return filled


def check_document(document: Document) -> Resource:
    """The resource of a document with its defaults. Raises ValidationError whose errors name file and line."""
    filled = with_defaults(document.resource)
    errors = validate(filled)
    if errors:
        raise ValidationError(document.located(errors))
    return filled
