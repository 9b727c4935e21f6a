"""Which names and values labels may have, in Kubernetes' own words
(k8s.io/apimachinery/pkg/util/validation). Pure.
"""

import re
from typing import Final

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
MAX_SUBDOMAIN: Final = 253
MAX_NAME: Final = 63

_CHARACTERS: Final = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)


def is_subdomain(text: str) -> bool:
    """A DNS subdomain: what most records are named by, and a key's prefix."""
    return len(text) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


def is_value(value: str) -> bool:
    """A label's value: like the name of a key, or empty."""
    return not value or (len(value) <= MAX_NAME and _NAME.fullmatch(value) is not None)


def is_key(key: str) -> bool:
    """A name, optionally after a DNS subdomain and a slash."""
    prefix, slash, name = key.rpartition("/")
    return bool(name) and is_value(name) and (not slash or is_subdomain(prefix))


def key_problem(key: str) -> str:
    """What is wrong with the key of a label; empty if nothing is."""
    if is_key(key):
        return ""
    if key.count("/") > 1:
        return (
            f"a qualified name must {_CHARACTERS} (e.g. 'MyName', or 'my.name', or '123-abc') "
            "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    prefix, slash, name = key.rpartition("/")
    found = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash and not is_subdomain(prefix):
        found.append(
            f"prefix part must be a DNS subdomain of at most {MAX_SUBDOMAIN} characters "
            "(e.g. 'example.com')"
        )
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > MAX_NAME:
        found.append(f"name part must be no more than {MAX_NAME} characters")
    if name and not _NAME.fullmatch(name):
        found.append(f"name part must {_CHARACTERS} (e.g. 'MyName', or 'my.name', or '123-abc')")
    return "; ".join(found)


def value_problem(value: str) -> str:
    """What is wrong with the value of a label; empty if nothing is."""
    found = []
    if len(value) > MAX_NAME:
        found.append(f"must be no more than {MAX_NAME} characters")
    if value and not _NAME.fullmatch(value):
        found.append(
            f"a valid label must be an empty string or {_CHARACTERS} "
            "(e.g. 'MyValue', or 'my_value', or '12345')"
        )
    return "; ".join(found)
