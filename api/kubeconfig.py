"""The kubeconfig that clients of this API use: one cluster, one user, one token."""

import base64
from typing import Any


def kubeconfig(server: str, ca_pem: bytes, user: str, token: str, *, name: str) -> dict[str, Any]:
    """A kubeconfig as a plain object; JSON of it is valid YAML. `server` is a URL."""
    authority = base64.b64encode(ca_pem).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
