"""The SDK's one connection, when the engine or the logins behind it are exchanged.

Against a small engine on a socket of its own: no real one changes its version within a test.
"""

import base64
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from drivers.docker_errors import EngineAwayError, EngineError
from drivers.docker_sdk import Engine


class _Server(socketserver.ThreadingUnixStreamServer):
    """Speaks one version of the API, as an engine between two releases; keeps the logins."""

    daemon_threads = True
    version = "1.41"

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.logins: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def shut_down(self, *, activated: bool) -> None:
        """As an engine does: it serves the connections that it has, and takes no new one. Where
        systemd listens for it, those wait for the next engine."""
        self.shutdown()
        if not activated:
            self.socket.close()
            Path(str(self.server_address)).unlink()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *args: Any) -> None:
        """Not into the test's output."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/version":
            return self._answer(200, {"ApiVersion": self.server.version})
        asked = self.path.split("/")[1].removeprefix("v")
        if asked != self.server.version:
            told = f"client version {asked} is too old. Minimum supported API version is 1.44"
            return self._answer(400, {"message": told})
        return self._answer(200, {"ID": "engine"})

    def do_POST(self) -> None:
        if login := self.headers.get("X-Registry-Auth"):
            self.server.logins.append(json.loads(base64.urlsafe_b64decode(login)))
        self.do_GET()

    def _answer(self, status: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    with _Server(str(tmp_path / "docker.sock")) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def engine(server: _Server) -> Iterator[Engine]:
    found = Engine(f"unix://{server.server_address!s}", timeout_s=5, pool_size=2)
    yield found
    found.close()


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda engine: engine.call("GET", "/info"), id="call"),
        pytest.param(lambda engine: engine.events(0, {}), id="events"),
        pytest.param(lambda engine: list(engine.pull("shop:1")), id="pull"),
    ],
)
def test_an_engine_that_was_upgraded_is_away_for_one_call(
    server: _Server, engine: Engine, ask: Callable[[Engine], object]
) -> None:
    assert engine.call("GET", "/info") == {"ID": "engine"}
    server.version = "1.52"
    with pytest.raises(EngineAwayError):
        ask(engine)
    assert engine.call("GET", "/info") == {"ID": "engine"}
    assert engine.api_version == "1.52"


def test_a_pull_takes_the_login_of_now(
    server: _Server, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def log_in(**passwords: str) -> None:
        auths = {
            f"{name}.example.org": {"auth": base64.b64encode(f"me:{password}".encode()).decode()}
            for name, password in passwords.items()
        }
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))

    log_in(one="first")
    list(engine.pull("one.example.org/shop:1"))
    log_in(one="second", two="other")
    list(engine.pull("one.example.org/shop:1"))
    list(engine.pull("two.example.org/shop:1"))
    assert [each["password"] for each in server.logins] == ["first", "second", "other"]


@pytest.mark.parametrize("activated", [False, True])
def test_an_engine_that_shuts_down_starts_nothing(
    server: _Server, engine: Engine, activated: bool
) -> None:
    engine.call("POST", "/containers/{}/start", "web")
    server.asked.clear()
    server.shut_down(activated=activated)
    with pytest.raises(EngineError):
        engine.call("POST", "/containers/{}/start", "web", timeout_s=0.2)
    assert server.asked == []
