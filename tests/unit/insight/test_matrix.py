"""The truth table of small clusters."""

from tests.unit.insight.test_explain import KUBERNETES, PODS

from tortie.base.net import Family
from tortie.insight.files import Text, load
from tortie.insight.matrix import PortAsked, matrix

HTTP, OTHER = PortAsked(6, 8080), PortAsked(6, 81)


def test_every_ordered_pair_has_one_cell_for_each_port() -> None:
    world = load([Text("a.yaml", PODS + KUBERNETES)]).world()
    cells = matrix(world, [HTTP, OTHER], family=Family.V4)
    verdicts = {(cell.source, cell.destination, cell.port): cell.allowed for cell in cells}
    assert verdicts == {
        ("dev/client", "prod/web", HTTP): True,
        ("dev/client", "prod/web", OTHER): False,
        ("prod/web", "dev/client", HTTP): True,
        ("prod/web", "dev/client", OTHER): True,
    }
    denied = next(cell for cell in cells if not cell.allowed)
    assert denied.decided_by == "ingress: no rule matched and tier default denies by default"


def test_workloads_without_an_address_of_the_family_are_left_out() -> None:
    world = load([Text("a.yaml", PODS)]).world()
    assert matrix(world, [HTTP], family=Family.V6) == []


def test_names_narrow_the_table() -> None:
    world = load([Text("a.yaml", PODS)]).world()
    assert matrix(world, [HTTP], family=Family.V4, names=[("prod", "web")]) == []
