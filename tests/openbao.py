"""A real OpenBao in our own image, and what its administrator does to it."""

import base64
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac

from drivers.vault import VaultServer
from reconcilers._images import service_image
from tests.containers import Running, bench, wait_until

CONFIG = """
storage "raft" { path = "/openbao/file", node_id = "one" }
listener "tcp" { address = "0.0.0.0:8200", tls_disable = true }
api_addr = "http://127.0.0.1:8200"
cluster_addr = "http://127.0.0.1:8201"
"""
POLICY = """
path "kv/data/%(path)s/*" { capabilities = ["create", "update", "read"] }
path "kv/metadata/%(path)s/*" { capabilities = ["list", "delete"] }
"""


@dataclass
class Bao:
    """One server, unsealed, with a KV engine at `kv` and an AppRole for one folder."""

    running: Running
    path: str
    keys: list[str] = field(default_factory=list)
    root: Any = None
    role_id: str = ""
    secret_id: str = ""

    @property
    def address(self) -> str:
        return f"http://{self.running.address}:8200"

    @property
    def server(self) -> VaultServer:
        return VaultServer(self.address, self.role_id, self.secret_id, mount="kv")

    def prepare(self) -> None:
        self.root = hvac.Client(url=self.address, timeout=60)
        made = self.root.sys.initialize(1, 1)
        self.keys, self.root.token = made["keys"], made["root_token"]
        self.unseal()
        self.root.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
        self.root.sys.create_or_update_policy("bunker", POLICY % {"path": self.path})
        self.root.sys.enable_auth_method("approle")
        self.role(ttl="1h")
        role = self.root.auth.approle
        self.role_id = role.read_role_id("bunker")["data"]["role_id"]
        self.secret_id = role.generate_secret_id("bunker")["data"]["secret_id"]

    def role(self, *, ttl: str) -> None:
        self.root.auth.approle.create_or_update_approle(
            "bunker", token_policies=["bunker"], token_ttl=ttl, token_max_ttl="24h"
        )

    def unseal(self) -> None:
        for key in self.keys:
            self.root.sys.submit_unseal_key(key)
        end = time.monotonic() + 20
        while (
            self.root.sys.read_health_status(method="GET", standby_ok=False).__class__ is not dict
        ):
            assert time.monotonic() < end, "it stays sealed"
            time.sleep(0.1)  # a real server's time can't be moved by hand

    def seal(self) -> None:
        self.root.sys.seal()

    def kept(self, name: str) -> dict[str, str] | None:
        kv = self.root.secrets.kv.v2
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found: dict[str, str] = kv.read_secret_version(
                    f"{self.path}/{name}", mount_point="kv"
                )["data"]["data"]
        except hvac.exceptions.InvalidPath:
            return None
        return found

    def soft_delete(self, name: str) -> None:
        self.root.secrets.kv.v2.delete_latest_version_of_secret(
            f"{self.path}/{name}", mount_point="kv"
        )


@contextmanager
def openbao(folder: Path) -> Iterator[Bao]:
    """A server that is gone afterwards; `folder` is for its configuration."""
    (folder / "openbao.hcl").write_text(CONFIG)
    folder.chmod(0o755)
    image = service_image("openbao", source="local")
    with bench() as made:
        options = (
            f"--user={image.user}",
            f"--volume={folder}:/run/secrets:ro",
            f"--volume={made.volume()}:{image.data_path}",
        )
        running = made.run(image.reference, options=options)
        wait_until(lambda: "server started" in running.logs(), of=running)
        bao = Bao(running, f"bunker/{base64.b32encode(os.urandom(5)).decode().lower()}")
        bao.prepare()
        yield bao
