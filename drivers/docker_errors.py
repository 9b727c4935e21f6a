"""What the Docker engine's refusals mean in our error types. Pure.

By status code; by message only where one code means several things, each such place says so.
"""

import re
from typing import Final

from controlplane.errors import (
    ConflictError,
    ControlPlaneError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)

DRIVER: Final = "docker"

# Ids, addresses of temporary files and the like differ with each try: an unchanged problem must
# give an unchanged message, or every retry would write a new condition.
_VOLATILE: Final = re.compile(r"\b[0-9a-f]{12,64}\b|\bpid \d+\b", re.IGNORECASE)
_MESSAGE_CHARS: Final = 300
# Of an address in a network, not of one to publish on: taken (403), or out of the network's subnet
# (400; as engines up to 24 say it, and those from 25 on).
_ADDRESS_REFUSED: Final = (
    "Address already in use",
    "does not belong to any of this network's subnets",
    "no configured subnet",
)
_PLACE: Final = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}:\d+\b")


class EngineError(Exception):
    """The engine did not do what was asked; never leaves the driver."""


class EngineAwayError(EngineError):
    """No answer: the socket is gone, or the connection broke."""


class EngineTimeoutError(EngineError):
    """No answer in time; what was asked may still happen."""


class CommandTimeoutError(EngineError):
    """A command in a container did not end in time; the engine itself answers."""


class CommandTooLongError(EngineError):
    """A command in a container said more than is taken."""


class EngineRefusedError(EngineError):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def one_line(text: str) -> str:
    """`text` without what varies between tries, on one line, cut to a length for conditions."""
    flat = " ".join(_VOLATILE.sub("…", text).split())
    return flat if len(flat) <= _MESSAGE_CHARS else flat[: _MESSAGE_CHARS - 1] + "…"


def is_stopping(text: str) -> bool:
    """Whether an engine that is about to end says so, whatever it was asked."""
    return "shutting down" in text or "context canceled" in text


def speaks_another_version(error: EngineRefusedError) -> bool:
    """Whether it refuses a request for the version of the API in its path: 400 like any bad spec,
    "client version 1.41 is too old. Minimum supported API version is 1.44, ..."."""
    return error.status == 400 and str(error).startswith("client version ")


def translate(error: EngineError, what: str) -> ControlPlaneError:
    """The errors.py type for `error`; `what` reads "start container 'x'"."""
    message = f"cannot {what}: {one_line(str(error))}"
    if isinstance(error, CommandTimeoutError):
        return RetryableError(message, retry_after_s=1.0, reason="CommandTimedOut")
    if isinstance(error, CommandTooLongError):
        return RetryableError(message, retry_after_s=60.0, reason="OutputTooLong")
    if not isinstance(error, EngineRefusedError):
        return DriverUnavailableError(DRIVER, message)
    if error.status == 404 and str(error).startswith("No such container"):
        # What was observed is gone: observe again, at once and silently.
        return ConflictError(message, reason="Gone")
    if error.status == 404:
        # What it needs is gone (an image, a network): that may last, so it is told.
        return RetryableError(message, reason="Missing")
    if error.status == 409:
        return _conflict(error, message)
    if error.status >= 500:
        return _not_published(str(error), what) or _server_error(error, message, what)
    return _bad_request(error, message)


def _bad_request(error: EngineRefusedError, message: str) -> ControlPlaneError:
    if "has active endpoints" in str(error):
        # 403, as what follows
        return RetryableError(message, retry_after_s=1.0, reason="NetworkInUse")
    if any(each in str(error) for each in _ADDRESS_REFUSED):
        return RetryableError(message, retry_after_s=1.0, reason="AddressInUse")
    if "overlaps" in str(error):
        return RetryableError(message, retry_after_s=5.0, reason="SubnetInUse")
    if "bind source path does not exist" in str(error):
        # 400 like any bad spec, but the secrets folder comes back once it is written again.
        return RetryableError(message, reason="SecretsMissing")
    return TerminalError(message, reason="EngineRefused")


def _conflict(error: EngineRefusedError, message: str) -> RetryableError:
    # Not ConflictError: that is retried at once and silently, and these may last.
    text = str(error)
    if "already in progress" in text or "marked for removal" in text:
        return RetryableError(message, retry_after_s=0.5, reason="RemovalInProgress")
    if "name" in text and "already in use" in text:
        return RetryableError(message, retry_after_s=5.0, reason="NameTaken")
    return RetryableError(message, reason="WrongState")


def _server_error(error: EngineRefusedError, message: str, what: str) -> ControlPlaneError:
    text = str(error)
    if error.status == 503 or is_stopping(text):
        return DriverUnavailableError(DRIVER, message)
    if "iptables" in text and "No chain/target/match" in text:
        told = (
            f"cannot {what}: the engine's rules are gone from this host's firewall, as after a "
            "flush or a reload of it; have the engine write them anew: systemctl restart docker"
        )
        return RetryableError(told, retry_after_s=5.0, reason="FirewallFlushed")
    return RetryableError(message, reason="EngineError")


def _not_published(text: str, what: str) -> RetryableError | None:
    """A port that can't be published: 500 like any failed start."""
    place = _PLACE.search(text)
    where = f"at {place[0]}" if place else "there"
    if "port is already allocated" in text or "address already in use" in text:
        # by somebody else, or by a proxy that is about to end
        fix = "choose another port, leave it out to get a free one, or stop that (ss -lntup)"
        told = f"cannot {what}: something else on this host listens {where}; {fix}"
        return RetryableError(told, retry_after_s=1.0, reason="PortTaken")
    if "cannot assign requested address" in text:
        told = f"cannot {what}: this host has no such address to publish {where}; choose one it has"
        return RetryableError(told, retry_after_s=5.0, reason="AddressMissing")
    return None
