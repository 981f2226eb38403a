"""Which source wins, what bad text leads to, and that no parameter of Calico's is forgotten."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.agent.parameter_types import parse
from tortie.agent.parameters import (
    ASKS_NOTHING,
    DEFAULTS_OF_OUR_OWN,
    Handling,
    Source,
    effective,
    from_environment,
    from_file,
    handling,
)
from tortie.api.felix import FelixConfigurationSpec
from tortie.api.felix_params import BY_FIELD, BY_NAME, PARAMETERS, Parameter
from tortie.dataplane.enforcement import TABLE

BOTH = {"bool": ("true", "false"), "*bool": ("true", "false")}
SAMPLES = {
    "authority": "host:1",
    "bool": "true",
    "cidr-list": "10.9.0.0/16",
    "dscp": "24",
    "endpoint-list": "http://host:2379",
    "file": "/somewhere/else",
    "host-address": "192.0.2.9",
    "hostname": "other",
    "iface-filter-slice": "eth9",
    "iface-list": "tap",
    "iface-list-regexp": "eth9",
    "iface-param": "eth9",
    "int": "77",
    "ipv4": "192.0.2.9",
    "ipv6": "2001:db8::9",
    "keydurationlist": "CNI=10s",
    "keyvaluelist": "a=true",
    "log-rate": "7/minute",
    "mark-bitmask": "0xff000000",
    "millis": "77",
    "port-list": "tcp:99",
    "portrange": "7000:7001",
    "portrange-list": "7000:7001",
    "regexp": "eth.*",
    "region": "north",
    "route-table-range": "5-9",
    "route-table-ranges": "5-9",
    "seconds": "77",
    "string": "text",
}
NAMES = [parameter.name for parameter in PARAMETERS]


def another_value(parameter: Parameter) -> str:
    """A text that can be read and is not the default."""
    base, _, detail = parameter.type.rstrip(")").partition("(")
    if base == "oneof":
        return next((text for text in detail.split(",") if text.lower() != parameter.default.lower()), "")
    if base in BOTH:
        return next(text for text in BOTH[base] if text != parameter.default)
    return SAMPLES[base]


def test_there_are_as_many_parameters_as_in_calicos_table() -> None:
    assert len(NAMES) == 209


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_effective_or_reported_when_it_is_set(name: str) -> None:
    parameter = BY_NAME[name]
    text = another_value(parameter)
    found = effective([from_environment({f"FELIX_{name.upper()}": text})])
    assert not found.refused
    if handling(name) is not Handling.UNSUPPORTED:
        assert found.reports == ()
        assert found[name] == parse(parameter, text)
        assert dict(found.raw())[name] == text
    elif text.lower() in ASKS_NOTHING.get(name, ()):
        assert found.reports == ()
    else:
        assert found.reports == (f"{name} in the environment: not supported by this release of Tortie",)
        assert name not in dict(found.raw())


@pytest.mark.parametrize("name", NAMES)
def test_the_default_of_every_parameter_can_be_read_and_asks_nothing(name: str) -> None:
    assert effective([Source("file", {name: BY_NAME[name].default})]).reports == ()
    assert effective([])[name] == parse(BY_NAME[name], DEFAULTS_OF_OUR_OWN.get(name, BY_NAME[name].default))


def test_what_may_be_stored_is_what_the_agent_acts_on() -> None:
    enforced = TABLE[FelixConfigurationSpec].enforced
    by_name = {field.encode_name: field.name for field in msgspec.structs.fields(FelixConfigurationSpec)}
    for field, parameter in BY_FIELD.items():
        assert (by_name[field] in enforced) == (handling(parameter.name) is not Handling.UNSUPPORTED), parameter.name


@given(st.lists(st.sampled_from(["DROP", "ACCEPT", "RETURN", None]), min_size=4, max_size=4))
def test_the_strongest_source_that_sets_a_parameter_wins(texts: list[str | None]) -> None:
    name = "DefaultEndpointToHostAction"
    sources = [Source(str(index), {} if text is None else {name: text}) for index, text in enumerate(texts)]
    expected = next((text for text in texts if text is not None), "DROP")
    assert effective(sources)[name] == expected


def test_bad_text_gives_way_to_the_default_not_to_the_next_source() -> None:
    found = effective([from_environment({"FELIX_HEALTHPORT": "many"}), Source("datastore", {"HealthPort": "7"})])
    assert found["HealthPort"] == 9099
    assert found.reports == (
        "HealthPort in the environment: 'many' is not understood: use a whole number; the default '9099' is used",
    )


@pytest.mark.parametrize("name", ["InterfacePrefix", "NftablesMarkMask", "DefaultEndpointToHostAction"])
def test_bad_text_of_a_fatal_parameter_is_refused(name: str) -> None:
    found = effective([Source("file", {name: "?!"})])
    assert len(found.refused) == 1
    assert found.refused[0].startswith(f"{name} in the file: '?!' is not understood: use ")


def test_none_is_the_zero_value_where_that_is_allowed() -> None:
    found = effective([Source("file", {"HealthEnabled": "None", "RouteRefreshInterval": "none", "LogPrefix": "NONE"})])
    assert found["HealthEnabled"] is False
    assert found["RouteRefreshInterval"] == 0
    assert found["LogPrefix"] == ""
    assert effective([Source("file", {"InterfacePrefix": "none"})]).refused


def test_the_environments_prefix_and_names_are_read_in_any_case() -> None:
    assert effective([from_environment({"felix_healthPORT": "1", "PATH": "/bin"})])["HealthPort"] == 1


def test_a_parameter_that_does_not_exist_is_reported() -> None:
    found = effective([from_environment({"FELIX_HEALTPORT": "1", "FELIX_CONFIGFILE": "/etc/felix.cfg"})])
    assert found.reports == ("HEALTPORT in the environment: there is no such parameter",)


def test_what_belongs_to_the_node_is_ignored_in_the_datastore() -> None:
    found = effective([Source("datastore", {"FelixHostname": "other"}, is_datastore=True)])
    assert found.settings == {}
    assert "FelixHostname in the datastore" in found.reports[0]


def test_what_may_carry_credentials_is_not_repeated() -> None:
    found = effective([from_environment({"FELIX_ETCDENDPOINTS": "user:secret@host"})])
    assert "EtcdEndpoints" in found.reports[0]
    assert "secret" not in found.reports[0]


def test_an_empty_variable_says_nothing_where_the_type_has_no_empty_value() -> None:
    found = effective([from_environment({"FELIX_HEALTHPORT": ""}), Source("datastore", {"HealthPort": "7"})])
    assert found["HealthPort"] == 7


def test_felixs_file_is_read_with_and_without_sections(tmp_path: Path) -> None:
    text = "LogPrefix = mine\n[global]\n# a comment\nHealthPort = 5\n[more]\nHealthEnabled = true\n"
    found = effective([from_file(text, path="felix.cfg")])
    assert (found["LogPrefix"], found["HealthPort"], found["HealthEnabled"]) == ("mine", 5, True)
    with pytest.raises(ValueError, match=r"felix\.cfg"):
        from_file("= what\n", path="felix.cfg")
