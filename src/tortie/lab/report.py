"""What a person sees of the demo: steps with their time, tables with colours where the terminal has them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Report:
    """Prints as things happen. One step at a time; `note` adds a line to the current one."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step: its title at once, its time at the end."""
        self._number += 1
        began = time.monotonic()
        self._console.print(f"\n[bold]{self._number}. {title}[/bold]")
        yield
        self._console.print(f"   [dim]{time.monotonic() - began:.1f} s[/dim]")

    def note(self, text: str) -> None:
        """One line under the current step."""
        self._console.print(Text(f"   {text}"))

    def good(self, text: str) -> None:
        """Something that is as it should be."""
        self._console.print(Text.assemble("   ", ("ok", "green"), f"  {text}"))

    def bad(self, text: str) -> None:
        """Something that is not."""
        self._console.print(Text.assemble("   ", ("NOT", "bold red"), f" {text}"))

    def block(self, text: str) -> None:
        """Text of another command, indented."""
        for line in text.splitlines():
            self._console.print(Text(f"     {line}"))

    def truth_table(
        self,
        title: str,
        names: Sequence[str],
        expected: Mapping[tuple[str, str], bool],
        observed: Mapping[tuple[str, str], str],
    ) -> None:
        """from x to: expected beside observed. `observed` holds one word per family, e.g. `allowed allowed`."""
        table = Table(title=title, title_justify="left", pad_edge=False)
        table.add_column("from \\ to", no_wrap=True)
        for number in range(1, len(names) + 1):
            table.add_column(str(number), justify="center", no_wrap=True)
        for number, source in enumerate(names, 1):
            cells = [self._cell(expected.get((source, name)), observed.get((source, name), "")) for name in names]
            table.add_row(f"{number} {source}", *cells)
        self._console.print(table)
        self._console.print("   [dim]expected / observed (IPv4, IPv6):  + connects, - is denied, x is unreachable[/dim]")

    @staticmethod
    def _cell(expected: bool | None, observed: str) -> Text:
        if expected is None:
            return Text("·", style="dim")
        marks = {"allowed": "+", "denied": "-", "refused": "r", "unreachable": "x"}
        seen = "".join(marks.get(word, "?") for word in observed.split())
        want = "+" if expected else "-"
        right = bool(seen) and set(seen) == {want}
        style = "bold red reverse" if not right else "green" if expected else "yellow"
        return Text(f"{want} / {seen}", style=style)

    @property
    def elapsed_seconds(self) -> float:
        """Since the report began."""
        return time.monotonic() - self._started
