"""A Pushgateway in a dict, held to the same contract as the real one."""

from dataclasses import dataclass, field

from controlplane.errors import DriverUnavailableError, TerminalError


@dataclass(slots=True)
class FakePushgateway:
    """One server at `endpoint`; `groups` is what was pushed, by instance."""

    endpoint: str = "10.0.0.5:9091"
    login: tuple[str, str] = ("bunker", "hush")
    groups: dict[str, bytes] = field(default_factory=dict)

    async def ensure_metrics(
        self, endpoint: str, login: tuple[str, str], instance: str, text: bytes, /
    ) -> None:
        if endpoint != self.endpoint:
            raise DriverUnavailableError("pushgateway", "cannot push metrics: refused")
        if login != self.login:
            raise TerminalError("cannot push metrics: the password is refused", reason="Denied")
        if not text.endswith(b"\n"):
            raise DriverUnavailableError("pushgateway", "cannot push metrics: HTTP 400")
        self.groups[instance] = text
