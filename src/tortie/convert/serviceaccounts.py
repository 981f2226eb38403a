"""ServiceAccount to Profile (conversions.md, section 4)."""

from tortie.api.kubernetes import ServiceAccount
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Metadata
from tortie.convert.names import NAME_LABEL, SERVICE_ACCOUNT_LABEL_PREFIX, service_account_profile
from tortie.convert.uid import converted_uid


def service_account_to_profile(account: ServiceAccount) -> Profile:
    """`ksa.<namespace>.<name>`: no rules, only labels with the prefix `pcsa.`."""
    meta = account.metadata
    labels = {SERVICE_ACCOUNT_LABEL_PREFIX + key: value for key, value in meta.labels.items()}
    labels[SERVICE_ACCOUNT_LABEL_PREFIX + NAME_LABEL] = meta.name
    return Profile(
        metadata=Metadata(
            name=service_account_profile(meta.namespace, meta.name),
            uid=converted_uid(meta.uid),
            resource_version=f"/{meta.resource_version}" if meta.resource_version else "",
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=ProfileSpec(labels_to_apply=labels),
    )
