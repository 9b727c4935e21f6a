"""Logs, commands and ports of a Pod: one suite for the fake, the agent's socket, and the engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.agentclient import remote_streams
from controlplane.agentserver import offering
from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.engine.cache import Cache
from controlplane.errors import ForbiddenError, NotFoundError, RetryableError
from controlplane.streams import (
    Channel,
    Command,
    Frame,
    LogQuery,
    PodRef,
    PodViews,
    Stream,
    Streams,
)
from drivers.docker_http import EngineHttp
from drivers.docker_streams import DockerStreams
from drivers.fake.streams import FakeStreams
from drivers.streams import ContainerStreams
from reconcilers.podboard import PodBoard
from reconcilers.podstreams import PodStreams
from tests.contract.conftest import free_subnet
from tests.contract.worlds import DockerWorld, FakeWorld, World, with_network

PORT = 7777
# a moment between the lines: output and errors are two pipes, read by two readers
TALK = (
    "echo out 0; sleep 0.2; echo err 1 >&2; sleep 0.2; echo out 2; "
    f"exec busybox nc -ll -p {PORT} -e cat"
)
FAKE = ("fake", "socket")


@dataclass(frozen=True, slots=True)
class Reached:
    """A Pod that has said three lines and echoes on a port."""

    streams: Streams
    pods: PodViews
    ref: PodRef
    container_id: str
    world: World
    fake: FakeStreams | None

    def running(self, argv: str) -> bool:
        """Whether a command is still there, as an outsider sees it."""
        if self.fake is not None:
            return any(" ".join(pipe.argv) == argv for pipe in self.fake.open)
        assert isinstance(self.world, DockerWorld)
        top = self.world.raw.call("GET", "/containers/{}/top", self.container_id)
        return any(argv in " ".join(row) for row in top["Processes"])


def _world(request: Any) -> tuple[World, ContainerStreams, FakeStreams | None]:
    if request.param in ("docker", "blind"):
        image = request.getfixturevalue("busybox")
        client = request.getfixturevalue("docker_client")
        http = EngineHttp("unix:///var/run/docker.sock")
        # blind: as an agent in a container, which doesn't see the host's processes
        engine = (
            DockerStreams(http, sees=_nothing) if request.param == "blind" else DockerStreams(http)
        )
        return DockerWorld(image, free_subnet(client)), engine, None
    world = FakeWorld()
    world.engine.add_image(world.image)
    fake = FakeStreams(world.engine)
    return world, fake, fake


def _nothing(_pid: int) -> bool:
    return False


@pytest.fixture(
    params=[
        *FAKE,
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("blind", marks=pytest.mark.docker),
    ]
)
async def pod(request: Any, tmp_path: Path) -> AsyncIterator[Reached]:
    world, engine, fake = _world(request)
    clock = SystemClock()
    board = PodBoard(world.driver, Cache(), frozenset(), clock, Board(clock))
    here = PodStreams(board, engine)
    try:
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(board.run())]
            spec = await with_network(world, command=("sh", "-c", TALK))
            state = await world.driver.ensure_container(spec)
            await world.driver.start_container(state.id)
            if fake is not None:
                fake.ports.add(PORT)
                for number, error in enumerate((False, True, False)):
                    fake.say(state.id, f"{'err' if error else 'out'} {number}", error=error)
            door = tmp_path / "agent.sock"
            async with offering(door, board, here, clock):
                far = remote_streams(door, clock)
                following.append(tasks.create_task(far.pods.run()))
                streams, pods = (far, far.pods) if request.param == "socket" else (here, board)
                ref = await _shown(pods)
                yield Reached(streams, pods, ref, state.id, world, fake)
            for task in following:
                task.cancel()
    finally:
        await world.driver.aclose()
        world.close()


async def _shown(pods: PodViews) -> PodRef:
    async with asyncio.timeout(20):
        while True:
            found = pods.view.list("Pod")
            if found and b'"running"' in found[0].body:
                return PodRef(found[0].key.namespace, found[0].key.name, found[0].uid)
            await asyncio.sleep(0.02)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if so():
                return
            await asyncio.sleep(0.02)


async def collected(stream: Stream, *, until: bytes = b"") -> dict[Channel, bytes]:
    """What came on each channel, to the end or until something has come."""
    found: dict[Channel, bytes] = {}
    async with aclosing(stream), asyncio.timeout(20):
        while (frame := await stream.read()) is not None:
            found[frame.channel] = found.get(frame.channel, b"") + frame.data
            if until and until in found[frame.channel]:
                break
    return found


async def log(pod: Reached, **query: Any) -> dict[Channel, bytes]:
    """Its log, once all three lines are in it."""
    async with asyncio.timeout(20):
        while True:
            whole = await collected(await pod.streams.open_logs(pod.ref, LogQuery()))
            if b"out 2" in whole.get(Channel.STDOUT, b""):
                break
            await asyncio.sleep(0.05)
    return await collected(await pod.streams.open_logs(pod.ref, LogQuery(**query)))


async def test_a_log_keeps_output_and_errors_apart(pod: Reached) -> None:
    assert await log(pod) == {Channel.STDOUT: b"out 0\nout 2\n", Channel.STDERR: b"err 1\n"}


async def test_a_log_is_cut_from_its_end(pod: Reached) -> None:
    assert await log(pod, tail=1) == {Channel.STDOUT: b"out 2\n"}
    assert await log(pod, tail=0) == {}


async def test_a_log_tells_the_time(pod: Reached) -> None:
    (line,) = (await log(pod, tail=1, timestamps=True)).values()
    moment, _, rest = line.partition(b" ")
    assert (len(moment), moment[-1:], rest) == (30, b"Z", b"out 2\n")


async def test_there_was_no_run_before(pod: Reached) -> None:
    with pytest.raises(NotFoundError):
        await pod.streams.open_logs(pod.ref, LogQuery(previous=True))


async def test_a_followed_log_waits_for_more(pod: Reached) -> None:
    await log(pod)
    stream = await pod.streams.open_logs(pod.ref, LogQuery(follow=True, tail=1))
    async with aclosing(stream):
        async with asyncio.timeout(10):
            assert await stream.read() == Frame(Channel.STDOUT, b"out 2\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await stream.read()


@pytest.mark.parametrize("code", [0, 7, 255])
async def test_a_command_ends_with_its_exit_code(pod: Reached, code: int) -> None:
    command = Command(("sh", "-c", f"exit {code}"))
    found = await collected(await pod.streams.open_exec(pod.ref, command))
    assert found == {Channel.EXIT: str(code).encode()}


async def test_a_command_writes(pod: Reached) -> None:
    found = await collected(await pod.streams.open_exec(pod.ref, Command(("echo", "a", "b"))))
    assert found == {Channel.STDOUT: b"a b\n", Channel.EXIT: b"0"}


async def test_a_program_that_is_not_there_is_told_and_fails(pod: Reached) -> None:
    found = await collected(await pod.streams.open_exec(pod.ref, Command(("/no/such",))))
    assert b"no such file" in found[Channel.STDOUT]
    assert found[Channel.EXIT] in (b"126", b"127")


async def test_a_command_reads_to_the_end_of_its_input(pod: Reached) -> None:
    async with aclosing(
        await pod.streams.open_exec(pod.ref, Command(("cat",), stdin=True))
    ) as stream:
        for piece in (b"one ", b"two ", b"\0\xff"):
            await stream.write(Frame(Channel.STDIN, piece))
        await stream.write(Frame(Channel.CLOSE))
        assert await collected(stream) == {Channel.STDOUT: b"one two \0\xff", Channel.EXIT: b"0"}


async def test_a_command_ends_when_its_stream_is_closed(pod: Reached) -> None:
    stream = await pod.streams.open_exec(pod.ref, Command(("sleep", "3456")))
    async with aclosing(stream):
        await until(lambda: pod.running("sleep 3456"))
    await stream.aclose()
    await until(lambda: not pod.running("sleep 3456"))


async def _connected(pod: Reached) -> Stream:
    async with asyncio.timeout(20):
        while True:
            try:
                return await pod.streams.open_port(pod.ref, PORT)
            except RetryableError:  # it has not begun to listen
                await asyncio.sleep(0.05)


async def test_a_port_carries_bytes_both_ways(pod: Reached) -> None:
    async with aclosing(await _connected(pod)) as stream:
        await stream.write(Frame(Channel.STDIN, b"there and back"))
        assert await collected(stream, until=b"back") == {Channel.STDOUT: b"there and back"}


async def test_nobody_listens_on_other_ports(pod: Reached) -> None:
    with pytest.raises(RetryableError) as refused:
        await pod.streams.open_port(pod.ref, PORT + 1)
    assert refused.value.reason == "Refused"


async def test_what_attaches_is_let_go(pod: Reached) -> None:
    await log(pod)
    stream = await pod.streams.open_attach(pod.ref, stdin=False)
    async with aclosing(stream):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await stream.read()


async def test_another_pod_of_that_name_is_not_reached(pod: Reached) -> None:
    stranger = replace(pod.ref, uid="00000000-0000-4000-8000-000000000000")
    streams = pod.streams
    openings: tuple[Callable[[], Awaitable[Stream]], ...] = (
        lambda: streams.open_logs(stranger, LogQuery()),
        lambda: streams.open_exec(stranger, Command(("echo",))),
        lambda: streams.open_attach(stranger, stdin=False),
        lambda: streams.open_port(stranger, PORT),
    )
    for opening in openings:
        with pytest.raises(NotFoundError):
            await opening()


async def test_what_does_not_run_is_not_entered(pod: Reached) -> None:
    await log(pod)
    await pod.world.driver.stop_container(pod.container_id, timeout_s=1)
    await until(lambda: b'"running"' not in pod.pods.view.list("Pod")[0].body)
    with pytest.raises(ForbiddenError):
        await pod.streams.open_exec(pod.ref, Command(("echo",)))
    assert b"out 2" in (await log(pod))[Channel.STDOUT]
