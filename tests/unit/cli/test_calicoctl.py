"""What calicoctl's users type and read: names of kinds, columns, commands and their options (docs/calicoctl.md)."""

import re
from pathlib import Path

import click
import pytest

from tortie.api.kinds import kind_by_alias
from tortie.cli.main import tortie

PAGE = Path(__file__).parents[3] / "docs" / "calicoctl.md"

COLUMNS = """
bgpconfiguration bgpconfigurations bgpconfig bgpconfigs | NAME LOGSEVERITY MESHENABLED ASNUMBER |
bgpfilter bgpfilters bgpf bgpfs bf bfs | NAME NUMEXPORTV4 NUMIMPORTV4 NUMEXPORTV6 NUMIMPORTV6 |
bgppeer bgppeers bgpp bgpps bp bps | NAME PEERIP NODE ASN |
caliconodestatus caliconodestatuses nodestatus nodestatuses | NAME NODE | NAME NODE CLASSES
clusterinformation clusterinfo clusterinfos | NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY |
felixconfiguration felixconfigurations felixconfig felixconfigs | NAME |
globalnetworkpolicy globalnetworkpolicies gnp gnps | NAME TIER | NAME TIER ORDER SELECTOR
globalnetworkset globalnetworksets gnetsets | NAME | NAME NETS
hostendpoint hostendpoints hep heps | NAME NODE | NAME NODE INTERFACE IPS PROFILES
ipamconfiguration ipamconfig ipamconfigs | NAME STRICTAFFINITY AUTOALLOCATEBLOCKS | \
    NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST
ippool ippools ipp ipps pool pools | NAME CIDR SELECTOR | \
    NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR ASSIGNMENTMODE
ipreservation ipreservations reservation reservations | NAME | NAME CIDRS
kubecontrollersconfiguration kubecontrollersconfig kubecontrollersconfigs | NAME |
networkpolicy networkpolicies np policy policies pol pols | NAME TIER | NAME TIER ORDER SELECTOR
networkset networksets netsets | NAME | NAME NETS
node nodes no nos | NAME | NAME ASN IPV4 IPV6
profile profiles pro pros | NAME | NAME LABELS
stagedglobalnetworkpolicy sgnp | NAME TIER | NAME TIER ORDER SELECTOR
stagedkubernetesnetworkpolicy sknp skpol skpols stagedkubernetespolicy stagedkubernetespolicies | NAME | NAME PODSELECTOR
stagednetworkpolicy snp spol spols stagedpolicy stagedpolicies | NAME TIER | NAME TIER ORDER SELECTOR
tier tiers | NAME ORDER |
workloadendpoint workloadendpoints wep weps | WORKLOAD NODE NETWORKS INTERFACE | \
    NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS
"""
"""Names of a kind | the columns of its table | those of the wide one where it differs."""

COMMANDS = {
    "create": "-f -R --skip-empty -n -c --skip-exists",
    "apply": "-f -R --skip-empty -n -c",
    "replace": "-f -R --skip-empty -n -c",
    "validate": "-f -R --skip-empty -n -c",
    "delete": "-f -R -s --skip-not-exists -n -c",
    "get": "-f -R -o -A --all-namespaces -a --export -n -c",
    "patch": "-p -t -n -c",
    "label": "--overwrite --remove -n -c",
    "ipam show": "--show-blocks --show-borrowed --show-configuration --ip -c",
    "ipam check": "--show-all-ips --show-problem-ips -o --kubeconfig -c",
    "ipam release": "--ip --from-report --force -c",
    "ipam split": "--cidr --name -c",
    "ipam configure": "--strictaffinity --max-blocks-per-host --kubevirt-ip-persistence --ip-cooldown-seconds -c",
    "node status": "-l",
    "node checksystem": "-f",
    "node diags": "--log-dir",
    "node run": "--ip --ip6 --as --name --ip-autodetection-method --ip6-autodetection-method --log-dir --node-image --backend"
    " --dryrun --init-system --no-default-ippools --felix-config -c",
    "cluster diags": "--since --max-logs --max-parallelism --focus-nodes --skip-temp-dir-cleanup -c",
    "datastore migrate lock": "-c",
    "datastore migrate unlock": "-c",
    "datastore migrate export": "-c",
    "datastore migrate import": "-f -c",
    "datastore migrate migrate-policy-names": "-c",
    "version": "--client --poll -c",
}
"""calicoctl's commands and the options of each."""

EVERYWHERE = {"-l", "--log-level", "--context", "--allow-version-mismatch"}


def rows() -> list[tuple[list[str], list[str], list[str]]]:
    found = []
    for line in COLUMNS.strip().splitlines():
        names, narrow, wide = (part.split() for part in line.split("|"))
        found.append((names, narrow, wide or narrow))
    return found


@pytest.mark.parametrize(("names", "narrow", "wide"), rows(), ids=[names[0] for names, _, _ in rows()])
def test_a_kind_has_calicoctls_names_and_columns(names: list[str], narrow: list[str], wide: list[str]) -> None:
    (kind,) = {kind_by_alias(name).kind for name in names}
    assert kind.lower() == names[0]
    found = kind_by_alias(names[0])
    assert [column.heading for column in found.columns] == narrow
    assert [column.heading for column in found.wide_columns] == wide


def command_of(words: str) -> click.Command:
    command: click.Command = tortie
    for word in words.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, words
        command = found
    return command


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_has_calicoctls_options(words: str) -> None:
    known = {name for parameter in command_of(words).params for name in parameter.opts}
    assert set(COMMANDS[words].split()) - known == set()
    if not words.startswith("node diags"):
        assert known >= EVERYWHERE or words in ("node status", "node checksystem", "node run"), words


@pytest.mark.parametrize("words", COMMANDS)
def test_the_page_tells_of_every_command_and_of_every_option(words: str) -> None:
    text = PAGE.read_text()
    assert words.rpartition(" ")[2] in text
    for option in COMMANDS[words].split():
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"{words} {option}"
