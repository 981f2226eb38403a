"""Nft values as the text that `nft -f` reads. For people, for golden files, to check the encoder by. Pure."""

from collections.abc import Iterable, Mapping
from typing import assert_never

from tortie.base.net import Address, Family, Prefix
from tortie.kernel.nft import objects as nft

Key = Prefix | tuple[Address, int, int] | str
Elements = Mapping[Key, nft.Jump | nft.Goto | nft.Verdict | None]

_IP = {Family.V4: "ip", Family.V6: "ip6"}
_ADDRESS = {"source": "saddr", "destination": "daddr"}
_PORT = {"source": "sport", "destination": "dport"}
_HOOK = {"iif": "iifname", "oif": "oifname"}
_ICMP = {Family.V4: "icmp", Family.V6: "icmpv6"}
_FIB_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 5: "multicast"}
_CT_STATES = ((1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked"))


def table_text(name: str, chains: Iterable[nft.Chain], sets: Iterable[tuple[nft.SetSpec, Elements]]) -> str:
    """A whole `inet` table: sets by name, then chains by name (nft itself finds a chain that stands further down)."""
    blocks = [_set(spec, elements) for spec, elements in sorted(sets, key=lambda entry: entry[0].name)]
    blocks += [chain_text(chain) for chain in sorted(chains, key=lambda chain: chain.name)]
    return f"table inet {name} {{\n" + "\n".join(blocks) + "}\n"


def chain_text(chain: nft.Chain) -> str:
    """One chain, indented as within a table."""
    lines = [f"\tchain {chain.name} {{"]
    if chain.hook is not None:
        hook = chain.hook
        lines.append(f"\t\ttype {hook.type} hook {hook.hook} priority {hook.priority}; policy {hook.policy};")
    lines += [f"\t\t{rule_text(rule)}" for rule in chain.rules]
    return "\n".join([*lines, "\t}\n"])


def rule_text(rule: nft.Rule) -> str:
    """One rule on one line."""
    words = [_statement(statement) for statement in rule.statements]
    if rule.comment:
        words.append(f'comment "{rule.comment}"')
    return " ".join(words)


def _set(spec: nft.SetSpec, elements: Elements) -> str:
    lines = [f"\t{'map' if spec.is_verdict_map else 'set'} {spec.name} {{"]
    lines.append(f"\t\ttype {spec.type.value}{' : verdict' if spec.is_verdict_map else ''}")
    if spec.interval:
        lines.append("\t\tflags interval")
    if spec.comment:
        lines.append(f'\t\tcomment "{spec.comment}"')
    if elements:
        lines.append(f"\t\telements = {{ {', '.join(sorted(_element(*item) for item in elements.items()))} }}")
    return "\n".join([*lines, "\t}\n"])


def _element(key: Key, value: nft.Jump | nft.Goto | nft.Verdict | None) -> str:
    match key:
        case str():
            text = f'"{key}"'
        case Prefix():
            text = str(key)
        case (address, protocol, port):
            text = f"{address} . {protocol} . {port}"
    return text if value is None else f"{text} : {_statement(value)}"


def _op(op: nft.Op) -> str:
    return "" if op == "==" else "!= "


def _statement(statement: nft.Statement) -> str:
    match statement:
        case (
            nft.SetMark() | nft.Counter() | nft.LogGroup() | nft.Limit() | nft.Connections() | nft.SetDscp()
            | nft.Masquerade() | nft.SourceNat() | nft.DestinationNat() | nft.NoTrack() | nft.Reject()
            | nft.Verdict() | nft.Jump() | nft.Goto() | nft.IfNameVmap()
        ):  # fmt: skip
            return _act(statement)
        case _:
            return _match(statement)


_Action = (
    nft.SetMark | nft.Counter | nft.LogGroup | nft.Limit | nft.Connections | nft.SetDscp | nft.Masquerade | nft.SourceNat
    | nft.DestinationNat | nft.NoTrack
    | nft.Reject | nft.Verdict | nft.Jump | nft.Goto | nft.IfNameVmap
)  # fmt: skip
_Match = (
    nft.NfProto | nft.L4Proto | nft.IfName | nft.Net | nft.Nets | nft.NetIn | nft.Ports | nft.AddressPortIn | nft.IcmpIs
    | nft.Mark | nft.CtState | nft.CtStatus | nft.FibType | nft.NoReversePath | nft.ArpReply
    | nft.ArpSender
)  # fmt: skip


def _match(statement: _Match) -> str:
    match statement:
        case nft.NfProto(family=family):
            return f"meta nfproto {'ipv4' if family is Family.V4 else 'ipv6'}"
        case nft.L4Proto(protocol=protocol, op=op):
            return f"meta l4proto {_op(op)}{protocol}"
        case nft.IfName(hook=hook, name=name, op=op):
            return f'{_HOOK[hook]} {_op(op)}"{name}"'
        case nft.Net(side=side, prefix=prefix, op=op):
            return f"{_IP[prefix.family]} {_ADDRESS[side]} {_op(op)}{prefix}"
        case nft.Nets(side=side, prefixes=prefixes, op=op):
            return f"{_IP[prefixes[0].family]} {_ADDRESS[side]} {_op(op)}{{ {', '.join(map(str, prefixes))} }}"
        case nft.NetIn(side=side, family=family, set_name=name, op=op):
            return f"{_IP[family]} {_ADDRESS[side]} {_op(op)}@{name}"
        case nft.Ports(side=side, ranges=ranges, op=op):
            texts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
            return f"th {_PORT[side]} {_op(op)}{texts[0] if len(texts) == 1 else '{ ' + ', '.join(texts) + ' }'}"
        case nft.AddressPortIn(side=side, family=family, set_name=name, op=op):
            return f"{_IP[family]} {_ADDRESS[side]} . meta l4proto . th {_PORT[side]} {_op(op)}@{name}"
        case nft.IcmpIs(family=family, type=kind, code=None, op=op):
            return f"{_ICMP[family]} type {_op(op)}{kind}"
        case nft.IcmpIs(family=family, type=kind, code=code, op=op):
            return f"{_ICMP[family]} type . {_ICMP[family]} code {_op(op)}{{ {kind} . {code} }}"
        case nft.Mark(mask=mask, value=value, op=op):
            return f"meta mark & {mask:#x} {op} {value:#x}"
        case nft.CtState(bits=bits, op="=="):
            return f"ct state {','.join(name for bit, name in _CT_STATES if bits & bit)}"
        case nft.CtState(bits=bits) | nft.CtStatus(bits=bits, op="!="):
            return f"ct {'state' if isinstance(statement, nft.CtState) else 'status'} & {bits:#x} == 0"
        case nft.CtStatus(bits=bits):
            return f"ct status & {bits:#x} != 0"
        case nft.FibType(side=side, type=kind, op=op, of_output=of_output):
            return f"fib {_ADDRESS[side]}{' . oif' if of_output else ''} type {_op(op)}{_FIB_TYPES[kind]}"
        case nft.NoReversePath():
            return "fib saddr . mark . iif oif missing"
        case nft.ArpReply():
            return "arp operation reply"
        case nft.ArpSender(address=address):
            return f"arp saddr ip {address}"
    assert_never(statement)


def _act(statement: _Action) -> str:
    match statement:
        case nft.SetMark(mask=mask, value=value):
            cleared = f"meta mark set meta mark & {~mask & 0xFFFFFFFF:#010x}"
            return f"{cleared} | {value:#x}" if value else cleared
        case nft.Counter():
            return "counter"
        case nft.LogGroup(group=group, prefix=prefix, snaplen=snaplen):
            return f'log prefix "{prefix}" group {group} snaplen {snaplen}'
        case nft.Limit(rate=rate, unit=unit, burst=burst, over=over):
            return f"limit rate {'over ' if over else ''}{rate}/{unit} burst {burst} packets"
        case nft.Connections(over=count):
            return f"ct count over {count}"
        case nft.SetDscp(family=family, value=value):
            return f"{_IP[family]} dscp set {value}"
        case nft.Masquerade(fully_random=fully_random, ports=ports):
            return f"masquerade{f' to :{ports[0]}-{ports[1]}' if ports else ''}{' fully-random' if fully_random else ''}"
        case nft.SourceNat(address=address, fully_random=fully_random, ports=ports):
            return f"snat {_IP[address.family]} to {_nat_target(address, ports)}{' fully-random' if fully_random else ''}"
        case nft.DestinationNat(address=address):
            return f"dnat {_IP[address.family]} to {address}"
        case nft.NoTrack():
            return "notrack"
        case nft.Reject(tcp_reset=tcp_reset):
            return "reject with tcp reset" if tcp_reset else "reject with icmpx type admin-prohibited"
        case nft.Verdict(kind=kind):
            return kind.value
        case nft.Jump(chain=chain):
            return f"jump {chain}"
        case nft.Goto(chain=chain):
            return f"goto {chain}"
        case nft.IfNameVmap(hook=hook, map_name=name):
            return f"{_HOOK[hook]} vmap @{name}"
    assert_never(statement)


def _nat_target(address: Address, ports: tuple[int, int] | None) -> str:
    if ports is None:
        return str(address)
    shown = f"[{address}]" if address.family is Family.V6 else str(address)
    return f"{shown}:{ports[0]}-{ports[1]}"
