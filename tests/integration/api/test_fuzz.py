"""Damaged objects, patches and queries: every answer is an answer, never a 5xx.

Seeded, so that a failure repeats: the sequence is part of the assertion's message.
"""

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.integration.api.client import DATABASES, Client
from tests.integration.api.conftest import APPS, CONFIGS, SECRETS, app_obj

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(3600)]

PROFILE: Final = os.environ.get("CP_TEST_PROFILE", "")
ROUNDS: Final = {"long": 4_000, "fuzz": 40_000}.get(PROFILE, 400)
JUNK: Final[list[Any]] = [
    *(None, True, 0, -1, 1.5, 10**20, "", "x" * 300, "a\r\nb", "\0", "é", "\ud83d", "500m", "-5Gi"),
    *([], {}, [None], {"": 1}, {"a": {"b": {}}}, [[[]]], "$patch", {"$patch": "delete"}),
    *({"fieldsV1": "x"}, [{"fieldsV1": "x"}], [{"manager": 1, "fieldsV1": {"f:a": 1}}]),
]
EXTRA: Final = ("bogus", "$patch", "$retainKeys", "$setElementOrder/a", "managedFields", "uid", "")
PATCHES: Final = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json")


def _seeds() -> dict[str, dict[str, Any]]:
    kinds = Path(__file__).parents[3] / "manifests" / "kinds"
    database = yaml.safe_load((kinds / "database.yaml").read_text().split("---")[0])
    database["metadata"] = {"name": "d", "labels": {"a": "b"}, "finalizers": ["a/b"]}
    database["spec"]["paused"] = True
    env = [{"name": "A", "value": "b"}]
    return {
        DATABASES: {**database, "status": {"conditions": [{"type": "A", "status": "True"}]}},
        APPS: app_obj("d", replicas=1, port=80, env=env, command=["a"]),
        SECRETS: {"metadata": {"name": "d"}, "data": {"a": "YQ=="}, "stringData": {"b": "c"}},
        CONFIGS: {"metadata": {"name": "d"}, "data": {"a": "b"}, "binaryData": {"c": "YQ=="}},
    }


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, sub in value.items():
            yield from _places(sub, (*at, key))
    elif isinstance(value, list):
        for index, sub in enumerate(value):
            yield from _places(sub, (*at, index))


def _damaged(chance: random.Random, value: Any) -> Any:
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            break
        *way, last = chance.choice(places)
        parent = value
        for part in way:
            parent = parent[part]
        junk = copy.deepcopy(chance.choice(JUNK))
        if isinstance(parent, dict) and chance.random() < 0.25:
            parent[chance.choice(EXTRA)] = junk
        else:
            parent[last] = junk
    return value


def _request(chance: random.Random) -> tuple[str, str, Any, str]:
    path, seed = chance.choice(list(_seeds().items()))
    method = chance.choice(("POST", "PUT", "PATCH", "PATCH", "APPLY", "DELETE"))
    where = path if method == "POST" else path + "/d" + chance.choice(("", "", "/status", "/scale"))
    query = chance.choice(("", "", "?dryRun=All", "?fieldValidation=Strict", "?dryRun=x"))
    if method == "APPLY":
        where += (query + "&" if query else "?") + "fieldManager=m&force=1"
        return "PATCH", where, _damaged(chance, seed), "application/apply-patch+yaml"
    if method != "PATCH":
        return method, where + query, _damaged(chance, seed), "application/json"
    kind = chance.choice(PATCHES)
    if kind != PATCHES[0]:
        return method, where + query, _damaged(chance, seed), f"application/{kind}"
    step = {
        "op": chance.choice(("add", "remove", "replace", "test", "copy", "move")),
        "path": "/" + "/".join(map(str, chance.choice(list(_places(seed))))),
        "from": "/" + "/".join(map(str, chance.choice(list(_places(seed))))),
        "value": chance.choice(JUNK),
    }
    return method, where + query, [_damaged(chance, step)], f"application/{kind}"


async def test_damaged_requests_never_break_the_server(admin: Client) -> None:
    chance = random.Random(20260101)
    for number in range(ROUNDS):
        for path, seed in _seeds().items():
            if number % 20 == 0:
                await admin("POST", path, seed)
        method, path, body, type_ = _request(chance)
        answer = await admin(method, path, body, type=type_)
        told = f"request {number}: {method} {path} {type_} {json.dumps(body)}"
        assert answer.code < 500, told
        if answer.code >= 400:
            assert answer.body["kind"] == "Status", told
            assert answer.body["code"] == answer.code, told
            assert isinstance(answer.body["details"], dict), told
