"""`tortie node wireguard`: what only WireGuard has, and how its peers are, in words."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tortie.cli.boxes import box
from tortie.cli.everywhere import global_options
from tortie.cli.files import InputError
from tortie.cli.node import run_dir_option

_PATIENCE_SECONDS = 10.0
_HEADER = ("PEER NODE", "ENDPOINT", "ENCRYPTED", "LAST HANDSHAKE", "RECEIVED", "SENT", "PROBLEM")


@click.group()
def wireguard() -> None:
    """Encryption between nodes."""


@wireguard.command("rotate-key")
@run_dir_option
@global_options
def rotate_key(run_dir: str) -> None:
    """Give this node new WireGuard keys. Other nodes learn them at once; for a moment, packets from them are lost."""
    from tortie.agent import leaving, wireguard_keys

    place = Path(run_dir)
    if os.geteuid() != 0:
        raise InputError("changing the node's keys needs root")
    if leaving.running_agent(place) is None:
        raise InputError(f"no agent runs with {place}: it is the agent that takes new keys and publishes them")
    before = _keys(place)
    if not any(before.values()):
        raise InputError("this node has no WireGuard keys: WireGuard is not enabled (FelixConfiguration wireguardEnabled)")
    wireguard_keys.ask_for_rotation(place)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.1)
        after = _keys(place)
        if not wireguard_keys.is_rotation_pending(place) and all(after.get(name) != key for name, key in before.items()):
            for name, key in after.items():
                click.echo(f"{name} has the public key {key}.")
            return
    raise InputError(f"the agent has not taken new keys within {_PATIENCE_SECONDS:g} s; `tortie node status` says more")


def _keys(run_dir: Path) -> dict[str, str]:
    import json

    from tortie.agent import leaving

    try:
        said = json.loads(leaving.read_status(run_dir) or b"{}")
    except ValueError:
        said = {}
    return {each["device"]: each["publicKey"] for each in said.get("wireguard", {}).get("devices", ()) if each["publicKey"]}


def wireguard_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """What `node status` says: nothing where WireGuard is not in use."""
    said = status.get("wireguard") or {}
    for device in said.get("devices", ()):
        where = "in the kernel" if device["inKernel"] else "by wireguard-go"
        what = "pods and hosts" if device["hostEncryption"] else "pods"
        yield ""
        yield f"IPv{device['family']} WireGuard: {device['device']} {where}, port {device['port']}, {what}" + (
            ", strict" if device["strict"] else ""
        )
        if device["problem"]:
            yield f"Problem: {device['problem']}"
        rows = [_row(peer) for peer in device["peers"]]
        yield from box(_HEADER, rows) if rows else ["No other nodes."]
    if said.get("problem"):
        yield f"This node's WireGuard keys are not published: {said['problem']}"


def _row(peer: Mapping[str, Any]) -> tuple[str, ...]:
    age = peer["lastHandshakeSeconds"]
    return (
        peer["node"],
        peer["endpoint"],
        "yes" if peer["encrypted"] else "no",
        "never" if age is None else f"{age:.0f} s ago",
        str(peer["receivedBytes"]),
        str(peer["sentBytes"]),
        peer["problem"],
    )
