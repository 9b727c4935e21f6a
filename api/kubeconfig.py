"""The kubeconfig that clients of this API use: one cluster, one user, one token."""

import base64
import ipaddress
import os
from pathlib import Path

import yaml

from controlplane.errors import TerminalError


def server_url(address: str, port: int) -> str:
    """Where this host reaches what listens on that IP address, which may stand for all of them."""
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        # what listens on `::` is not reached over IPv4: asyncio makes such sockets IPv6 alone
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"https://{ip}:{port}" if ip.version == 4 else f"https://[{ip}]:{port}"


def kubeconfig(server: str, ca_pem: bytes, user: str, token: str, *, name: str) -> str:
    """A kubeconfig as YAML. `server` is a URL. It holds the token: write it 0600."""
    authority = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False)


def write_private(path: Path, content: str) -> None:
    """Replace a file at once, readable by its owner alone. Raises TerminalError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode())
            aside.replace(path)
        except OSError:
            aside.unlink()
            raise
    except OSError as exc:
        raise TerminalError(f"cannot write '{path}': {exc.strerror}") from exc
