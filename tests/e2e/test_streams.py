"""Pods, and every way into them, through the newest kubectl on a real engine."""

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import pytest

from tests.e2e import records
from tests.e2e.cloud import ROOT, Cloud, Json, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.e2e.streams import KUBECTL, forwarded, run, started, terminal, text

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]

NS = "pods"
WEB, TALKER, DB = "app-web-0", "app-talker-0", "database-pg"
# a line each 0.2 s on standard output; every tenth on standard error
TALK = """
i=0
while true; do
  echo line $i
  [ $((i % 10)) = 9 ] && echo err $i >&2
  i=$((i + 1)); sleep 0.2
done"""
GONE_S = 6
"""A hang-up, a second's grace and a kill, on a busy machine."""


def web(**more: Any) -> Json:
    """A web server that says when it starts."""
    serve = "echo started; exec python3 -m http.server 8080 --directory /tmp"
    return records.app("web", NS, replicas=2, command=["sh", "-c", serve], **more)


@pytest.fixture(scope="module")
def busy(make_cloud: MakeCloud) -> Iterator[Cloud]:
    with make_cloud() as cloud:
        make_namespace(cloud, NS)
        cloud.apply(
            records.postgres("pg", NS),
            web(),
            records.app("talker", NS, port=None, command=["sh", "-c", TALK]),
        )
        for kind, name in (("database", "pg"), ("app", "web"), ("app", "talker")):
            cloud.wait_ready(kind, name, NS)
        yield cloud


def ps(cloud: Cloud, name: str) -> str:
    """Command lines in a record's first container."""
    with cloud.engine() as engine:
        container = cloud.containers(name, NS, engine=engine)[0]
        return "\n".join(" ".join(row) for row in container.top()["Processes"])


# --- what there is -------------------------------------------------------------------------------


def test_pods_are_listed_as_kubectl_shows_them(busy: Cloud) -> None:
    shown = text(busy, "get", "pods", "-n", NS, "-o", "wide")
    head, *rows = shown.splitlines()
    assert head.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert {row.split()[0] for row in rows} == {WEB, "app-web-1", TALKER, DB}
    assert all(row.split()[1:4] == ["1/1", "Running", "0"] for row in rows), shown
    assert all(re.search(r"10\.\d+\.\d+\.\d+ +host", row) for row in rows)
    picked = text(busy, "get", "pods", "-n", NS, "-l", "bunker.cloud/name=web", "-o", "name")
    assert picked.split() == ["pod/app-web-0", "pod/app-web-1"]


def test_pods_services_and_deployments_are_described_and_explained(busy: Cloud) -> None:
    assert "Controlled By:  App/web" in text(busy, "describe", "pod", "-n", NS, WEB)
    assert "8080" in text(busy, "describe", "service", "-n", NS, "web")
    assert "2 desired" in text(busy, "describe", "deployment", "-n", NS, "web")
    for kind in ("pods", "services", "deployments"):
        assert "KIND:" in text(busy, "explain", kind)
    everything = text(busy, "get", "all", "-n", NS)
    for name in (f"pod/{WEB}", "service/pg", "deployment.apps/web", "app.bunker.cloud/web"):
        assert name in everything


def test_pods_can_be_waited_for_and_rollouts_followed(busy: Cloud) -> None:
    args = ("-n", NS, "--timeout=10s")
    assert "met" in text(busy, "wait", *args, "--for=condition=Ready", f"pod/{WEB}")
    assert "met" in text(busy, "wait", *args, "--for=jsonpath={.status.phase}=Running", f"pod/{DB}")
    assert "successfully" in text(busy, "rollout", "status", *args, "deployment/web")


@pytest.mark.parametrize(
    "args",
    [
        ("delete", "pod", WEB),
        ("label", "pod", WEB, "a=b"),
        ("annotate", "service", "web", "a=b"),
        ("scale", "deployment", "web", "--replicas=3"),
        ("run", "mine", "--image=busybox"),
    ],
    ids=lambda args: args[0],
)
def test_nothing_of_it_can_be_written(busy: Cloud, args: tuple[str, ...]) -> None:
    done = run(busy, *args, "-n", NS)
    assert done.returncode == 1
    assert re.search(rb"MethodNotAllowed|NotFound|not.*allow", done.stderr), done.stderr
    if args[0] == "delete":
        assert b"change or delete the App, Database" in done.stderr


