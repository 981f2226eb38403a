"""The numbers of nf_tables' netlink interface that we use (include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h).

Attribute numbers are grouped by the object that they belong to. Pure.
"""

import struct

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
INET = 1  # NFPROTO_INET
IPV4 = 2
ARP = 3
IPV6 = 10
FAMILIES = {"inet": INET, "arp": ARP}
GROUP_NFTABLES = 7  # NFNLGRP_NFTABLES

BATCH_BEGIN = 0x10
BATCH_END = 0x11
BATCH_GENERATION = 1  # NFNL_BATCH_GENID


def message_type(message: int) -> int:
    """The netlink message type of an NFT_MSG_* number."""
    return SUBSYSTEM << 8 | message


def header(family: int = INET, resource: int = 0) -> bytes:
    """struct nfgenmsg."""
    return struct.pack(">BBH", family, 0, resource)


class Msg:
    """enum nf_tables_msg_types."""

    NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
    NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
    NEWRULE, GETRULE, DELRULE = 6, 7, 8
    NEWSET, GETSET, DELSET = 9, 10, 11
    NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
    NEWGEN, GETGEN = 15, 16


LIST_ELEMENT = 1  # NFTA_LIST_ELEM


class Table:
    """NFTA_TABLE_* and NFT_TABLE_F_*."""

    NAME, FLAGS = 1, 2
    OWNER, PERSIST = 2, 4


class ChainAttr:
    """NFTA_CHAIN_* and NFTA_HOOK_*."""

    TABLE, HANDLE, NAME, HOOK, POLICY, USE, TYPE = 1, 2, 3, 4, 5, 6, 7
    HOOK_NUMBER, HOOK_PRIORITY = 1, 2


class RuleAttr:
    """NFTA_RULE_* and the types of entries in its user data; 0 is nft's own comment, 200 is ours alone."""

    TABLE, CHAIN, HANDLE, EXPRESSIONS, USERDATA = 1, 2, 3, 4, 7
    DATA_COMMENT, DATA_DIGEST = 0, 200


class SetAttr:
    """NFTA_SET_*, its flags, and the types of entries in its user data (which nft needs in order to print)."""

    TABLE, NAME, FLAGS, KEY_TYPE, KEY_LENGTH, DATA_TYPE, DATA_LENGTH, ID, USERDATA = 1, 2, 3, 4, 5, 6, 7, 10, 13
    ANONYMOUS, CONSTANT, INTERVAL, MAP = 1, 2, 4, 8
    DATA_KEY_BYTEORDER, DATA_VALUE_BYTEORDER, DATA_COMMENT = 0, 1, 7
    HOST_ORDER, NETWORK_ORDER = 1, 2


class Elements:
    """NFTA_SET_ELEM_LIST_* and NFTA_SET_ELEM_*."""

    TABLE, SET, LIST, SET_ID = 1, 2, 3, 4
    KEY, DATA, FLAGS = 1, 2, 3
    INTERVAL_END, CATCH_ALL = 1, 2


class Data:
    """NFTA_DATA_*, NFTA_VERDICT_* and the verdict codes (enum nft_verdicts, NF_*)."""

    VALUE, VERDICT = 1, 2
    VERDICT_CODE, VERDICT_CHAIN = 1, 2
    VERDICT_TYPE = 0xFFFFFF00
    DROP, ACCEPT = 0, 1
    JUMP, GOTO, RETURN = -3, -4, -5


class Expr:
    """NFTA_EXPR_*; the attributes of each expression are written as numbers where it is built."""

    NAME, DATA = 1, 2


class Key:
    """Key types as the nft program numbers them (it alone reads them; a concatenation shifts by six bits)."""

    IPV4, IPV6, PROTOCOL, PORT, IFNAME = 7, 8, 12, 13, 41
    ICMP_TYPE, ICMPV6_TYPE, ICMP_CODE, ICMPV6_CODE = 14, 29, 32, 33
    BITS = 6


class Reg:
    """Registers: the verdict, the first of 16 bytes, and the 4-byte ones from 8 on (which overlay the former)."""

    VERDICT, FIRST, WORDS = 0, 1, 8


HOOKS = {"inet": ("prerouting", "input", "forward", "output", "postrouting"), "arp": ("input", "output", "forward")}
COUNTER = "counter"
COUNTER_BYTES, COUNTER_PACKETS = 1, 2


def userdata(kind: int, value: bytes) -> bytes:
    """One entry of a rule's or set's user data: type, length, value."""
    return bytes((kind, len(value))) + value


def parse_userdata(data: bytes) -> dict[int, bytes]:
    """Entries by type; a damaged tail is ignored, since anybody may have written it."""
    found: dict[int, bytes] = {}
    position = 0
    while position + 2 <= len(data):
        kind, length = data[position], data[position + 1]
        found[kind] = data[position + 2 : position + 2 + length]
        position += 2 + length
    return found


def clipped(comment: str, limit: int = 127) -> bytes:
    """The comment as nft stores it: at most `limit` bytes on a character's border, and a zero."""
    return comment.encode()[:limit].decode(errors="ignore").encode() + b"\0"
