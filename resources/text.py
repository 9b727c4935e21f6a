"""Strings a user may write, each with a grammar and a message that says how to write it.

Deliberately one small annotation instead of pydantic's own patterns: those report a regular
expression, and a person needs the rule in words. No I/O.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@dataclass(frozen=True, slots=True)
class Matches:
    """A string that fully matches `pattern` and is at most `max_length` characters.

    `rule` completes the sentence "'x' is not <rule>" and so names the fix.
    """

    pattern: str
    rule: str
    max_length: int = 253

    def __call__(self, value: str) -> str:
        """Return `value`, or raise ValueError naming it and the rule."""
        if len(value) > self.max_length:
            raise ValueError(
                f"{value[:32]!r}... is {len(value)} characters long; at most "
                f"{self.max_length} are allowed"
            )
        if _compiled(self.pattern).fullmatch(value) is None:
            raise ValueError(f"{value!r} is not {self.rule}")
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^{self.pattern}$", "maxLength": self.max_length}


PORT: Final = (
    "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
)
"""Part of a pattern: the number of a port, 1 to 65535."""
_HOST_LABEL: Final = "[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
HOST: Final = f"{_HOST_LABEL}([.]{_HOST_LABEL})*[.]?"
"""Part of a pattern: the name of a host, or an IPv4 address."""

DnsLabel = Annotated[
    str,
    Matches(
        "[a-z]([-a-z0-9]*[a-z0-9])?",
        "a DNS label: use lower case letters, digits and '-', starting with a letter, such as "
        "'shop-db'",
        63,
    ),
]
"""RFC 1035 label: names that become host names inside a namespace's network."""

DnsSubdomain = Annotated[
    str,
    Matches(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        "a DNS subdomain: use lower case letters, digits, '-' and '.', such as 'shop-credentials'",
    ),
]
"""RFC 1123 subdomain: names of records that never become host names."""

PublicHost = Annotated[
    str,
    Matches(
        "([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
        "a host name with a domain: use lower case letters, digits, '-' and '.', such as "
        "'shop.example.org' (an international name in its 'xn--' form)",
    ),
]
"""A host name as a browser asks for it: strict, as it becomes part of a routing rule."""

ImageReference = Annotated[
    str,
    Matches(
        # https://github.com/distribution/reference/blob/main/regexp.go, without its upper bound
        r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9.]*[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?"
        r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
        r"(?::[A-Za-z0-9_][-A-Za-z0-9._]{0,127})?(?:@sha256:[0-9a-f]{64})?",
        "an image reference: write [registry[:port]/]name[:tag][@sha256:...], such as "
        "'nginx:1.27' or 'registry.example.org/team/shop:v2'",
        512,
    ),
]
"""Docker image reference."""

EnvName = Annotated[
    str,
    Matches(
        "[A-Za-z_][A-Za-z0-9_]*",
        "an environment variable name: use letters, digits and '_', not starting with a digit, "
        "such as 'LOG_LEVEL'",
        256,
    ),
]
"""POSIX environment variable name."""

Text = Annotated[
    str,
    Matches(
        r"[^\x00\r]*",
        "plain text: take out the NUL and carriage return characters",
        32_768,
    ),
]
"""Free text that ends up in argv or env: no NUL (cut there by C) and no carriage return."""

HttpPath = Annotated[
    str,
    Matches(
        r"/[!-~]*",
        "an HTTP path: start with '/', and percent-encode spaces and what is not ASCII, such as "
        "'/healthz'",
        1024,
    ),
]
"""Path and query of an HTTP request line (RFC 9112): no space, no control character."""

_RFC3339: Final = Matches(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
    "(Z|[+-][0-9]{2}:[0-9]{2})",
    "a time: write it as RFC 3339 has it, such as '2026-01-31T12:00:00Z'",
    35,
)


def moment(value: str) -> str:
    """Return `value` if it is a time, or raise ValueError naming it and the rule."""
    _RFC3339(value)
    try:
        datetime.fromisoformat(value)
    except ValueError as exc:
        raise ValueError(f"{value!r} is not {_RFC3339.rule}; there is no such day or hour") from exc
    return value


Moment = Annotated[str, _RFC3339, AfterValidator(moment)]
"""A point in time (RFC 3339), kept as it was written."""

MicroMoment = Annotated[
    str,
    Matches(
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}(Z|[+-][0-9]{2}:[0-9]{2})",
        "a time with microseconds: write it as RFC 3339 has it, with six digits after the point, "
        "such as '2026-01-31T12:00:00.000000Z'",
        32,
    ),
    AfterValidator(moment),
]
"""A point in time as Kubernetes' MicroTime, whose clients read six digits and no others
(https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#MicroTime)."""

SqlName = Annotated[
    str,
    Matches(
        "(?!pg_|(?:public|none|template[01])$)[a-z_][a-z0-9_]*",
        "a plain SQL name: use lower case letters, digits and '_', starting with a letter, not "
        "'pg_...', 'public', 'none' or 'template0/1', such as 'shop'",
        63,
    ),
]
"""A PostgreSQL identifier that needs no quoting (63 bytes: NAMEDATALEN - 1)."""

DataKey: Final = Matches(
    "[-._a-zA-Z0-9]+",
    "a key: use letters, digits, '-', '_' and '.', such as 'tls.crt'",
)
"""Key of a Secret's or ConfigMap's data (Kubernetes' own rule)."""
