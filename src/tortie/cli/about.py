"""`tortie version` and `tortie completion`."""

import click
from click.shell_completion import get_completion_class

from tortie import __version__


@click.command()
def version() -> None:
    """Print the version of this program."""
    click.echo(f"Client Version:    v{__version__}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete tortie's commands, options, kinds and stored names.

    \b
    bash  source <(tortie completion bash)        in ~/.bashrc
    zsh   source <(tortie completion zsh)         in ~/.zshrc
    fish  tortie completion fish | source         in ~/.config/fish/config.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(ctx.find_root().command, {}, "tortie", "_TORTIE_COMPLETE").source())
