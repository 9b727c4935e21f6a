"""`python -m controlplane` as a process: what ends it, and what it says of that."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import StoreUnavailableError
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.history import History
from controlplane.store.layout import package
from controlplane.store.migrate import ensure_schema
from controlplane.store.service import PostgresStore
from tests.integration.store.test_embedded import slow_to_start
from tests.integration.store.writing import create

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
"""Against hanging: a start takes about a second."""


async def serve(folder: Path, url: str, **env: str) -> asyncio.subprocess.Process:
    """An API alone."""
    return await begun(folder, url, "serve", "api", out=asyncio.subprocess.DEVNULL, **env)


async def begun(
    folder: Path, url: str, *words: str, out: int = asyncio.subprocess.DEVNULL, **env: str
) -> asyncio.subprocess.Process:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CP_")}
    ours = {"CP_DATA_DIR": str(folder / "data"), "CP_DATABASE_URL": url}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", *words),
        cwd=ROOT,
        env={**kept, **ours, **env},
        stdout=out,
        stderr=asyncio.subprocess.PIPE,
    )


async def said(process: asyncio.subprocess.Process) -> str:
    """All that it said until it ended."""
    _, told = await printed(process)
    return told.decode()


async def printed(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """What it wrote until it ended."""
    try:
        async with asyncio.timeout(LIMIT_S):
            return await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a short name, as the socket in it has to have. Its bundled PostgreSQL ends with it."""
    made = Path(tempfile.mkdtemp(prefix="bunker-se-"))
    yield made
    bundled(made).destroy()
    shutil.rmtree(made)


def bundled(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "data" / "postgres")


async def answers(port: int) -> None:
    """Returns once somebody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_while_it_waits_for_postgresql(
    tmp_path: Path, number: signal.Signals
) -> None:
    met = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await serve(tmp_path, f"postgresql://cp@127.0.0.1:{port}/cp")
        async with asyncio.timeout(LIMIT_S):
            await met.wait()
        process.send_signal(number)
        told = await said(process)
    assert process.returncode == 0, told


async def test_it_says_which_server_it_waits_for(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        process = await serve(tmp_path, f"postgresql://cp:hunter22@127.0.0.1:{port}/cp")
        assert process.stderr is not None
        try:
            async with asyncio.timeout(LIMIT_S):
                line = (await process.stderr.readline()).decode()
        finally:
            process.terminate()
            rest = await said(process)
    assert "postgresql_waited_for" in line
    assert str(port) in line
    assert "hunter22" not in line + rest


@pytest.mark.postgres
async def test_a_port_that_is_taken_is_told_in_a_line(tmp_path: Path, database: Database) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await serve(tmp_path, database.dsn, CP_API_PORT=str(port))
        told = await said(process)
    assert process.returncode == 1
    assert told.startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
    assert len(told.splitlines()) == 1


@pytest.mark.postgres
async def test_a_login_that_is_refused_is_told_in_a_line(
    tmp_path: Path, database: Database
) -> None:
    process = await serve(tmp_path, database.dsn.replace("postgres@", "nobody@"))
    told = await said(process)
    assert process.returncode == 1
    assert told.startswith("error: cannot open the database: ")
    assert len(told.splitlines()) == 1


@pytest.mark.postgres
async def test_a_kubeconfig_that_cannot_be_written_leaves_no_token(
    tmp_path: Path, database: Database
) -> None:
    out = tmp_path / "nowhere" / "kubeconfig"
    told = await said(await begun(tmp_path, database.dsn, "kubeconfig", "--out", str(out)))
    assert told == f"error: cannot write '{out}': No such file or directory\n"
    async with database.reading("cannot count") as conn:
        assert await conn.fetchval("SELECT count(*) FROM tokens") == 0


@pytest.mark.postgres
async def test_an_agent_renews_its_lease_on_a_connection_of_its_own(
    tmp_path: Path, database: Database
) -> None:
    """Told by PostgreSQL; that it is a thread's of its own is why (test_lease_apart.py)."""
    url = f"unix://{tmp_path / 'no-engine.sock'}"
    process = await begun(tmp_path, database.dsn, "serve", "agent", CP_DOCKER_HOST=url)
    try:
        async with asyncio.timeout(LIMIT_S), database.reading("cannot look") as conn:
            while not await conn.fetchval(  # noqa: ASYNC110  # another process does it
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'bunker lease'"
            ):
                await asyncio.sleep(0.1)
    finally:
        process.terminate()
        told = await said(process)
    assert process.returncode == 0, told


