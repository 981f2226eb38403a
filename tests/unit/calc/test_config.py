"""The effective configuration of one node."""

import msgspec
from tests.graph.states import felix

from tortie.api.felix import FelixConfiguration
from tortie.calc.config import ConfigStage
from tortie.calc.problems import Problems


def created(value: FelixConfiguration, when: str) -> FelixConfiguration:
    return msgspec.structs.replace(value, metadata=msgspec.structs.replace(value.metadata, creation_timestamp=when))


class Config:
    def __init__(self, *configurations: FelixConfiguration, labels: dict[str, str] | None = None) -> None:
        self.problems = Problems()
        self.stage = ConfigStage("n1", self.problems)
        self.stage.on_node(labels)
        for each in configurations:
            self.stage.on_configuration(each.key, each)

    def values(self) -> dict[str, str] | None:
        found = self.stage.flush()
        return None if found is None else dict(found)


DEFAULT = felix("default", logSeverityScreen="Debug", chainInsertMode="Append")
RACK = felix("rack", nodeSelector="rack == '1'", logSeverityScreen="Warning", interfacePrefix="cali")
OWN = felix("node.n1", logSeverityScreen="Error")


def test_a_nodes_own_wins_over_the_selected_one_over_the_default() -> None:
    config = Config(OWN, RACK, DEFAULT, felix("node.n2", logSeverityScreen="Fatal"), labels={"rack": "1"})
    assert config.values() == {"LogSeverityScreen": "Error", "ChainInsertMode": "Append", "InterfacePrefix": "cali"}
    config.stage.on_configuration(OWN.key, None)
    assert config.values() == {"LogSeverityScreen": "Warning", "ChainInsertMode": "Append", "InterfacePrefix": "cali"}
    config.stage.on_node({"rack": "2"})
    assert config.values() == {"LogSeverityScreen": "Debug", "ChainInsertMode": "Append"}


def test_only_the_oldest_of_several_selected_ones_counts() -> None:
    old = created(felix("z", nodeSelector="all()", logSeverityScreen="Info"), "2026-01-01T00:00:00Z")
    new = created(felix("a", nodeSelector="all()", interfacePrefix="x"), "2026-02-01T00:00:00Z")
    assert Config(new, old, felix("b", nodeSelector="all()", ipv6Support=True), labels={}).values() == {
        "LogSeverityScreen": "Info"
    }


def test_the_values_are_said_once_until_they_change() -> None:
    config = Config()
    assert config.values() == {}
    assert config.values() is None
    config.stage.on_configuration(DEFAULT.key, DEFAULT)
    config.stage.on_configuration(DEFAULT.key, None)
    assert config.values() is None


def test_a_configuration_that_applies_nowhere_is_reported() -> None:
    config = Config(felix("a"), felix("b", nodeSelector="rack =="), labels={})
    assert config.values() == {}
    assert [key.name for key in config.problems.by_key()] == ["a", "b"]


def test_a_stored_value_that_makes_no_sense_holds_up_no_other() -> None:
    config = Config(felix("default", routeRefreshInterval="1h\n", logSeverityScreen="Debug"))
    assert config.values() == {"RouteRefreshInterval": "1h\n", "LogSeverityScreen": "Debug"}
