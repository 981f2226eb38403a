"""Who carries which labels: the endpoints of a world as selectors see them, and groups of them in words."""

from collections.abc import Collection, Mapping, Sequence

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.profile import Profile
from tortie.api.selector import SelectorError, parse_selector
from tortie.calc.labelled import labelled_endpoint
from tortie.insight.errors import InsightError
from tortie.insight.world import Workload, World

Name = tuple[str, str]
"""Namespace and pod."""

_NAMING_LABELS = ("app.kubernetes.io/name", "app", "k8s-app", "name", "component", "role", "tier")


def labels_of(world: World) -> dict[Name, dict[str, str]]:
    """The labels of every workload, those of its namespace (`pcns.`) and service account (`pcsa.`) included."""
    profiles = {
        update.key.name: update.value.spec.labels_to_apply for update in world.updates if isinstance(update.value, Profile)
    }
    own: dict[tuple[str, str], dict[str, str]] = {}
    for update in world.updates:
        if not isinstance(update.value, WorkloadEndpoint):
            continue
        labelled, _ = labelled_endpoint(update.value)
        labels: dict[str, str] = {}
        for profile in reversed(labelled.profiles):
            labels |= profiles.get(profile, {})
        own[update.key.namespace, update.key.name] = labels | dict(labelled.labels)
    return {name: own.get((workload.id.namespace, workload.id.name), {}) for name, workload in sorted(world.workloads.items())}


def select(world: World, selector: str) -> list[Workload]:
    """The workloads that a selector selects, in order of names. Raises InsightError."""
    try:
        parsed = parse_selector(selector)
    except SelectorError as error:
        raise InsightError(str(error)) from error
    return [world.workloads[name] for name, labels in labels_of(world).items() if parsed.matches(labels)]


class Groups:
    """Puts groups of endpoints into few words: a namespace's all, those with one label, or a list of names."""

    def __init__(self, names: Mapping[Name, Mapping[str, str]]) -> None:
        self._labels = names
        self._in_namespace: dict[str, set[Name]] = {}
        for name in names:
            self._in_namespace.setdefault(name[0], set()).add(name)

    def words(self, texts: Sequence[str], *, limit: int = 3) -> str:
        """`texts` are ends as people write them: `namespace/pod`, or an address, which stands for itself."""
        pods = {(text.partition("/")[0], text.partition("/")[2]) for text in texts}
        pods &= self._labels.keys()
        others = [text for text in texts if (text.partition("/")[0], text.partition("/")[2]) not in pods]
        if len(pods) > 1 and len(pods) == len(self._labels):
            return _listed([f"every pod ({len(pods)})", *others], limit + 1)
        parts: list[str] = []
        for namespace in sorted({name[0] for name in pods}):
            parts += self._namespace(namespace, {name for name in pods if name[0] == namespace})
        return _listed([*parts, *others], limit)

    def _namespace(self, namespace: str, names: set[Name]) -> list[str]:
        if len(names) == 1:
            return [f"{namespace}/{next(iter(names))[1]}"]
        everybody = self._in_namespace[namespace]
        if names == everybody:
            return [f"{namespace}/* ({len(names)} pods)"]
        for label in _NAMING_LABELS:
            values = {self._labels[name].get(label) for name in names}
            if None in values or len(values) > 2:
                continue
            if names == {name for name in everybody if self._labels[name].get(label) in values}:
                shown = " or ".join(sorted(value for value in values if value is not None))
                return [f"{namespace}/[{label}={shown}] ({len(names)} pods)"]
        return [f"{namespace}/{name}" for _, name in sorted(names)]


def _listed(parts: Collection[str], limit: int) -> str:
    shown = list(parts)[:limit]
    more = len(parts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
