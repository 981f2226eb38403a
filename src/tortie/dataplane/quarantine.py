"""What the kernel refuses must not keep all else from it: it is left out, what denies stands in its place, and that is said."""

import time
from collections.abc import Mapping

from tortie.base import log
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.policy import render_closed
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftRefused, NftTable

_log = log.get(__name__)
_RETRY_SECONDS = 60.0


class Quarantine:
    """Chains and sets of one table that are kept out. Tried again when they change, and every minute at most."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._reasons: dict[str, str] = {}
        self._retry_at = 0.0

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why, by the name of the nft object."""
        return {name: self._reasons[name] for name in sorted(self._table.refused & self._reasons.keys())}

    def retry(self) -> None:
        """Try again what was refused, if the last time is long enough ago."""
        if self._table.refused and time.monotonic() >= self._retry_at:
            self._table.retry_refused()

    def isolate(self, error: NftRefused, config: Config) -> bool:
        """Leave out the refused objects. False, and nothing is done, if the frame itself is among them."""
        if not all(_can_be_closed(each.kind, each.name) for each in error.culprits):
            return False
        reason = str(error)
        before = self._table.refused
        for culprit in error.culprits:
            if culprit.kind in ("set", "element"):
                chains = self._table.withhold_set(culprit.name)
                self._reasons[culprit.name] = f"{reason}; rules that ask it deny"
            else:
                chains = (culprit.name,)
            for chain in chains:
                self._reasons[chain] = f"{reason}; it denies everything until then"
                self._table.stand_in(_closed(chain, reason, config))
        self._reasons = {name: why for name, why in self._reasons.items() if name in self._table.refused}
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        for name in sorted(self._table.refused - before):
            _log.error("%s is left out: %s", name, self._reasons[name])
        return self._table.refused != before


def _can_be_closed(kind: str, name: str) -> bool:
    if kind in ("set", "element"):
        return names.holds_members(name)
    return kind in ("chain", "rule") and (names.denies_when_closed(name) or name == names.RAW_RPF_SKIP)


def _closed(chain: str, reason: str, config: Config) -> nft.Chain:
    """The list of sources that may be spoofed is closed by being empty."""
    return nft.Chain(chain) if chain == names.RAW_RPF_SKIP else render_closed(chain, reason, config)
