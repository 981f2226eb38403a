"""What is in force after which datastore said what."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tortie.agent.options import AgentError, AgentOptions, read_options
from tortie.agent.parameters import Source
from tortie.agent.settings import Settings, local_sources, stored_values
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.node import Node
from tortie.api.resource import Metadata
from tortie.datastore.sqlite.client import SqliteClient


def options(environment: Mapping[str, str], *, log_level: str = "") -> AgentOptions:
    return read_options({"NODENAME": "n", "FELIX_CONFIGFILE": "/dev/null", **environment}, log_level=log_level)


def settings(environment: Mapping[str, str], **stored: str) -> Settings:
    return Settings(local_sources(options(environment)), stored.items())


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_datastore(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text("[global]\nLogSeverityScreen = Debug\nHealthPort = 2\nHealthHost = 192.0.2.2\n")
    environment = {"FELIX_CONFIGFILE": str(file), "FELIX_LOGSEVERITYSCREEN": "error", "FELIX_HEALTHPORT": "1"}
    stored = {"LogSeverityScreen": "Fatal", "HealthPort": "3", "HealthHost": "192.0.2.3", "HealthEnabled": "true"}
    found = Settings(local_sources(options(environment, log_level="warning")), stored.items()).in_force
    assert found["LogSeverityScreen"] == "WARNING"
    assert (found["HealthPort"], found["HealthHost"], found["HealthEnabled"]) == (1, "192.0.2.2", True)


def test_calculation_is_told_what_the_node_itself_sets_readable_or_not(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text("programclusterroutes = Disabled\nVXLANEnabled = perhaps\nWireguardEnabled =\n")
    environment = {"FELIX_CONFIGFILE": str(file), "FELIX_PROGRAMCLUSTERROUTES": "Enabled"}
    found = Settings(local_sources(options(environment)), {"IpInIpEnabled": "true"}.items())
    assert found.local_texts == {"ProgramClusterRoutes": "Enabled", "VXLANEnabled": "perhaps"}


def test_a_file_that_is_named_must_be_there_and_readable(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"FELIX_CONFIGFILE=.*absent.cfg: there is no such file"):
        local_sources(options({"FELIX_CONFIGFILE": str(tmp_path / "absent.cfg")}))
    (tmp_path / "bad.cfg").write_text("= nothing")
    with pytest.raises(AgentError, match=r"bad\.cfg"):
        local_sources(options({"FELIX_CONFIGFILE": str(tmp_path / "bad.cfg")}))


def test_an_agent_may_not_start_with_a_fatal_text_of_its_own() -> None:
    with pytest.raises(AgentError, match="InterfacePrefix in the environment"):
        settings({"FELIX_INTERFACEPREFIX": "none"})


def test_a_refused_configuration_leaves_the_one_before_until_it_is_mended() -> None:
    found = settings({}, DefaultEndpointToHostAction="ACCEPT")
    found.on_stored({"DefaultEndpointToHostAction": "perhaps", "LogPrefix": "new"}.items())
    assert found.refused
    assert found.in_force["DefaultEndpointToHostAction"] == "ACCEPT"
    assert found.in_force["LogPrefix"] == ""
    assert "stays in force" in found.problems[0]
    found.on_stored({"LogPrefix": "new"}.items())
    assert found.problems == ()
    assert found.in_force["DefaultEndpointToHostAction"] == "DROP"
    assert found.in_force["LogPrefix"] == "new"


def test_what_the_dataplane_cannot_work_with_is_refused_too() -> None:
    found = settings({}, NftablesMarkMask="0x3")
    assert found.refused
    assert found.in_force["NftablesMarkMask"] == 0xFFFF0000


def test_the_dataplane_hears_what_is_in_force_and_nothing_that_is_not_supported() -> None:
    found = settings({"FELIX_DEFAULTENDPOINTTOHOSTACTION": "RETURN"}, DefaultEndpointToHostAction="ACCEPT", BPFEnabled="true")
    assert found.config_update().values == (("DefaultEndpointToHostAction", "RETURN"),)


def test_only_parameters_that_cannot_change_live_ask_for_a_restart_and_only_when_they_changed() -> None:
    found = settings({}, InterfacePrefix="tap")
    assert found.restart_wanted == ""
    found.on_stored({"InterfacePrefix": "tap", "HealthEnabled": "true", "NftablesMarkMask": "0xff000000"}.items())
    assert found.restart_wanted == ""
    found.on_stored({"InterfacePrefix": "tap,cali"}.items())
    assert found.restart_wanted == "InterfacePrefix is now ('tap', 'cali')"
    found.on_stored({"InterfacePrefix": "tap"}.items())
    assert found.restart_wanted == ""


def test_before_the_start_the_datastore_says_what_calculation_will_say(tmp_path: Path) -> None:
    def configuration(name: str, **fields: str) -> FelixConfiguration:
        return FelixConfiguration(metadata=Metadata(name=name), spec=FelixConfigurationSpec(**fields))  # type: ignore[arg-type]

    async def read() -> dict[str, str]:
        client = SqliteClient(str(tmp_path / "db.sqlite"))
        try:
            await client.create(configuration("default", interface_prefix="cali", log_prefix="d", health_host="a"))
            await client.create(configuration("rack", interface_prefix="tap", log_prefix="r", node_selector="rack == 'x'"))
            await client.create(configuration("node.n", interface_prefix="own"))
            await client.create(configuration("node.other", health_host="b"))
            await client.create(Node(metadata=Metadata(name="n", labels={"rack": "x"})))
            return dict(await stored_values(client, "n"))
        finally:
            await client.close()

    assert asyncio.run(read()) == {"InterfacePrefix": "own", "LogPrefix": "r", "HealthHost": "a"}


def test_reports_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    found = Settings([Source("environment", {"BPFEnabled": "true"})])
    found.on_stored(())
    found.on_stored({"LogPrefix": "x"}.items())
    assert [record.message for record in caplog.records] == [
        "BPFEnabled in the environment: not supported by this release of Tortie"
    ]
