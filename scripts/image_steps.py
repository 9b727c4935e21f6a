"""Running the commands of an image build, with a line of progress whenever one takes its time.

Not a build system: what is built and when is scripts/image_build.py's.
"""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

HEARTBEAT_S = 5.0
"""How often a running step says that it still runs."""

_print_lock = threading.Lock()
_started = time.monotonic()


class BuildError(Exception):
    """A step failed, or something that it needs is missing; the message says what to do."""


def say(name: str, text: str) -> None:
    """One progress line: seconds since the start, what it is about, what happens."""
    with _print_lock:
        print(f"[{time.monotonic() - _started:6.1f} s] {name:<14} {text}", flush=True)


def run(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = None,
) -> str:
    """Run argv to its end and return its output (both streams).

    Raises BuildError with the last lines of it if it fails or isn't installed.
    """
    lines: deque[str] = deque(maxlen=2000)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as exc:
        raise BuildError(f"{argv[0]} is not installed") from exc
    reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
    reader.start()
    while True:
        try:
            code = process.wait(timeout=HEARTBEAT_S)
            break
        except subprocess.TimeoutExpired:
            say(name, f"  … {lines[-1][:90] if lines else argv[0]}")
    reader.join(timeout=10)
    if code != 0:
        tail = "\n    ".join(list(lines)[-15:])
        raise BuildError(f"{' '.join(argv[:3])} failed with status {code}:\n    {tail}")
    return "\n".join(lines)


def _collect(process: "subprocess.Popen[str]", lines: "deque[str]") -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            # Progress bars rewrite one line with carriage returns: the last state is what counts.
            if text := line.rstrip().rpartition("\r")[2]:
                lines.append(text)
