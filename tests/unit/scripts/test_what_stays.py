"""scripts/down --destroy says what it leaves elsewhere, and gives no secret away with that."""

from pathlib import Path

import pytest

from tests.unit.scripts.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        pytest.param(
            "postgresql://cp:hunter22@db.example.org:5433/cloud?sslmode=require&password=hunter22",
            "'cloud' at db.example.org:5433,",
            id="a host",
        ),
        pytest.param("postgres://one:1,two:2/cloud", "'cloud' at one:1,two:2,", id="two hosts"),
        pytest.param(
            "postgresql://cp@/cloud?password=hunter22&host=/run/pg", "at /run/pg,", id="a socket"
        ),
        pytest.param("postgresql://cp:hunter22@db.example.org", "at db.example.org,", id="no name"),
        pytest.param("postgresql://cp:hunter22?a@h/cloud", "CP_DATABASE_URL", id="not quoted"),
        pytest.param("postgresql://cp:hunter22/a@h/cloud", "'cloud' at h,", id="a / not quoted"),
        pytest.param("host=h password=hunter22", "CP_DATABASE_URL", id="no URL"),
    ],
)
def test_a_database_elsewhere_is_told_as_what_stays(host: Host, url: str, named: str) -> None:
    """By its place, not by its password."""
    host.make("installation_remember", CP_DATABASE_URL=url)
    done = host.script("down", "--destroy")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "the database" in line)
    assert named in line
    assert "hunter22" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "'bunker/staging' in 'secret'"),
        ({"CP_VAULT_MOUNT": "kv", "CP_VAULT_PATH": "ours"}, "'ours' in 'kv'"),
    ],
)
def test_keys_in_a_vault_are_told_as_what_stays(
    host: Host, given: dict[str, str], named: str
) -> None:
    host.make("installation_remember", CP_INSTANCE="staging", CP_SECRETS="vault", **given)
    done = host.script("down", "--destroy")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "Vault" in line)
    assert named in line


def test_what_never_started_left_nothing_elsewhere(host: Host) -> None:
    host.make()
    elsewhere = {"CP_DATABASE_URL": "postgresql://db.example.org/cloud", "CP_SECRETS": "vault"}
    done = host.script("down", "--destroy", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert "what stays" in done.stderr
    assert "the database" not in done.stderr
    assert "Vault" not in done.stderr
