"""Containers that a test starts straight on the engine, without the driver under test."""

import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconcilers._images import service_image

INSTANCE = f"test-{uuid.uuid4().hex[:12]}"
LABEL = f"bunker.cloud/instance={INSTANCE}"
DISCARD = 9
"""A port where no server of ours listens: a connection is refused at once."""


def docker(*argv: str, stdin: str = "", check: bool = True) -> str:
    """Run the engine's own client; its standard output. Raises AssertionError with its error."""
    done = subprocess.run(
        ["docker", *argv], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 or not check, done.stderr.strip()
    return done.stdout.strip()


@dataclass(frozen=True)
class Running:
    """A container of ours."""

    id: str

    @property
    def address(self) -> str:
        return self.inspect("{{.NetworkSettings.IPAddress}}")

    @property
    def running(self) -> bool:
        return self.inspect("{{.State.Running}}") == "true"

    @property
    def exit_code(self) -> int:
        return int(self.inspect("{{.State.ExitCode}}"))

    def inspect(self, form: str) -> str:
        return docker("inspect", "--format", form, self.id)

    def exec(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        return docker("exec", "-i", self.id, *argv, stdin=stdin, check=check)

    def logs(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.id], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr


@dataclass
class Bench:
    """Starts containers and volumes under one label, and removes them all at the end."""

    volumes: list[str] = field(default_factory=list)

    def volume(self) -> str:
        name = docker("volume", "create", "--label", LABEL, f"{INSTANCE}-{uuid.uuid4().hex[:8]}")
        self.volumes.append(name)
        return name

    def run(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Running:
        """As the control plane runs a server: its own user, no capability, read-only root."""
        hardened = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only")
        argv = ("run", "--detach", "--label", LABEL, *hardened, *options, image, *command)
        started = Running(docker(*argv))
        if started.running and (address := started.address):
            wait_until(lambda: is_reached(address) or not started.running, of=started)
        return started


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench that leaves nothing behind."""
    made = Bench()
    try:
        yield made
    finally:
        if left := docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").split():
            docker("rm", "--force", "--volumes", *left)
        for name in made.volumes:
            docker("volume", "rm", "--force", name)


def wait_until(claim: Callable[[], bool], *, of: Running, timeout_s: float = 30) -> None:
    """Until the claim holds. Fails at once, with the container's log, if that has ended."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert of.running, f"the container ended with {of.exit_code}:\n{of.logs()}"
        assert time.monotonic() < deadline, f"not within {timeout_s} s:\n{of.logs()}"
        time.sleep(0.1)  # a real container's time can't be moved by hand


def is_reached(address: str) -> bool:
    """Whether the host finds the way there, whatever listens. Its address may be that of one that
    has just gone: while the host still looks for that, it refuses to connect to either."""
    try:
        socket.create_connection((address, DISCARD), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def name_server(key: str, *options: str) -> Iterator[Running]:
    """A name server as the platform runs it, on a volume of its own, that takes this API key."""
    with bench() as made:
        started = made.run(
            service_image("powerdns", source="local").reference,
            options=(
                "--user=999:999",
                "--tmpfs=/run/pdns:uid=999,gid=999",
                f"--volume={made.volume()}:/data",
                f"--env=PDNS_API_KEY={key}",
                *options,
            ),
        )
        wait_until(lambda: "Done launching threads" in started.logs(), of=started)
        yield started
