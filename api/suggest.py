"""Which field was meant by one that a schema doesn't know. Only for messages; decides nothing."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

_LONGEST: Final = 64
"""Comparing takes the square of a name's length; no field's is longer."""


def meant(schema: Mapping[str, Any], path: str) -> str:
    """The known name beside `path` (`spec.parts[1].nmae`) that is nearest to its last part;
    empty if none is near."""
    *above, last = path.split(".")
    if len(last) > _LONGEST:
        return ""
    here: Any = schema
    for part in above:
        name, lists = re.sub(r"\[\d+\]", "", part), part.count("[")
        here = (here.get("properties") or {}).get(name) or here.get("additionalProperties")
        for _ in range(lists):
            here = here.get("items") if isinstance(here, Mapping) else None
        if not isinstance(here, Mapping):
            return ""
    near = get_close_matches(last, here.get("properties") or {}, n=1)
    return near[0] if near else ""
