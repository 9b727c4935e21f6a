"""A crashed bundled server is started again; one that was stopped stays so."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.errors import StoreUnavailableError
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.keeper import AGAIN_S, LOOK_S, keep_up, kept_up
from tests.support.virtual import LoopClock, in_virtual_time


@dataclass
class Server:
    """As if: `crashed` says that it did; starts are counted."""

    crashed: bool = False
    refuses: int = 0
    starts: int = 0

    def start_again(self) -> bool:
        self.starts += 1
        if self.starts <= self.refuses:
            raise StoreUnavailableError("cannot start: the disk is full")
        self.crashed = False
        return True


@in_virtual_time
async def test_crashed_server_is_started_again() -> None:
    server = Server()
    async with kept_up(server, LoopClock()):
        await asyncio.sleep(60)
        assert server.starts == 0
        server.crashed = True
        await asyncio.sleep(LOOK_S * 2)
        assert (server.starts, server.crashed) == (1, False)


@in_virtual_time
async def test_start_that_fails_is_tried_again() -> None:
    server = Server(crashed=True, refuses=2)
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keep_up(server, LoopClock()))
        await asyncio.sleep(3 * (AGAIN_S + LOOK_S) + 1)
        assert (server.starts, server.crashed) == (3, False)
        keeping.cancel()


@in_virtual_time
async def test_what_ends_the_block_is_raised_as_it_is() -> None:
    """In a group it would be told as a bug is, with a traceback."""
    for server in (Server(), None):
        with pytest.raises(StoreUnavailableError, match="cannot migrate"):
            async with kept_up(server, LoopClock()):
                raise StoreUnavailableError("cannot migrate")


@in_virtual_time
async def test_no_server_of_ours_is_none_to_keep() -> None:
    async with kept_up(None, LoopClock()):
        await asyncio.sleep(1)


def test_stopped_is_not_crashed(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    assert not ended(server), "there is none yet"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("18\n")
    assert ended(server), "it gave up, and took its pid file away"
    (tmp_path / "data" / "postmaster.pid").write_text("999999999\n")
    assert ended(server)
    server.stop()
    assert not ended(server)
    assert not server.start_again(), "who saw it before it was stopped"


def ended(server: EmbeddedPostgres) -> bool:
    return server.crashed
