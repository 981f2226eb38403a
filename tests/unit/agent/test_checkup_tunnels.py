"""Checksums in tunnels: which kernels are known to spoil them, and what their counters say."""

from pathlib import Path

import pytest

from tortie.agent.checkup_tunnels import check_checksums, offloads

GOOD = {"vxlan.calico": True}


def proc_of(folder: Path, *, tcp: int = 0, udp: int = 0, udp6: int = 0) -> Path:
    (folder / "net").mkdir()
    (folder / "net/snmp").write_text(
        f"Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: InSegs InErrs InCsumErrors\nTcp: 7 0 {tcp}\n"
        f"Udp: InDatagrams InCsumErrors MemErrors\nUdp: 9 {udp} 0\n"
    )
    (folder / "net/snmp6").write_text(f"Ip6InReceives \t5\nUdp6InCsumErrors \t{udp6}\n")
    return folder


def test_nothing_is_asked_without_vxlan(tmp_path: Path) -> None:
    assert check_checksums({}, proc=proc_of(tmp_path, tcp=5)) == []
    assert offloads() == {}, "the machine that tests run on has no such device"


@pytest.mark.parametrize(("release", "state"), [("5.4.0-1-amd64", "problem"), ("5.10.0-1-amd64", "ok")])
def test_an_old_kernel_must_not_be_left_checksums(tmp_path: Path, release: str, state: str) -> None:
    (found,) = check_checksums(GOOD, release=release, proc=proc_of(tmp_path))
    assert found.state == state
    (spared,) = check_checksums({"vxlan.calico": False}, release=release, proc=tmp_path)
    assert spared.state == "ok"
    if state == "problem":
        assert release in found.detail
        assert "ChecksumOffloadBroken=true" in found.fix


def test_wrong_checksums_are_told_by_protocol_with_what_to_do(tmp_path: Path) -> None:
    (found,) = check_checksums(GOOD, release="6.1.0", proc=proc_of(tmp_path, tcp=3, udp6=2))
    assert found.state == "note"
    assert "3 TCP, 2 UDP over IPv6" in found.detail
    assert "ChecksumOffloadBroken=true" in found.detail


def test_counters_that_cannot_be_read_count_as_none(tmp_path: Path) -> None:
    (found,) = check_checksums(GOOD, release="6.1.0", proc=tmp_path)
    assert found.state == "ok"
