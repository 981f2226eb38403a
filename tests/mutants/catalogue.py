"""Twenty planted bugs: each a small, believable mistake that would open or close the wrong door.

Five each in conversion, calculation, renderer and driver. `old` must occur exactly once in `file` (below src/tortie).
"""

from dataclasses import dataclass

EVALUATOR = ("tests/fuzz/test_differential.py", 500)
"""Oracle against conversion, calculation and evaluation; how many clusters are enough."""
KERNEL = ("tests/fuzz/test_kernel.py", 240)
"""The same with the kernel as third judge."""
TABLE = ("tests/kernel/test_nft_table.py", 0)
"""The driver of our nft table in a namespace of its own."""


@dataclass(frozen=True)
class Mutant:
    """A bug, and the test file (with the number of fuzzed clusters) that must notice it."""

    name: str
    file: str
    old: str
    new: str
    check: tuple[str, int]


CONVERSION = (
    Mutant(
        "an empty namespaceSelector means the policy's own namespace",
        "convert/labels.py",
        'return " && ".join(_terms(selector)) or "all()"',
        'return " && ".join(_terms(selector))',
        EVALUATOR,
    ),
    Mutant(
        "endPort is forgotten",
        "convert/ports.py",
        "last = first if entry.end_port is None else entry.end_port",
        "last = first",
        EVALUATOR,
    ),
    Mutant(
        "except is forgotten",
        "convert/policies.py",
        'not_nets=tuple(str(_cidr(text, "ipBlock.except")) for text in block.except_)',
        "not_nets=()",
        EVALUATOR,
    ),
    Mutant(
        "egress peers lose their namespace selector",
        "convert/policies.py",
        "        namespace_selector=side.namespace_selector,\n",
        "",
        EVALUATOR,
    ),
    Mutant(
        "a port entry without a port opens nothing beside numbered ones",
        "convert/ports.py",
        "() if each in whole else (*named[each], *_merged(numeric[each]))",
        "(*named[each], *_merged(numeric[each]))",
        EVALUATOR,
    ),
)

CALCULATION = (
    Mutant(
        "a policy without order comes first",
        "calc/policy_sorter.py",
        "return math.inf if order is None else order",
        "return -math.inf if order is None else order",
        EVALUATOR,
    ),
    Mutant(
        "network sets do not inherit their namespace's labels",
        "calc/labelled.py",
        'profiles = (f"kns.{namespace}",)',
        "profiles = ()",
        EVALUATOR,
    ),
    Mutant(
        "a selector is dropped when named and numeric ports are mixed",
        "calc/rule_parser.py",
        "folded = bool(named) and not ports",
        "folded = bool(named)",
        EVALUATOR,
    ),
    Mutant(
        "notSelector in a namespaced policy reaches beyond its namespace",
        "calc/selectors.py",
        "if ns and (own or side.not_selector or side.namespace_selector):",
        "if ns and (own or side.namespace_selector):",
        EVALUATOR,
    ),
    Mutant(
        "a tier's default applies to directions that none of its policies governs",
        "calc/policy_sorter.py",
        "egress=tuple(each for each in ids if policies[each].egress)",
        "egress=tuple(ids)",
        EVALUATOR,
    ),
)

RENDERER = (
    Mutant(
        "notNets of the other family are ignored instead of removing the rule",
        "dataplane/render/policy.py",
        "for nets in (side.nets, side.not_nets) if nets]",
        "for nets in (side.nets,) if nets]",
        KERNEL,
    ),
    Mutant(
        "a port range within another one cuts it short",
        "dataplane/render/policy.py",
        "max(merged[-1][1], last))",
        "last)",
        KERNEL,
    ),
    Mutant(
        "the end of a tier denies what was passed on",
        "dataplane/render/endpoint.py",
        'nft.Rule((not_passed, *deny(config)), names.comment(f"end of tier {tier.name}"))',
        'nft.Rule(deny(config), names.comment(f"end of tier {tier.name}"))',
        KERNEL,
    ),
    Mutant(
        "the bit that ORs ports is never cleared",
        "dataplane/render/policy.py",
        "prelude.insert(0, nft.Rule((nft.SetMark(config.marks.scratch, 0),), comment))",
        "pass",
        KERNEL,
    ),
    Mutant(
        "what the source may send is accepted before the destination is asked",
        "dataplane/render/endpoint.py",
        "rules.append(nft.Rule((accepted, nft.RETURN)))",
        "rules.append(nft.Rule((accepted, nft.ACCEPT)))",
        KERNEL,
    ),
)

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
        "return load, _compare(_GTE, first), _compare(_LTE, last)",
        "return load, _compare(_GTE, first)",
        KERNEL,
    ),
    Mutant(
        "members that a set should lose stay in the kernel",
        "kernel/nft/state.py",
        "            if is_known:\n                change.remove.append(key)\n",
        "",
        TABLE,
    ),
)

MUTANTS = (*CONVERSION, *CALCULATION, *RENDERER, *DRIVER)
