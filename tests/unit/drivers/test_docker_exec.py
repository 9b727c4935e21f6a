"""Commands in containers: what comes of one is known when the engine knows it."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.docker_errors import CommandTimeoutError
from drivers.docker_exec import run_exec
from drivers.docker_sdk import Engine


class LateEngine(Engine):
    """Closes the connection of a command before it knows that it has ended."""

    def __init__(self, path: Path, answers: list[dict[str, Any]]) -> None:
        super().__init__(f"unix://{path}", timeout_s=5, pool_size=1)
        self.answers = answers

    @property
    def api_version(self) -> str:
        return "1.41"

    def call(self, method: str, path: str, *args: str, **_: Any) -> Any:
        if path != "/exec/{}/json":
            return {"Id": "e1"}
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Of a socket that takes one command and hangs up."""
    found = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(found))
        server.listen()

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n")

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield found
        thread.join()


RUNS = {"Running": True, "ExitCode": None}


def test_the_exit_code_is_waited_for(path: Path) -> None:
    engine = LateEngine(path, [RUNS, RUNS, {"Running": False, "ExitCode": 3}])
    assert run_exec(engine, "c1", ("false",), b"", 5.0) == (3, "")


def test_one_that_never_ends_is_given_up(path: Path) -> None:
    with pytest.raises(CommandTimeoutError):
        run_exec(LateEngine(path, [RUNS]), "c1", ("false",), b"", 0.05)
