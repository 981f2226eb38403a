"""The frame: base chains and what they lead to. Changes with the configuration only."""

from tortie.dataplane.render import static
from tortie.dataplane.render.config import Config
from tortie.intent.messages import Message
from tortie.kernel.nft.table import NftTable


class StaticManager:
    """Owns every chain of `render.static`, except those that list endpoints."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._config = Config()
        self._dirty = True

    def configure(self, config: Config) -> None:
        """Everything may change."""
        self._config = config
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """No message concerns the frame."""

    async def apply(self) -> None:
        """Render the frame when the configuration changed. The names of its chains do not depend on it."""
        if not self._dirty:
            return
        for chain in static.render_static(self._config):
            self._table.put_chain(chain)
        self._dirty = False
