"""Where Kubernetes' own programs are on this machine: what hack/kubernetes/build keeps, or what KUBEBUILDER_ASSETS names."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tortie.lab.spec import LabError

MODULE = Path(__file__).resolve().parents[3] / "hack" / "kubernetes"
"""The pinned Go module of this checkout."""


class MissingBinaries(LabError):
    """Kubernetes' programs are not on this machine; the text is one line and says how to get them."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of a control plane. `controller_manager` is None where the folder has none."""

    etcd: Path
    apiserver: Path
    kubectl: Path
    controller_manager: Path | None


def built_folder(environment: Mapping[str, str], module: Path = MODULE) -> Path:
    """Where hack/kubernetes/build puts what it builds of a module; `build --where` says the same. Raises MissingBinaries."""
    try:
        lines, sums = (module / "go.mod").read_bytes(), (module / "go.sum").read_bytes()
    except OSError as error:
        raise MissingBinaries(f"no Kubernetes programs: {error.filename} cannot be read, set KUBEBUILDER_ASSETS") from error
    version = re.search(rb"^require k8s\.io/kubernetes (\S+)", lines, re.MULTILINE)
    if version is None:
        raise MissingBinaries(f"no Kubernetes programs: {module / 'go.mod'} does not require k8s.io/kubernetes")
    cache = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "/root") / ".cache")
    root = Path(environment.get("TORTIE_KUBERNETES_CACHE") or str(Path(cache) / "tortie" / "kubernetes"))
    return root / f"{version[1].decode()}-{hashlib.sha256(lines + sums).hexdigest()[:12]}"


def find_binaries(environment: Mapping[str, str] = os.environ) -> Binaries:
    """The programs to use. Raises MissingBinaries."""
    named = environment.get("KUBEBUILDER_ASSETS")
    folder = Path(named) if named else built_folder(environment)
    cure = f"KUBEBUILDER_ASSETS is {named}" if named else "`make kubernetes` builds them"
    missing = [name for name in ("kube-apiserver", "kubectl") if not (folder / name).is_file()]
    if missing:
        raise MissingBinaries(f"no Kubernetes programs: {', '.join(missing)} not in {folder}; {cure}")
    beside = folder / "etcd"
    etcd = str(beside) if named and beside.is_file() else shutil.which("etcd")
    if etcd is None:
        raise MissingBinaries(
            "no Kubernetes control plane: etcd is not installed, `apt-get install etcd-server` or `make setup`"
        )
    controller_manager = folder / "kube-controller-manager"
    return Binaries(
        etcd=Path(etcd),
        apiserver=folder / "kube-apiserver",
        kubectl=folder / "kubectl",
        controller_manager=controller_manager if controller_manager.is_file() else None,
    )


def find_kubectl(environment: Mapping[str, str] = os.environ) -> Path:
    """kubectl alone: for somebody else's cluster the one on the PATH does as well. Raises MissingBinaries."""
    named = environment.get("KUBEBUILDER_ASSETS")
    ours = (Path(named) if named else built_folder(environment)) / "kubectl"
    if ours.is_file():
        return ours
    found = shutil.which("kubectl", path=environment.get("PATH"))
    if found is None:
        raise MissingBinaries(f"no kubectl: it is neither {ours} nor on the PATH; `make kubernetes` builds it")
    return Path(found)
