"""Variables and calicoctl.cfg of etcd: what is read, what is refused, and that nothing secret is shown."""

from pathlib import Path

import pytest

from tortie.datastore.errors import InvalidRequest
from tortie.datastore.etcd.settings import Endpoint, are_given, read_settings

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
URL = "https://10.0.0.1:2379"


def test_endpoints_are_read_with_their_scheme() -> None:
    text = " https://10.0.0.1:2379/, http://[fd00::1]:2379,http://etcd.example.org:80 ,unix:///run/a/etcd:0,unix://etcd:0,"
    assert [endpoint[1:] for endpoint in read_settings({"ETCD_ENDPOINTS": text}, {}).endpoints] == [
        ("10.0.0.1:2379", True),
        ("[fd00::1]:2379", False),
        ("etcd.example.org:80", False),
        ("unix:/run/a/etcd:0", False),
        ("unix:etcd:0", False),
    ]


def test_variables_go_before_their_calico_forms_and_those_before_the_file() -> None:
    file = {"etcdEndpoints": "http://c:1", "etcdUsername": "u", "etcdPassword": "p"}
    assert are_given({}, file)
    assert not are_given({"ETCD_USERNAME": "u"}, {"etcdUsername": "u"})
    assert read_settings({"ETCD_ENDPOINTS": "http://a:1", "CALICO_ETCD_ENDPOINTS": "http://b:1"}, file).endpoints == (
        Endpoint("http://a:1", "a:1", secure=False),
    )
    settings = read_settings({"CALICO_ETCD_ENDPOINTS": "http://b:1"}, file)
    assert (settings.endpoints[0].target, settings.username, settings.password) == ("b:1", "u", "p")
    assert read_settings({}, file).endpoints[0].target == "c:1"


def test_certificates_come_from_files_or_inline(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(PEM + name)
    env = {
        "ETCD_ENDPOINTS": URL,
        "ETCD_CA_CERT_FILE": str(tmp_path / "ca"),
        "ETCD_CERT_FILE": str(tmp_path / "cert"),
        "ETCD_KEY_FILE": str(tmp_path / "key"),
    }
    inline = {"etcdEndpoints": URL, "etcdCACert": PEM + "ca", "etcdCert": PEM + "cert", "etcdKey": PEM + "key"}
    for settings in (read_settings(env, {}), read_settings({}, inline)):
        assert settings.ca_certificate == f"{PEM}ca".encode()
        assert settings.certificate == f"{PEM}cert".encode()
        assert settings.key == f"{PEM}key".encode()


@pytest.mark.parametrize(
    ("env", "file", "named"),
    [
        ({}, {}, "ETCD_ENDPOINTS is empty"),
        ({"ETCD_ENDPOINTS": " , "}, {}, "ETCD_ENDPOINTS is empty"),
        ({"ETCD_ENDPOINTS": "10.0.0.1:2379"}, {}, "ETCD_ENDPOINTS: '10.0.0.1:2379': it must begin with https://"),
        ({"ETCD_ENDPOINTS": "ftp://a:1"}, {}, "ETCD_ENDPOINTS: .* begin with"),
        ({"ETCD_ENDPOINTS": "http://a"}, {}, "ETCD_ENDPOINTS: .*host and port"),
        ({"ETCD_ENDPOINTS": "http://a:99999"}, {}, "ETCD_ENDPOINTS: 'http://a:99999': Port out of range"),
        ({"ETCD_ENDPOINTS": "http://a:1/b"}, {}, "ETCD_ENDPOINTS: .*nothing may follow"),
        ({"ETCD_ENDPOINTS": "unix://"}, {}, "ETCD_ENDPOINTS: .*path is missing"),
        ({}, {"etcdEndpoints": "a"}, "spec.etcdEndpoints: 'a'"),
        ({"ETCD_DISCOVERY_SRV": "a.org"}, {}, "ETCD_DISCOVERY_SRV is not supported: name the members"),
        ({"ETCD_DISCOVERY_SRV": "a.org", "ETCD_ENDPOINTS": URL}, {}, "excludes ETCD_ENDPOINTS"),
        ({"ETCD_ENDPOINTS": URL, "ETCD_USERNAME": "u"}, {}, "ETCD_USERNAME is set without ETCD_PASSWORD"),
        ({"ETCD_ENDPOINTS": URL}, {"etcdPassword": "secret"}, "spec.etcdPassword is set without ETCD_USERNAME"),
        ({"ETCD_ENDPOINTS": URL, "ETCD_CERT_FILE": "/none"}, {}, "ETCD_CERT_FILE '/none' cannot be read"),
        ({"ETCD_ENDPOINTS": URL}, {"etcdKey": PEM}, "ETCD_KEY_FILE is set without ETCD_CERT_FILE"),
        ({"ETCD_ENDPOINTS": URL}, {"etcdKey": "secret"}, "spec.etcdKey holds no PEM"),
        ({"ETCD_ENDPOINTS": URL, "ETCD_KEY_FILE": "/none"}, {"etcdKey": "secret"}, "ETCD_KEY_FILE and spec.etcdKey exclude"),
        ({"ETCD_ENDPOINTS": URL}, {"etcdCACertFile": "/a", "etcdCACert": PEM}, "spec.etcdCACertFile and spec.etcdCACert"),
    ],
)
def test_what_is_wrong_is_named_by_variable_or_field(env: dict[str, str], file: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as caught:
        read_settings(env, file)
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    file = {"etcdUsername": "u", "etcdPassword": "secret", "etcdCert": PEM + "secret", "etcdKey": PEM + "secret"}
    assert "secret" not in repr(read_settings({"ETCD_ENDPOINTS": URL}, file))
    with pytest.raises(InvalidRequest, match="ETCD_USERNAME") as caught:
        read_settings({"ETCD_ENDPOINTS": "http://u:secret@a:1"}, {})
    assert "secret" not in str(caught.value)
