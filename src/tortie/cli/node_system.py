"""`tortie node checksystem` and `tortie node run`: is this kernel fit, and the agent with calicoctl's options."""

import gzip
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tortie.cli.everywhere import global_options
from tortie.cli.files import InputError

_OLDEST = (5, 10)
_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the kernel: the module, what the kernel's configuration calls it, and what needs it."""

    name: str
    option: str
    use: str
    needed: bool = True


MODULES = (
    Module("nf_tables", "CONFIG_NF_TABLES", "all policy"),
    Module("nf_conntrack", "CONFIG_NF_CONNTRACK", "replies of allowed connections"),
    Module("nft_ct", "CONFIG_NFT_CT", "states and marks of connections"),
    Module("nft_fib", "CONFIG_NFT_FIB", "reverse path checks"),
    Module("nft_fib_inet", "CONFIG_NFT_FIB_INET", "reverse path checks"),
    Module("nft_log", "CONFIG_NFT_LOG", "the Log action"),
    Module("nfnetlink_log", "CONFIG_NETFILTER_NETLINK_LOG", "the Log action, policy trace"),
    Module("nft_chain_nat", "CONFIG_NFT_NAT", "natOutgoing"),
    Module("nft_masq", "CONFIG_NFT_MASQ", "natOutgoing"),
    Module("nft_reject", "CONFIG_NFT_REJECT", "filterDenyAction Reject"),
    Module("veth", "CONFIG_VETH", "pods"),
    Module("ipip", "CONFIG_NET_IPIP", "IPIP pools (else by eBPF)", needed=False),
    Module("vxlan", "CONFIG_VXLAN", "VXLAN pools", needed=False),
    Module("wireguard", "CONFIG_WIREGUARD", "encryption between nodes", needed=False),
    Module("nft_connlimit", "CONFIG_NFT_CONNLIMIT", "limits of connections", needed=False),
)


class Kernel:
    """Where a module may be found: loaded, built in, installed, or in a kernel's configuration."""

    def __init__(self, release: str, *, config: Path | None, modules: Path, proc: Path) -> None:
        directory = modules / release
        self._sources: tuple[tuple[str, frozenset[str]], ...] = (
            ("loaded", frozenset(line.split()[0] for line in _lines(proc / "modules"))),
            ("built in", frozenset(_file_names(directory / "modules.builtin"))),
            ("installed", frozenset(_file_names(directory / "modules.dep"))),
        )
        self._options = frozenset(_options(config or _config_file(release, proc)))

    def has(self, module: Module) -> bool:
        """True if the kernel has it, or can load it."""
        return any(module.name in names for _, names in self._sources) or module.option in self._options


@click.command()
@click.option("-f", "--kernel-config", type=click.Path(exists=True, dir_okay=False), help="The kernel's configuration file.")
@global_options
def checksystem(kernel_config: str | None) -> None:
    """Check that this machine's kernel has what an agent needs. `tortie doctor` tries it out."""
    release = os.uname().release
    kernel = Kernel(
        release, config=Path(kernel_config) if kernel_config else None, modules=Path("/lib/modules"), proc=Path("/proc")
    )
    good = True
    for line, fine in check_lines(release, kernel):
        click.echo(line)
        good = good and fine
    if not good:
        raise InputError("System doesn't meet minimum system requirements to run Tortie")
    click.echo("System meets minimum system requirements to run Tortie!")


def check_lines(release: str, kernel: Kernel) -> Iterator[tuple[str, bool]]:
    """What is printed, and whether it is fine."""
    yield "Checking kernel version...", True
    new_enough = _version(release) >= _OLDEST
    yield f"\t{release:<{_WIDTH}}{'OK' if new_enough else f'FAIL: {_OLDEST[0]}.{_OLDEST[1]} is needed'}", new_enough
    yield "Checking kernel modules...", True
    for module in MODULES:
        found = kernel.has(module)
        state = "OK" if found else ("FAIL" if module.needed else "SKIP")
        yield f"\t{module.name:<{_WIDTH}}{state}{'' if found else f' ({module.use})'}", found or not module.needed


