"""The parameters in force: local sources once at the start, the datastore's whenever they change.

A datastore's configuration that must not be put into force leaves the one before it, and is told in `problems`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tortie.agent.options import AgentError, AgentOptions
from tortie.agent.parameters import (
    CONFIG_FILE_VARIABLE,
    DEFAULT_CONFIG_FILE,
    Parameters,
    Source,
    effective,
    from_environment,
    from_file,
    texts,
)
from tortie.api.felix import FelixConfiguration
from tortie.api.node import Node
from tortie.api.resource import Key
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.calc.config import ConfigStage
from tortie.calc.problems import Problems
from tortie.dataplane.render.config import parse
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.intent.messages import ConfigUpdate

_log = log.get(__name__)
DATASTORE = "datastore"
Values = Iterable[tuple[str, str]]


def local_sources(options: AgentOptions) -> tuple[Source, ...]:
    """Command line, environment, configuration file. Raises AgentError for a file that was named and cannot be read."""
    named = options.environment.get(CONFIG_FILE_VARIABLE, "")
    path = Path(named or DEFAULT_CONFIG_FILE)
    sources = [Source("command line", options.overrides), from_environment(options.environment)]
    try:
        sources.append(from_file(path.read_text(encoding="utf-8"), path=str(path)))
    except FileNotFoundError:
        if named:
            raise AgentError(f"{CONFIG_FILE_VARIABLE}={named}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise AgentError(f"configuration file {path}: {error}") from error
    return tuple(sources)


def check_sources(local: Sequence[Source]) -> Parameters:
    """What the local sources say. Raises AgentError when it must not be put into force."""
    found = effective(local)
    refused = _refused(found)
    if refused:
        raise AgentError("; ".join(refused))
    return found


async def stored_values(client: Client, node: str) -> Values:
    """What the datastore says of this node's parameters right now, as calc will say it. Raises DatastoreError."""
    stage = ConfigStage(node, Problems())
    for item in (await client.list("FelixConfiguration")).items:
        assert isinstance(item, FelixConfiguration)
        stage.on_configuration(item.key, item)
    try:
        own = await client.get(Key("Node", "", node))
    except DoesNotExist:
        own = None
    stage.on_node(own.metadata.labels if isinstance(own, Node) else None)
    return stage.flush() or ()


class Settings:
    """`in_force` is never None and always something that can be put into force."""

    def __init__(self, local: Sequence[Source], stored: Values = ()) -> None:
        """Raises AgentError when a local source must not be put into force: the agent may not start with it."""
        self._local = tuple(local)
        self._problems: tuple[str, ...] = ()
        self._logged: frozenset[str] = frozenset()
        self.in_force = check_sources(self._local)
        self.on_stored(stored)
        self._at_start = self.in_force.restarting()

    @property
    def problems(self) -> tuple[str, ...]:
        """Texts about parameters that are not what somebody asked for. Refused ones come first."""
        return (*self._problems, *self.in_force.reports)

    @property
    def refused(self) -> bool:
        """True while the newest configuration is not the one in force."""
        return bool(self._problems)

    @property
    def restart_wanted(self) -> str:
        """Why the agent must start again to put this into force; "" when it need not."""
        now = self.in_force.restarting()
        return ", ".join(f"{name} is now {now[name]!r}" for name in now if now[name] != self._at_start[name])

    def on_stored(self, values: Values) -> None:
        """Take the datastore's newest values."""
        wanted = effective((*self._local, Source(DATASTORE, dict(values), is_datastore=True)))
        refused = _refused(wanted)
        self._problems = tuple(f"{text}; the configuration before it stays in force" for text in refused)
        if not refused:
            self.in_force = wanted
        for text in self.problems:
            if text not in self._logged:
                _log.warning("%s", text)
        self._logged = frozenset(self.problems)

    @property
    def local_texts(self) -> Mapping[str, str]:
        """Raw texts of what the node itself sets, by Calico's name: calc must know what is stronger than the datastore."""
        return texts(self._local)

    def config_update(self) -> ConfigUpdate:
        """What the dataplane is told."""
        return ConfigUpdate(self.in_force.raw())


def _refused(parameters: Parameters) -> tuple[str, ...]:
    if parameters.refused:
        return parameters.refused
    values: Mapping[str, str] = dict(parameters.raw())
    try:
        parse(values)
    except TortieError as error:
        return (str(error),)
    return ()
