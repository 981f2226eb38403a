"""tortie policy: questions about policies as a whole. Modules of commands are imported when they are used, not before.

A new command is one line in `COMMANDS`.
"""

import click

from tortie.cli.lazy import Command, lazy_group

COMMANDS: dict[str, Command] = {
    "matrix": Command("tortie.cli.policy_matrix:matrix", "Show who reaches whom on which ports."),
    "diff": Command("tortie.cli.policy_diff:diff", "Show which packets a change allows or denies."),
    "effective": Command("tortie.cli.policy_effective:effective", "Show the rules of one endpoint, in order."),
    "lint": Command("tortie.cli.policy_lint:lint", "Find rules and policies that do not do what they seem to."),
    "test": Command("tortie.cli.policy_test:test", "Check assertions about who reaches whom."),
    "trace": Command("tortie.cli.policy_trace:trace", "Follow one policy from the datastore to the kernel."),
}


@click.group(cls=lazy_group(COMMANDS))
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
