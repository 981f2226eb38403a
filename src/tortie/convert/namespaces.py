"""Namespace to Profile (conversions.md, section 3)."""

from tortie.api.kubernetes import Namespace
from tortie.api.policy import Rule
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Metadata
from tortie.convert.names import NAME_LABEL, NAMESPACE_LABEL_PREFIX, namespace_profile
from tortie.convert.uid import converted_uid


def namespace_to_profile(namespace: Namespace) -> Profile:
    """`kns.<name>`: allows all, and hands the namespace's labels down with the prefix `pcns.`."""
    meta = namespace.metadata
    labels = {NAMESPACE_LABEL_PREFIX + key: value for key, value in meta.labels.items()}
    labels[NAMESPACE_LABEL_PREFIX + NAME_LABEL] = meta.name
    return Profile(
        metadata=Metadata(
            name=namespace_profile(meta.name),
            uid=converted_uid(meta.uid),
            resource_version=f"{meta.resource_version}/" if meta.resource_version else "",
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=ProfileSpec(ingress=(Rule(action="Allow"),), egress=(Rule(action="Allow"),), labels_to_apply=labels),
    )
