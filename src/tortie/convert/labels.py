"""Kubernetes label selectors to selector text (selectors.md, section 8)."""

import re

from tortie.api.kubernetes import LabelSelector, LabelSelectorRequirement
from tortie.convert.errors import ConversionError
from tortie.convert.names import KUBERNETES, ORCHESTRATOR_LABEL

ANY_POD = f"{ORCHESTRATOR_LABEL} == '{KUBERNETES}'"
_LABEL = re.compile(r"[a-zA-Z0-9_./-]{1,512}")


def pod_selector_text(selector: LabelSelector | None) -> str:
    """Text that selects pods; None and an empty selector select every pod. Raises ConversionError."""
    return " && ".join([ANY_POD, *_terms(selector)])


def namespace_selector_text(selector: LabelSelector | None) -> str:
    """Text that selects namespaces: `""` when absent, `all()` when present and empty. Raises ConversionError."""
    if selector is None:
        return ""
    return " && ".join(_terms(selector)) or "all()"


def _terms(selector: LabelSelector | None) -> list[str]:
    if selector is None:
        return []
    equals = [f"{_label(key)} == {_quoted(value)}" for key, value in sorted(selector.match_labels.items())]
    return equals + [_expression(each) for each in selector.match_expressions]


def _expression(requirement: LabelSelectorRequirement) -> str:
    key = _label(requirement.key)
    match requirement.operator:
        case "In" | "NotIn":
            word = "in" if requirement.operator == "In" else "not in"
            return f"{key} {word} {{ {', '.join(_quoted(value) for value in requirement.values)} }}"
        case "Exists":
            return f"has({key})"
        case "DoesNotExist":
            return f"! has({key})"
        case operator:
            raise ConversionError(f"matchExpressions: operator {operator!r} is not In, NotIn, Exists or DoesNotExist")


def _label(key: str) -> str:
    if _LABEL.fullmatch(key) is None:
        raise ConversionError(f"label selector: {key!r} is not a label name")
    return key


def _quoted(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise ConversionError(f"label selector: value {value!r} holds both kinds of quotes")
