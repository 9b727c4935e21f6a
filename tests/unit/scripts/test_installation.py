"""scripts/up and scripts/down before and after the cloud: whose folder, whose things, where."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ipv6 import needs_ipv6
from tests.unit.scripts.host import USUAL, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_has_not_started_has_nothing_to_destroy_but_its_folder(host: Host) -> None:
    host.make()
    done = host.script("down", "--destroy")
    assert done.returncode == 0, done.stderr
    assert not host.data.exists()
    assert host.filters == set()


def test_what_has_started_is_destroyed_by_its_name(host: Host) -> None:
    host.make("installation_remember", CP_INSTANCE="staging")
    done = host.script("down", "--destroy")
    assert done.returncode == 0, done.stderr
    assert host.removed
    assert host.filters == {"label=bunker.cloud/instance=staging"}


@pytest.mark.parametrize("made", [True, False], ids=["made by scripts/up", "was there"])
def test_a_data_folder_behind_a_link_is_emptied_and_the_link_stays(
    host: Host, tmp_path: Path, made: bool
) -> None:
    """Whoever moved it to another disk, before or after, told the installation nothing of it."""
    disk = tmp_path / "disk"
    if made:
        host.make()
        host.data.rename(disk)
    else:
        disk.mkdir()
    host.data.symlink_to(disk)
    assert host.make("installation_remember").returncode == 0
    (disk / "tls").mkdir()
    (disk / "tls" / "ca.key").touch()
    done = host.script("down", "--destroy")
    assert done.returncode == 0, done.stderr
    assert list(disk.iterdir()) == []
    assert host.make().returncode == 0, "an empty folder is taken again"


@pytest.mark.parametrize("url", ["", "postgresql://db.example.org/cloud"], ids=["", "has another"])
def test_its_postgresql_is_stopped_without_the_python_environment_too(host: Host, url: str) -> None:
    """Whoever says that all is stopped is believed: the folder is copied then, or replaced. That
    the records are elsewhere from now on stopped no server."""
    host.make("installation_remember", **({"CP_DATABASE_URL": url} if url else {}))
    data = host.data / "postgres" / "data"
    data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=data) as server:
        (data / "postmaster.pid").write_text(f"{server.pid}\n{data}\n")
        done = host.script("down")
        assert done.returncode == 0, done.stderr
        assert server.wait(timeout=10) == -signal.SIGINT


def test_one_that_never_had_a_postgresql_of_its_own_asks_for_none(
    host: Host, tmp_path: Path
) -> None:
    """That takes a second, and the settings that it would read may be wrong by now."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n: >{tmp_path}/started\n")
    python.chmod(0o755)
    host.make("installation_remember", CP_DATABASE_URL="postgresql://db.example.org/cloud")
    done = host.script("down", CP_VENV=str(tmp_path / "venv"))
    assert (done.returncode, (tmp_path / "started").exists()) == (0, False)


def test_a_pid_that_another_process_has_now_is_left_alone(host: Host) -> None:
    host.make()
    data = host.data / "postgres" / "data"
    data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=host.data) as other:
        (data / "postmaster.pid").write_text(f"{other.pid}\n{data}\n")
        assert host.script("down").returncode == 0
        assert other.poll() is None
        other.kill()


def test_an_engine_that_ends_meanwhile_costs_no_data_folder(host: Host) -> None:
    host.make("installation_remember")
    dies = host.record.with_name(f"{host.record.name}.dies")
    dies.touch()
    done = host.script("down", "--destroy")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert (host.data / "environment").exists()
    dies.unlink()
    assert host.script("down", "--destroy").returncode == 0
    assert not host.data.exists()


def test_an_installation_keeps_its_name(host: Host) -> None:
    host.make("installation_remember", CP_INSTANCE="staging")
    done = host.script("down", "--destroy", CP_INSTANCE="other")
    assert done.returncode == 1
    assert "'staging'" in done.stderr
    assert host.filters == set()
    assert host.make(CP_INSTANCE="other").returncode == 1
    (host.data / "environment").write_text("")  # as somebody may who wants the defaults
    (host.data / "control-plane.log").touch()
    assert host.make("echo $CP_INSTANCE").stdout == "staging\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_one_from_before_names_were_kept_is_known_by_what_it_remembers(
    host: Host, end: str
) -> None:
    host.data.mkdir()
    (host.data / "installation").write_text("made_folder=no\n")
    lines = f"CP_API_PORT=9443{end}CP_INSTANCE=staging{end}"
    (host.data / "environment").write_bytes(lines.encode())
    assert host.script("down", "--destroy", CP_INSTANCE="other").returncode == 1
    assert host.script("down", "--destroy").returncode == 0
    assert host.filters == {"label=bunker.cloud/instance=staging"}


