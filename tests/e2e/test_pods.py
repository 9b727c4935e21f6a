"""Pods and their logs, as the newest kubectl shows them on a real engine."""

import asyncio
import os
import re
import ssl
import subprocess
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e import records
from tests.e2e.cloud import ROOT, Cloud, eventually
from tests.e2e.pods import DB, NS, TALKER, WEB, web
from tests.e2e.streams import KUBECTL, run, started, text

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


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

    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    async def follow(gate: asyncio.Semaphore, hung_up: AsyncExitStack) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", cloud.port, ssl=context)
            # the writer itself: a connection ends when nobody holds its streams any more
            hung_up.push_async_callback(hang_up, writer)
            writer.write(request)
            while b"line" not in await reader.read(4096):
                assert not reader.at_eof()

    gate = asyncio.Semaphore(20)
    async with AsyncExitStack() as hung_up:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(FOLLOWERS):
                tasks.create_task(follow(gate, hung_up))
        assert len(list(fds.iterdir())) > 2 * FOLLOWERS
        # gives up after 20 s; answered late, or only once followers were let go, is no answer
        answer = await asyncio.to_thread(cloud.call, "GET", f"/api/v1/namespaces/{NS}/pods")
        assert answer.status == 200
        assert len(list(fds.iterdir())) > 2 * FOLLOWERS


# --- all of it, as a script asks -----------------------------------------------------------------


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
