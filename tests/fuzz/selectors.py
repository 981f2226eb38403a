"""Random selector texts and label selectors over a small vocabulary, so that they often match and often do not."""

from random import Random
from typing import Any

KEYS = ("app", "role", "stage", "zone/area")
VALUES = ("x", "y", "xy", "")


def random_labels(rng: Random) -> dict[str, str]:
    """Some of the keys."""
    return {key: rng.choice(VALUES) for key in KEYS if rng.random() < 0.5}


def random_selector(rng: Random, keys: tuple[str, ...] = KEYS, values: tuple[str, ...] = VALUES, *, depth: int = 2) -> str:
    """Any construct of the language but global()."""
    if depth and rng.random() < 0.35:
        parts = [random_selector(rng, keys, values, depth=depth - 1) for _ in range(rng.randint(2, 3))]
        joined = rng.choice((" && ", "||", " || ")).join(parts)
        return rng.choice(("({})", "!({})", "({})")).format(joined)
    key, value, quote = rng.choice(keys), rng.choice(values), rng.choice("'\"")
    text = f"{quote}{value}{quote}"
    members = ", ".join(f"{quote}{member}{quote}" for member in rng.sample(values, rng.randint(0, 2)))
    return rng.choice(
        (
            f"{key} == {text}",
            f"{key} == {text}",
            f"{key} == {text}",
            f"{key}!={text}",
            f"has({key})",
            f"!has({key})",
            f"{key} in {{{members}}}",
            f"{key} not in {{{members}}}",
            f"{key} contains {text}",
            f"{key} starts with {text}",
            f"{key} ends with {text}",
            "all()",
        )
    )


def random_label_selector(rng: Random, keys: tuple[str, ...] = KEYS, values: tuple[str, ...] = VALUES) -> dict[str, Any]:
    """metav1.LabelSelector, often empty."""
    selector: dict[str, Any] = {}
    if rng.random() < 0.4:
        selector["matchLabels"] = {key: rng.choice(values) for key in rng.sample(keys, 1)}
    if rng.random() < 0.3:
        selector["matchExpressions"] = [_term(rng, keys, values) for _ in range(rng.randint(1, 2))]
    return selector


def _term(rng: Random, keys: tuple[str, ...], values: tuple[str, ...]) -> dict[str, Any]:
    operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    term: dict[str, Any] = {"key": rng.choice(keys), "operator": operator}
    if operator in ("In", "NotIn"):
        term["values"] = rng.sample(values, rng.randint(1, 2))
    return term
