"""What is wrong with stored values, by key: for status and for people. Nothing is decided here."""

from collections.abc import Iterable, Mapping

from tortie.api.resource import Key


class Problems:
    """Sentences by key and by the stage that found them; a stage's new report replaces its last one."""

    def __init__(self) -> None:
        self._found: dict[Key, dict[str, str]] = {}

    def report(self, key: Key, stage: str, sentences: Iterable[str]) -> None:
        """Replace what `stage` says about `key`; nothing to say clears it."""
        text = "; ".join(sentences)
        if text:
            self._found.setdefault(key, {})[stage] = text
            return
        by_stage = self._found.get(key)
        if by_stage is not None:
            by_stage.pop(stage, None)
            if not by_stage:
                del self._found[key]

    def by_key(self) -> Mapping[Key, str]:
        """All problems, sorted by key."""
        return {key: "; ".join(text for _stage, text in sorted(self._found[key].items())) for key in sorted(self._found)}

    def is_empty(self) -> bool:
        """True if nothing is wrong."""
        return not self._found