def test_a_watch_sees_a_replica_replaced(busy: Cloud) -> None:
    with started(busy, "get", "pods", "-n", NS, "-w", "--output-watch-events") as watching:
        assert watching.stdout is not None
        os.set_blocking(watching.stdout.fileno(), False)
        seen = ""

        def sees(*wanted: str) -> bool:
            nonlocal seen
            assert watching.stdout is not None
            seen += (watching.stdout.read() or b"").decode()
            return all(re.search(each, seen) for each in wanted)

        eventually(lambda: sees(f"ADDED +{WEB}"), within_s=20, what="the Pods there are")
        with busy.engine() as engine:
            busy.containers("web", NS, engine=engine)[1].remove(force=True)
        eventually(
            lambda: sees("DELETED +app-web-1", "(?s)DELETED.*ADDED +app-web-1"),
            within_s=30,
            what="a Pod that went and came",
        )
    busy.wait_ready("app", "web", NS)


def test_a_rollout_is_followed_to_its_end(busy: Cloud) -> None:
    busy.apply(web(env=[{"name": "ROUND", "value": "2"}]))
    told = text(busy, "rollout", "status", "-n", NS, "deployment/web", "--timeout=60s")
    assert "successfully rolled out" in told
    for pod in ("app-web-0", "app-web-1"):
        assert "2" in text(busy, "exec", "-n", NS, pod, "--", "printenv", "ROUND")


def test_a_restart_replaces_every_replica(busy: Cloud) -> None:
    def uids() -> set[str]:
        shown = ("-l", "bunker.cloud/name=web", "-o", "jsonpath={.items[*].metadata.uid}")
        return set(text(busy, "get", "pods", "-n", NS, *shown).split())

    before = uids()
    assert "restarted" in text(busy, "rollout", "restart", "-n", NS, "deployment/web")
    told = text(busy, "rollout", "status", "-n", NS, "deployment/web", "--timeout=60s")
    assert "successfully rolled out" in told
    eventually(
        lambda: len(uids()) == len(before) and not uids() & before,
        within_s=20,
        what="the Pods of a restarted App",
    )


# --- logs ----------------------------------------------------------------------------------------


def test_logs_are_cut_as_asked(busy: Cloud) -> None:
    logs = ("logs", "-n", NS, TALKER)
    assert len(text(busy, *logs, "--tail=3").splitlines()) == 3
    assert text(busy, *logs).startswith("line 0\nline 1\n")
    assert len(text(busy, *logs, "--limit-bytes=10")) == 10
    recent = text(busy, *logs, "--since=2s").splitlines()
    assert 0 < len(recent) <= 20
    stamped = text(busy, *logs, "--timestamps", "--tail=1")
    moment, _, line = stamped.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", moment)
    assert line.startswith(("line", "err"))
    since = text(busy, *logs, f"--since-time={moment[:19]}Z")
    assert line in since
    assert not since.startswith("line 0\n")


def test_logs_of_a_selector_a_deployment_and_a_container(busy: Cloud) -> None:
    picked = text(busy, "logs", "-n", NS, "-l", "bunker.cloud/name=talker", "--tail=1", "--prefix")
    assert picked.startswith(f"[pod/{TALKER}/app] ")
    assert text(busy, "logs", "-n", NS, "deploy/talker", "-c", "app", "--tail=1")
    wrong = run(busy, "logs", "-n", NS, TALKER, "-c", "other")
    assert wrong.returncode == 1
    assert b"other" in wrong.stderr


