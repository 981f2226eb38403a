"""Answers of a BIRD 2.0.12, recorded, as values."""

import pytest

from tortie.base.net import parse_address
from tortie.bgp.control import Control, Reply
from tortie.bgp.errors import ControlError
from tortie.bgp.status import parse_peers, parse_routes, parse_status

STATUS = """1000-BIRD 2.0.12
1011-Router ID is 172.18.0.3
 Hostname is n2
 Current server time is 2026-11-21 09:11:24.087
 Last reboot on 2026-11-21 09:10:52.575
 Last reconfiguration on 2026-11-21 09:10:52.575
0013 Daemon is up and running
"""
PROTOCOLS = """2002-Name       Proto      Table      State  Since         Info
1002-kernel4    Kernel     master4    up     09:11:25.761~
1006-  Channel ipv4
     State:          UP
     Routes:         3 imported, 5 exported, 3 preferred
~
1002-Mesh_fd00_18__2 BGP        ---        up     09:11:27.426  Established~
1006-  Description:    Connection to n1
   BGP state:          Established
     Neighbor address: fd00:18::2
     Neighbor AS:      64512
     Local AS:         64512
   Channel ipv6
     State:          UP
     Routes:         4 imported, 1 filtered, 2 exported, 4 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
       Import updates:              4          0          0          0          4
     BGP Next hop:   fd00:18::3 fe80::1
~
1002-Mesh_172_18_0_2 BGP        ---        start  09:11:33.160  Active        Received: Administrative shutdown
1006-  Description:    x
   BGP state:          Active
     Neighbor address: 172.18.0.2
     Neighbor AS:      64513
     Connect delay:    0.550/2
     Last error:       Received: Administrative shutdown
   Channel ipv4
     State:          DOWN
~
1002-Global_192_0_2_1 BGP        ---        down   2026-11-20~
1006-  BGP state:          Down
     Neighbor address: 192.0.2.1
     Neighbor AS:      65001
~
0000~
"""
ROUTES = """1007-Table master4:
 10.0.0.64/26         blackhole [static4 09:11:25.761] * (200)
 10.0.0.0/26          unicast [Mesh_172_18_0_2 09:10:54.575] * (100) [i]
 ~tvia 172.18.0.2 on eth0
                      unicast [Global_192_0_2_1 09:10:54.575 from 192.0.2.9] (100/10) [AS65001i]
 ~tvia 192.0.2.1 on eth1 weight 1
 ~tvia 192.0.2.2 on eth2 weight 1
 172.18.0.0/16        unicast [direct1 09:11:25.762] * (240)
 ~tdev eth0
~
 Table master6:
 fd00:10::/122        unicast [Mesh_fd00_18__2 09:11:27.762] * (100) [i]
 ~tvia fd00:18::2 on eth0
0000~
"""


def reply(text: str) -> Reply:
    """A recorded answer; `~t` stands for a tab and `~` for a space at the end of a line."""
    (found,) = Control().receive(text.replace("~t", "\t").replace("~", " ").encode())
    return found


def test_the_daemon() -> None:
    status = parse_status(reply(STATUS))
    assert (status.version, status.router_id, status.ready) == ("2.0.12", "172.18.0.3", True)
    assert status.last_reconfiguration == "2026-11-21 09:10:52.575"
    assert not parse_status(reply(STATUS.replace("0013 Daemon is up", "0024 Daemon is going down"))).ready


def test_peers_with_state_since_and_reason() -> None:
    down, active, established = parse_peers(reply(PROTOCOLS))
    assert (established.name, established.established, established.as_number) == ("Mesh_fd00_18__2", True, 64512)
    assert established.address == parse_address("fd00:18::2")
    assert (established.imported, established.exported, established.reason) == (4, 2, "")
    assert (active.state, active.since, active.reason) == ("Active", "09:11:33.160", "Received: Administrative shutdown")
    assert (active.address, active.as_number, active.imported) == (parse_address("172.18.0.2"), 64513, 0)
    assert (down.name, down.state, down.since) == ("Global_192_0_2_1", "Down", "2026-11-20")


def test_routes_with_all_ways_to_a_prefix() -> None:
    found = [
        (str(route.prefix), route.kind, route.protocol, route.best, str(route.gateway or ""), route.interface)
        for route in parse_routes(reply(ROUTES))
    ]
    assert found == [
        ("10.0.0.0/26", "unicast", "Mesh_172_18_0_2", True, "172.18.0.2", "eth0"),
        ("10.0.0.0/26", "unicast", "Global_192_0_2_1", False, "192.0.2.1", "eth1"),
        ("10.0.0.64/26", "blackhole", "static4", True, "", ""),
        ("172.18.0.0/16", "unicast", "direct1", True, "", "eth0"),
        ("fd00:10::/122", "unicast", "Mesh_fd00_18__2", True, "fd00:18::2", "eth0"),
    ]


def test_an_empty_table_and_no_protocols_are_fine() -> None:
    assert parse_routes(reply("0000 \n")) == ()
    assert parse_peers(reply("0000 \n")) == ()


def test_another_answer_is_an_error() -> None:
    with pytest.raises(ControlError, match="show status"):
        parse_status(reply("0000 \n"))
    with pytest.raises(ControlError, match="8002"):
        parse_peers(reply("8002 no\n"))
