"""What an idle control plane costs: records at rest, some of them running containers.

Needs an installation that runs (scripts/up) and measures its process and its PostgreSQL from
/proc for a minute, beside the limits of 150 MiB and 1 % of a core.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_process import cpu_s, pss_mib, rss_mib, server_pids

NAMESPACE = "bench-idle"
LIMIT_MIB = 150
LIMIT_PERCENT = 1.0
DATA = Path(os.environ.get("CP_DATA_DIR") or "/var/lib/bunker")


def kubectl(data: Path, *args: str, body: str | None = None) -> str:
    program = str(Path(sys.executable).with_name("kubectl"))
    command = [program, f"--kubeconfig={data / 'kubeconfig'}", *args]
    done = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: kubectl {args[0]}: {done.stderr[-500:]}")
    return done.stdout


def records(running: int, total: int) -> Iterator[dict[str, Any]]:
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for number in range(total - 1):
        spec: dict[str, Any] = {
            "image": "bunker.local/demo:1",
            "port": 8080,
            "resources": {"cpu": "10m", "memory": "48Mi"},
        }
        if number >= running:
            spec["paused"] = True
        yield {
            "apiVersion": "bunker.cloud/v1",
            "kind": "App",
            "metadata": {"name": f"idle-{number}", "namespace": NAMESPACE},
            "spec": spec,
        }


def ready(data: Path) -> int:
    found = json.loads(kubectl(data, "get", "apps", "-n", NAMESPACE, "-o", "json"))
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for item in found["items"]
        for condition in item.get("status", {}).get("conditions", ())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--running", type=int, default=50)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    pid = int((given.data / "control-plane.pid").read_text().split()[0])
    body = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [*records(given.running, given.records)]}
    )
    try:
        kubectl(given.data, "create", "-f", "-", body=body)
        began = time.monotonic()
        while (count := ready(given.data)) < given.running:
            if time.monotonic() - began > 300:
                sys.exit(f"error: only {count} of {given.running} Apps are Ready")
            time.sleep(2)
        print(f"{given.running} Apps Ready after {time.monotonic() - began:.0f} s", flush=True)
        time.sleep(20)  # the last health rechecks after a start
        servers = server_pids(given.data)
        before, before_server = cpu_s([pid]), cpu_s(servers)
        time.sleep(given.seconds)
        used = (cpu_s([pid]) - before) / given.seconds * 100
        used_server = (cpu_s(servers) - before_server) / given.seconds * 100
        print(f"control plane  {rss_mib(pid):6.1f} MiB RSS   (limit {LIMIT_MIB})")
        print(f"control plane  {used:6.2f} % of a core (limit {LIMIT_PERCENT})")
        print(f"PostgreSQL     {pss_mib(servers):6.1f} MiB PSS, {used_server:.2f} % of a core")
    finally:
        kubectl(
            given.data, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"
        )


if __name__ == "__main__":
    main()
