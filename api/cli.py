"""`bunker`: a thin client of the API. Nothing here that kubectl and HTTP couldn't do.

    bunker kubectl ARGS...     the host's kubectl, else the bundled one, with the right kubeconfig
    bunker explain KIND NAME   why isn't it ready? The chain of causes, a line each
    bunker version             of this command and of the server

The control plane's own commands (serve, audit, kubeconfig) are `python -m controlplane`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from api.causes import Fetch, Obj, chain
from controlplane.settings import default_data_dir


def kubectl_program() -> str:
    """The host's own kubectl, else the one installed with the Python environment.

    Raises FileNotFoundError when there is neither.
    """
    found = shutil.which("kubectl")
    if found is not None:
        return found
    bundled = Path(sys.executable).with_name("kubectl")
    if bundled.exists():
        return str(bundled)
    raise FileNotFoundError(
        "no kubectl: install one, or the Python environment with its dependencies"
    )


def kubeconfig_path() -> str:
    """KUBECONFIG, else the one in the data folder."""
    data = os.environ.get("CP_DATA_DIR") or default_data_dir(os.environ, os.getuid())
    return os.environ.get("KUBECONFIG") or str(Path(data) / "kubeconfig")


def _environment() -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": kubeconfig_path()}


def _kubectl(args: Sequence[str]) -> int:
    """Become kubectl: signals, terminal and exit code are its own from here on."""
    program = kubectl_program()
    os.execve(program, ["kubectl", *args], _environment())  # no shell: argv as it is


def _fetch(namespace: str | None) -> Fetch:
    """Reads records through kubectl, so that any kubeconfig and login plugin works."""
    program, environment = kubectl_program(), _environment()

    def fetch(kind: str, name: str) -> Obj | None:
        command = [program, "get", kind, name, "-o", "json", "--ignore-not-found"]
        if namespace is not None:
            command += ["--namespace", namespace]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace").strip())
        found: Obj | None = json.loads(done.stdout) if done.stdout.strip() else None
        return found

    return fetch


def _explain(kind: str, name: str, namespace: str | None) -> int:
    try:
        lines = chain(kind, name, _fetch(namespace))
    except RuntimeError as exc:
        print(exc, file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0


def _version() -> int:
    print(f"bunker {version('bunker-cloud')}")
    command = [kubectl_program(), "version"]
    return subprocess.run(command, env=_environment(), check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bunker", description="A private cloud for one host.")
    commands = parser.add_subparsers(dest="command", required=True)
    kubectl = commands.add_parser(
        "kubectl", help="run kubectl with the right kubeconfig", add_help=False
    )
    kubectl.add_argument("args", nargs=argparse.REMAINDER)
    explain = commands.add_parser("explain", help="why isn't it ready?")
    explain.add_argument("kind", help="kind, or KIND/NAME")
    explain.add_argument("name", nargs="?", help="name of the record")
    explain.add_argument("-n", "--namespace", help="its namespace; default: the context's")
    commands.add_parser("version", help="versions of this command and of the server")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["kubectl"]:  # before argparse: every flag after it is kubectl's
        return _kubectl(args[1:])
    parser = _parser()
    given = parser.parse_args(args)
    if given.command == "version":
        return _version()
    kind, _, name = given.kind.partition("/")
    name = given.name or name
    if not name:
        parser.error("write KIND NAME or KIND/NAME")
    return _explain(kind, name, given.namespace)


if __name__ == "__main__":
    sys.exit(main())
