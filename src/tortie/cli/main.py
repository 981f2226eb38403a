"""`tortie`: finds the command by name and runs it. Modules of commands are imported when they are used, not before.

A new command is one line in `COMMANDS`.
"""

import sys
from collections.abc import Iterator
from typing import Any

import click

from tortie.base.errors import TortieError
from tortie.cli.everywhere import global_options
from tortie.cli.lazy import Command, lazy_group

COMMANDS: dict[str, Command] = {
    "apply": Command("tortie.cli.resources:apply", "Create or change resources to be as the files say."),
    "create": Command("tortie.cli.resources:create", "Create resources that must not exist yet."),
    "replace": Command("tortie.cli.resources:replace", "Replace resources that must exist."),
    "validate": Command("tortie.cli.resources:validate", "Check files without writing anything."),
    "patch": Command("tortie.cli.changing:patch", "Change fields of one stored resource."),
    "label": Command("tortie.cli.changing:label", "Set or remove a label of one stored resource."),
    "delete": Command("tortie.cli.resources:delete", "Delete resources by name or by file."),
    "get": Command("tortie.cli.showing:get", "Show resources, once or as they change."),
    "explain": Command("tortie.cli.explain:explain", "Say why a packet passes or does not."),
    "policy": Command("tortie.cli.policy:policy", "Ask what policies do: matrix, diff, effective, lint, test, trace."),
    "ipam": Command("tortie.cli.ipam:ipam", "Show, check, configure and release addresses; split pools."),
    "node": Command("tortie.cli.node:node", "This node: status, stop, run, checksystem, diags."),
    "cluster": Command("tortie.cli.diagnostics:cluster", "The cluster: collect diagnostics."),
    "doctor": Command("tortie.cli.doctor:doctor", "Check this machine, the datastore and this node's agent."),
    "datastore": Command("tortie.cli.locking:datastore", "Lock, export and import the datastore."),
    "agent": Command("tortie.cli.agent:agent", "Run this node's agent."),
    "apiserver": Command("tortie.cli.apiserver:apiserver", "Serve the v3 API to kubectl, with or without Kubernetes."),
    "lab": Command("tortie.cli.lab:lab", "Build, use and remove clusters of network namespaces on this machine."),
    "version": Command("tortie.cli.about:version", "Print the version."),
    "completion": Command("tortie.cli.about:completion", "Print a completion script for a shell."),
}


@click.group(cls=lazy_group(COMMANDS), context_settings={"help_option_names": ["-h", "--help"]})
@global_options
def tortie() -> None:
    """Pod networking and network policy: Calico's resources, the Linux kernel's packet path.

    Exit codes: 0 yes or done, 1 error, 2 the answer is no.
    """


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. What a user can act on is one message on stderr, never a traceback."""
    try:
        # Without standalone mode click returns the code of ctx.exit(), or whatever the command returned.
        result: Any = tortie.main(arguments, prog_name=_program_name(sys.argv[0]), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 1
    except click.Abort:
        return 130
    except TortieError as error:
        click.echo(error, err=True)
        return 1
    except UnicodeEncodeError:
        wrong = next((argument for argument in arguments if not _is_text(argument)), None)
        if wrong is None:
            raise
        click.echo(f"argument {wrong!r} is not UTF-8 text", err=True)
        return 1
    except BaseExceptionGroup as group:
        if group.split(TortieError)[1] is not None:
            raise
        for leaf in _leaves(group):
            click.echo(leaf, err=True)
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    """The entry point of the package."""
    sys.exit(run(sys.argv[1:]))


def _is_text(argument: str) -> bool:
    """Whether it can be written as UTF-8: bytes of the command line that are none arrive as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)


def _program_name(path: str) -> str:
    """What usage texts call us: as a plugin, kubectl finds `kubectl-tortie` and people type `kubectl tortie`."""
    name = path.rpartition("/")[2]
    return f"kubectl {name.removeprefix('kubectl-').replace('_', '-')}" if name.startswith("kubectl-") else "tortie"


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()