@click.command()
@click.option("--ip", default="", help="This node's IPv4 address, as a CIDR; or autodetect, none.")
@click.option("--ip6", default="", help="This node's IPv6 address, as a CIDR; or autodetect, none.")
@click.option("--as", "as_number", default="", help="This node's AS number.")
@click.option("--name", default="", help="This node's name (default: the host's).")
@click.option("--ip-autodetection-method", "method", default="", help="How its IPv4 address is found (first-found).")
@click.option("--ip6-autodetection-method", "method6", default="", help="How its IPv6 address is found (first-found).")
@click.option("--log-dir", default="", help="Not used: logs go to stderr, for the journal.")
@click.option("--node-image", default="", help="Not used: the agent runs as it is installed.")
@click.option(
    "--backend", type=click.Choice(["bird", "none"]), default="bird", show_default=True, help="Routes by BGP, or not."
)
@click.option("--dryrun", is_flag=True, help="Print the command, run nothing.")
@click.option("--init-system", is_flag=True, help="Not needed: it always stays in the foreground.")
@click.option("--no-default-ippools", is_flag=True, help="Not needed: the agent never makes IP pools.")
@click.option("--felix-config", default="", help="A file of parameters (felix.cfg).")
@click.option("-c", "--config", default="", help="calicoctl's configuration.")
@global_options
def run(
    *,
    ip: str,
    ip6: str,
    as_number: str,
    name: str,
    method: str,
    method6: str,
    log_dir: str,
    node_image: str,
    backend: str,
    dryrun: bool,
    init_system: bool,
    no_default_ippools: bool,
    felix_config: str,
    config: str,
) -> None:
    """Run this node's agent with calicoctl's options, in the foreground. `tortie agent` does the same with variables."""
    del log_dir, node_image, init_system, no_default_ippools
    variables = agent_variables(
        addresses={"IP": ip, "IP6": ip6},
        as_number=as_number,
        name=name,
        methods={"IP_AUTODETECTION_METHOD": method, "IP6_AUTODETECTION_METHOD": method6},
        backend=backend,
    )
    if felix_config:
        variables["FELIX_CONFIGFILE"] = felix_config
    if config:
        variables["CALICO_CONFIG_FILE"] = config
    if dryrun:
        click.echo(" ".join(["env", *(f"{name}={value}" for name, value in variables.items()), "tortie", "agent"]))
        return
    os.environ.update(variables)
    from tortie.cli.agent import agent

    agent.main(["--node", name] if name else [], prog_name="tortie agent", standalone_mode=False)


def agent_variables(
    *, addresses: Mapping[str, str], as_number: str, name: str, methods: Mapping[str, str], backend: str
) -> dict[str, str]:
    """Calico's variables for what was given. Raises InputError for an address or a number that is none."""
    from tortie.base.net import parse_interface

    variables = {"NODENAME": name} if name else {}
    variables["CALICO_NETWORKING_BACKEND"] = backend
    for variable, text in addresses.items():
        if text and text not in ("autodetect", "none"):
            try:
                parse_interface(text)
            except ValueError:
                raise InputError(f"Error executing command: invalid IP address specified: {text}") from None
        if text:
            variables[variable] = text
    if as_number:
        if re.fullmatch(r"\d+(\.\d+)?", as_number) is None:
            raise InputError(f"Error executing command: invalid AS Number specified: {as_number}")
        variables["AS"] = as_number
    return variables | {variable: text for variable, text in methods.items() if text}


def _version(release: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()


def _file_names(path: Path) -> Iterator[str]:
    """Names of modules in modules.dep and modules.builtin: `kernel/net/foo-bar.ko.xz: ...` is foo_bar."""
    for line in _lines(path):
        yield Path(line.partition(":")[0]).name.partition(".ko")[0].replace("-", "_")


def _config_file(release: str, proc: Path) -> Path:
    boot = Path("/boot") / f"config-{release}"
    return boot if boot.exists() else proc / "config.gz"


def _options(path: Path) -> Iterator[str]:
    """Options that are built in or modules."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode(errors="replace")
    except (OSError, EOFError, gzip.BadGzipFile):
        return
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if value in ("y", "m"):
            yield name
