"""tortie policy: questions about policies as a whole. Modules of commands are imported when they are used, not before.

A new command is one line in `COMMANDS`.
"""

import importlib
from typing import NamedTuple

import click


class Command(NamedTuple):
    """Where a command stands (`module:attribute`, a click command) and what `tortie policy --help` says of it."""

    target: str
    summary: str


COMMANDS: dict[str, Command] = {
    "matrix": Command("tortie.cli.policy_matrix:matrix", "Show who reaches whom on which ports."),
    "diff": Command("tortie.cli.policy_diff:diff", "Show which packets a change allows or denies."),
    "effective": Command("tortie.cli.policy_effective:effective", "Show the rules of one endpoint, in order."),
    "lint": Command("tortie.cli.policy_lint:lint", "Find rules and policies that do not do what they seem to."),
    "test": Command("tortie.cli.policy_test:test", "Check assertions about who reaches whom."),
    "trace": Command("tortie.cli.policy_trace:trace", "Follow one policy from the datastore to the kernel."),
}


class _LazyGroup(click.Group):
    """The commands of `COMMANDS`, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


@click.group(cls=_LazyGroup)
def policy() -> None:
    """Ask what policies do: in files (-f, no cluster and no root needed) or in the datastore.

    \b
    tortie policy matrix --port tcp/80 -f cluster/
    tortie policy diff main/ branch/ && echo "no packet notices"
    tortie policy effective shop/cart -f cluster/
    tortie policy lint -f cluster/ -o github
    tortie policy test shop.test.yaml -f cluster/ --junit report.xml
    tortie policy trace shop/allow-cart

    Exit codes: 0 yes or done, 1 error, 2 the answer is no (differences, findings, failed assertions, not active).
    """
