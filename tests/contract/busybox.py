"""A tiny image for the contract suites, made on this host from a static busybox."""

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from docker import APIClient
from docker.errors import ImageNotFound

IMAGE: Final = "bunker-test/busybox:1"
_COMMANDS: Final = "sh sleep cat id echo ls true false yes head ip env stat test".split()  # noqa: SIM905  # a list of words reads best as one


def ensure_busybox(client: APIClient) -> str:
    """The image's reference; about 0.3 s where it has to be made."""
    try:
        client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]  # the stubs lack it
    except ImageNotFound:
        repository, _, tag = IMAGE.partition(":")
        client.import_image_from_data(
            _root_file_system(_static_busybox()),
            repository=repository,
            tag=tag,
            changes=['CMD ["sleep", "3600"]'],
        )
    return IMAGE


def _static_busybox() -> bytes:
    for candidate in (shutil.which("busybox"), "/bin/busybox"):
        if candidate is not None and Path(candidate).exists() and _is_static(candidate):
            return Path(candidate).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-q", "busybox-static"], cwd=folder, check=True)
        (package,) = Path(folder).glob("busybox-static*.deb")
        subprocess.run(["dpkg-deb", "-x", package.name, "root"], cwd=folder, check=True)
        # The package has a configuration file of the same name too.
        return next(Path(folder, "root").rglob("bin/busybox")).read_bytes()


def _is_static(path: str) -> bool:
    return subprocess.run(["ldd", path], capture_output=True, check=False).returncode != 0


def _root_file_system(busybox: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "run", "run/secrets", "data"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            folder.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        binary = tarfile.TarInfo("bin/busybox")
        binary.size, binary.mode = len(busybox), 0o755
        tar.addfile(binary, io.BytesIO(busybox))
        for command in _COMMANDS:
            link = tarfile.TarInfo(f"bin/{command}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()
