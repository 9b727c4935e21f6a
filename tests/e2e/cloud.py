"""A private installation for tests: own data folder, port, instance label and subnet pool.

Speaks to the control plane the way users do, through kubectl and HTTPS, and looks at the engine
itself to see what is really there. Deliberately imports nothing of the control plane.
"""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import docker
import yaml
from docker.models.containers import Container

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]
Filters = dict[str, str | list[str] | bool]
T = TypeVar("T")


class Timeout(AssertionError):
    """What was waited for did not come about."""


def eventually(probe: Callable[[], T], *, within_s: float, what: str) -> T:
    """Poll until the probe answers something true; return it."""
    end = time.monotonic() + within_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise Timeout(f"not within {within_s} s: {what}")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer and how long it took."""

    status: int
    body: Json
    headers: Mapping[str, str]
    seconds: float


_CLOUDS: Final = count()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_octet() -> int:
    """Second digit group of a cloud's subnets: another for each of the last 32 clouds, and of
    the processes that share an engine one has the even ones and one the odd ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return 128 + (2 * next(_CLOUDS) + worker % 2) % 64


def remove_all(engine: docker.DockerClient, instance: str) -> None:
    """What an installation has made on the engine; what it keeps of deleted records, too."""
    filters: Filters = {"label": f"bunker.cloud/instance={instance}"}
    for container in engine.containers.list(all=True, filters=filters, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in engine.networks.list(filters=filters):
        network.remove()
    for volume in engine.volumes.list(filters=filters):
        volume.remove()


@dataclass
class Cloud:
    """Start, kill, stop and ask one control plane. `destroy` leaves nothing behind."""

    data: Path
    instance: str
    extra_env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    octet: int = field(default_factory=free_octet)
    process: subprocess.Popen[bytes] | None = None
    within: Sequence[str] = ()
    """A command that runs each of ours, e.g. in a control group."""

    @property
    def env(self) -> dict[str, str]:
        first = 20000 + (os.getpid() % 90) * 100
        ours = {
            "CP_DATA_DIR": str(self.data),
            "CP_INSTANCE": self.instance,
            "CP_API_PORT": str(self.port),
            "CP_SUBNET_POOL": f"10.{self.octet}.0.0/16",
            "CP_PORT_POOL": f"{first}-{first + 99}",
            "CP_IMAGES": os.environ.get("CP_IMAGES", "local"),
            "CP_RUNTIME_DIR": f"/run/bunker-{self.instance}",
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CP_")}
        return {**kept, **ours, **self.extra_env}

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.data / "control-plane.log"

    @property
    def runtime_folders(self) -> tuple[Path, Path]:
        """For secret files; the second where /run is on a disk."""
        return Path(f"/run/bunker-{self.instance}"), Path(f"/dev/shm/bunker-{self.instance}")

    # --- the process ---------------------------------------------------------------------------

    def control_plane(self, *args: str, timeout_s: float = 90) -> str:
        done = subprocess.run(
            [*self.within, sys.executable, "-m", "controlplane", *args],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"controlplane {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *, within_s: float = 60) -> Self:
        """Start it and wait until it is ready."""
        self.launch()
        eventually(self._ready, within_s=within_s, what=f"/readyz; see {self.log}")
        if not self.kubeconfig.exists():
            self.control_plane("kubeconfig", "--out", str(self.kubeconfig))
        return self

    def launch(self) -> None:
        """Start it, and wait for nothing: one that doesn't lead is not ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, *self.serving(self.extra_env.get("CP_TEST_ROLE", "all"))],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @staticmethod
    def serving(role: str) -> list[str]:
        """The command of one process of it."""
        return [sys.executable, "-m", "controlplane", "serve", role]

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the control plane ended:\n{self.log_end()}"
        try:
            return self.call("GET", "/readyz", token="").status == 200
        except OSError:
            return False

    def log_end(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def destroy(self) -> None:
        self.kill()
        if "CP_DATABASE_URL" not in self.extra_env:
            self.control_plane("stop-store")
        with self.engine() as engine:
            remove_all(engine, self.instance)
        shutil.rmtree(self.data, ignore_errors=True)
        for runtime in self.runtime_folders:
            shutil.rmtree(runtime, ignore_errors=True)

    # --- clients -------------------------------------------------------------------------------

    def kubectl(self, *args: str, stdin: str = "", check: bool = True) -> str:
        """Standard output; with check=False, standard error after it."""
        program = shutil.which("kubectl") or str(Path(sys.executable).with_name("kubectl"))
        done = subprocess.run(
            [program, f"--kubeconfig={self.kubeconfig}", *args],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}{done.stdout}"
            return done.stdout
        return done.stdout + done.stderr

    def apply(self, *records: Json) -> str:
        return self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(records))

    def token(self) -> str:
        if not self.kubeconfig.exists():
            return ""
        token: str = yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"]
        return token

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Json | None = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
        timeout_s: float = 20,
    ) -> Answer:
        """One request on a connection of its own; never raises for a status."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        payload = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if bearer := self.token() if token is None else token:
            headers["Authorization"] = f"Bearer {bearer}"
        began = time.monotonic()
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s, context=context)
        try:
            connection.connect()
            began = time.monotonic()
            connection.request(method, path, payload, headers)
            reply = connection.getresponse()
            raw = reply.read()
            return Answer(reply.status, _json(raw), dict(reply.headers), time.monotonic() - began)
        finally:
            connection.close()

    # --- records -------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str = "") -> Json | None:
        place = ["-n", namespace] if namespace else []
        out = self.kubectl("get", kind.lower(), name, *place, "-o", "json", "--ignore-not-found")
        return json.loads(out) if out.strip() else None

    def is_ready(self, kind: str, name: str, namespace: str = "") -> Json | None:
        record = self.get(kind, name, namespace)
        if record is None or condition(record, "Ready").get("status") != "True":
            return None
        generation = record["metadata"].get("generation", 0)
        current = record.get("status", {}).get("observedGeneration", 0) >= generation
        synced = condition(record, "Synced").get("status") == "True"
        return record if current and synced else None

    def wait_ready(
        self, kind: str, name: str, namespace: str = "", *, within_s: float = 60
    ) -> Json:
        """Ready and Synced at its newest generation."""
        try:
            found = eventually(
                lambda: self.is_ready(kind, name, namespace),
                within_s=within_s,
                what=f"{kind} {namespace}/{name} Ready and Synced",
            )
        except Timeout as exc:
            seen = json.dumps((self.get(kind, name, namespace) or {}).get("status"), indent=1)
            raise Timeout(f"{exc}\n{seen}\n{self.log_end()}") from None
        assert found is not None
        return found

    def wait_gone(self, kind: str, name: str, namespace: str = "", *, within_s: float = 60) -> None:
        eventually(
            lambda: self.get(kind, name, namespace) is None,
            within_s=within_s,
            what=f"{kind} {namespace}/{name} gone",
        )

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        record = self.get("secret", name, namespace)
        assert record is not None, f"no Secret {namespace}/{name}"
        return {key: b64decode(value).decode() for key, value in record["data"].items()}

    # --- the world -----------------------------------------------------------------------------

    def engine(self) -> "_Engine":
        return _Engine(self.env.get("CP_DOCKER_HOST"))

    def containers(
        self, name: str, namespace: str, *, engine: docker.DockerClient
    ) -> list[Container]:
        """Those of one record, running or not, in the order of their names."""
        labels = [
            f"bunker.cloud/instance={self.instance}",
            f"bunker.cloud/namespace={namespace}",
            f"bunker.cloud/name={name}",
        ]
        found = engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return sorted(found, key=lambda container: container.name or "")

    def leftovers(self, uid: str = "") -> list[str]:
        """What the engine still holds of this installation, or of one record."""
        labels = [f"bunker.cloud/instance={self.instance}"]
        if uid:
            labels.append(f"bunker.cloud/uid={uid}")
        with self.engine() as engine:
            filters: Filters = {"label": labels}
            return [
                *(
                    f"container {c.name}"
                    for c in engine.containers.list(all=True, filters=filters, ignore_removed=True)
                ),
                *(f"network {n.name}" for n in engine.networks.list(filters=filters)),
                *(f"volume {v.name}" for v in engine.volumes.list(filters=filters)),
            ]


class _Engine:
    """A Docker client that closes its sockets."""

    def __init__(self, url: str | None) -> None:
        self._client = docker.DockerClient(base_url=url) if url else docker.from_env(timeout=60)

    def __enter__(self) -> docker.DockerClient:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _json(raw: bytes) -> Json:
    try:
        parsed = json.loads(raw)
    except ValueError:
        return {"text": raw.decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"value": parsed}


def condition(record: Json, kind: str) -> Json:
    """One condition of a record; empty if it has none of that type."""
    found: list[Json] = record.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {})
