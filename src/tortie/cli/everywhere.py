"""calicoctl's options of all commands. The root of the commands has them too, so nothing but click is imported here."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

_F = TypeVar("_F", bound=Callable[..., Any])

CONTEXT = "tortie.context"
ANY_VERSION = "tortie.any_version"
CONFIG_GIVEN = "tortie.config_given"
_LEVELS = {"panic": "fatal", "fatal": "fatal", "error": "error", "warn": "warning", "info": "info", "debug": "debug"}
"""calicoctl's levels, by the names that our logs have."""


def _set_level(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if value.lower() not in _LEVELS:
        raise click.ClickException(f"unknown log level: {value}, expected one of: {', '.join(_LEVELS)}")
    from tortie.base import log

    log.configure(_LEVELS[value.lower()])


def _keep_context(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[CONTEXT] = value


def _keep_any_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[ANY_VERSION] = True


def keep_config(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Callback of options that name a configuration: `session.environment` knows then whether one was typed."""
    typed = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    if typed and value and os.path.exists(value):
        ctx.meta[CONFIG_GIVEN] = True
    return value


def global_options(function: _F) -> _F:
    """calicoctl's options of all commands, which may stand before the command and after it."""
    for option in (
        click.option("-l", "--log-level", callback=_set_level, expose_value=False, help=f"One of {', '.join(_LEVELS)}."),
        click.option("--context", callback=_keep_context, expose_value=False, help="The context of the kubeconfig to use."),
        click.option(
            "--allow-version-mismatch",
            is_flag=True,
            callback=_keep_any_version,
            expose_value=False,
            help="Do not compare versions of this program and of the cluster.",
        ),
    ):
        function = option(function)
    return function
