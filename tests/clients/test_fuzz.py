"""Our own OpenAPI documents, fuzzed: whatever is sent, never a 5xx and never an answer that the
documents don't describe."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(900)]

EXAMPLES: Final = {"long": 300}.get(os.environ.get("CP_TEST_PROFILE", ""), 5)
"""Per operation; 15 took 35 s for the 46 operations of bunker.cloud/v1 on two cores."""
CHECKS: Final = (
    "not_a_server_error,status_code_conformance,"
    "content_type_conformance,response_schema_conformance"
)
PROGRAM: Final = Path(sys.executable).with_name("schemathesis")
KUBECTL: Final = Path(sys.executable).with_name("kubectl")


def _kubeconfig(folder: Path) -> Any:
    return yaml.safe_load((folder / "admin.kubeconfig").read_text())


def _apply(folder: Path, kind: str, api_version: str, body: dict[str, Any]) -> None:
    """Something for the operations on one record to work on."""
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "fuzz"}, **body}
    subprocess.run(
        [str(KUBECTL), f"--kubeconfig={folder / 'admin.kubeconfig'}", "apply", "-f", "-"],
        input=yaml.safe_dump(manifest).encode(),
        check=True,
        capture_output=True,
    )


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
        '[parameters]\nwatch = "false"\nnamespace = "default"\nname = "fuzz"\n'
    )
    config = _kubeconfig(server)
    url = config["clusters"][0]["cluster"]["server"]
    token = config["users"][0]["user"]["token"]
    done = subprocess.run(
        [
            str(PROGRAM),
            "run",
            f"{url}/openapi/v3/{document}",
            f"--url={url}",
            f"--header=Authorization: Bearer {token}",
            "--tls-verify=false",
            f"--checks={CHECKS}",
            f"--max-examples={EXAMPLES}",
            "--phases=examples,fuzzing",
            # deleting the one record there is would leave nothing to work on
            "--exclude-method=DELETE",
            "--request-timeout=20",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
