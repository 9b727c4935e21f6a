"""The redis and demo images do what docs/images.md promises, hardened as we run them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.containers import SECRETS_PATH
from reconcilers._engines import REDIS_START
from reconcilers._images import DEMO, image_for
from tests.containers import Bench, Running, bench, docker, wait_until

pytestmark = [pytest.mark.docker]

REDIS = image_for("redis", "7", source="local")
POSTGRES = image_for("postgres", "18", source="local")
_GET = (
    "import sys, urllib.request, urllib.error\n"
    "try: answer = urllib.request.urlopen('http://127.0.0.1:8080' + sys.argv[1], timeout=10)\n"
    "except urllib.error.HTTPError as error: answer = error\n"
    "print(answer.status, answer.read().decode())"
)


@pytest.fixture
def made() -> Iterator[Bench]:
    with bench() as found:
        yield found


def _redis(made: Bench, volume: str) -> Running:
    options = (f"--user={REDIS.user}", f"--volume={volume}:{REDIS.data_path}")
    command = ("redis-server", "--requirepass", "hush", "--appendonly", "yes", "--dir", "/data")
    server = made.run(REDIS.reference, *command, options=options)
    wait_until(lambda: "PONG" in _cli(server, "ping"), of=server)
    return server


def _cli(server: Running, *words: str) -> str:
    return server.exec("redis-cli", "--no-auth-warning", "-a", "hush", *words, check=False)


def _get(demo: Running, path: str) -> tuple[int, dict[str, dict[str, object]]]:
    status, _, body = demo.exec("python3", "-c", _GET, path, check=False).partition(" ")
    return (int(status), json.loads(body)) if status else (0, {})


def test_redis_stops_at_once_and_keeps_its_data(made: Bench) -> None:
    volume = made.volume()
    server = _redis(made, volume)
    _cli(server, "set", "answer", "42")
    # it would be killed after these, and say so with its exit code
    docker("stop", "--time", "30", server.id)
    assert server.exit_code == 0
    assert _cli(_redis(made, volume), "get", "answer") == "42"


def test_redis_goes_on_with_a_dump_from_elsewhere(made: Bench, tmp_path: Path) -> None:
    """Of a server that kept no log: ours would begin empty beside it, and overwrite it."""
    (tmp_path / "redis.conf").write_text("requirepass hush\nappendonly yes\ndir /data\n")
    tmp_path.chmod(0o755)
    data = (f"--user={REDIS.user}", f"--volume={made.volume()}:{REDIS.data_path}")
    before = made.run(REDIS.reference, "redis-server", "--requirepass", "hush", options=data)
    wait_until(lambda: "PONG" in _cli(before, "ping"), of=before)
    _cli(before, "set", "answer", "42")
    docker("stop", "--time", "30", before.id)

    def begin() -> Running:
        command = ("sh", "-c", REDIS_START, f"{SECRETS_PATH}/redis.conf")
        options = (*data, f"--volume={tmp_path}:{SECRETS_PATH}:ro")
        ours = made.run(REDIS.reference, *command, options=options)
        wait_until(lambda: "PONG" in _cli(ours, "ping"), of=ours)
        return ours

    ours = begin()
    assert _cli(ours, "get", "answer") == "42"
    _cli(ours, "set", "answer", "43")
    docker("stop", "--time", "30", ours.id)
    assert _cli(begin(), "get", "answer") == "43"


def test_demo_uses_both_databases_by_service_bindings(made: Bench) -> None:
    cache = _redis(made, made.volume())
    options = (
        f"--user={POSTGRES.user}",
        "--tmpfs=/tmp",
        "--tmpfs=/run/postgresql",
        f"--volume={made.volume()}:{POSTGRES.data_path}",
        "--env=POSTGRES_PASSWORD=p@ss/word",
    )
    database = made.run(POSTGRES.reference, options=options)
    demo = made.run(
        DEMO, options=("--tmpfs=/bindings:mode=1777", "--env=SERVICE_BINDING_ROOT=/bindings")
    )
    wait_until(lambda: _get(demo, "/healthz")[0] == 200, of=demo)
    assert _get(demo, "/db") == (
        200,
        {"postgres": {"configured": False}, "redis": {"configured": False}},
    )

    _bind(
        demo,
        "db",
        type="postgresql",
        host=database.address,
        port="5432",
        username="postgres",
        password="p@ss/word",
        database="postgres",
    )
    _bind(demo, "cache", type="redis", uri=f"redis://default:hush@{cache.address}:6379/0")
    wait_until(lambda: _get(demo, "/db")[0] == 200, of=demo)
    first, second = _get(demo, "/db")[1], _get(demo, "/db")[1]
    assert second["postgres"]["visits"] == int(str(first["postgres"]["visits"])) + 1
    assert second["redis"]["visits"] == int(str(first["redis"]["visits"])) + 1

    docker("stop", cache.id)
    status, answer = _get(demo, "/db")
    assert (status, "error" in answer["redis"], "error" in answer["postgres"]) == (503, True, False)


def _bind(demo: Running, name: str, **values: str) -> None:
    """Write a binding where the demo looks for it."""
    for key, value in values.items():
        script = f"mkdir -p /bindings/{name} && cat > /bindings/{name}/{key}"
        demo.exec("sh", "-c", script, stdin=value)
