"""Tells the control plane's metrics to the platform's own metrics service, if there is one.

It pushes because the control plane listens on the host's loopback alone, where no container can
collect them. Who has no metrics service, or another, reads /metrics of the API.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from controlplane.clock import Clock
from controlplane.errors import ControlPlaneError, TerminalError
from controlplane.plan import SecretReader
from controlplane.records import Stored
from resources.meta import PLATFORM_NAMESPACE

EVERY_S: Final = 15.0
"""Prometheus' usual interval; a push takes about 20 ms."""

_log = structlog.get_logger(__name__)


class Push(Protocol):
    """drivers/pushgateway.py, as far as it is needed here."""

    async def ensure_metrics(
        self, endpoint: str, login: tuple[str, str], instance: str, text: bytes, /
    ) -> None: ...


@dataclass(slots=True)
class Reporter:
    """Pushes while this process leads, and once more when it no longer does."""

    platforms: Callable[[], Sequence[Stored]]
    """The Platform records there are."""
    values: SecretReader
    registry: CollectorRegistry
    push: Push
    clock: Clock
    instance: str
    leading: Callable[[], bool]
    _led: bool = False
    _failed: str = ""

    async def run(self) -> None:
        """Until cancelled. Never raises for what a metrics service, the store or a Vault does."""
        while True:
            await self.clock.sleep(EVERY_S)
            leads = self.leading()
            if leads or self._led:
                await self.tell()
            self._led = leads

    async def tell(self) -> None:
        """Push once to each metrics service that is there."""
        for stored in self.platforms():
            if stored.key.namespace == PLATFORM_NAMESPACE and _is_metrics(stored.obj):
                await self._tell(stored.obj["status"])

    async def _tell(self, status: Mapping[str, Any]) -> None:
        try:
            # reading takes the store and the Vault, which may be away: that must end nothing
            login = await self._login((status.get("secretRef") or {}).get("name"))
            text = generate_latest(self.registry)
            await self.push.ensure_metrics(status["endpoints"]["push"], login, self.instance, text)
        except ControlPlaneError as exc:
            if self._failed != str(exc):
                _log.warning("metrics_not_pushed", cause=str(exc))
            self._failed = str(exc)
        else:
            self._failed = ""

    async def _login(self, name: str | None) -> tuple[str, str]:
        values = await self.values.read("Secret", PLATFORM_NAMESPACE, name) if name else None
        found = values or {}
        try:
            return found.get("username", b"").decode(), found.get("password", b"").decode()
        except UnicodeDecodeError as exc:
            raise TerminalError(
                f"cannot push metrics: a value of Secret '{name}' is no text"
            ) from exc


def _is_metrics(obj: Mapping[str, Any]) -> bool:
    status = obj.get("status") or {}
    wanted = (obj.get("spec") or {}).get("service") == "metrics"
    return wanted and "push" in (status.get("endpoints") or {})
