import json
from pathlib import Path

import pytest

from tortie.base.certificates import Authority, CertificateError, create_signing_key, kubeconfig
from tortie.base.process import run_blocking


def shown(certificate: Path, *what: str) -> str:
    return run_blocking(["openssl", "x509", "-in", str(certificate), "-noout", *what]).check().stdout.decode()


def test_what_an_authority_signs_is_verified_by_it_and_no_key_is_for_others(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.create(subject="somebody")
    server = authority.sign_server("server", names=("localhost",), addresses=("127.0.0.1", "fd00::1"))
    client = authority.sign_client("user", user="team/one+two", groups=("a", "b"))
    signing = create_signing_key(tmp_path, "accounts")
    for signed, purpose in ((server, "sslserver"), (client, "sslclient")):
        words = ["openssl", "verify", "-CAfile", str(authority.pair.certificate), "-purpose", purpose, str(signed.certificate)]
        run_blocking(words).check()
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:FD00" in shown(server.certificate, "-ext", "subjectAltName")
    assert 'CN = "team/one+two"' in shown(client.certificate, "-subject")
    assert "O = a, O = b" in shown(client.certificate, "-subject")
    assert "CN = somebody" in shown(client.certificate, "-issuer")
    assert signing.certificate.read_text().startswith("-----BEGIN PUBLIC KEY")
    for pair in (authority.pair, server, client, signing):
        assert pair.is_there
        assert pair.key.stat().st_mode & 0o777 == 0o600


def test_a_kubeconfig_stands_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.create()
    client = authority.sign_client("user", user="u")
    config = json.loads(kubeconfig(server="https://s", authority=authority.pair.certificate, client=client, name="n", user="u"))
    assert str(tmp_path) not in json.dumps(config)
    assert config["clusters"][0]["cluster"]["server"] == "https://s"
    assert config["current-context"] == config["contexts"][0]["name"] == "n"
    assert config["contexts"][0]["context"] == {"cluster": "n", "user": "u"}


@pytest.mark.parametrize(("user", "groups"), [("", ()), ("u" * 65, ()), ("u", ("",)), ("u", ("g" * 65,))])
def test_a_name_that_no_certificate_holds_is_refused(tmp_path: Path, user: str, groups: tuple[str, ...]) -> None:
    with pytest.raises(CertificateError, match="1 to 64 characters"):
        Authority(tmp_path, "ca").sign_client("user", user=user, groups=groups)


def test_what_cannot_be_made_or_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"certificates cannot be kept in .*nowhere"):
        Authority(tmp_path / "nowhere", "ca").create()
    (tmp_path / "ca.crt").write_text("none")
    (tmp_path / "ca.key").write_text("none")
    with pytest.raises(CertificateError, match=r"user\.crt cannot be made"):
        Authority(tmp_path, "ca").sign_client("user", user="u")
    with pytest.raises(CertificateError, match=r"gone\.crt cannot be read"):
        kubeconfig(server="s", authority=tmp_path / "gone.crt", client=Authority(tmp_path, "ca").pair, name="n", user="u")
