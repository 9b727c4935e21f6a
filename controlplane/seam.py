"""The one seam that every call leaving a reconciler passes: driver verbs, store, secret backend.

`through` puts a port behind a seam without changing what it is to its callers. The seam sees each
call and decides what becomes of it: `Measured` times it; tests record, delay, fail or cut it off.
Deliberately not a place for retries or policy, and never for logging: arguments may be secrets.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from prometheus_client import Histogram

from controlplane.clock import Clock
from controlplane.errors import ConflictError, RetryableError, TerminalError

OUTCOMES: Final = ("ok", "conflict", "retry", "terminal", "error")
"""How a call ends, as errors.py has it; `error` is whatever else was raised, or a cancellation."""
READING: Final = ("observe", "list", "read", "catch_up", "ask", "revision")
"""Verbs that begin so change nothing."""

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Call:
    """One call on its way out."""

    port: str
    """The driver's name, or `store`."""
    verb: str
    make: Callable[..., Awaitable[Any]]
    args: Sequence[Any] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def changes(self) -> bool:
        """Whether it may change something outside."""
        return not self.verb.startswith(READING)

    def go(self) -> Awaitable[Any]:
        """Let it through: its effect and its reply."""
        return self.make(*self.args, **self.kwargs)


class Seam(Protocol):
    """What stands between the callers and the ports."""

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        """Told once for each port that is put behind it."""
        ...

    async def __call__(self, call: Call, /) -> Any:
        """Usually `return await call.go()`; raises what the call raises."""
        ...


def verbs_of(port: object) -> tuple[str, ...]:
    """Its coroutine methods: what goes out. Streams and plain methods don't."""
    names = (name for name in dir(type(port)) if not name.startswith("_"))
    return tuple(n for n in names if inspect.iscoroutinefunction(getattr(type(port), n)))


def through(port: P, name: str, seam: Seam) -> P:
    """`port` with each of its coroutine methods behind `seam`; all else is the port's own."""
    verbs = verbs_of(port)
    if not verbs:
        return port
    seam.opened(name, verbs)
    return cast("P", _Through(port, name, verbs, seam))


class _Through:
    """Looks like the port. Its verbs are instance attributes: found first, and made once."""

    def __init__(self, port: object, name: str, verbs: Sequence[str], seam: Seam) -> None:
        self._port = port
        for verb in verbs:
            setattr(self, verb, partial(_pass, seam, name, verb, getattr(port, verb)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


async def _pass(
    seam: Seam,
    port: str,
    verb: str,
    make: Callable[..., Awaitable[Any]],
    *args: Any,
    **kwargs: Any,
) -> Any:
    return await seam(Call(port, verb, make, args, kwargs))


@dataclass(frozen=True, slots=True)
class Measured:
    """Times each call: controlplane_driver_call_duration_seconds{driver,verb,outcome}."""

    durations: Histogram
    clock: Clock

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        for verb in verbs:
            for outcome in OUTCOMES:
                self.durations.labels(port, verb, outcome)

    async def __call__(self, call: Call, /) -> Any:
        began_s = self.clock.monotonic()
        outcome = "error"
        try:
            reply = await call.go()
            outcome = "ok"
        except Exception as exc:
            outcome = outcome_of(exc)
            raise
        finally:
            took_s = self.clock.monotonic() - began_s
            self.durations.labels(call.port, call.verb, outcome).observe(took_s)
        return reply


def outcome_of(exc: BaseException) -> str:
    """The word for an error."""
    match exc:
        case ConflictError():
            return "conflict"
        case RetryableError():
            return "retry"
        case TerminalError():
            return "terminal"
        case _:
            return "error"
