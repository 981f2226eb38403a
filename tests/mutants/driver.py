"""Bugs between rules and the kernel."""

from tests.mutants.mutant import KERNEL, TABLE, Mutant

DRIVER = (
    Mutant(
        "an interval ends one address early",
        "kernel/nft/elements.py",
        'end = int.from_bytes(key[size:], "big") + 1\n    start = _START[size]',
        'end = int.from_bytes(key[size:], "big")\n    start = _START[size]',
        KERNEL,
    ),
    Mutant(
        "members of named port sets are all TCP",
        "kernel/nft/elements.py",
        "return address.packed + bytes((protocol, 0, 0, 0))",
        "return address.packed + bytes((6, 0, 0, 0))",
        KERNEL,
    ),
    Mutant(
        "prefixes are compared by whole bytes",
        "kernel/nft/encode.py",
        "if length and length % 8 == 0:",
        "if length:",
        KERNEL,
    ),
    Mutant(
        "a port range has no upper end",
        "kernel/nft/encode.py",
        "return load, compare(GTE, first), compare(LTE, last)",
        "return load, compare(GTE, first)",
        KERNEL,
    ),
    Mutant(
        "members that a set should lose stay in the kernel",
        "kernel/nft/state.py",
        "            if is_known:\n                change.remove.append(key)\n",
        "",
        TABLE,
    ),
    Mutant(
        "a set that must not hold an address must hold it",
        "kernel/nft/encode.py",
        'return _load_address(s.side, s.family), lookup(s.set_name, inverted=s.op == "!=")',
        "return _load_address(s.side, s.family), lookup(s.set_name, inverted=False)",
        KERNEL,
    ),
    Mutant(
        "an ICMP type excludes all of its codes",
        "kernel/nft/encode.py",
        'if s.op == "!=":  # "not',
        'if s.op == "!=" and not code:  # "not',
        KERNEL,
    ),
    Mutant(
        "an interface pattern is a whole name",
        "kernel/nft/encode.py",
        "    return load, equal(s.op, prefix)\n",
        '    return load, equal(s.op, prefix.ljust(16, b"\\0"))\n',
        KERNEL,
    ),
    Mutant(
        "the source check looks at the route alone",
        "kernel/nft/encode.py",
        "_FIB_SADDR | _FIB_MARK | _FIB_IIF | _FIB_PRESENT",
        "_FIB_SADDR | _FIB_MARK | _FIB_PRESENT",
        KERNEL,
    ),
)
