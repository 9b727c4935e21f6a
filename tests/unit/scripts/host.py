"""A host for scripts/up and scripts/down: folders of a test's own, and no engine.

The engine's command is a program of ours that answers, lists one container, and keeps a record.
"""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
DOCKER = """#!/bin/sh
echo "$*" >>"{record}"
case "$*" in
  "network ls"*) [ ! -f "{record}.dies" ] || exit 1 ;;
  "ps --all"*) [ -f "{record}.gone" ] || echo c0ffee ;;
  "rm "*) : >"{record}.gone" ;;
  "context inspect"*) echo "{context}" ;;
esac
"""
USUAL = "unix:///var/run/docker.sock"


class Host:
    """Folders of a test's own, and an engine's command that does nothing."""

    def __init__(self, folder: Path, context: str = USUAL) -> None:
        self.data = folder / "data"
        self.record = folder / "asked"
        programs = folder / "bin"
        programs.mkdir()
        docker = programs / "docker"
        docker.write_text(DOCKER.format(record=self.record, context=context))
        docker.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CP_", "DOCKER"))}
        self.env = {
            **kept,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CP_DATA_DIR": str(self.data),
            "CP_VENV": str(folder / "no-venv"),
        }

    def script(self, name: str, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [str(SCRIPTS / name), *args]
        return self._run(command, {**self.env, **env})

    def begin(self, name: str, *args: str, **env: str) -> "subprocess.Popen[str]":
        """A script that is still at work when this returns."""
        return subprocess.Popen(
            [str(SCRIPTS / name), *args],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shell(self, code: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Code with what scripts/up has at hand, in which `python` is this one."""
        names = "".join(f"source {SCRIPTS / name}; " for name in ("lib.sh", "installation.sh"))
        bash = ["bash", "-euo", "pipefail", "-c", names + code]
        venv = str(Path(sys.executable).parents[1])
        return self._run(bash, {**self.env, "CP_VENV": venv, **env})

    def _run(self, command: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    def make(self, more: str = ":", **env: str) -> "subprocess.CompletedProcess[str]":
        """What scripts/up does first."""
        return self.shell(
            f"installation_open; installation_load; installation_create; {more}", **env
        )

    @property
    def removed(self) -> bool:
        return self.record.exists() and "rm --force" in self.record.read_text()

    @property
    def filters(self) -> set[str]:
        """The labels that it was asked by."""
        words = self.record.read_text().split() if self.record.exists() else []
        return {word for word in words if word.startswith("label=")}
