"""How the API server is reached: variables, calicoctl.cfg, kubeconfig."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tortie.api.resource import V3
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.kubernetes.settings import Login, Settings, read_settings

FILES = {"ca.crt": b"authority", "me.crt": b"certificate", "me.key": b"key"}


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> str:
    """A kubeconfig whose current context is `one`; its path. Files that it names stand beside it."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "one", "cluster": {"server": "https://one:6443", "certificate-authority": "ca.crt"} | cluster},
            {"name": "two", "cluster": {"server": "https://two:6443/"}},
        ],
        "users": [{"name": "me", "user": user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "me"}},
            {"name": "two", "context": {"cluster": "two", "user": "me"}},
        ],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def read(folder: Path, user: dict[str, Any], **env: str) -> Settings:
    return read_settings({"KUBECONFIG": kubeconfig(folder, user)} | env, {})


def test_a_kubeconfigs_files_are_found_beside_it(tmp_path: Path) -> None:
    found = read(tmp_path, {"client-certificate": "me.crt", "client-key": "me.key"})
    assert (found.server, found.ca) == ("https://one:6443", b"authority")
    assert (found.login.certificate, found.login.key) == (b"certificate", b"key")


def test_inline_data_goes_before_files_and_must_be_base64(tmp_path: Path) -> None:
    data = base64.b64encode(b"inline").decode()
    found = read(tmp_path, {"client-certificate-data": data, "client-certificate": "me.crt", "client-key": "me.key"})
    assert found.login.certificate == b"inline"
    with pytest.raises(InvalidRequest, match="client-certificate-data is not base64"):
        read(tmp_path, {"client-certificate-data": "x"})


@pytest.mark.parametrize("variable", ["K8S_CURRENT_CONTEXT", "CALICO_K8S_CURRENT_CONTEXT"])
def test_another_context_may_be_named(tmp_path: Path, variable: str) -> None:
    assert read(tmp_path, {"token": "t"}, **{variable: "two"}).server == "https://two:6443"
    with pytest.raises(InvalidRequest, match="three"):
        read(tmp_path, {"token": "t"}, **{variable: "three"})


def test_single_variables_have_the_last_word(tmp_path: Path) -> None:
    found = read(tmp_path, {"client-certificate": "me.crt", "client-key": "me.key"}, K8S_API_ENDPOINT="10.0.0.1:6443")
    assert found.server == "https://10.0.0.1:6443"
    assert found.login.certificate == b"certificate"
    assert read(tmp_path, {}, K8S_API_TOKEN="t").login.token == "t"
    with pytest.raises(InvalidRequest, match="K8S_KEY_FILE"):
        read(tmp_path, {}, K8S_CERT_FILE=str(tmp_path / "me.crt"))


def test_the_file_of_calicoctl_says_the_same_things_with_its_own_names(tmp_path: Path) -> None:
    inline = Path(kubeconfig(tmp_path, {"token": "t"}, **{"certificate-authority": None})).read_text()
    file = {"kubeconfigInline": inline, "k8sClientQPS": 5, "usePodCIDR": True, "calicoAPIGroup": V3}
    found = read_settings({}, file)
    assert (found.login.token, found.qps, found.use_pod_cidr, found.group) == ("t", 5.0, True, V3)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"K8S_CLIENT_QPS": "-1"}, "K8S_CLIENT_QPS"),
        ({"USE_POD_CIDR": "maybe"}, "USE_POD_CIDR"),
        ({"CALICO_API_GROUP": "v4"}, "CALICO_API_GROUP"),
        ({"K8S_API_ENDPOINT": "ftp://x"}, "https://"),
        ({"K8S_API_ENDPOINT": "https://[::1"}, "is no address"),
        ({"K8S_API_ENDPOINT": "https://10.0.0.1:99999"}, "is no address"),
        ({"K8S_API_ENDPOINT": "https://:6443"}, "is no address"),
        ({"K8S_CA_FILE": "/nonexistent/ca"}, "K8S_CA_FILE"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, env: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(tmp_path, {}, **env)


@pytest.mark.parametrize("text", ["[]", "clusters: []", "{clusters: 5, contexts: [], current-context: a}", "a: b"])
def test_what_is_no_kubeconfig_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidRequest, match="config"):
        read_settings({"KUBECONFIG": str(tmp_path / "config")}, {})


def test_of_several_kubeconfigs_the_first_that_is_there_counts(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"token": "t"})
    assert read_settings({"KUBECONFIG": f"/nonexistent/config:{path}"}, {}).server == "https://one:6443"


def test_nothing_secret_is_shown() -> None:
    settings = Settings("https://x", Login(token="geheim", password="geheim", key=b"geheim"))
    assert "geheim" not in repr(settings)
