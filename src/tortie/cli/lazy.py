"""Groups of commands whose modules are imported when a command is used, not before: `--help` reads this table alone."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Command(NamedTuple):
    """Where a command stands (`module:attribute`, a click command) and what its group's help says of it."""

    target: str
    summary: str


def lazy_group(commands: Mapping[str, Command]) -> type[click.Group]:
    """A class of groups with these commands, in this order: `@click.group(cls=lazy_group({...}))`."""

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in commands:
                return None
            module, _, attribute = commands[cmd_name].target.partition(":")
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command

        def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
            from click.shell_completion import CompletionItem

            # Click would import every command to ask it for its summary, at each press of the key.
            found = [CompletionItem(name, help=one.summary) for name, one in commands.items() if name.startswith(incomplete)]
            return found if found or not incomplete.startswith("-") else super().shell_complete(ctx, incomplete)

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.summary) for name, command in commands.items()])

    return LazyGroup
