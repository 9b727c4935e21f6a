"""The settings that scripts/up remembers, in a file that people edit: none is lost on the way."""

import os
import stat
from pathlib import Path

import pytest

from tests.unit.scripts.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("left", "port"),
    [
        pytest.param("CP_LOG_LEVEL=debug\nCP_API_PORT=9443", "9443", id="no newline at its end"),
        pytest.param("CP_LOG_LEVEL=debug\r\nCP_API_PORT=9443\r\n", "9443", id="CRLF"),
        pytest.param("# ours\n\nCP_LOG_LEVEL=debug\nCP_API_PORT=9443\n", "9443", id="a comment"),
        pytest.param("CP_LOG_LEVEL=debug\n#CP_API_PORT=9443\n", "8443", id="one commented out"),
        pytest.param("# caf\udce9\nCP_LOG_LEVEL=debug\n", "8443", id="a comment in Latin-1"),
        pytest.param("CP_API_PORT=9\nCP_LOG_LEVEL=debug\nCP_API_PORT=9443\n", "9443", id="twice"),
    ],
)
def test_what_a_person_left_in_the_environment_file_is_taken_up_and_kept(
    host: Host, left: str, port: str
) -> None:
    """Of two lines the later one holds, as it does where the file is a unit's EnvironmentFile."""
    host.make("installation_remember")
    (host.data / "environment").write_bytes(os.fsencode(left))
    done = host.make("installation_remember; env | cat -v", LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    assert {"CP_LOG_LEVEL=debug", f"CP_API_PORT={port}"} <= set(done.stdout.split("\n"))
    kept = os.fsdecode((host.data / "environment").read_bytes()).split("\n")
    assert {"CP_LOG_LEVEL=debug", f"CP_API_PORT={port}"} <= set(kept)


def test_values_come_back_as_they_were(host: Host) -> None:
    values = {
        "CP_DATABASE_URL": "postgresql://u:a'b\"c\\d$e`f@h/n?options=-c x=y#z",
        "CP_VAULT_CA_FILE": "  /with spaces \t",
    }
    host.make("installation_remember", **values)
    told = host.make('printf \'%s\\n\' "$CP_DATABASE_URL" "$CP_VAULT_CA_FILE"').stdout
    assert told.split("\n")[:-1] == list(values.values())


@pytest.mark.parametrize("line", ["export CP_API_PORT=9443", "CP_API_PORT"])
def test_a_line_that_is_no_setting_is_named_and_not_erased(host: Host, line: str) -> None:
    host.make("installation_remember")
    (host.data / "environment").write_text(f"CP_LOG_LEVEL=debug\n{line}\n")
    done = host.make("installation_remember")
    assert done.returncode == 1
    assert f"line 2 of {host.data}/environment" in done.stderr
    assert line in (host.data / "environment").read_text()


def test_a_value_in_another_encoding_is_kept_as_well(host: Host) -> None:
    given = {"CP_A": "1", "CP_B": os.fsdecode(b"caf\xe9"), "CP_Z": "2"}
    host.make("installation_remember", LC_ALL="C.UTF-8", **given)
    kept = (host.data / "environment").read_bytes().split(b"\n")
    assert {b"CP_A=1", b"CP_B=caf\xe9", b"CP_Z=2"} <= set(kept)
    assert host.make("echo $CP_Z", LC_ALL="C.UTF-8").stdout == "2\n"


def test_what_no_shell_can_name_is_not_remembered(host: Host) -> None:
    """Each later run would end at it, scripts/down as well."""
    host.make("installation_remember", **{"CP_A-B": "1", "CP_A.B": "2"})
    assert host.make().returncode == 0


def test_a_file_behind_a_link_is_written_where_it_is(host: Host, tmp_path: Path) -> None:
    """Else the next edit of it would be one that nobody reads."""
    host.make("installation_remember")
    elsewhere = tmp_path / "bunker.env"
    (host.data / "environment").rename(elsewhere)
    (host.data / "environment").symlink_to(elsewhere)
    host.make("installation_remember", CP_API_PORT="9443")
    assert "CP_API_PORT=9443\n" in elsewhere.read_text()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("bunker.env")] == ["bunker.env"]


SHARED = """# of the host, see the wiki: caf\udce9 $(x) [1]=2
HTTPS_PROXY=http://proxy:3128
CP_DATA_DIR=/srv/bunker

; as 8443 is taken
CP_API_PORT=1
CP_VENV=/nowhere
CP_API_PORT=9443
CP_INSTANCE=staging
"""


@pytest.mark.parametrize("link", [False, True], ids=["a file", "a link to one"])
def test_what_others_have_in_the_file_stays_where_it_is(
    host: Host, tmp_path: Path, link: bool
) -> None:
    """A unit may have it too, under an account that may only read it: without CP_DATA_DIR it would
    start with another data folder."""
    host.make("installation_remember", CP_INSTANCE="staging")
    file = host.data / "environment"
    if link:
        file = tmp_path / "bunker.env"
        (host.data / "environment").rename(file)
        (host.data / "environment").symlink_to(file)
    file.write_bytes(os.fsencode(SHARED))
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 1, 2)
    before = file.stat()
    done = host.make("installation_remember", LC_ALL="C.UTF-8", CP_LOG_LEVEL="debug")
    assert done.returncode == 0, done.stderr
    lines = SHARED.replace("CP_API_PORT=1\n", "CP_API_PORT=9443\n", 1).split("\n")
    del lines[7]
    assert os.fsdecode(file.read_bytes()).split("\n") == [*lines[:-1], "CP_LOG_LEVEL=debug", ""]
    now = file.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert (host.data / "environment").is_symlink() is link


def test_a_file_that_is_as_it_should_be_is_not_written(host: Host) -> None:
    host.make("installation_remember")
    file = host.data / "environment"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(f"# ours\n{file.read_text()}CP_VENV=/nowhere")
    before = file.stat()
    host.make("installation_remember")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_python_environment_named_in_the_file_is_nobodys(host: Host) -> None:
    """scripts/bootstrap would make that one, and scripts/up start from another."""
    host.make("installation_remember")
    (host.data / "environment").write_text("CP_VENV=/nowhere\n")
    assert host.make("unset CP_VENV; load_remembered; echo ${CP_VENV:-none}").stdout == "none\n"


@pytest.mark.parametrize("folder", [False, True], ids=["nothing", "a folder"])
def test_a_link_to_no_file_is_named(host: Host, tmp_path: Path, folder: bool) -> None:
    """The disk may only not be mounted: with the defaults it would be another installation."""
    host.make("installation_remember")
    elsewhere = tmp_path / "bunker.env"
    if folder:
        elsewhere.mkdir()
    (host.data / "environment").unlink()
    (host.data / "environment").symlink_to(elsewhere)
    done = host.make("installation_remember")
    assert done.returncode == 1
    assert f"{host.data}/environment is a link to a file that isn't there" in done.stderr
    assert str(elsewhere) in done.stderr
    assert not elsewhere.is_file()


def test_a_file_that_cannot_be_written_is_named_and_left(host: Host, tmp_path: Path) -> None:
    host.make("installation_remember")
    elsewhere = tmp_path / "bunker.env"
    elsewhere.write_text("# ours\n")
    (host.data / "environment").unlink()
    (host.data / "environment").symlink_to(elsewhere)
    elsewhere.with_name("bunker.env.new").mkdir()  # root, too, can't write there
    done = host.make("installation_remember")
    assert done.returncode == 1
    assert f"cannot write {elsewhere}" in done.stderr
    assert elsewhere.read_text() == "# ours\n"
