"""`tortie agent`: the process on every node."""

import asyncio
import os
import sys

import click


@click.command()
@click.option(
    "--node", default="", help="This node's name (default: FELIX_FELIXHOSTNAME, NODENAME, the nodename file, host name)."
)
@click.option("--run-dir", default="", help="Sockets, status, BIRD's files (default: /run/tortie).")
@click.option("--state-dir", default="", help="What outlives a reboot (default: /var/lib/tortie).")
@click.option(
    "--log-level", default="", help="trace, debug, info, warning, error or fatal (default: FELIX_LOGSEVERITYSCREEN, info)."
)
@click.option("--log-format", default="", help="text or json, one object a line (default: TORTIE_LOG_FORMAT, text).")
@click.option(
    "--accept-datastore", is_flag=True, help="Follow the datastore even if it is another cluster's, or empty, all of a sudden."
)
@click.option(
    "--own-tables",
    is_flag=True,
    help="Let nobody else change our nft tables while the agent lives (Linux 6.9; default: TORTIE_OWN_TABLES).",
)
def agent(
    *, node: str, run_dir: str, state_dir: str, log_level: str, log_format: str, accept_datastore: bool, own_tables: bool
) -> None:
    """Run this node's agent until SIGTERM. The kernel and BIRD keep what they have when it ends.

    SIGHUP makes it start again in place, with the same pid, and read its configuration file anew.
    """
    from tortie.agent.options import read_options
    from tortie.agent.wiring import RESTART, run_agent
    from tortie.base import log, process

    if os.geteuid() != 0:
        raise click.ClickException("the agent programs the kernel: run it as root")
    options = read_options(
        os.environ,
        node=node,
        run_dir=run_dir,
        state_dir=state_dir,
        log_level=log_level,
        accept_datastore=accept_datastore,
        own_tables=own_tables,
    )
    try:
        log.configure(options.log_level, log_format or os.environ.get("TORTIE_LOG_FORMAT", "text"))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    code = asyncio.run(run_agent(options))
    if code == RESTART:
        process.replace_self()
    sys.exit(code)
