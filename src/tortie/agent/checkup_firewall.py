"""Rules of others that can drop what our rules let pass: every base chain has its say, and one drop is the last word.

`find_foreign` is pure over nft's JSON and iptables' listings; `check_firewall` asks for them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tortie.agent.checkup import Check, State
from tortie.base import process
from tortie.base.process import ProcessError

_OURS = {("inet", "tortie"), ("arp", "tortie")}
_HOOKS = ("forward", "input", "prerouting")
_FINAL = ("drop", "reject")
_SECONDS = 10.0
_WHY = {
    "forward": "packets between pods and other nodes go through it; a drop here is final, whatever policy says",
    "input": "BGP (TCP 179), VXLAN (UDP 4789), IPIP, WireGuard (UDP 51820) and pods' packets to this host go through it",
    "prerouting": "every packet that arrives goes through it, before our rules see it",
}
_FIX = {
    "forward": "let pods' interfaces pass there (iifname cali* accept, oifname cali* accept), or make its policy accept",
    "input": "let these in from the other nodes, and what pods need of this host",
    "prerouting": "make sure that it drops nothing of pods and other nodes",
}


async def check_firewall() -> list[Check]:
    """Look at nftables (iptables-nft included) and at iptables-legacy. Needs root."""
    found: list[Check] = []
    try:
        told = (await process.run(["nft", "-j", "list", "ruleset"], timeout=_SECONDS)).check()
        found += find_foreign(json.loads(told.stdout or b'{"nftables": []}'))
    except (ProcessError, ValueError) as error:
        found.append(Check("foreign rules", "note", f"nftables could not be listed: {error}"))
    for command in ("iptables-legacy-save", "ip6tables-legacy-save"):
        try:
            told = await process.run([command, "-t", "filter"], timeout=_SECONDS)
        except ProcessError:
            continue  # it is not installed: rules of it, if there are any, are not of this machine's making
        found += find_legacy(told.stdout.decode(errors="replace"), command)
    return found or [Check("foreign rules", "ok", "nobody else's chain drops by default")]


def find_foreign(ruleset: Mapping[str, Any]) -> list[Check]:
    """A check for each base chain of others that drops by its policy, or by a rule for everything."""
    objects = [one for one in ruleset.get("nftables", ()) if isinstance(one, dict)]
    chains = [one["chain"] for one in objects if "chain" in one and one["chain"].get("hook") in _HOOKS]
    rules = [one["rule"] for one in objects if "rule" in one]
    return [check for chain in chains if (chain["family"], chain["table"]) not in _OURS for check in _judged(chain, rules)]


def find_legacy(listing: str, command: str) -> list[Check]:
    """The same for iptables-save's text of the table `filter`."""
    found = []
    lines = listing.splitlines()
    for chain, hook in (("FORWARD", "forward"), ("INPUT", "input")):
        appended = [line.split() for line in lines if line.startswith(f"-A {chain} ")]
        dropping = any(line.startswith(f":{chain} DROP") for line in lines)
        blanket = any(words[2:4] in (["-j", "DROP"], ["-j", "REJECT"]) for words in appended)
        if dropping or blanket:
            passes = any("cali+" in words and words[-1] == "ACCEPT" for words in appended)
            found.append(_check(f"chain {chain} of {command.removesuffix('-save')}", hook, passes))
    return found


def _judged(chain: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    place = (chain["family"], chain["table"], chain["name"])
    own = [rule for rule in rules if (rule["family"], rule["table"], rule["chain"]) == place]
    accepts_all = any(_verdicts(rule) == ["accept"] and _is_blanket(rule) for rule in own)
    blanket = any(_is_blanket(rule) and set(_verdicts(rule)) & set(_FINAL) for rule in own)
    if (chain.get("policy") == "drop" and not accepts_all) or blanket:
        passes = any("accept" in _verdicts(rule) and "cali" in json.dumps(rule.get("expr", ())) for rule in own)
        yield _check(f"chain {chain['name']} of table {chain['family']} {chain['table']}", chain["hook"], passes)


def _check(what: str, hook: str, passes: bool) -> Check:
    if passes:
        return Check("foreign rules", "note", f"{what} drops by default, and lets pods' interfaces pass")
    # What comes in is often meant to be dropped; what is forwarded here is pods' traffic.
    state: State = "problem" if hook == "forward" else "note"
    return Check("foreign rules", state, f"{what} (hook {hook}) drops by default", why=_WHY[hook], fix=_FIX[hook])


def _verdicts(rule: Mapping[str, Any]) -> list[str]:
    return [name for one in rule.get("expr", ()) if isinstance(one, dict) for name in one if name in ("accept", *_FINAL)]


def _is_blanket(rule: Mapping[str, Any]) -> bool:
    """True for a rule without a condition: a verdict, and at most a counter, a comment or a log before it."""
    return all(isinstance(one, dict) and not set(one) - {"accept", *_FINAL, "counter", "log"} for one in rule.get("expr", ()))
