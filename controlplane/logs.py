"""Structured logs: one JSON object (or one console line) an event, with secrets taken out last.

Also carries what libraries log through the standard library. Deliberately not a place to format
messages: the event is a constant, values are keys.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from controlplane.pieces import Pieces

REDACTED: Final = "[redacted]"

_SECRET_KEY: Final = re.compile(
    r"password|passwd|secret_?value|token|authorization|api_?key|private_?key|credential"
    r"|stringdata|cookie",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = (
    # user:password@ in any URL
    (re.compile(r"(\w+://[^\s:/@]*):[^\s@/]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # key=value and key: value, bare or as JSON and Python quote them
    (
        re.compile(
            r"(?i)\b(password|passwd|pwd|token|secret|secret_?id|api[_-]?key)"
            r"""(\\*["']?\s*[=:]\s*)"""
            r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|[^\s,;&]+)"""
        ),
        rf"\1\2{REDACTED}",
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|$)", re.DOTALL),
        REDACTED,
    ),
)

# Shorter values would blank out ordinary words; every secret we generate is longer.
_SHORTEST_LEARNED: Final = 8
# Longer ones are texts, which no line has whole: they are known by their pieces.
_LONGEST_LEARNED: Final = 512
# What was met longest ago is forgotten: memory is bounded, and so is the time that a line takes,
# 0.05 ms with so many.
_MOST_LEARNED: Final = 1024


class Redactor:
    """Takes secrets out of log events: by key, by shape, and by value once told of it."""

    def __init__(self) -> None:
        self._learned: dict[str, None] = {}
        self._pieces = Pieces()

    def learn(self, value: str, *, named: bool = True) -> None:
        """Never let this value out, in whatever field or text it turns up, nor a part of it that
        looks as if made by chance. Not `named` as a secret, it is only looked through for what is
        one all the same."""
        self._pieces.learn(value, named=named)
        # whoever uses it leaves out the newline of the file it came from
        value = value.strip()
        if not named or not _SHORTEST_LEARNED <= len(value) <= _LONGEST_LEARNED:
            return
        # as it looks inside a rendered JSON line, too
        for form in (value, json.dumps(value)[1:-1]):
            self._learned.pop(form, None)
            self._learned[form] = None
        while len(self._learned) > _MOST_LEARNED:
            del self._learned[next(iter(self._learned))]

    def clean_event(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Processor before rendering: keys that name a secret, and texts shaped like one."""
        return {key: _clean(key, value) for key, value in event.items()}

    def clean_line(self, _: WrappedLogger, __: str, rendered: object) -> str:
        """The last processor, on the rendered line: learned values, and parts of them."""
        line = str(rendered)
        for secret in self._learned:
            if secret in line:
                line = line.replace(secret, REDACTED)
        return self._pieces.hidden(line, REDACTED)


def _clean(key: str, value: object) -> Any:
    # `_record` is the standard library's own record, read by the formatter and never rendered
    if key.startswith("_"):
        return value
    if _SECRET_KEY.search(key) and isinstance(value, str | bytes | Mapping) and value:
        return REDACTED
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, Mapping):
        return {name: _clean(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, inner) for inner in value]
    if isinstance(value, int | float | bool | None):
        return value
    return _clean_text(repr(value))


def _clean_text(text: str) -> str:
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def configure_logs(
    *,
    style: Literal["json", "console"],
    level: Literal["debug", "info", "warning", "error"],
    stream: TextIO | None = None,
) -> Redactor:
    """Send all logs, ours and the libraries', to `stream` (default: standard error).

    Returns the redactor, to be told of secret values as they come up.
    """
    redactor = Redactor()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(style, redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return redactor


def _shared() -> list[Processor]:
    """What our events and the libraries' records both go through first."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(style: str, redactor: Redactor) -> logging.Formatter:
    render: Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redactor.clean_event,
            render,
            redactor.clean_line,
        ],
    )
