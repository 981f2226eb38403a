"""The effective FelixConfiguration of one node: its own over the one whose selector selects it over the cluster's.

Of several with a selector that selects the node the oldest counts. One with neither a special name nor a selector counts
nowhere.
"""

from collections.abc import Mapping

from tortie.api.felix import FelixConfiguration
from tortie.api.felix_params import raw_values
from tortie.api.resource import Key
from tortie.api.selector import SelectorError, parse_selector
from tortie.calc.problems import Problems

DEFAULT = "default"


class ConfigStage:
    """Level-based: `flush` answers only when the effective values differ from the last ones."""

    def __init__(self, node: str, problems: Problems) -> None:
        self._own = f"node.{node}"
        self._problems = problems
        self._configurations: dict[str, FelixConfiguration] = {}
        self._labels: Mapping[str, str] | None = None
        self._dirty = True
        self._last: tuple[tuple[str, str], ...] | None = None
        self.annotations: Mapping[str, str] = {}
        """Of the effective configuration, as of the last `flush`."""

    def on_configuration(self, key: Key, value: FelixConfiguration | None) -> None:
        """A FelixConfiguration came, changed or went."""
        problems: list[str] = []
        if value is None:
            self._configurations.pop(key.name, None)
        else:
            self._configurations[key.name] = value
            if key.name != DEFAULT and not key.name.startswith("node."):
                problems = _selector_problems(value.spec.node_selector)
        self._problems.report(key, "config", problems)
        self._dirty = True

    def on_node(self, labels: Mapping[str, str] | None) -> None:
        """Labels of this node, None while it does not exist."""
        if labels != self._labels:
            self._labels = labels
            self._dirty = True

    def flush(self) -> tuple[tuple[str, str], ...] | None:
        """All effective values by parameter, if they changed."""
        if not self._dirty:
            return None
        self._dirty = False
        values: dict[str, str] = {}
        annotations: dict[str, str] = {}
        for configuration in (self._configurations.get(DEFAULT), self._selected(), self._configurations.get(self._own)):
            if configuration is not None:
                values |= raw_values(configuration.spec, configuration.metadata.annotations)
                annotations |= configuration.metadata.annotations
        self.annotations = annotations
        effective = tuple(sorted(values.items()))
        if effective == self._last:
            return None
        self._last = effective
        return effective

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not self._configurations and self._labels is None

    def _selected(self) -> FelixConfiguration | None:
        candidates = [
            each
            for name, each in self._configurations.items()
            if name != DEFAULT and not name.startswith("node.") and self._selects(each)
        ]
        return min(candidates, key=_age, default=None)

    def _selects(self, configuration: FelixConfiguration) -> bool:
        text = configuration.spec.node_selector
        if not text or self._labels is None:
            return False
        try:
            return parse_selector(text).matches(self._labels)
        except SelectorError:
            return False


def _age(configuration: FelixConfiguration) -> tuple[bool, str, str]:
    created = configuration.metadata.creation_timestamp
    return created is None, created or "", configuration.metadata.name


def _selector_problems(text: str | None) -> list[str]:
    if not text:
        return ["spec.nodeSelector: empty; the configuration applies to no node"]
    try:
        parse_selector(text)
    except SelectorError as error:
        return [f"spec.nodeSelector: {error}; the configuration applies to no node"]
    return []
