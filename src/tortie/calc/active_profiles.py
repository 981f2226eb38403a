"""Which profiles local endpoints refer to. A profile that is referred to and missing stays missing: it denies."""

from collections import Counter
from collections.abc import Callable

from tortie.api.profile import DEFAULT_ALLOW, Profile
from tortie.intent.keys import AnyEndpointId

BUILT_IN = {DEFAULT_ALLOW.metadata.name: DEFAULT_ALLOW}
"""Profiles that exist without being stored; what is stored under their names does not count."""

OnActive = Callable[[str, Profile | None], None]


class ActiveProfiles:
    """`on_active(name, profile)` on every change of a profile that is in use, None when it is gone or out of use."""

    def __init__(self, on_active: OnActive) -> None:
        self._on_active = on_active
        self._profiles: dict[str, Profile] = dict(BUILT_IN)
        self._by_endpoint: dict[AnyEndpointId, tuple[str, ...]] = {}
        self._uses: Counter[str] = Counter()

    def on_profile(self, name: str, profile: Profile | None) -> None:
        """A profile came, changed or went."""
        old = self._profiles.get(name)
        if old == profile or name in BUILT_IN:
            return
        if profile is None:
            del self._profiles[name]
        else:
            self._profiles[name] = profile
        if name in self._uses:
            self._on_active(name, profile)

    def on_endpoint(self, endpoint: AnyEndpointId, profiles: tuple[str, ...]) -> None:
        """The profiles of a local endpoint, none when it is gone."""
        old = self._by_endpoint.pop(endpoint, ())
        if profiles:
            self._by_endpoint[endpoint] = profiles
        for name in profiles:
            self._uses[name] += 1
            if self._uses[name] == 1 and name in self._profiles:
                self._on_active(name, self._profiles[name])
        for name in old:
            self._uses[name] -= 1
            if not self._uses[name]:
                del self._uses[name]
                if name in self._profiles:
                    self._on_active(name, None)

    def is_empty(self) -> bool:
        """True if nothing is known but what is built in."""
        return self._profiles == BUILT_IN and not (self._by_endpoint or self._uses)
