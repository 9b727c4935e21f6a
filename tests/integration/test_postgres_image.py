"""Our PostgreSQL image keeps the public one's contract, and survives being killed at any moment."""

import random
import time
from collections.abc import Iterator

import pytest

from reconcilers._images import ImageChoice, image_for
from tests.containers import Bench, Running, bench, docker, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

IMAGE = image_for("postgres", "18", source="local")
PGDATA = "/var/lib/postgresql/18/docker"


@pytest.fixture
def made() -> Iterator[Bench]:
    with bench() as found:
        yield found


def _start(made: Bench, volume: str, *options: str, image: ImageChoice = IMAGE) -> Running:
    mounts = ("--tmpfs=/tmp", "--tmpfs=/run/postgresql", f"--volume={volume}:{image.data_path}")
    return made.run(image.reference, options=(f"--user={image.user}", *mounts, *options))


def _accepts(server: Running) -> bool:
    return "accepting" in server.exec("pg_isready", "-h", "127.0.0.1", check=False)


def _query(server: Running, sql: str, *, password: str, user: str = "shop") -> str:
    """Over TCP, so that the password counts."""
    argv = ("env", f"PGPASSWORD={password}", "psql", "-h", "127.0.0.1", "-U", user, "-Atc", sql)
    return server.exec(*argv, check=False)


def _in_volume(made: Bench, volume: str, script: str) -> str:
    """Run a script in the volume's root, as the server's user; its output."""
    place = f"--volume={volume}:{IMAGE.data_path}"
    options = (f"--user={IMAGE.user}", place, f"--workdir={IMAGE.data_path}", "--entrypoint=sh")
    done = made.run(IMAGE.reference, "-c", script, options=options)
    docker("wait", done.id)
    return done.logs()


def test_password_comes_from_a_file_and_is_asked_for(made: Bench) -> None:
    volume = made.volume()
    _in_volume(made, volume, "mkdir in && printf 'a b$c' > in/password")
    server = _start(
        made,
        volume,
        "--env=POSTGRES_PASSWORD_FILE=/var/lib/postgresql/in/password",
        "--env=POSTGRES_USER=shop",
        "--env=POSTGRES_DB=goods",
    )
    wait_until(lambda: _accepts(server), of=server)
    query = "SELECT datname FROM pg_database WHERE datname = 'goods'"
    argv = ("env", "PGPASSWORD=a b$c", "psql", "-h", "127.0.0.1", "-U", "shop", "-d", "goods")
    assert server.exec(*argv, "-Atc", query) == "goods"
    assert server.exec(*argv[:1], "PGPASSWORD=x", *argv[2:], "-Atc", query, check=False) == ""


def test_stop_is_a_fast_shutdown_and_data_stays(made: Bench) -> None:
    volume = made.volume()
    server = _start(made, volume, "--env=POSTGRES_PASSWORD=one", "--env=POSTGRES_USER=shop")
    wait_until(lambda: _accepts(server), of=server)
    _query(server, "CREATE TABLE t AS SELECT 42 AS n", password="one")
    docker("exec", "--detach", server.id, "psql", "-U", "shop", "-c", "SELECT pg_sleep(600)")
    # it would be killed after these, and say so with its exit code
    docker("stop", "--time", "30", server.id)
    assert server.exit_code == 0
    assert "database system is shut down" in server.logs()
    again = _start(made, volume, "--env=POSTGRES_PASSWORD=another", "--env=POSTGRES_USER=shop")
    wait_until(lambda: _accepts(again), of=again)
    assert _query(again, "SELECT n FROM t", password="one") == "42"


def test_killed_at_any_moment_of_its_first_start_it_ends_up_right(made: Bench) -> None:
    rng = random.Random(7)
    volume = made.volume()
    options = (
        "--env=POSTGRES_PASSWORD=one",
        "--env=POSTGRES_USER=shop",
        "--env=POSTGRES_DB=goods",
    )
    for _ in range(10):
        victim = _start(made, volume, *options)
        time.sleep(rng.uniform(0.0, 1.6))  # a first start takes about 1.5 s
        docker("kill", victim.id)
    server = _start(made, volume, *options)
    wait_until(lambda: _accepts(server), of=server)
    argv = ("env", "PGPASSWORD=one", "psql", "-h", "127.0.0.1", "-U", "shop", "-d", "goods")
    assert server.exec(*argv, "-Atc", "SELECT 42") == "42"
    assert ".init" not in server.exec("ls", "-A", PGDATA)


@pytest.mark.parametrize("moved", [0, 1, 8, 30])
def test_killed_while_moving_in_it_goes_on(made: Bench, moved: int) -> None:
    volume = made.volume()
    options = ("--env=POSTGRES_PASSWORD=one", "--env=POSTGRES_USER=shop")
    first = _start(made, volume, *options)
    wait_until(lambda: _accepts(first), of=first)
    docker("stop", first.id)
    # As it is with some entries moved up and others not yet.
    undo = (
        "cd 18/docker; mkdir -p .init/data; mv PG_VERSION .init/data/;"
        f"for f in $(ls -A | grep -v .init | tail -n +{moved + 1}); do mv $f .init/data/; done;"
        "touch .init/complete"
    )
    _in_volume(made, volume, undo)
    server = _start(made, volume, *options)
    wait_until(lambda: _accepts(server), of=server)
    argv = ("env", "PGPASSWORD=one", "psql", "-h", "127.0.0.1", "-U", "shop", "-d", "shop")
    assert server.exec(*argv, "-Atc", "SELECT 42") == "42"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        pytest.param("echo precious > 18/docker/notes", "left alone", id="somebody's files"),
        pytest.param("echo 16 > 18/docker/PG_VERSION", "restore a dump", id="another major"),
        pytest.param("echo 16 > PG_VERSION", "restore a dump", id="mounted one level up"),
        pytest.param("mkdir data; echo 16 > data/PG_VERSION", "restore a dump", id="beside"),
        pytest.param(
            "mkdir -p 19/docker; echo 19 > 19/docker/PG_VERSION", "restore a dump", id="newer"
        ),
    ],
)
def test_a_folder_that_is_not_its_own_is_refused_and_untouched(
    made: Bench, prepare: str, words: str
) -> None:
    volume = made.volume()
    _in_volume(made, volume, f"mkdir -p 18/docker; {prepare}")
    before = _in_volume(made, volume, "find . -type f | xargs cat")
    server = _start(made, volume, "--env=POSTGRES_PASSWORD=one")
    docker("wait", server.id)
    assert (server.exit_code, words in server.logs()) == (1, True)
    assert _in_volume(made, volume, "find . -type f | xargs cat") == before


def test_without_a_password_it_does_not_start(made: Bench) -> None:
    server = _start(made, made.volume())
    docker("wait", server.id)
    assert server.exit_code == 1
    assert "POSTGRES_PASSWORD" in server.logs()


def test_started_as_root_it_becomes_its_own_user(made: Bench) -> None:
    caps = ("--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE", "--cap-add=SETUID", "--cap-add=SETGID")
    options = ("--user=0:0", "--tmpfs=/run/postgresql", "--tmpfs=/tmp", *caps)
    volume = f"--volume={made.volume()}:{IMAGE.data_path}"
    server = made.run(
        IMAGE.reference, options=(*options, volume, "--env=POSTGRES_PASSWORD=one", "--env=X=1")
    )
    wait_until(lambda: _accepts(server), of=server)
    assert "Uid:\t999" in server.exec("cat", "/proc/1/status")
