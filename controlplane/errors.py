"""The error types the engine knows, and what it does with each. Nothing else.

Messages read "cannot <verb> <noun> 'x': cause": one line, deterministic, no secret, no time.
"""


class ControlPlaneError(Exception):
    """Anything this project raises on purpose."""


class RetryableError(ControlPlaneError):
    """Passes by itself: requeued after max(retry_after_s, backoff), `at_most_s` at the latest."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        at_most_s: float | None = None,
        reason: str = "Retrying",
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.at_most_s = at_most_s
        self.reason = reason


class UnderWayError(ControlPlaneError):
    """What was asked for goes on by itself and isn't over: asked for again after look_again_s, as
    often as it takes."""

    def __init__(self, message: str, *, reason: str, look_again_s: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.look_again_s = look_again_s


class DriverUnavailableError(RetryableError):
    """The outside system does not answer; counts against that driver's breaker."""

    def __init__(self, driver: str, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s, reason="DriverUnavailable")
        self.driver = driver


class StoreUnavailableError(RetryableError):
    """PostgreSQL does not answer; nothing was written (a lost COMMIT reply was resolved). Where
    it stays away too long to resolve one, the message says that the outcome is unknown."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s, reason="StoreUnavailable")


class SecretsUnavailableError(RetryableError):
    """The secret backend is sealed or unreachable; never the same as "secret missing"."""

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s, reason="SecretsUnavailable")


class SecretLostError(RetryableError):
    """A Secret is there and its key is not, nor will it come by itself: somebody restores it, or
    gives the Secret other values."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="SecretKeyLost")


class TerminalError(ControlPlaneError):
    """Only an edit helps: no requeue until the generation changes."""

    def __init__(self, message: str, *, reason: str = "Invalid") -> None:
        super().__init__(message)
        self.reason = reason


class InvalidFieldError(TerminalError):
    """A write that one field makes impossible (422 Invalid), beyond what a schema can say."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ConflictError(RetryableError):
    """Lost the optimistic lock: read again and retry now, silently."""


class StaleEpochError(ControlPlaneError):
    """This process no longer leads; it must stop acting at once."""


class AlreadyExistsError(ControlPlaneError):
    """A create found the name taken."""


class NotFoundError(ControlPlaneError):
    """An update or delete found nothing of that name, or another uid."""


class CompactedError(ControlPlaneError):
    """The revision asked for is older than what is kept: list again (410 Gone)."""


class ForbiddenError(ControlPlaneError):
    """Understood and refused, whoever asks: `reason` is CamelCase, e.g. NamespaceTerminating."""

    def __init__(self, message: str, *, reason: str = "Forbidden") -> None:
        super().__init__(message)
        self.reason = reason


class SlowReaderError(ControlPlaneError):
    """A watcher fell too far behind and was cut off: watch again from the last revision seen."""
