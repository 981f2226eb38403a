"""Named network namespaces, work inside them, and their sysctls."""

import os
import socket
import threading

import pytest
from tests.kernel.spaces import named_space, spaces

from tortie.base.process import run_blocking
from tortie.kernel import netns, sysctl
from tortie.kernel.errors import AlreadyExists, Invalid, NotFound

pytestmark = pytest.mark.kernel


def test_a_created_namespace_is_what_ip_netns_knows_and_is_gone_after_delete() -> None:
    with named_space("tc") as name:
        assert name in netns.list_names()
        assert name in run_blocking(["ip", "netns", "list"]).check().stdout.decode()
        run_blocking(["ip", "link", "set", "lo", "up"], netns_path=netns.path_of(name)).check()
        with pytest.raises(AlreadyExists, match=name):
            netns.create(name)
        assert netns.exists(name)
    assert name not in netns.list_names()
    netns.delete(name)


def test_a_namespace_made_by_iproute2_can_be_entered_and_deleted() -> None:
    name = f"tc{os.getpid()}ip"
    run_blocking(["ip", "netns", "add", name]).check()
    try:
        with netns.opened(name) as fd:
            assert netns.run_in_named(name, netns.current_identity) == netns.identity(fd)
    finally:
        netns.delete(name)
    assert not netns.exists(name)


def test_only_the_worker_changes_its_namespace_and_errors_come_back() -> None:
    before = netns.current_identity()
    threads = threading.active_count()
    with spaces("tc", 1) as (fd,):
        assert netns.in_netns(fd, netns.current_identity) == netns.identity(fd) != before
        with pytest.raises(ZeroDivisionError):
            netns.in_netns(fd, lambda: 1 // 0)
        assert netns.in_netns(None, netns.current_identity) == before
    assert netns.current_identity() == before
    assert threading.active_count() == threads


def test_a_socket_opened_inside_stays_inside() -> None:
    with spaces("tc", 1) as (fd,), netns.in_netns(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as inside:
        names = [name for _, name in netns.in_netns(fd, socket.if_nameindex)]
        assert names == ["lo"]
        with pytest.raises(OSError):
            inside.connect(("127.0.0.1", 9))  # lo is down in there


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 256])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="namespace name"):
        netns.create(name)


def test_opening_what_is_not_there_says_so() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        netns.open_named("nowhere")


def test_a_sysctl_is_written_in_its_namespace_only_and_only_when_it_differs() -> None:
    with spaces("tc", 2) as (one, other):
        name = "net/ipv4/conf/lo/proxy_arp"
        assert netns.in_netns(one, lambda: sysctl.write(name, 1)) is True
        assert netns.in_netns(one, lambda: sysctl.write(name, "1")) is False
        assert sysctl.read_in(one, name) == "1"
        assert sysctl.read_in(other, name) == "0"


def test_sysctls_that_do_not_exist_are_skipped_and_named() -> None:
    with spaces("tc", 1) as (fd,):
        values = {"net/ipv4/no_such_thing": 1, "net/ipv4/ip_forward": 1}
        assert sysctl.write_many(values, netns_fd=fd) == ("net/ipv4/no_such_thing",)
        assert sysctl.read_in(fd, "net/ipv4/ip_forward") == "1"
        with pytest.raises(NotFound, match="no_such_thing"):
            sysctl.read_in(fd, "net/ipv4/no_such_thing")


def test_a_sysctl_name_cannot_leave_its_folder() -> None:
    with pytest.raises(NotFound):
        sysctl.read("net/../../../etc/hostname")


def test_creating_and_deleting_leaves_the_mounts_as_they_were() -> None:
    def mounts_of_the_folder() -> int:
        with open("/proc/self/mountinfo") as file:
            return sum(line.split(" ", 5)[4] == netns.FOLDER for line in file)

    for _ in range(3):
        with named_space("tc"):
            assert mounts_of_the_folder() == 1
    assert mounts_of_the_folder() == 1
