"""What is said when a process ends by itself. That signals end a start: tests/integration/store."""

import pytest

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.stopping import explained

PORT = TerminalError("cannot listen on 127.0.0.1, port 8443: address already in use")


def test_a_reason_is_told_however_deep_in_task_groups_it_was_raised() -> None:
    assert explained(PORT) == f"error: {PORT}"
    deep = ExceptionGroup("outer", [ExceptionGroup("inner", [PORT]), TerminalError("cannot more")])
    assert explained(deep) == f"error: {PORT}\nerror: cannot more"


@pytest.mark.parametrize("bug", [ValueError("x"), StoreUnavailableError("not caught by a task")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    for group in (ExceptionGroup("", [bug]), ExceptionGroup("", [PORT, ExceptionGroup("", [bug])])):
        with pytest.raises(ExceptionGroup) as raised:
            explained(group)
        assert raised.value is group
