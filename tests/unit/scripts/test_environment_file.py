"""The settings that scripts/up remembers, in a file that people edit: none is lost on the way."""

import os
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
        pytest.param("CP_API_PORT=9\nCP_LOG_LEVEL=debug\nCP_API_PORT=9443\n", "9443", id="twice"),
    ],
)
def test_what_a_person_left_in_the_environment_file_is_taken_up_and_kept(
    host: Host, left: str, port: str
) -> None:
    """As systemd reads it, of which it is the EnvironmentFile."""
    host.make("installation_remember")
    (host.data / "environment").write_bytes(left.encode())
    done = host.make("installation_remember; env | cat -v")
    assert done.returncode == 0, done.stderr
    assert {"CP_LOG_LEVEL=debug", f"CP_API_PORT={port}"} <= set(done.stdout.split("\n"))
    kept = (host.data / "environment").read_bytes().decode().split("\n")
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
