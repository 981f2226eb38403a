"""Clocks jump. Whoever waits or measures uses the monotonic one; the wall clock is for times that people or stores read."""

import re
from pathlib import Path

SOURCE = Path("src/tortie")
WALL = re.compile(r"\btime\.(time|gmtime|localtime)\b|\bdatetime\.(now|utcnow|today)\b")
READ_BY_OTHERS = {
    "agent/node_reports.py",  # when a node status was last written
    "agent/reports.py",  # when a report was written
    "apiserver/tables.py",  # how old an object is, for people
    "apiserver/writing.py",  # when a field was last written
    "base/log.py",  # when a line was written
    "cli/diagnostics.py",  # when an archive was made
    "cli/doctor.py",  # whether what is stored is from the future
    "cli/ipam.py",  # how old a released address is
    "cli/ipam_mending.py",  # how old an address is that nobody uses
    "cli/ipam_pool.py",  # how old a released address is
    "cni/sources.py",  # when an address was assigned
    "dataplane/wireguard_status.py",  # how old a handshake is, which devices date by it
    "datastore/kubernetes/credentials.py",  # when a token runs out
    "datastore/requests.py",  # creationTimestamp
    "lab/kubernetes_objects.py",  # since when a pod runs
    "ipam/allocator.py",  # how old a released address is
}


def test_the_wall_clock_is_read_only_where_its_time_is_kept() -> None:
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if WALL.search(path.read_text())}
    assert found <= READ_BY_OTHERS, f"use time.monotonic or the loop's clock in {sorted(found - READ_BY_OTHERS)}"
