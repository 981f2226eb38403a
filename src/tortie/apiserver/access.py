"""Who asks, and whether they may: users, what they want to do, the rule of a server without Kubernetes, and access to tiers.

A policy of a tier may be touched by who may `get` that tier and has the verb on the resource `tier.<plural>`, by the policy's
name or by `<tier>.*` (features.md, tiered RBAC). That comes on top of the verb on the kind itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from tortie.apiserver.errors import Refusal
from tortie.apiserver.served import Served

ADMINS = "system:masters"
"""The group that may do everything, as in Kubernetes."""
READERS = "tortie:readers"
"""The group that may read everything, where no Kubernetes decides."""
AUTHENTICATED = "system:authenticated"

_READING = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Decision(NamedTuple):
    """May they, and if not, why, where somebody said so."""

    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    """Decides. Fails closed: what cannot be decided raises Refusal."""

    async def decide(self, user: User, attributes: Attributes) -> Decision:
        """Whether this user may do this."""
        ...


class GroupAuthorizer:
    """Administrators may do everything, readers may read, others nothing."""

    async def decide(self, user: User, attributes: Attributes) -> Decision:
        """See `Authorizer.decide`."""
        if ADMINS in user.groups:
            return Decision(True)
        if READERS in user.groups and attributes.verb in _READING:
            return Decision(True)
        return Decision(False, f"administrators are in the group {ADMINS}, who may only read in {READERS}")


async def require(authorizer: Authorizer, user: User, attributes: Attributes) -> None:
    """Raise Refusal (403) unless the user may do this."""
    decision = await authorizer.decide(user, attributes)
    if not decision.allowed:
        raise Refusal(403, _denied(user, attributes, decision.reason), details=_details(attributes))


class TierAccess:
    """One user's access to the policies of tiers, in one request."""

    def __init__(self, authorizer: Authorizer, user: User, served: Served) -> None:
        self._authorizer = authorizer
        self._user = user
        self._served = served

    async def require(self, verb: str, tier: str, *, namespace: str, name: str) -> None:
        """Raise Refusal (403) unless the user may do this to the policy. Without a name: to all policies of the tier."""
        may_see, may_act = await self._decide(verb, tier, namespace=namespace, name=name)
        if may_see and may_act:
            return
        what = self._served.subject(name)
        text = f'User "{self._user.name}" cannot {verb} {what.qualified} in tier "{tier}"'
        scope = f' and namespace "{namespace}"' if namespace else ""
        more = "" if may_see else " (user cannot get tier)"
        named = f' "{name}"' if name else ""
        raise Refusal(403, f"{what.qualified}{named} is forbidden: {text}{scope}{more}", details=what.details())

    async def visible(self, verb: str, tiers: Sequence[str], *, namespace: str) -> frozenset[str]:
        """The tiers all of whose policies the user may read."""
        answers = await asyncio.gather(*(self._decide(verb, tier, namespace=namespace, name="") for tier in tiers))
        return frozenset(tier for tier, both in zip(tiers, answers, strict=True) if all(both))

    async def _decide(self, verb: str, tier: str, *, namespace: str, name: str) -> tuple[bool, bool]:
        group, version = self._served.group, self._served.version
        act = Attributes(verb, group, version, f"tier.{self._served.plural}", "", namespace, f"{tier}.*")
        see = Attributes("get", group, version, "tiers", "", "", tier)
        questions = [see, act, *([replace(act, name=name)] if name else [])]
        decisions = await asyncio.gather(*(self._authorizer.decide(self._user, each) for each in questions))
        return decisions[0].allowed, any(decision.allowed for decision in decisions[1:])


def _denied(user: User, attributes: Attributes, reason: str) -> str:
    because = f": {reason}" if reason else ""
    if attributes.path:
        return f'forbidden: User "{user.name}" cannot {attributes.verb} path "{attributes.path}"{because}'
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f' in the namespace "{attributes.namespace}"' if attributes.namespace else " at the cluster scope"
    named = f' "{attributes.name}"' if attributes.name else ""
    group = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    what = f'cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}"{where}'
    return f'{group}{named} is forbidden: User "{user.name}" {what}{because}'


def _details(attributes: Attributes) -> dict[str, str]:
    found = {"name": attributes.name, "group": attributes.group, "kind": attributes.resource}
    return {key: value for key, value in found.items() if value}
