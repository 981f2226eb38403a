"""Which sessions BIRD is given: those whose secrets can be read."""

from pathlib import Path

from tests.unit.agent.test_bird_peers import wanted

from tortie.agent.bird_keeper import resolve
from tortie.agent.secrets import SecretsDirectory
from tortie.base.net import parse_interface
from tortie.intent.routing import Bgp, BgpPeer


def intent(*peers: BgpPeer) -> Bgp:
    return Bgp(
        node="n1",
        as_number=64512,
        router_id="10.0.0.1",
        ipv4=parse_interface("10.0.0.1/24"),
        ipv6=None,
        listen_port=179,
        bind_node_ip=False,
        log_level="Info",
        blocks=(),
        pools=(),
        peers=peers,
        ignored_interfaces=(),
        cluster_id="",
        ipv4_priority=1024,
        ipv6_priority=1024,
        programs_no_encap=True,
    )


def secret(folder: Path, name: str, text: str, *, mode: int = 0o600) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "key").write_text(text)
    (folder / name / "key").chmod(mode)


OPEN, SIGNED = wanted(name="open"), wanted(name="signed", password_ref=("s", "key"))
MAY_LACK = wanted(name="may lack", password_ref=("s", "key"), password_optional=True)


def test_sessions_without_a_password_do_not_ask_for_secrets(tmp_path: Path) -> None:
    assert resolve(intent(OPEN), SecretsDirectory(tmp_path)) == (intent(OPEN), {}, ())


def test_a_session_gets_its_password(tmp_path: Path) -> None:
    secret(tmp_path, "s", "sesame")
    resolved = resolve(intent(OPEN, SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved == (intent(OPEN, SIGNED, MAY_LACK), {("s", "key"): "sesame"}, ())


def test_a_session_that_lacks_its_password_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    resolved = resolve(intent(OPEN, SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved.bgp == intent(OPEN, MAY_LACK)
    assert [item.peer for item in resolved.withheld] == [SIGNED]


def test_optional_means_absent_and_not_unreadable(tmp_path: Path) -> None:
    secret(tmp_path, "s", "sesame", mode=0o644)
    resolved = resolve(intent(SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved.bgp.peers == ()
    assert resolved.passwords == {}
    assert "sesame" not in str(resolved.withheld)
