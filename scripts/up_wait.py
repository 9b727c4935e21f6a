"""The second half of scripts/up: wait for the API, make the kubeconfig, apply, wait until Ready.

A client like any other: it speaks to the control plane through HTTP and kubectl alone.
"""

import argparse
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# 120: a first start makes the database; 15 s were measured on two busy cores
API_TIMEOUT_S = 120
# 600: a cold start pulls images of some hundred MB each
READY_TIMEOUT_S = 600
HEARTBEAT_S = 10
PLAIN_DATA = {"Secret", "ConfigMap", "Event"}


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the control plane is and how its clients reach it."""

    data: Path
    port: int

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    def kubectl(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """The host's own kubectl, else the one of the Python environment."""
        program = shutil.which("kubectl") or str(Path(sys.executable).with_name("kubectl"))
        command = [program, f"--kubeconfig={self.kubeconfig}", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def alive(self) -> bool:
        """False once the control plane's process is gone."""
        try:
            pid = int((self.data / "control-plane.pid").read_text().split()[0])
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            return False
        return state != "Z"

    def log_end(self) -> str:
        log = self.data / "control-plane.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-15:])


def answers(port: int) -> str:
    """Empty when /readyz says so, else what it says. No certificate check: it tells no secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=3, context=context) as reply:
            return "" if reply.status == 200 else f"status {reply.status}"
    except urllib.error.HTTPError as exc:
        lines = exc.read(2000).decode(errors="replace").splitlines()
        return "; ".join(line for line in lines if line.startswith("[-]")) or str(exc)
    except OSError as exc:
        return str(getattr(exc, "reason", exc))


def wait_for_api(here: Installation) -> None:
    began = time.monotonic()
    told = began
    while why := answers(here.port):
        if not here.alive():
            sys.exit(f"error: the control plane ended:\n{here.log_end()}")
        now = time.monotonic()
        if now - began > API_TIMEOUT_S:
            sys.exit(f"error: the API is not ready after {API_TIMEOUT_S} s: {why}")
        if now - told > 2:
            note(f"waiting for the API: {why}")
            told = now
        time.sleep(0.2)


def ensure_kubeconfig(here: Installation) -> None:
    """Keep one that works; else have a token issued and write a new one."""
    if here.kubeconfig.exists() and here.kubectl("get", "namespaces", "-o", "name").returncode == 0:
        return
    say("writing the kubeconfig")
    command = [sys.executable, "-m", "controlplane", "kubeconfig", "--out", str(here.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: no kubeconfig could be issued:\n{done.stderr[-1500:]}")


def apply(here: Installation, manifest: str) -> None:
    done = here.kubectl("apply", "-f", manifest)
    changed = [line for line in done.stdout.splitlines() if not line.endswith(" unchanged")]
    for line in changed:
        note(line)
    if done.returncode != 0:
        sys.exit(f"error: kubectl apply failed:\n{done.stderr}")


def name_of(item: dict[str, Any]) -> str:
    meta = item["metadata"]
    place = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{item['kind']} {place}{meta['name']}"


def state_of(item: dict[str, Any]) -> tuple[bool, str]:
    """(ready, one line why or why not)"""
    if item["kind"] in PLAIN_DATA:
        return True, "stored"
    conditions = {c["type"]: c for c in item.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready")
    current = ready is not None and ready.get("observedGeneration", 0) >= item["metadata"].get(
        "generation", 0
    )
    if ready is not None and current and ready["status"] == "True":
        return True, "Ready"
    for kind in ("Stalled", "Admitted", "Ready", "Synced"):
        found = conditions.get(kind)
        if found and found["status"] == ("True" if kind == "Stalled" else "False"):
            return False, f"{found['reason']}: {found.get('message', '')}"
    return False, "waiting for its first look"


def wait_until_ready(here: Installation, manifest: str) -> list[dict[str, Any]]:
    """Every record of the manifest, once all are Ready; says each change as it happens."""
    began = told = time.monotonic()
    before: dict[str, str] = {}
    while True:
        done = here.kubectl("get", "-f", manifest, "-o", "json")
        items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
        states = {name_of(item): state_of(item) for item in items}
        now = time.monotonic()
        for name, (ready, text) in states.items():
            if before.get(name) != text:
                if not (ready and not before):
                    note(f"{name}: {text}")
                told = now
        before = {name: text for name, (_, text) in states.items()}
        if states and all(ready for ready, _ in states.values()):
            return items
        if now - began > READY_TIMEOUT_S:
            sys.exit(f"error: not all Ready after {READY_TIMEOUT_S} s {done.stderr}")
        if now - told > HEARTBEAT_S:
            note(f"still waiting after {now - began:.0f} s {done.stderr.strip()[-200:]}")
            told = now
        time.sleep(0.5)


def reach(here: Installation, items: list[dict[str, Any]]) -> None:
    """How to go on, for a person; on standard output."""
    config = here.kubeconfig
    print(f"export KUBECONFIG={config}")
    namespaces = sorted({i["metadata"].get("namespace", "") for i in items} - {""})
    flag = f" -n {namespaces[0]}" if namespaces else ""
    print(f"kubectl get databases,apps{flag}")
    for item in items:
        published = item.get("status", {}).get("published")
        if not published:
            continue
        host, _, port = published.rpartition(":")
        spec = item["spec"]
        place = item["metadata"]["namespace"]
        if item["kind"] == "App":
            print(f"curl http://{published}/    # App {item['metadata']['name']}")
            continue
        secret = item["status"]["secretRef"]["name"]
        read = f"kubectl -n {place} get secret {secret} -o jsonpath='{{.data.password}}'"
        password = f"$({read} | base64 -d)"
        if spec["engine"] == "postgres":
            user, database = spec.get("username", "app"), spec.get("database", "app")
            print(f'PGPASSWORD="{password}" psql -h {host} -p {port} -U {user} {database}')
        else:
            print(f'REDISCLI_AUTH="{password}" redis-cli -h {host} -p {port}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--apply")
    options = parser.parse_args()
    here = Installation(options.data, options.port)
    os.environ["KUBECONFIG"] = str(here.kubeconfig)
    wait_for_api(here)
    ensure_kubeconfig(here)
    items: list[dict[str, Any]] = []
    if options.apply:
        apply(here, options.apply)
        items = wait_until_ready(here, options.apply)
    say("ready")
    reach(here, items)


if __name__ == "__main__":
    main()
