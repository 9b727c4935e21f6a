"""How PostgreSQL's clients read where the bundled one is: whatever its folder is called, and
whatever the environment says of another server."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from controlplane.store import migrate
from controlplane.store.connect import LOST, Database
from controlplane.store.embedded import DATABASE, EmbeddedPostgres


@pytest.fixture(params=["plain", "a+b%41&c", "d#e?f=g h", "größe;:@"])
def cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    # not tmp_path: of a socket's path a name takes 107 bytes
    with tempfile.TemporaryDirectory(prefix="bunker-") as folder:
        home = Path(folder, str(request.param))
        (home / "run").mkdir(parents=True)
        yield EmbeddedPostgres(home)


@pytest.fixture(autouse=True)
def of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGHOST", "db.example.org")


async def test_the_store_connects_to_the_bundled_postgresqls_socket(
    cluster: EmbeddedPostgres,
) -> None:
    came = asyncio.Event()

    def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.close()

    async with await asyncio.start_unix_server(meet, cluster.home / "run" / ".s.PGSQL.5432"):
        with pytest.raises(LOST):  # it doesn't speak PostgreSQL's protocol
            await Database(cluster.dsn).connect("test")
    assert came.is_set()


def test_migrations_connect_to_the_bundled_postgresqls_socket(cluster: EmbeddedPostgres) -> None:
    url = migrate._as_sqlalchemy_reads_it(cluster.dsn)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    _, given = engine.dialect.create_connect_args(engine.url)
    assert (given["host"], given["port"]) == (str(cluster.home / "run"), "5432")
    assert (given["user"], given["dbname"]) == ("postgres", DATABASE)
