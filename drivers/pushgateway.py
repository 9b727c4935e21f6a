"""Hands metrics to a Pushgateway (https://github.com/prometheus/pushgateway#put-method).

For a process that nobody can reach to collect them.
"""

from typing import Protocol
from urllib.parse import quote

import aiohttp

from controlplane.errors import DriverUnavailableError, TerminalError

TIMEOUT_S = 5.0


class Pushgateway(Protocol):
    """Somewhere that metrics can be left."""

    async def ensure_metrics(
        self, endpoint: str, login: tuple[str, str], instance: str, text: bytes, /
    ) -> None:
        """Replace what is there of job `controlplane` and this instance by `text` (the exposition
        format). Raises DriverUnavailableError; TerminalError if the login is refused."""
        ...


class HttpPushgateway:
    """Over HTTP; a connection each time, as there are minutes between."""

    async def ensure_metrics(
        self, endpoint: str, login: tuple[str, str], instance: str, text: bytes, /
    ) -> None:
        base = endpoint if "://" in endpoint else f"http://{endpoint}"
        url = f"{base}/metrics/job/controlplane/instance/{quote(instance, safe='')}"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            headers = {"Authorization": aiohttp.encode_basic_auth(*login)}
        except ValueError as exc:  # a colon in the name
            raise TerminalError(
                "cannot push metrics: such a username can't be sent", reason="Denied"
            ) from exc
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.put(url, data=text) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise DriverUnavailableError(
                "pushgateway", f"cannot push metrics: {type(exc).__name__}"
            ) from exc
        if status in (401, 403):
            raise TerminalError("cannot push metrics: the password is refused", reason="Denied")
        if status >= 300:
            raise DriverUnavailableError("pushgateway", f"cannot push metrics: HTTP {status}")
