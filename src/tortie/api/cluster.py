"""ClusterInformation: the cluster's identity and whether its datastore may be used (datastore.md, section 2)."""

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value


class ClusterInformationSpec(Value, frozen=True, kw_only=True):
    """`datastore_ready` False locks the datastore: agents wait, CNI refuses ADD."""

    calico_version: str = ""
    cluster_guid: str = msgspec.field(default="", name="clusterGUID")
    cluster_type: str = ""
    datastore_ready: bool | None = None
    variant: str = ""


class ClusterInformation(Resource, frozen=True, kw_only=True):
    """A singleton named `default`."""

    api_version: str = V3
    kind: str = "ClusterInformation"
    metadata: Metadata = Metadata()
    spec: ClusterInformationSpec = ClusterInformationSpec()
