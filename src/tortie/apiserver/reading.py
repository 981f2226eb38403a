"""get and list: what is stored, as far as the user may see it."""

from collections.abc import Callable
from dataclasses import dataclass

from tortie.api.defaults import TIER_LABEL
from tortie.api.policy import DEFAULT_TIER
from tortie.api.resource import Key, Resource
from tortie.apiserver.access import TierAccess
from tortie.apiserver.errors import Refusal
from tortie.apiserver.hub import Hub, check_revision
from tortie.apiserver.pages import Page, Pages
from tortie.apiserver.selecting import FieldSelector, LabelSelector
from tortie.apiserver.served import Served
from tortie.datastore.client import Client
from tortie.datastore.errors import Incompatible


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind: of one namespace (or all), by labels and by fields."""

    served: Served
    namespace: str
    labels: LabelSelector
    fields: FieldSelector
    tiers: frozenset[str] | None = None
    """The tiers that the user may see; None where there is nothing to restrict."""

    def matches(self, resource: Resource) -> bool:
        """Whether one is among them."""
        metadata = resource.metadata
        if self.namespace and metadata.namespace != self.namespace:
            return False
        if self.tiers is not None and tier_of(resource) not in self.tiers:
            return False
        return self.labels.matches(metadata.labels) and self.fields.matches(resource)

    @property
    def is_whole(self) -> bool:
        """Whether nothing but the namespace restricts it."""
        return not self.labels.requirements and not self.fields.terms and self.tiers is None


def tier_of(resource: Resource) -> str:
    """The tier of a policy."""
    return str(getattr(getattr(resource, "spec", None), "tier", "") or DEFAULT_TIER)


async def selection(
    client: Client,
    access: TierAccess,
    served: Served,
    *,
    verb: str,
    namespace: str,
    labels: LabelSelector,
    fields: FieldSelector,
) -> Selection:
    """What the user asks for, restricted to the tiers that they may see. Raises Refusal (403) where that is none."""
    chosen = Selection(served, namespace, labels, fields)
    if not served.is_tiered:
        return chosen
    tier = fields.required("spec.tier") or _labelled(labels)
    if tier is not None:
        await access.require(verb, tier, namespace=namespace, name=fields.required("metadata.name") or "")
        return chosen
    tiers = [item.metadata.name for item in (await client.list("Tier")).items]
    visible = await access.visible(verb, tiers, namespace=namespace)
    if not visible and tiers:
        await access.require(verb, DEFAULT_TIER, namespace=namespace, name="")
    return Selection(served, namespace, labels, fields, None if visible.issuperset(tiers) else visible)


async def get(client: Client, access: TierAccess, served: Served, key: Key) -> Resource:
    """One object. Raises DoesNotExist, Refusal (403)."""
    found = await client.get(key)
    if served.is_tiered:
        await access.require("get", tier_of(found), namespace=key.namespace, name=key.name)
    return found


class Listings:
    """Lists, page by page."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pages = Pages()

    async def page(self, chosen: Selection, hub: Hub, *, limit: int, token: str, user: str, scope: str) -> Page:
        """One page of what is chosen. `scope` names the selection as the client wrote it.

        The hub is known before the list is read, so that a watch from the list's version is sure to find its history.
        """
        whose = f"{user}/{chosen.served.kind.kind}/{scope}"
        if token:
            return self._pages.following(whose, token, limit=limit)
        await hub.wait_ready()
        items, revision = await self._read(chosen)
        matches: Callable[[Resource], bool] = chosen.matches
        found = items if chosen.is_whole else tuple(item for item in items if matches(item))
        return self._pages.first(whose, found, revision, limit=limit)

    async def _read(self, chosen: Selection) -> tuple[tuple[Resource, ...], str]:
        kind = chosen.served.kind.kind
        try:
            listing = await self._client.list(kind, namespace=chosen.namespace)
        except Incompatible:
            listing = await self._client.list_many([kind])
            chosen_items = tuple(item for item in listing.items if not chosen.namespace or _in(item, chosen.namespace))
            return chosen_items, listing.revision
        return listing.items, listing.revision


def check_version(match: str, revision: str) -> None:
    """Raise Refusal (400) for a combination of list parameters that means nothing."""
    if match not in ("", "Exact", "NotOlderThan"):
        raise Refusal(400, f"resourceVersionMatch {match!r} is unknown: use Exact or NotOlderThan")
    if match and not revision:
        raise Refusal(400, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match == "Exact" and revision == "0":
        raise Refusal(400, "resourceVersionMatch Exact is forbidden for resourceVersion 0")
    check_revision(revision)


def _in(item: Resource, namespace: str) -> bool:
    return item.metadata.namespace == namespace


def _labelled(labels: LabelSelector) -> str | None:
    """The tier that a label selector asks for, if it asks for one."""
    for term in labels.requirements:
        if term.key == TIER_LABEL and not term.negated and term.values is not None and len(term.values) == 1:
            return next(iter(term.values))
    return None
