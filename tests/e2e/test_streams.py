"""Every way into a Pod, through the newest kubectl on a real engine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest

from tests.e2e import records
from tests.e2e.cloud import ROOT, Cloud, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.e2e.pods import DB, NS, TALKER, WEB
from tests.e2e.streams import forwarded, run, started, terminal, text

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]

GONE_S = 6
"""A hang-up, a second's grace and a kill, on a busy machine."""


def ps(cloud: Cloud, name: str) -> str:
    """Command lines in a record's first container."""
    with cloud.engine() as engine:
        container = cloud.containers(name, NS, engine=engine)[0]
        return "\n".join(" ".join(row) for row in container.top()["Processes"])


# --- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 137, 255])
def test_exit_codes_pass_through(busy: Cloud, code: int) -> None:
    done = run(busy, "exec", "-n", NS, WEB, "--", "sh", "-c", f"exit {code}")
    assert done.returncode == code


def test_a_command_that_is_not_there(busy: Cloud) -> None:
    done = run(busy, "exec", "-n", NS, WEB, "--", "/no/such/program")
    assert done.returncode != 0
    assert b"no such file" in done.stdout + done.stderr


def test_output_and_errors_stay_apart_and_input_is_exact(busy: Cloud) -> None:
    sent = os.urandom(700_000)
    done = run(busy, "exec", "-i", "-n", NS, WEB, "--", "sh", "-c", "cat; echo E >&2", stdin=sent)
    assert (done.returncode, done.stderr) == (0, b"E\n")
    assert done.stdout == sent


def test_a_terminal_has_the_size_of_ours_and_follows_it(busy: Cloud) -> None:
    args = ("exec", "-it", "-n", NS, WEB, "--", "sh")
    with terminal(busy, *args, columns=101, rows=37) as shell:
        shell.until("$ ")

        def size_is(wanted: str) -> None:
            # it is told beside the bytes: asked until it has arrived
            shell.type(f"until [ \"$(stty size)\" = '{wanted}' ]; do sleep 0.1; done; echo it-$?")
            shell.until("it-0")

        size_is("37 101")
        shell.resize(120, 40)
        size_is("40 120")
        shell.type("exit 9")
        assert shell.exit_code() == 9


@pytest.mark.parametrize("tty", [(), ("-t",)], ids=["plain", "terminal"])
def test_a_command_ends_with_its_client(busy: Cloud, tty: tuple[str, ...]) -> None:
    seconds = str(4000 + len(tty))
    with started(busy, "exec", *tty, "-n", NS, WEB, "--", "sleep", seconds) as client:
        eventually(lambda: f"sleep {seconds}" in ps(busy, "web"), within_s=10, what="it runs")
        client.send_signal(signal.SIGKILL)
        client.wait()
        eventually(
            lambda: f"sleep {seconds}" not in ps(busy, "web"), within_s=GONE_S, what="it is gone"
        )


def test_attach_shows_what_comes(busy: Cloud) -> None:
    with started(busy, "attach", "-n", NS, TALKER) as attached:
        assert attached.stdout is not None
        lines = [attached.stdout.readline().decode() for _ in range(8)]
    assert sum(line.startswith("line") for line in lines) > 3


def test_files_are_copied_exactly_both_ways(busy: Cloud, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(5 * 2**20))
    for source, target in ((str(sent), f"{WEB}:/tmp/five"), (f"{WEB}:/tmp/five", str(back))):
        done = run(busy, "cp", "-n", NS, source, target)
        assert done.returncode == 0, done.stderr
    assert back.read_bytes() == sent.read_bytes()


def test_a_viewer_reads_logs_and_runs_nothing(busy: Cloud) -> None:
    viewer = busy.data / "viewer"
    busy.control_plane("kubeconfig", "--out", str(viewer), "--role", "viewer")
    assert run(busy, "logs", "-n", NS, TALKER, "--tail=1", kubeconfig=viewer).returncode == 0
    for args in (("exec", WEB, "--", "id"), ("attach", TALKER), ("port-forward", WEB, ":8080")):
        done = run(busy, args[0], "-n", NS, *args[1:], kubeconfig=viewer)
        assert done.returncode == 1
        assert b"orbidden" in done.stderr, done.stderr
    asked = run(busy, "auth", "can-i", "create", "pods/exec", "-n", NS, kubeconfig=viewer)
    assert asked.stdout.startswith(b"no")


def test_who_went_in_is_told(busy: Cloud) -> None:
    run(busy, "exec", "-n", NS, DB, "--", "true", "s3cr3t-argument")
    events = json.loads(text(busy, "get", "events", "-n", NS, "-o", "json"))["items"]
    told = [
        e for e in events if e["involvedObject"]["name"] == "pg" and e["reason"] == "CommandRun"
    ]
    assert [e["message"] for e in told] == [f"admin ran 'true' (1 argument) in Pod {DB}"]
    assert "s3cr3t-argument" not in json.dumps(events)


# --- ports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [f"pod/{WEB}", "svc/web", "deploy/web"])
def test_three_connections_at_once(busy: Cloud, target: str) -> None:
    with forwarded(busy, target, 8080, NS) as port, ThreadPoolExecutor(3) as pool:

        def ask(_: int) -> int:
            with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                status: int = answer.status
                return status

        assert list(pool.map(ask, range(9))) == [200] * 9


def test_a_postgresql_session(busy: Cloud) -> None:
    secret = busy.secret("pg-credentials", NS)

    async def session(port: int) -> int:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=port,
            user=secret["username"],
            password=secret["password"],
            database=secret["database"],
            timeout=10,
        )
        try:
            rows = await connection.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
            return sum(len(row[0]) for row in rows)
        finally:
            await connection.close()

    with forwarded(busy, "svc/pg", 5432, NS) as port:
        assert asyncio.run(session(port)) == 3_000_000


def test_a_port_where_nobody_listens(busy: Cloud) -> None:
    with forwarded(busy, f"pod/{WEB}", 9, NS) as port, pytest.raises(OSError):
        urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()


# --- other clients -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["kubernetes", "kr8s"])
def test_python_clients_go_in_too(busy: Cloud, library: str) -> None:
    """In a process of their own: they leave sockets open, which a test here must not."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.e2e.python_clients"]
    done = subprocess.run(
        [*program, library, str(busy.kubeconfig), NS, WEB, TALKER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


# --- as two processes ----------------------------------------------------------------------------


def test_an_api_without_an_agent_says_so(make_cloud: MakeCloud) -> None:
    """`serve api` beside `serve agent`: the same answers, and 503 while the agent is away."""
    with make_cloud(CP_TEST_ROLE="api") as cloud:
        away = run(cloud, "get", "pods")
        assert away.returncode == 1
        assert b"the agent, which reaches containers, is away" in away.stderr
        agent = subprocess.Popen(
            cloud.serving("agent"), cwd=ROOT, env=cloud.env, stderr=subprocess.DEVNULL
        )
        try:
            make_namespace(cloud, NS)
            cloud.apply(records.app("web", NS))
            cloud.wait_ready("app", "web", NS)
            assert text(cloud, "exec", "-n", NS, WEB, "--", "echo", "hi") == "hi\n"
            done = run(cloud, "exec", "-n", NS, WEB, "--", "sh", "-c", "exit 7")
            assert done.returncode == 7
            with (
                forwarded(cloud, "svc/web", 8080, NS) as port,
                urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer,
            ):
                assert answer.status == 200
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            eventually(
                lambda: b"is away" in run(cloud, "logs", "-n", NS, WEB).stderr,
                within_s=10,
                what="503 again",
            )
        finally:
            agent.kill()
            agent.wait()
