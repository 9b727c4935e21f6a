"""What the fake container runtime answers where the engine refuses."""

from controlplane.errors import ControlPlaneError, RetryableError


def raise_lost(lost: ControlPlaneError | None) -> None:
    if lost is not None:
        raise lost


def not_running(what: str) -> RetryableError:
    return RetryableError(f"cannot {what} container: it is not running", reason="WrongState")


def name_taken(what: str) -> RetryableError:
    message = f"cannot {what}: the one of that name is somebody else's"
    return RetryableError(message, retry_after_s=5.0, reason="NameTaken")


def not_ours(what: str) -> RetryableError:
    return RetryableError(f"cannot {what}: it is somebody else's", reason="NotOurs")


def half_removed(what: str) -> RetryableError:
    message = f"cannot {what} container: it is marked for removal"
    return RetryableError(message, reason="RemovalInProgress")