def test_logs_follow(busy: Cloud) -> None:
    with started(busy, "logs", "-n", NS, "-f", "--tail=1", TALKER) as following:
        assert following.stdout is not None
        numbers = [
            int(line.split()[1])
            for line in (following.stdout.readline().decode() for _ in range(12))
            if line.startswith("line")
        ]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_logs_of_the_run_before(busy: Cloud) -> None:
    flag = "/tmp/once"
    script = f"[ -e {flag} ] && echo second && exec sleep 1000; touch {flag}; echo first; exit 3"
    busy.apply(records.app("crasher", NS, port=None, command=["sh", "-c", script]))
    eventually(
        lambda: b"second" in run(busy, "logs", "-n", NS, "app-crasher-0").stdout,
        within_s=60,
        what="its second run",
    )
    assert text(busy, "logs", "-n", NS, "app-crasher-0") == "second\n"
    assert text(busy, "logs", "-n", NS, "app-crasher-0", "--previous") == "first\n"
    never = run(busy, "logs", "-n", NS, TALKER, "--previous")
    assert never.returncode == 1
    assert b"previous terminated container" in never.stderr
    assert " 1 (" in text(busy, "get", "pod", "-n", NS, "app-crasher-0")
    busy.kubectl("delete", "app", "crasher", "-n", NS)


FOLLOWERS = 200


def test_two_hundred_followers_and_still_an_answer(busy: Cloud) -> None:
    assert busy.process is not None
    fds = Path(f"/proc/{busy.process.pid}/fd")
    before = len(list(fds.iterdir()))
    asyncio.run(_followers(busy, fds))
    eventually(
        lambda: len(list(fds.iterdir())) < before + 20,
        within_s=20,
        what="their sockets and the engine's are closed",
    )


async def _followers(cloud: Cloud, fds: Path) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = (
        f"GET /api/v1/namespaces/{NS}/pods/{TALKER}/log?follow=true&tailLines=1 HTTP/1.1\r\n"
        f"Host: a\r\nAuthorization: Bearer {cloud.token()}\r\n\r\n"
    ).encode()

    async def follow(gate: asyncio.Semaphore) -> asyncio.StreamWriter:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", cloud.port, ssl=context)
            writer.write(request)
            while b"line" not in await reader.read(4096):
                assert not reader.at_eof()
        return writer

    gate = asyncio.Semaphore(20)
    writers = await asyncio.gather(*(follow(gate) for _ in range(FOLLOWERS)))
    assert len(list(fds.iterdir())) > 2 * FOLLOWERS
    began = time.monotonic()
    answer = await asyncio.to_thread(cloud.call, "GET", f"/api/v1/namespaces/{NS}/pods")
    assert answer.status == 200
    assert time.monotonic() - began < 2
    for writer in writers:
        writer.transport.abort()


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


ACCEPTANCE = (
    Path(os.environ.get("CP_ACCEPTANCE_DIR") or ROOT.parent / "shared" / "acceptance")
    / "kubectl.sh"
)
ACCEPTED = """
apiVersion: bunker.cloud/v1
kind: App
metadata: {name: accepted}
spec: {image: "bunker.local/demo:1", port: 8080, paused: true, priority: 5}
"""


def test_the_acceptance_script_finds_pods(busy: Cloud, tmp_path: Path) -> None:
    """Its part about Pods here, on what runs; the rest in tests/clients, on paused records. Where
    the script is not there, the tests of this module have asked the same."""
    if not ACCEPTANCE.exists():
        return
    (tmp_path / "app.yaml").write_text(ACCEPTED)
    environment = {
        **busy.env,
        "KUBECONFIG": str(busy.kubeconfig),
        "KUBECTL": str(KUBECTL),
        "MANIFEST": str(tmp_path / "app.yaml"),
        "FIELD": "spec.priority",
        "ONLY": "." if os.environ.get("CP_TEST_PROFILE") == "long" else "^pod",
        "POD": WEB,
        "PODNS": NS,
    }
    done = subprocess.run(
        ["bash", str(ACCEPTANCE)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert done.stdout.count("PASS  pod-") == 10
    assert "SKIP  pods" not in done.stdout


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
        urlopen(f"http://127.0.0.1:{port}/", timeout=10)


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
            with forwarded(cloud, "svc/web", 8080, NS) as port:
                assert urlopen(f"http://127.0.0.1:{port}/", timeout=10).status == 200
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
