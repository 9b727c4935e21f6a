"""What every suite shares: how hard the property tests try, by scripts/test's mode; and what
fails is told at once, not at the end of a long run.
"""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# fixtures on the real PostgreSQL: import their names here, for every suite
from tests.postgres import (  # noqa: F401
    _template,
    cache,
    database,
    postgres_cluster,
    records,
    store,
)

# A loaded machine is no reason to fail: wall-clock deadlines are off, example counts bound time.
settings.register_profile(
    "fast",
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "plain", settings.get_profile("fast"), max_examples=100, stateful_step_count=40
)
settings.register_profile(
    "long",
    settings.get_profile("fast"),
    # a third of the machines' tests took 19 minutes of CPU with 2,000 of each
    max_examples=2000 if os.environ.get("CP_TEST_EVERYTHING") else 500,
    stateful_step_count=100,
)
settings.register_profile("sim", settings.get_profile("plain"))
settings.register_profile("chaos", settings.get_profile("plain"))
settings.load_profile(os.environ.get("CP_TEST_PROFILE", "fast"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In a run of several processes, called in the one that people see."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        told = f"{report.nodeid} failed in {report.when}: {_said(report)}"
        print(f"\n{told}", file=sys.__stderr__, flush=True)


def _said(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(crash.message if crash else report.longreprtext).strip()
    return said.splitlines()[0][:200] if said else "(nothing said)"
