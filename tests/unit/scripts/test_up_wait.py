"""scripts/up: how it reads the records it waits for, and when waiting longer is of no use."""

import http.server
import importlib
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
READY = {"Ready": ("True", "Serving")}
FULL = {"Ready": ("False", "BudgetExceeded"), "Admitted": ("False", "BudgetExceeded")}
WAITS = {"Ready": ("False", "ReferenceNotReady"), "Admitted": ("Unknown", "Pending")}
WRONG = {"Ready": ("False", "NotServing"), "Stalled": ("True", "SpecRefused")}
STARTS = {"Ready": ("False", "Starting"), "Admitted": ("True", "Admitted")}


@pytest.fixture
def up_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    yield importlib.import_module("up_wait")
    sys.modules.pop("up_wait", None)


def app(conditions: dict[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        "kind": "App",
        "metadata": {"name": "shop", "namespace": "shop", "generation": 1},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "observedGeneration": 1}
                for kind, (status, reason) in conditions.items()
            ]
        },
    }


@pytest.mark.parametrize(
    ("found", "hopeless"),
    [
        pytest.param([READY], False, id="all is well"),
        pytest.param([READY, FULL], True, id="no room"),
        pytest.param([FULL, WAITS], True, id="one waits for what has no room"),
        pytest.param([WAITS], False, id="one waits for what is not told here"),
        pytest.param([WRONG, READY], True, id="only an edit helps"),
        pytest.param([FULL, STARTS], False, id="another one still starts"),
    ],
)
def test_waiting_is_given_up_when_only_a_person_can_help(
    up_wait: ModuleType, found: list[dict[str, tuple[str, str]]], hopeless: bool
) -> None:
    assert up_wait.hopeless([up_wait.state_of(app(each)) for each in found]) is hopeless


def test_a_record_of_an_older_generation_is_not_ready_yet(up_wait: ModuleType) -> None:
    item = app(READY)
    item["metadata"]["generation"] = 2
    assert not up_wait.state_of(item).ready


def test_what_fails_is_told_and_not_what_is_missing_for_it(up_wait: ModuleType) -> None:
    failing = {"Ready": ("False", "NotServing"), "Synced": ("False", "ImageNotFound")}
    assert up_wait.state_of(app(failing)).text.startswith("ImageNotFound")
    at_work = {"Ready": ("False", "NotServing"), "Synced": ("False", "Progressing")}
    assert up_wait.state_of(app(at_work)).text.startswith("NotServing")


def test_what_is_left_of_a_manifest_may_be_nothing_one_or_some(up_wait: ModuleType) -> None:
    one = app(READY)
    assert up_wait.items_of("") == []
    assert up_wait.items_of(json.dumps(one)) == [one]
    assert up_wait.items_of(json.dumps({"kind": "List", "items": [one, one]})) == [one, one]


class Ready(http.server.BaseHTTPRequestHandler):
    """Is ready, and keeps no log."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing to standard error."""


def test_the_api_is_asked_itself_where_a_proxy_is_set(
    up_wait: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            assert up_wait.answers(f"http://127.0.0.1:{server.server_port}") == ""
        finally:
            server.shutdown()
            serving.join()


def test_what_it_prints_can_be_pasted_wherever_the_data_is(
    up_wait: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    here = up_wait.Installation(Path("/data of mine"), "https://127.0.0.1:8443")
    up_wait.reach(here, [])
    first = capsys.readouterr().out.splitlines()[0]
    assert shlex.split(first) == ["export", "KUBECONFIG=/data of mine/kubeconfig"]


KUBECTL = """#!/bin/sh
case "$*" in
  *" apply "*) echo app/shop created; exit {applies} ;;
  *" get -f "*) cat "{records}" ;;
esac
"""


@pytest.fixture
def first_start(
    up_wait: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs the second half of a first scripts/up, with a kubectl that finds one App; its code."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    def run(
        conditions: dict[str, tuple[str, str]],
        *options: str,
        applies: int = 0,
    ) -> int:
        records, kubectl = tmp_path / "records", tmp_path / "bin" / "kubectl"
        records.write_text(json.dumps(app(conditions)))
        kubectl.parent.mkdir(exist_ok=True)
        kubectl.write_text(KUBECTL.format(applies=applies, records=records))
        kubectl.chmod(0o755)
        (tmp_path / "kubeconfig").touch()
        monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("KUBECONFIG", "")
        monkeypatch.setattr(up_wait, "answers", lambda _: "")
        monkeypatch.setattr(up_wait, "STUCK_S", -1)
        monkeypatch.setattr(up_wait.time, "sleep", interrupted)
        where = ["--data", str(tmp_path), "--address", "127.0.0.1", "--port", "8443"]
        given = options or ("--apply", "--must")
        monkeypatch.setattr(sys, "argv", ["up_wait", *where, "--manifest", "m.yaml", *given])
        try:
            up_wait.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except KeyboardInterrupt:
            return 130
        return 0

    return run


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param(READY, 0, id="Ready"),
        pytest.param(FULL, 1, id="has no room"),
        pytest.param(STARTS, 130, id="interrupted while it starts"),
    ],
)
def test_the_quickstart_is_its_users_as_soon_as_it_is_applied(
    first_start: Callable[..., int], tmp_path: Path, found: dict[str, tuple[str, str]], code: int
) -> None:
    """Whatever becomes of it: a later run would undo what they did about that."""
    assert first_start(found) == code
    assert (tmp_path / "quickstart.applied").stat().st_size > 0, "scripts/up empties it"


def test_one_that_was_never_ready_is_told_as_that_until_it_is(
    first_start: Callable[..., int],
) -> None:
    """Else whoever runs it again until it succeeds would take the second time for a success."""
    assert first_start(FULL, "--must") == 1
    assert first_start(FULL) == 1
    assert first_start(FULL, "--must") == 1
    assert first_start(READY, "--must") == 0


def test_a_quickstart_that_could_not_be_applied_is_tried_again(
    first_start: Callable[..., int], tmp_path: Path
) -> None:
    assert first_start(READY, applies=1) == 1
    assert not (tmp_path / "quickstart.applied").exists()
