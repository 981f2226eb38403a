"""`tortie apiserver`: the v3 API for kubectl, behind Kubernetes or alone."""

import asyncio
import os
from pathlib import Path

import click

from tortie.cli.session import config_flag, environment


@click.group(invoke_without_command=True)
@config_flag
@click.option("--standalone", is_flag=True, help="Serve without Kubernetes: own certificates, own users.")
@click.option("--bind", default="", help="Address to listen on (default: 127.0.0.1 standalone, else all).")
@click.option("--port", type=int, default=0, help="Port to listen on (default: 6443 standalone, else 5443).")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Certificates (default: /var/lib/tortie/apiserver).")
@click.option("--name", "names", multiple=True, help="Name or address by which clients call us, for the certificate.")
@click.option("--token-file", type=click.Path(path_type=Path), help='Lines of token,user,uid,"group,group" (standalone).')
@click.option("--write-kubeconfig", type=click.Path(path_type=Path), help="Write an administrator's kubeconfig (standalone).")
@click.option("--insecure-loopback", is_flag=True, help="No TLS and no login, on loopback only (standalone).")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="The server's certificate (behind Kubernetes).")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key.")
@click.option("--kubeconfig", default="", help="The way to Kubernetes (default: KUBECONFIG, else the pod's own).")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warning or error.")
@click.pass_context
def apiserver(
    ctx: click.Context,
    *,
    config: str,
    standalone: bool,
    bind: str,
    port: int,
    folder: Path | None,
    names: tuple[str, ...],
    token_file: Path | None,
    write_kubeconfig: Path | None,
    insecure_loopback: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    kubeconfig: str,
    log_level: str,
) -> None:
    """Serve projectcalico.org/v3 to kubectl, on whichever datastore is configured, until SIGTERM.

    Without --standalone it stands behind kube-apiserver's aggregation layer (manifests/apiserver.yaml), which says who asks and
    who may. With it, users come from client certificates and a token file; the group system:masters may do everything,
    tortie:readers may read.
    """
    if ctx.invoked_subcommand is not None:
        return
    from tortie.apiserver.options import AGGREGATED_PORT, DEFAULT_FOLDER, DEFAULT_PORT, Options
    from tortie.apiserver.server import serve
    from tortie.base import log
    from tortie.datastore.config import open_client
    from tortie.datastore.kubernetes.places import CRD_V1

    log.configure(log_level)
    options = Options(
        standalone=standalone,
        host=bind or ("127.0.0.1" if standalone else ""),
        port=port or (DEFAULT_PORT if standalone else AGGREGATED_PORT),
        folder=folder or DEFAULT_FOLDER,
        names=names,
        tokens=token_file,
        certificate=tls_cert,
        key=tls_key,
        kubeconfig=kubeconfig,
        kubeconfig_out=write_kubeconfig,
        insecure_loopback=insecure_loopback,
    )

    async def run() -> None:
        # Behind Kubernetes we are what projectcalico.org leads to: looked for there, our resources would be asked of ourselves.
        client = open_client(environment() if standalone else {**environment(), "CALICO_API_GROUP": CRD_V1}, config)
        try:
            await serve(options, client, os.environ)
        finally:
            await client.close()

    asyncio.run(run())


@apiserver.command("kubeconfig")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Certificates (default: /var/lib/tortie/apiserver).")
@click.option("--server", default="", help="URL of the server (default: https://127.0.0.1:6443).")
@click.option("--user", default="admin", show_default=True, help="Who the kubeconfig is for.")
@click.option("--group", "groups", multiple=True, help="Groups of that user (default: system:masters).")
@click.option("--output", type=click.Path(path_type=Path), help="File to write, readable by its owner (default: stdout).")
def kubeconfig_command(*, folder: Path | None, server: str, user: str, groups: tuple[str, ...], output: Path | None) -> None:
    """Print a kubeconfig with a new client certificate for a server that stands alone."""
    from tortie.apiserver.access import ADMINS
    from tortie.apiserver.certificates import Folder, kubeconfig, write_private
    from tortie.apiserver.options import DEFAULT_FOLDER, DEFAULT_PORT

    content = kubeconfig(
        Folder(folder or DEFAULT_FOLDER),
        server=server or f"https://127.0.0.1:{DEFAULT_PORT}",
        user=user,
        groups=groups or (ADMINS,),
    )
    if output is None:
        click.echo(content, nl=False)
    else:
        write_private(output, content)
        click.echo(f"wrote {output}")
