"""The bundled PostgreSQL's system user: made with a program that root's own path may not have."""

import os
import pwd
from pathlib import Path

import pytest

from controlplane.errors import TerminalError
from controlplane.store import embedded


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for, empty; we are root, and have no such user
    until a file `made` is in it."""
    (tmp_path / "programs").mkdir()
    (tmp_path / "nothing").mkdir()
    made = tmp_path / "programs" / "made"
    ours = pwd.getpwuid(os.geteuid())

    def getpwnam(name: str) -> pwd.struct_passwd:
        if made.exists():
            return ours
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(embedded._ENVIRONMENT, "PATH", str(made.parent))
    return made.parent


def test_its_user_is_made_where_the_path_has_no_useradd(programs: Path) -> None:
    useradd = programs / "useradd"
    useradd.write_text(f"#!/bin/sh\n: >{programs}/made\n")
    useradd.chmod(0o755)
    assert embedded._server_ids() == (os.getuid(), os.getgid())


def test_a_host_without_useradd_is_told_what_to_do(programs: Path) -> None:
    with pytest.raises(TerminalError) as caught:
        embedded._server_ids()
    assert caught.value.reason == "NoSystemUser"
