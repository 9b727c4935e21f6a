"""The second half of scripts/up: wait for the API, make the kubeconfig, apply, wait until Ready.

A client like any other: it speaks to the control plane through HTTP and kubectl alone. What it
applied once is its user's from then on: a later run waits for what is still there of it.
"""

import argparse
import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# of this checkout, whatever the environment was made from
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.kubeconfig import server_url  # found through the path set above

# 120: a first start makes the database; 15 s were measured on two busy cores
API_TIMEOUT_S = 120
# 600: a cold start pulls images of some hundred MB each
READY_TIMEOUT_S = 600
HEARTBEAT_S = 10
# 15: what waits for room or for an edit and has not moved for so long won't by itself
STUCK_S = 15
PLAIN_DATA = {"Secret", "ConfigMap", "Event"}


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the control plane is and how its clients reach it."""

    data: Path
    url: str

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


def answers(server: str) -> str:
    """Empty when /readyz says so, else what it says. No certificate check: it tells no secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # no proxy: it is this host, which https_proxy without no_proxy would be asked for as well
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"{server}/readyz", timeout=3) as reply:
            return "" if reply.status == 200 else f"status {reply.status}"
    except urllib.error.HTTPError as exc:
        lines = exc.read(2000).decode(errors="replace").splitlines()
        return "; ".join(line for line in lines if line.startswith("[-]")) or str(exc)
    except OSError as exc:
        return str(getattr(exc, "reason", exc))


def wait_for_api(here: Installation) -> None:
    began = time.monotonic()
    told = began
    while why := answers(here.url):
        if not here.alive():
            sys.exit(f"error: the control plane ended:\n{here.log_end()}")
        now = time.monotonic()
        if now - began > API_TIMEOUT_S:
            said = f"its log ends with:\n{here.log_end()}"
            sys.exit(f"error: the API is not ready after {API_TIMEOUT_S} s: {why}; {said}")
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


@dataclass(frozen=True, slots=True)
class State:
    """One record, for a person: whether it is Ready, and one line why or why not."""

    ready: bool
    text: str
    stuck: bool = False
    """Only somebody can help: with an edit, or by making room."""
    waits: bool = False
    """For another record."""


def state_of(item: dict[str, Any]) -> State:
    if item["kind"] in PLAIN_DATA:
        return State(True, "stored")
    conditions = {c["type"]: c for c in item.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready")
    current = ready is not None and ready.get("observedGeneration", 0) >= item["metadata"].get(
        "generation", 0
    )
    if ready is not None and current and ready["status"] == "True":
        return State(True, "Ready")
    for kind in ("Stalled", "Admitted", "Synced", "Ready"):
        found = conditions.get(kind)
        if found and found["reason"] == "Progressing":
            continue
        if found and found["status"] == ("True" if kind == "Stalled" else "False"):
            text = f"{found['reason']}: {found.get('message', '')}"
            waits = found["reason"].startswith("ReferenceNot")
            return State(False, text, kind in ("Stalled", "Admitted"), waits)
    return State(False, "waiting for its first look")


def hopeless(states: Iterable[State]) -> bool:
    """Whether all that isn't Ready is stuck, or waits for something that is."""
    late = [state for state in states if not state.ready]
    return any(s.stuck for s in late) and all(s.stuck or s.waits for s in late)


def wait_until_ready(here: Installation, manifest: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of the manifest that there are, and a line for each that won't be Ready; ends
    when all are, or when waiting longer is of no use. Says each change as it happens."""
    began = told = moved = time.monotonic()
    before: dict[str, str] = {}
    while True:
        done = here.kubectl("get", "-f", manifest, "--ignore-not-found", "-o", "json")
        items = items_of(done.stdout) if done.returncode == 0 else []
        states = {name_of(item): state_of(item) for item in items}
        now = time.monotonic()
        for name, state in states.items():
            if before.get(name) != state.text:
                if not (state.ready and not before):
                    note(f"{name}: {state.text}")
                told = moved = now
        before = {name: state.text for name, state in states.items()}
        if done.returncode == 0 and all(state.ready for state in states.values()):
            return items, []
        stuck = now - moved > STUCK_S and hopeless(states.values())
        if stuck or now - began > READY_TIMEOUT_S:
            late = [f"{name}: {state.text}" for name, state in states.items() if not state.ready]
            return items, late or [done.stderr.strip()]
        if now - told > HEARTBEAT_S:
            note(f"still waiting after {now - began:.0f} s {done.stderr.strip()[-200:]}")
            told = now
        time.sleep(0.5)


def items_of(output: str) -> list[dict[str, Any]]:
    """What `kubectl get -o json` printed: nothing, one record, or a list of some."""
    if not output.strip():
        return []
    found = json.loads(output)
    items: list[dict[str, Any]] = found.get("items", [found])
    return items


def reach(here: Installation, items: list[dict[str, Any]]) -> None:
    """How to go on, for a person; on standard output."""
    config = here.kubeconfig
    print(f"export KUBECONFIG={shlex.quote(str(config))}")
    if shutil.which("kubectl") is None:
        print(f'export PATH="$PATH:{Path(sys.executable).parent}"    # its kubectl')
    namespaces = sorted({i["metadata"].get("namespace", "") for i in items} - {""})
    flag = f" -n {namespaces[0]}" if namespaces else " -A"
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
    parser.add_argument("--address", required=True, help="that the API listens on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--manifest", help="what to wait for")
    parser.add_argument("--apply", action="store_true", help="apply it first")
    parser.add_argument("--must", action="store_true", help="it has to be Ready")
    options = parser.parse_args()
    here = Installation(options.data, server_url(options.address, options.port))
    os.environ["KUBECONFIG"] = str(here.kubeconfig)
    wait_for_api(here)
    ensure_kubeconfig(here)
    items: list[dict[str, Any]] = []
    late: list[str] = []
    if options.manifest:
        if options.apply:
            apply(here, options.manifest)
            # now, not once it is Ready: until then its user may have edited or deleted of it
            (here.data / "quickstart.applied").write_text("not Ready yet\n", encoding="utf-8")
        items, late = wait_until_ready(here, options.manifest)
    say("ready" if not late else "the control plane is up, and this is not Ready:")
    for line in late:
        note(line)
    reach(here, items)
    if late and options.must:
        sys.exit(1)


if __name__ == "__main__":
    main()
