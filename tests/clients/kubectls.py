"""Which kubectl binaries there are: the newest comes with the environment, a host may have its own,
and `scripts/kubectls` fetches older ones for the long suite."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

NEWEST: Final = Path(sys.executable).with_name("kubectl")


def hosts() -> list[Path]:
    """The host's own, if it has one."""
    found = shutil.which("kubectl")
    return [Path(found)] if found and Path(found).resolve() != NEWEST.resolve() else []


def older() -> list[Path]:
    """Those that the long suite fetched into CP_KUBECTLS."""
    folder = os.environ.get("CP_KUBECTLS")
    return sorted(Path(folder).glob("kubectl-1.??")) if folder else []


def called(kubectl: Path) -> str:
    """What tells one from another in a test's name, whatever the machine."""
    return "newest" if kubectl == NEWEST else kubectl.name
