"""Logs: one parseable line an event, and no planted secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from controlplane.logs import REDACTED, Redactor, configure_logs

PLANTED = 'pl4nted-s3cret-"quoted"'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(style: Literal["json", "console"] = "json") -> tuple[io.StringIO, Redactor]:
    stream = io.StringIO()
    return stream, configure_logs(style=style, level="debug", stream=stream)


def test_event_is_one_json_object() -> None:
    stream, _ = configured()
    structlog.get_logger("engine").info("reconcile_done", kind="App", steps=2)
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "reconcile_done"
    assert (entry["kind"], entry["steps"], entry["level"]) == ("App", 2, "info")
    assert entry["timestamp"].endswith("Z")


def test_standard_library_records_look_the_same() -> None:
    stream, _ = configured()
    logging.getLogger("library").warning("slow %s", "answer", extra={"waited_s": 3})
    entry = json.loads(stream.getvalue())
    assert (entry["event"], entry["level"], entry["waited_s"]) == ("slow answer", "warning", 3)


@pytest.mark.parametrize("style", ["json", "console"])
def test_planted_secret_never_surfaces(style: Literal["json", "console"]) -> None:
    stream, redactor = configured(style)
    redactor.learn(PLANTED)
    log = structlog.get_logger()
    structlog.contextvars.bind_contextvars(context=PLANTED)
    log.info("as_value", note=f"it is {PLANTED}", nested={"deep": [PLANTED, {"deeper": PLANTED}]})
    log.info("in the event: %s", PLANTED)
    log.info("in_an_object", thing=ValueError(PLANTED))
    logging.getLogger("library").error("from a library: %s", PLANTED)
    try:
        raise RuntimeError(PLANTED)
    except RuntimeError:
        log.exception("in_a_traceback")
        logging.getLogger("library").exception("in a library's traceback")
    structlog.contextvars.clear_contextvars()
    written = stream.getvalue()
    assert PLANTED not in written
    assert json.dumps(PLANTED)[1:-1] not in written
    assert written.count(REDACTED) >= 8


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"password": "tr0ub4dor"}, id="key"),
        pytest.param({"request": {"Authorization": "Bearer tr0ub4dor"}}, id="nested key"),
        pytest.param({"url": "postgresql://cp:tr0ub4dor@db/cp"}, id="password in a url"),
        pytest.param({"header": "sent Bearer tr0ub4dor"}, id="bearer token"),
        pytest.param({"line": "connect password=tr0ub4dor host=x"}, id="keyword"),
        pytest.param({"stringData": {"any": "tr0ub4dor"}}, id="all below a key"),
        pytest.param({"credentials": [{"value": "tr0ub4dor"}]}, id="all in a list of a key"),
        pytest.param({"body": '{"password": "tr0ub4dor"}'}, id="JSON"),
        pytest.param({"body": r'"{\"password\": \"tr0ub4dor\"}"'}, id="JSON in JSON"),
        pytest.param({"body": '{"secret_id":"with space tr0ub4dor"}'}, id="JSON with a space"),
        pytest.param({"body": repr({"token": b"tr0ub4dor"})}, id="Python"),
        pytest.param(
            {"pem": "-----BEGIN PRIVATE KEY-----\ntr0ub4dor\n-----END PRIVATE KEY-----"}, id="pem"
        ),
    ],
)
def test_secret_is_known_by_its_key_or_shape(values: dict[str, object]) -> None:
    stream, _ = configured()
    structlog.get_logger().info("event", **values)
    assert "tr0ub4dor" not in stream.getvalue()
    assert REDACTED in stream.getvalue()


def test_secret_name_stays_readable() -> None:
    stream, _ = configured()
    structlog.get_logger().info("event", secret_name="shop-db-credentials", secret_keys=["uri"])
    assert "shop-db-credentials" in stream.getvalue()


def test_level_filters() -> None:
    stream = io.StringIO()
    configure_logs(style="json", level="warning", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_a_secret_that_ended_in_a_newline_is_known_without_it() -> None:
    stream, redactor = configured()
    redactor.learn("pl4nted-s3cret\n")
    structlog.get_logger().info("refused", why="no such key 'pl4nted-s3cret'")
    assert "pl4nted-s3cret" not in stream.getvalue()
    assert REDACTED in stream.getvalue()