def during_a_first_start(host: Host, *command: str, **env: str) -> str:
    """What a command says that is given while the first scripts/up of `staging` is at work: that
    has the lock, and remembers what it was given only minutes later."""
    with (host.data / "up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = host.begin(*command, **env)
        assert begun.stderr is not None
        select.select([begun.stderr], [], [], 10)  # until it says that it waits
        (host.data / "environment").write_text("CP_API_PORT=9443\nCP_INSTANCE=staging\n")
    return begun.communicate(timeout=60)[1]


def test_an_installation_that_first_starts_is_destroyed_by_its_own_name(host: Host) -> None:
    """Not by the default one, which is another installation's."""
    host.make(CP_INSTANCE="staging")
    said = during_a_first_start(host, "down", "--destroy")
    assert host.removed
    assert host.filters == {"label=bunker.cloud/instance=staging"}
    assert "waiting" in said
    assert not host.data.exists()


def test_what_was_never_started_has_its_name_as_well(host: Host) -> None:
    host.make(CP_INSTANCE="staging")
    done = host.script("down", "--destroy", CP_INSTANCE="other")
    assert done.returncode == 1
    assert "'staging'" in done.stderr
    assert host.data.exists()


def test_a_folder_removed_meanwhile_is_made_anew(host: Host, tmp_path: Path) -> None:
    """By the scripts/down --destroy that was waited for: the lock went with it."""
    host.make()
    with (host.data / "up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = host.begin("up")
        assert begun.stderr is not None
        select.select([begun.stderr], [], [], 10)
        host.data.rename(tmp_path / "gone")
    said = begun.communicate(timeout=60)[1]
    assert "whose data folder is not" in said, "it goes as far as the engine, which has things"
    assert (host.data / "installation").read_text() == "instance=bunker\nmade_folder=yes\n"


def test_a_folder_that_is_not_there_destroys_nothing_by_default(host: Host) -> None:
    done = host.script("down", "--destroy")
    assert done.returncode == 1
    assert "CP_INSTANCE=bunker scripts/down --destroy" in done.stderr
    assert not host.removed
    assert host.script("down", "--destroy", CP_INSTANCE="bunker").returncode == 0
    assert "rm --force" in host.record.read_text()
    assert host.script("down", "--destroy").returncode == 0, "nothing is left to ask about"
    assert host.removed


def test_no_two_installations_have_one_name_on_an_engine(host: Host) -> None:
    """Each would sweep what the other has."""
    done = host.make("refuse_shared_name")
    assert done.returncode == 1
    assert "CP_INSTANCE=other" in done.stderr
    # as it was told; the engine of this test has one container, whatever the name
    other = "echo $CP_INSTANCE; installation_remember; refuse_shared_name"
    done = host.make(other, CP_INSTANCE="other")
    assert (done.returncode, done.stdout) == (0, "other\n"), "it has started: these are its own"


def test_files_of_secrets_are_removed_from_a_folder_with_a_space_in_its_name(
    host: Host, tmp_path: Path
) -> None:
    runtime, stranger = tmp_path / "ram disk", tmp_path / "ram"
    for folder in (runtime, stranger):
        (folder / "secrets" / "one").mkdir(parents=True)
    host.make("installation_remember", CP_INSTANCE=f"t-{os.getpid()}")
    done = host.script("down", "--destroy", CP_RUNTIME_DIR=str(runtime))
    assert done.returncode == 0, done.stderr
    assert not runtime.exists()
    assert (stranger / "secrets" / "one").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody")
def test_another_users_installation_of_the_same_name_keeps_its_files(
    host: Host, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs" / "secrets"
    theirs.mkdir(parents=True)
    for folder in (theirs, theirs.parent):
        os.chown(folder, 12345, 12345)
    host.make("installation_remember", CP_INSTANCE=f"t-{os.getpid()}")
    done = host.script("down", "--destroy", CP_RUNTIME_DIR=str(theirs.parent))
    assert done.returncode == 0, done.stderr
    assert theirs.exists()


@pytest.mark.parametrize("address", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_port_is_free_on_the_address_that_the_api_listens_on(host: Host, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((address, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = host.shell(f"port_is_free {address} {port}")
        assert done.returncode == 1
        assert "in use" in done.stderr
    assert host.shell(f"port_is_free {address} {port}").returncode == 0


class Running:
    """A host whose control plane runs, from an environment that isn't of this checkout's lock
    file: its `python` is a program of ours that keeps a record."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.venv = folder / "venv"
        self.venv.joinpath("bin").mkdir(parents=True)
        self.venv.joinpath("pyvenv.cfg").touch()
        self.python = self.venv / "bin" / "python"
        self.python.write_text(f'#!/bin/sh\necho "$*" >>{folder}/called\n')
        self.python.chmod(0o755)
        self.called = folder / "called"
        pid = f"{host.data}/control-plane.pid {os.getpid()}"
        host.make(f"installation_remember; remember_pid {pid}")

    def up(self, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
        self.called.unlink(missing_ok=True)
        done = self.host.script("up", *args, CP_VENV=str(self.venv), CP_IMAGES="local", **env)
        assert done.returncode == 0, done.stderr
        return done

    @property
    def waited(self) -> str:
        """What the second half of the last scripts/up was told."""
        (line,) = (line for line in self.called.read_text().splitlines() if "up_wait" in line)
        return line


@pytest.fixture
def running(host: Host, tmp_path: Path) -> Running:
    return Running(host, tmp_path)


def test_a_control_plane_that_runs_keeps_its_environment(running: Running) -> None:
    before = running.python.read_text()
    running.up()
    assert running.python.read_text() == before


def test_one_that_runs_is_looked_for_where_it_listens(running: Running) -> None:
    """Not where it will with the settings that it is given now."""
    (running.host.data / "control-plane.listens").write_text("127.0.0.1 8443\n")
    done = running.up(CP_API_PORT="9443")
    assert "take effect after: scripts/down && scripts/up" in done.stderr + done.stdout
    assert "--address 127.0.0.1 --port 8443" in running.waited


def test_a_second_one_during_the_first_start_takes_up_what_that_was_given(
    running: Running,
) -> None:
    data = running.host.data
    whose = "instance=staging\nmade_folder=yes\n"
    (data / "installation").write_text(whose)
    (data / "environment").unlink()
    env = {"CP_VENV": str(running.venv), "CP_IMAGES": "local"}
    during_a_first_start(running.host, "up", **env)
    assert (data / "installation").read_text() == whose
    kept = (data / "environment").read_text().splitlines()
    assert {"CP_API_PORT=9443", "CP_INSTANCE=staging"} <= set(kept)
    assert running.called.exists(), "it went on to the end"


@pytest.mark.parametrize("first", [(), ("--no-quickstart",)], ids=["applied", "left out"])
def test_the_quickstart_is_applied_at_the_first_start_or_never(
    running: Running, first: tuple[str, ...]
) -> None:
    """By the second the records of these names may be the user's own."""
    running.up(*first)
    assert ("quickstart.yaml" in running.waited) is not bool(first)
    running.up()
    assert not {"--apply", "--must"} & set(running.waited.split())


def test_one_that_was_applied_and_never_ready_has_to_be_at_the_next_start(
    running: Running,
) -> None:
    applied = running.host.data / "quickstart.applied"
    applied.write_text("not Ready yet\n")
    running.up()
    assert "--must" in running.waited.split()
    assert "--apply" not in running.waited.split()
    assert applied.read_bytes() == b""


def test_a_taken_port_leaves_the_environment_and_the_settings_as_they_are(
    host: Host, tmp_path: Path
) -> None:
    """A service of this installation may be who listens, and both are that one's, too."""
    host.make("installation_remember")
    kept = (host.data / "environment").read_text()
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.parent.with_name("pyvenv.cfg").touch()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = host.script("up", CP_VENV=str(tmp_path / "venv"), CP_API_PORT=port)
    assert done.returncode == 1
    assert "own service, stop it first" in done.stderr
    assert "CP_API_PORT=9443" in done.stderr
    assert python.exists()
    assert (host.data / "environment").read_text() == kept


def test_wrong_settings_are_not_remembered(host: Host) -> None:
    remember = "check_settings; installation_remember"
    done = host.make(remember, CP_LOG_LEVEL="loud")
    assert done.returncode == 1
    assert "CP_LOG_LEVEL" in done.stderr
    assert host.make(remember).returncode == 0
    assert "CP_LOG_LEVEL" not in (host.data / "environment").read_text()


@pytest.mark.parametrize(
    ("context", "given", "remembered"),
    [
        pytest.param(USUAL, {}, "", id="the usual one"),
        pytest.param("unix:///run/user/1000/docker.sock", {}, "{context}", id="of the context"),
        pytest.param(USUAL, {"DOCKER_HOST": "unix:///h"}, "unix:///h", id="of the environment"),
        pytest.param(
            "unix:///a",
            {"DOCKER_HOST": "unix:///h", "CP_DOCKER_HOST": "unix:///g"},
            "unix:///g",
            id="of the settings",
        ),
    ],
)
def test_the_control_plane_has_the_engine_that_the_docker_command_has(
    tmp_path: Path, context: str, given: dict[str, str], remembered: str
) -> None:
    host = Host(tmp_path, context)
    ask = "installation_find; installation_load; installation_engine; echo ${CP_DOCKER_HOST:-}"
    told = host.shell(ask, **given)
    assert told.stdout.strip() == remembered.format(context=context)
