"""Errors of a pass, by the table in docs/architecture.md: outcome, condition, when again. Pure."""

from dataclasses import dataclass

from controlplane.conditions import Fact, Reason, Summary, find
from controlplane.engine.facts import ready_fact
from controlplane.engine.queue import CAP_S
from controlplane.errors import (
    AlreadyExistsError,
    ConflictError,
    DriverUnavailableError,
    ForbiddenError,
    NotFoundError,
    RetryableError,
    StoreUnavailableError,
    TerminalError,
)
from controlplane.plan import Outcome, Report
from controlplane.records import Stored


@dataclass(frozen=True, slots=True)
class Failure:
    """One error, as the engine treats it."""

    outcome: Outcome
    reason: str
    message: str
    retry_after_s: float | None = None
    at_most_s: float = CAP_S
    driver: str = ""
    """Whose breaker it counts against."""
    silent: bool = False
    """Neither condition nor event: a lost race, or a store that can't be written anyway."""
    cause: BaseException | None = None
    is_bug: bool = False

    def summary(self, base: Stored, report: Report | None, admitted: Fact | None) -> Summary:
        """What the conditions say of it. Ready stays as last observed; what was never observed
        isn't ready, for this very reason."""
        mine = Fact("False", self.reason, self.message)
        stalled = Fact("False", Reason.NOT_STALLED)
        if self.outcome == "terminal":
            stalled = Fact("True", self.reason, self.message)
        if report is not None:
            ready: Fact | None = ready_fact(report, None)
        else:
            conditions = (base.obj.get("status") or {}).get("conditions") or ()
            was = find(conditions, "Ready")
            ready = None if was is not None and was.get("status") == "True" else mine
        return Summary(mine, stalled, ready=ready, admitted=admitted)


def classify(exc: BaseException) -> Failure:
    """What the engine does with `exc`."""
    match exc:
        case ConflictError() | AlreadyExistsError() | NotFoundError():
            return Failure("conflict", "Conflict", str(exc), silent=True)
        case TerminalError(reason=reason):
            return Failure("terminal", reason, str(exc))
        case StoreUnavailableError():
            return Failure("retry", exc.reason, str(exc), exc.retry_after_s, silent=True)
        case DriverUnavailableError(driver=driver):
            return Failure("retry", exc.reason, str(exc), exc.retry_after_s, driver=driver)
        case RetryableError():
            return Failure("retry", exc.reason, str(exc), exc.retry_after_s, exc.at_most_s or CAP_S)
        case ForbiddenError(reason=reason):
            return Failure("retry", reason, str(exc), 1.0)
        case TimeoutError():
            text = "the pass took too long and was stopped between two steps; it is tried again"
            return Failure("error", Reason.TIMED_OUT, text)
        case _:
            text = f"internal error ({type(exc).__name__}); the log of the agent has the details"
            return Failure("error", Reason.INTERNAL_ERROR, text, cause=exc, is_bug=True)
