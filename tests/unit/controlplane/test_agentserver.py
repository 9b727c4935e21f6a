"""The agent's socket: who may open it, what comes over it, and what happens when it goes away."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.agentclient import PodMirror, RemoteStreams, remote_streams
from controlplane.agentserver import LOOK_S, offering
from controlplane.clock import SystemClock
from controlplane.engine.board import Board
from controlplane.errors import DriverUnavailableError, NotFoundError
from controlplane.records import Key, Stored, View
from controlplane.streams import Channel, Command, Frame, LogQuery, PodRef, Stream
from tests.clock import ManualClock

REF = PodRef("shop", "a", "u")


@dataclass(slots=True)
class Hanging:
    """A stream that says nothing; tells when it was closed."""

    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> Frame | None:
        await asyncio.Event().wait()
        return None

    async def write(self, frame: Frame, /) -> None:
        del frame

    async def aclose(self) -> None:
        self.closed.set()


@dataclass(slots=True)
class Ended(Hanging):
    """A command that has ended, whatever it is still sent."""

    left: list[Frame] = field(default_factory=lambda: [Frame(Channel.EXIT, b"7")])

    async def read(self) -> Frame | None:
        return self.left.pop() if self.left else None


@dataclass(slots=True)
class Agent:
    """Pods that a test puts up, and one stream."""

    board: Board = field(default_factory=lambda: Board(SystemClock()))
    stream: Hanging = field(default_factory=Hanging)

    @property
    def view(self) -> View:
        return self.board.view

    def require(self) -> None:
        """It is never away."""

    def show(self, *names: str) -> None:
        had = [stored.key for stored in self.view.list("Pod")]
        self.board.show(had, {s.key: s for s in map(pod, names)})

    async def open_logs(self, pod: PodRef, query: LogQuery, /) -> Stream:
        raise NotFoundError(f"no {pod.name}, {query.tail}")

    async def open_exec(self, pod: PodRef, command: Command, /) -> Stream:
        del pod, command
        return self.stream

    async def open_attach(self, pod: PodRef, /, *, stdin: bool) -> Stream:
        del pod, stdin
        return self.stream

    async def open_port(self, pod: PodRef, port: int, /) -> Stream:
        del pod, port
        return self.stream


def pod(name: str) -> Stored:
    return Stored(Key("Pod", "shop", name), f"u-{name}", 0, 1, b'{"metadata":{}}')


def seen(mirror: PodMirror) -> list[str]:
    return [stored.key.name for stored in mirror.view.list("Pod")]


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if so():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def mirrored(door: Path) -> AsyncIterator[RemoteStreams]:
    far = remote_streams(door, SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(far.pods.run())
        yield far
        running.cancel()


async def test_only_its_folders_owner_may_open_it(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    if os.geteuid() == 0:  # the agent is root, the API and so the folder another's
        os.chown(tmp_path, 65534, 65534)
    async with offering(door, agent, agent, SystemClock()):
        found = door.stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == tmp_path.stat().st_uid
        assert os.listdir(tmp_path) == ["agent.sock"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
async def test_no_file_of_others_is_given_away_for_a_link_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[[Path, Path], None]
) -> None:
    """The folder's owner, who isn't root, may put one there at any moment."""
    folder, others = tmp_path / "data", tmp_path / "others"
    folder.mkdir()
    others.touch()
    others.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    before = others.stat()
    bind = socket.socket.bind

    def replaced(listener: socket.socket, address: str) -> None:
        bind(listener, address)
        Path(address).unlink()
        link(Path(address), others)

    monkeypatch.setattr(socket.socket, "bind", replaced)
    agent = Agent()
    with suppress(OSError):  # there is no socket to be given
        async with offering(folder / "agent.sock", agent, agent, SystemClock()):
            pass
    found = others.stat()
    assert (found.st_mode, found.st_uid) == (before.st_mode, before.st_uid)


async def test_a_successor_takes_the_socket_over(tmp_path: Path) -> None:
    door, first, second = tmp_path / "agent.sock", Agent(), Agent()
    second.show("b")
    async with offering(door, second, second, SystemClock()):
        pass
    door.touch()  # as one that was killed leaves it
    async with offering(door, first, first, SystemClock()):
        async with offering(door, second, second, SystemClock()), mirrored(door) as far:
            await until(lambda: seen(far.pods) == ["b"])
        assert not door.exists()


@pytest.mark.parametrize("killed", [True, False])
async def test_who_still_runs_takes_the_socket_back(tmp_path: Path, killed: bool) -> None:
    door, agent, clock = tmp_path / "agent.sock", Agent(), ManualClock()
    async with offering(door, agent, agent, clock):
        if killed:
            with socket.socket(socket.AF_UNIX) as dead:
                door.unlink()
                dead.bind(str(door))
        else:
            async with offering(door, Agent(), Agent(), clock):
                pass
        far = remote_streams(door, SystemClock())
        with pytest.raises(DriverUnavailableError):
            await far.open_attach(REF, stdin=False)
        left = door.stat().st_ino if killed else 0
        await clock.advance(LOOK_S)
        await until(lambda: door.exists() and door.stat().st_ino != left)
        await (await far.open_attach(REF, stdin=False)).aclose()


async def test_pods_are_mirrored_at_the_agents_own_versions(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    agent.show("a")
    async with offering(door, agent, agent, SystemClock()), mirrored(door) as far:
        await until(lambda: seen(far.pods) == ["a"])
        changes = far.pods.view.watch(frozenset({"Pod"}), far.pods.view.revision)
        agent.show("b")
        told = [await anext(changes) for _ in range(2)]
        assert [(c.verb, c.after.key.name) for c in told] == [("delete", "a"), ("create", "b")]
        assert far.pods.view.revision == agent.view.revision


async def test_errors_come_back_as_they_are(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    async with offering(door, agent, agent, SystemClock()):
        with pytest.raises(NotFoundError, match="no a, 3"):
            await remote_streams(door, SystemClock()).open_logs(REF, LogQuery(tail=3))


async def test_a_client_that_hangs_up_closes_its_stream(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    async with offering(door, agent, agent, SystemClock()):
        stream = await remote_streams(door, SystemClock()).open_exec(REF, Command(("sh",)))
        await stream.aclose()
        async with asyncio.timeout(5):
            await agent.stream.closed.wait()


async def test_what_is_sent_to_a_command_that_has_ended_costs_no_exit_code(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent(stream=Ended())
    async with offering(door, agent, agent, SystemClock()):
        stream = await remote_streams(door, SystemClock()).open_exec(REF, Command(("head",)))
        await agent.stream.closed.wait()
        for _ in range(3):
            await stream.write(Frame(Channel.STDIN, b"x" * 2**16))
            await asyncio.sleep(0)  # the socket says what it has to
        assert await stream.read() == Frame(Channel.EXIT, b"7")
        assert await stream.read() is None
        await stream.aclose()


async def test_an_agent_that_goes_away_is_told_and_comes_back(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    agent.show("a")
    async with mirrored(door) as far:
        with pytest.raises(DriverUnavailableError):
            far.pods.require()
        with pytest.raises(DriverUnavailableError):
            await far.open_logs(REF, LogQuery())
        async with offering(door, agent, agent, SystemClock()):
            await until(lambda: seen(far.pods) == ["a"])
            far.pods.require()
            stream = await far.open_attach(REF, stdin=False)
        with pytest.raises(DriverUnavailableError):
            await stream.read()
        await stream.aclose()
        await until(lambda: not far.pods.there)
        agent = Agent(board=Board(SystemClock()))
        agent.show("b")
        async with offering(door, agent, agent, SystemClock()):
            await until(lambda: seen(far.pods) == ["b"])


async def test_nonsense_does_no_harm(tmp_path: Path) -> None:
    door, agent = tmp_path / "agent.sock", Agent()
    agent.show("a")
    async with offering(door, agent, agent, SystemClock()):
        for nonsense in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x10\0\0\0\2[]", b"\x10\0\0\0\2{}"):
            reader, writer = await asyncio.open_unix_connection(door)
            writer.write(nonsense)
            writer.write_eof()
            async with asyncio.timeout(5):
                await reader.read()
            writer.close()
        async with mirrored(door) as far:
            await until(lambda: seen(far.pods) == ["a"])


async def test_hundreds_come_at_once(tmp_path: Path) -> None:
    """As followers do when an API process starts, before the agent has taken one of them in."""
    door, agent = tmp_path / "agent.sock", Agent()
    async with offering(door, agent, agent, SystemClock()):
        far = remote_streams(door, SystemClock())
        opened = await asyncio.gather(
            *(far.open_attach(REF, stdin=False) for _ in range(400)), return_exceptions=True
        )
        refused = [each for each in opened if isinstance(each, BaseException)]
        for each in opened:
            if not isinstance(each, BaseException):
                await each.aclose()
    assert refused == []
