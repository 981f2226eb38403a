"""Profile: rules and labels that endpoints inherit by name (api.md, section 2)."""

from tortie.api.policy import Rule
from tortie.api.resource import V3, Metadata, Resource, Value


class ProfileSpec(Value, frozen=True, kw_only=True):
    """Rules asked after all tiers; `labels_to_apply` are inherited, an endpoint's own labels win."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: dict[str, str] = {}


class Profile(Resource, frozen=True, kw_only=True):
    """A profile. `kns.<namespace>` and `ksa.<namespace>.<service account>` stand for Kubernetes objects."""

    api_version: str = V3
    kind: str = "Profile"
    metadata: Metadata = Metadata()
    spec: ProfileSpec = ProfileSpec()


DEFAULT_ALLOW = Profile(
    metadata=Metadata(name="projectcalico-default-allow", resource_version="1"),
    spec=ProfileSpec(ingress=(Rule(action="Allow"),), egress=(Rule(action="Allow"),)),
)
"""Built in: always listed, never stored."""
