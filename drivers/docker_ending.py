"""Ends a command whose user is gone: the engine lets it run on when its connection closes.

By a signal to its process, where the agent sees the host's processes. An agent in a container of
its own doesn't: there the command carries a mark in its environment, and a second command in the
same container finds it by that. Images without a shell keep such a command until it ends by itself.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from drivers.docker_errors import EngineError
from drivers.docker_http import EngineHttp

MARK: Final = "BUNKER_SESSION"
_POLL_S: Final = 0.05
_GRACE_S: Final = 1.0
"""Between a hang-up and a kill."""
_BY_MARK: Final = """
for number in HUP KILL; do
  for file in /proc/[0-9]*/environ; do
    case $(cat "$file" 2>/dev/null) in
      *"$1"*) process=${file#/proc/}; kill -$number "${process%/environ}" ;;
    esac
  done
  sleep 1
done"""

SeesInit = Callable[[int], bool]


def sees(pid: int) -> bool:
    """Whether a container's first process is seen from here, in a namespace that isn't ours."""
    try:
        # a pseudo file, no disk
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Ending:
    """How one command is ended."""

    http: EngineHttp
    container_id: str
    mark: str
    """`NAME=value` in its environment; "" where its process can be signalled."""
    sees: SeesInit = sees

    async def end(self, exec_id: str) -> None:
        """Hang up, wait a second, kill. What can't be done is left."""
        with suppress(EngineError):
            if not (await self._state(exec_id))["Running"]:
                return
            if self.mark:
                await self._by_mark()
                return
            await self._signal(exec_id, signal.SIGHUP)
            for _ in range(int(_GRACE_S / _POLL_S)):
                await asyncio.sleep(_POLL_S)
                if not (await self._state(exec_id))["Running"]:
                    return
            await self._signal(exec_id, signal.SIGKILL)

    async def _by_mark(self) -> None:
        made = await self.http.ask(
            "POST",
            f"/containers/{self.container_id}/exec",
            body={"Cmd": ["sh", "-c", _BY_MARK, "sh", self.mark]},
        )
        await self.http.ask("POST", f"/exec/{made['Id']}/start", body={"Detach": True})

    async def _signal(self, exec_id: str, number: signal.Signals) -> None:
        state = await self._state(exec_id)
        init = await init_of(self.http, self.container_id)
        if state["Running"] and self.sees(init):
            _kill(int(state["Pid"] or 0), init, number)

    async def _state(self, exec_id: str) -> Any:
        return await self.http.ask("GET", f"/exec/{exec_id}/json")


async def ending(http: EngineHttp, container_id: str, sees_init: SeesInit) -> Ending:
    """How a command about to run in a container will be ended. Raises EngineError."""
    seen = sees_init(await init_of(http, container_id))
    mark = "" if seen else f"{MARK}={secrets.token_hex(8)}"
    return Ending(http, container_id, mark, sees_init)


async def init_of(http: EngineHttp, container_id: str) -> int:
    """Host process id of a container's first process; 0 when it doesn't run."""
    found = await http.ask("GET", f"/containers/{container_id}/json")
    return int(found["State"]["Pid"])


def _kill(pid: int, init: int, number: signal.Signals) -> None:
    """A number that was the command's must never hit somebody else's process: it has to be in the
    container's own namespace."""
    with suppress(OSError):
        if pid > 1 and os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{init}/ns/pid"):
            os.kill(pid, number)
