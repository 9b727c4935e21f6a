"""Our own OpenAPI documents, fuzzed: whatever is sent, never a 5xx and never an answer that the
documents don't describe."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.clients.kubectls import NEWEST

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(3600)]

PROFILE: Final = os.environ.get("CP_TEST_PROFILE", "")
EXAMPLES: Final = {"long": 60, "fuzz": 400}.get(PROFILE, 5)
"""Per operation; 15 took 35 s for the 46 operations of bunker.cloud/v1 on two cores, 300 took
40 min beside the rest of a long run: length is for `--fuzz`, which runs alone."""
PHASES: Final = "examples,coverage,fuzzing" if PROFILE in ("long", "fuzz") else "examples,fuzzing"
"""`coverage` tries every boundary of every field: 40 s more for each document."""
LIVES: Final = {"long": 15, "fuzz": 500}.get(PROFILE, 3)
"""Walks from answer to request, by kind and way to go on."""
CHECKS: Final = (
    "not_a_server_error,status_code_conformance,"
    "content_type_conformance,response_schema_conformance"
)
PROGRAM: Final = Path(sys.executable).with_name("schemathesis")


def _kubeconfig(folder: Path) -> Any:
    return yaml.safe_load((folder / "admin.kubeconfig").read_text())


def _apply(folder: Path, kind: str, api_version: str, body: dict[str, Any]) -> None:
    """Something for the operations on one record to work on."""
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "fuzz"}, **body}
    subprocess.run(
        [str(NEWEST), f"--kubeconfig={folder / 'admin.kubeconfig'}", "apply", "-f", "-"],
        input=yaml.safe_dump(manifest).encode(),
        check=True,
        capture_output=True,
    )


EXPECTED = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
"""504 as in Kubernetes: a list at a version that is still to come. No other 5xx."""


@pytest.mark.parametrize("document", ["apis/bunker.cloud/v1", "api/v1"])
def test_no_answer_is_a_server_error_or_undocumented(
    server: Path, tmp_path: Path, document: str
) -> None:
    paused = {"engine": "redis", "paused": True}
    _apply(server, "Database", "bunker.cloud/v1", {"spec": paused})
    resources = {"cpu": "100m", "memory": "64Mi"}
    app = {"image": "bunker.local/demo:1", "paused": True, "resources": resources}
    _apply(server, "App", "bunker.cloud/v1", {"spec": app})
    _apply(server, "Secret", "v1", {"stringData": {"a": "b"}})
    _apply(server, "ConfigMap", "v1", {"data": {"a": "b"}})
    # a watch is a stream that a fuzzer would wait for; tests of its own hold it to its promises
    (tmp_path / "schemathesis.toml").write_text(
        f'{EXPECTED}[parameters]\nwatch = "false"\nnamespace = "default"\nname = "fuzz"\n'
    )
    # deleting the one record there is would leave nothing to work on
    options = (f"--max-examples={EXAMPLES}", f"--phases={PHASES}", "--exclude-method=DELETE")
    _fuzz(server, tmp_path, _document(server, document), *options)


@pytest.mark.parametrize("document", ["apis/bunker.cloud/v1", "api/v1"])
def test_records_live_through_whatever_order_of_requests(
    server: Path, tmp_path: Path, document: str
) -> None:
    """Stateful: what was made is read, replaced, patched, deleted, and asked for again."""
    (tmp_path / "schemathesis.toml").write_text(
        f'{EXPECTED}[parameters]\nwatch = "false"\nnamespace = "default"\n'
    )
    linked = _linked(_document(server, document))
    told = _fuzz(server, tmp_path, linked, f"--max-examples={LIVES}", "--phases=stateful")
    assert "Stateful (not applicable)" not in told


def _document(folder: Path, document: str) -> dict[str, Any]:
    kubectl = [str(NEWEST), f"--kubeconfig={folder / 'admin.kubeconfig'}"]
    got = subprocess.run(
        [*kubectl, "get", "--raw", f"/openapi/v3/{document}"], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(got.stdout)
    return found


def _linked(document: dict[str, Any]) -> dict[str, Any]:
    """The same, and whatever a record's creation answers leads to the operations on it."""
    for path, item in document["paths"].items():
        made = item.get("post", {}).get("responses", {}).get("201")
        single = document["paths"].get(path + "/{name}")
        if made is None or single is None:
            continue
        made["links"] = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {"path.name": "$response.body#/metadata/name"},
            }
            for method, operation in single.items()
            if method in ("get", "put", "patch", "delete")
        }
    return document


def _fuzz(server: Path, folder: Path, document: dict[str, Any], *options: str) -> str:
    config = _kubeconfig(server)
    url = config["clusters"][0]["cluster"]["server"]
    token = config["users"][0]["user"]["token"]
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    done = subprocess.run(
        [
            str(PROGRAM),
            "run",
            str(path),
            f"--url={url}",
            f"--header=Authorization: Bearer {token}",
            "--tls-verify=false",
            f"--checks={CHECKS}",
            "--request-timeout=20",
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout
