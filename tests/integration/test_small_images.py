"""The redis and demo images do what docs/images.md promises, hardened as we run them."""

import json
from collections.abc import Iterator

import pytest

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