async def still_starting(folder: Path) -> tuple[EmbeddedPostgres, int]:
    """A bundled PostgreSQL that answers once there is a file `go` in its data, and its pid."""
    cluster = await slow_to_start(bundled(folder).home)
    with pytest.raises(StoreUnavailableError):
        await asyncio.to_thread(EmbeddedPostgres(cluster.home, start_timeout_s=3).start)
    pid = cluster.pid()
    assert pid is not None
    return cluster, pid


@pytest.mark.postgres
async def test_a_bundled_postgresql_that_ends_while_it_is_waited_for_is_started_again(
    folder: Path,
) -> None:
    cluster, first = await still_starting(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await serve(folder, "", CP_API_PORT=str(port))
    assert process.stderr is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            assert b"postgresql_waited_for" in await process.stderr.readline()
            os.kill(first, signal.SIGKILL)
            (cluster.home / "data" / "go").touch()
            await answers(port)
        assert cluster.pid() not in (None, first)
    finally:
        process.terminate()
        told = await said(process)
    assert process.returncode == 0, told


@pytest.mark.postgres
async def test_a_command_waits_for_a_bundled_postgresql_that_ends_meanwhile(folder: Path) -> None:
    cluster, first = await still_starting(folder)
    process = await begun(folder, "", "audit", "head")
    assert process.stderr is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            assert b"postgresql_waited_for" in await process.stderr.readline()
        os.kill(first, signal.SIGKILL)
        (cluster.home / "data" / "go").touch()
    finally:
        told = await said(process)
    assert process.returncode == 0, told


@pytest.mark.postgres
async def test_a_command_says_that_it_started_a_bundled_postgresql_that_was_stopped(
    folder: Path,
) -> None:
    """Who has stopped it may be about to copy its files."""
    cluster = bundled(folder)
    await asyncio.to_thread(cluster.start)
    await ensure_schema(Database(cluster.dsn))

    async def head() -> tuple[bytes, bytes]:
        process = await begun(folder, "", "audit", "head", out=asyncio.subprocess.PIPE)
        found, told = await printed(process)
        assert process.returncode == 0, told
        return found, told

    found, told = await head()
    assert told == b""
    await asyncio.to_thread(cluster.stop)
    again, told = await head()
    assert again == found, "it is for programs to read"
    assert b"stop-store" in told.splitlines()[-1]
    assert cluster.pid() is not None
    assert await head() == (found, b"")


@pytest.mark.postgres
async def test_a_bundled_postgresql_from_before_another_database_was_named_can_be_stopped(
    folder: Path,
) -> None:
    cluster = bundled(folder)
    await asyncio.to_thread(cluster.start)
    process = await begun(folder, "postgresql://cp@127.0.0.1:1/cp", "stop-store")
    told = await said(process)
    assert process.returncode == 0, told
    assert cluster.pid() is None


@pytest.mark.postgres
async def test_the_records_go_into_a_new_folder_as_docs_store_md_tells(folder: Path) -> None:
    cluster = bundled(folder)
    await asyncio.to_thread(cluster.start)
    database = Database(cluster.dsn)
    await ensure_schema(database)
    async with PostgresStore(database, Cache()).running() as store:
        await store.write(create("a"))
    head = await History(database).head()
    database.close()
    dump = str(folder / "bunker.sql")
    await ran(cluster, "pg_dump", f"--file={dump}", "bunker")
    await asyncio.to_thread(cluster.stop)
    cluster.home.rename(folder / "old")

    process = await begun(folder, "", "migrate")
    told = await said(process)
    assert process.returncode == 0, told
    await ran(cluster, "dropdb", "bunker")
    await ran(cluster, "createdb", "bunker")
    await ran(cluster, "psql", "--set=ON_ERROR_STOP=1", f"--file={dump}", "bunker")
    database = Database(cluster.dsn)
    await ensure_schema(database)
    found = await History(database).verify(head)
    database.close()
    assert (found.problem, found.head, found.changes) == (None, head, 1)


async def ran(cluster: EmbeddedPostgres, program: str, *words: str) -> None:
    """One of the wheel's own programs."""
    process = await asyncio.create_subprocess_exec(
        package() / "pginstall" / "bin" / program,
        *(f"--host={cluster.home / 'run'}", "--username=postgres", *words),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    told = await said(process)
    assert process.returncode == 0, told
