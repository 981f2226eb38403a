"""Writes what is generated from the models: manifests/crds/ and docs/reference/.

python hack/generate.py          # writes
python hack/generate.py --check  # only says what is not current, exit status 1 if anything
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hack.reference import pages

from tortie.api.crd import definitions
from tortie.api.yaml_text import format_yaml

HEADER = "# Written by hack/generate.py from the models in src/tortie/api. Do not edit.\n"


def contents() -> dict[Path, str]:
    """Every generated file below the root of the repository, and what it must hold."""
    crds = {Path("manifests/crds") / name: HEADER + format_yaml([document]) for name, document in definitions().items()}
    return crds | pages()


def differences(root: Path) -> list[Path]:
    """Files that are missing, not current, or that nothing generates any more."""
    wanted = contents()
    stale = [path for path, text in wanted.items() if not (root / path).is_file() or (root / path).read_text() != text]
    folders = {path.parent for path in wanted}
    extra = [found.relative_to(root) for folder in folders for found in (root / folder).glob("*.*")]
    return sorted({*stale, *(path for path in extra if path not in wanted)})


def write(root: Path) -> None:
    """Make everything current."""
    wanted = contents()
    for path in differences(root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path in wanted:
            (root / path).write_text(wanted[path])
        else:
            (root / path).unlink()


if __name__ == "__main__":
    here = Path(__file__).resolve().parent.parent
    if "--check" in sys.argv[1:]:
        found = differences(here)
        sys.exit("\n".join(f"not current: {path}" for path in found) if found else 0)
    write(here)
