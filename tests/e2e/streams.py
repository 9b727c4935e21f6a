"""kubectl and its terminal, for the tests of streams: the newest one there is as a wheel."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cloud import Cloud, eventually, free_port

KUBECTL = Path(sys.executable).with_name("kubectl")


def command(cloud: Cloud, *args: str, kubeconfig: Path | None = None) -> list[str]:
    return [str(KUBECTL), f"--kubeconfig={kubeconfig or cloud.kubeconfig}", *args]


def run(
    cloud: Cloud,
    *args: str,
    stdin: bytes = b"",
    timeout_s: float = 60,
    kubeconfig: Path | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end, whatever that is."""
    return subprocess.run(
        command(cloud, *args, kubeconfig=kubeconfig),
        env=cloud.env,
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def text(cloud: Cloud, *args: str) -> str:
    """Standard output of one that succeeds."""
    done = run(cloud, *args)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@contextmanager
def started(cloud: Cloud, *args: str) -> Iterator["subprocess.Popen[bytes]"]:
    """One that runs until the block is left."""
    process = subprocess.Popen(
        command(cloud, *args),
        env=cloud.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def forwarded(cloud: Cloud, target: str, port: int, namespace: str) -> Iterator[int]:
    """A local port that leads to a Pod's for the length of a block."""
    local = free_port()
    with started(cloud, "port-forward", "-n", namespace, target, f"{local}:{port}") as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Forwarding from"), line
        yield local


@dataclass
class Terminal:
    """A kubectl on a terminal of its own."""

    fd: int
    pid: int
    seen: str = ""

    def resize(self, columns: int, rows: int) -> None:
        # the kernel tells kubectl by SIGWINCH
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\r")

    def until(self, wanted: str, *, within_s: float = 15) -> None:
        """Read until it has shown something; what was shown before counts no more."""
        end = time.monotonic() + within_s
        while wanted not in self.seen:
            assert time.monotonic() < end, f"no {wanted!r} in {self.seen!r}"
            ready, _, _ = select.select([self.fd], [], [], 0.2)
            if ready:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
        self.seen = self.seen.partition(wanted)[2]

    def exit_code(self) -> int:
        def ended() -> int | None:
            try:
                while select.select([self.fd], [], [], 0)[0] and os.read(self.fd, 4096):
                    pass
            except OSError:  # its other end is closed
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return None if pid == 0 else os.waitstatus_to_exitcode(status) + 1

        found = eventually(ended, within_s=15, what="kubectl ends")
        assert found is not None
        return found - 1


@contextmanager
def terminal(cloud: Cloud, *args: str, columns: int, rows: int) -> Iterator[Terminal]:
    """kubectl on a terminal of a size."""
    words = command(cloud, *args)
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execve(words[0], words, {**cloud.env, "TERM": "xterm"})
    try:
        yield Terminal(fd, pid)
    finally:
        os.close(fd)
