"""What a person can read of the routes that were decided."""

import asyncio
import contextlib
import json
from pathlib import Path

from tortie.agent.route_report import FILE_NAME, RouteReport
from tortie.base.net import parse_address, parse_prefix
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import ClusterRouteUpdate, EndpointUpdate, InSync, Message
from tortie.intent.routes import ClusterRoute, Owner, Way

NEAR = ClusterRoute(
    parse_prefix("10.0.1.0/26"), Way.VXLAN, Owner.AGENT, "near", next_hop=parse_address("10.0.1.1"), encrypted=True, reason="so"
)
FAR = ClusterRoute(parse_prefix("10.0.2.0/26"), Way.NONE, Owner.NOBODY, "far", reason="far has no address")


POD = Endpoint(EndpointId("here", "prod", "db"), "prod/db", "cali1", (parse_prefix("10.0.1.7/32"),), (), ())


def update(route: ClusterRoute) -> Message:
    return ClusterRouteUpdate(route.dst, route)


def test_the_summary_counts_by_way_and_owner_and_names_what_leads_nowhere(tmp_path: Path) -> None:
    report = RouteReport("here", tmp_path)
    report.on_messages([update(NEAR), update(FAR), InSync()])
    summary = report.summary()
    assert summary["counts"] == [
        {"way": "none", "owner": "nobody", "routes": 1},
        {"way": "vxlan", "owner": "agent", "routes": 1},
    ]
    assert summary["encrypted"] == 1
    assert [(each["destination"], each["reason"]) for each in summary["withheld"]] == [("10.0.2.0/26", "far has no address")]
    replaced = ClusterRoute(FAR.dst, Way.BGP, Owner.BIRD, "far", reason="learned")
    report.on_messages([update(replaced), ClusterRouteUpdate(NEAR.dst, None), ClusterRouteUpdate(NEAR.dst, None)])
    summary = report.summary()
    assert summary["counts"] == [{"way": "bgp", "owner": "bird", "routes": 1}]
    assert (summary["encrypted"], summary["withheld"]) == (0, [])


def test_of_many_that_lead_nowhere_the_summary_names_the_first(tmp_path: Path) -> None:
    report = RouteReport("here", tmp_path)
    report.on_messages(
        update(ClusterRoute(parse_prefix(f"10.9.{number}.0/26"), Way.NONE, Owner.NOBODY, "far", reason="x"))
        for number in reversed(range(100))
    )
    assert [each["destination"] for each in report.summary()["withheld"]][:2] == ["10.9.0.0/26", "10.9.1.0/26"]
    assert len(report.summary()["withheld"]) == 20


def test_the_file_holds_all_of_them_in_order(tmp_path: Path) -> None:
    async def work() -> None:
        report = RouteReport("here", tmp_path)
        report.on_messages([update(FAR), update(NEAR), EndpointUpdate(POD.id, POD)])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(report.run(), 0.3)

    asyncio.run(work())
    document = json.loads((tmp_path / FILE_NAME).read_text())
    assert (document["kind"], document["node"]) == ("NodeRoutes", "here")
    assert document["routes"][0] == {
        "destination": "10.0.1.0/26",
        "node": "near",
        "way": "vxlan",
        "owner": "agent",
        "nextHop": "10.0.1.1",
        "encrypted": True,
        "reason": "so",
    }
    assert document["routes"][1]["nextHop"] == ""
    assert document["workloads"] == [{"destination": "10.0.1.7/32", "workload": "prod/db", "interface": "cali1"}]
