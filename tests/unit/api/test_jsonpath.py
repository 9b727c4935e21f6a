"""Paths as printer columns write them."""

import pytest

from api.jsonpath import find, first

OBJ = {
    "metadata": {"labels": {"app.kubernetes.io/name": "shop"}},
    "spec": {"engine": "redis", "ports": [{"port": 1}, {"port": 2}], "empty": None},
    "status": {
        "conditions": [
            {"type": "Synced", "status": "False"},
            {"type": "Ready", "status": "True", "reason": "Serving"},
        ]
    },
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(".spec.engine", ["redis"], id="field"),
        pytest.param("{.spec.engine}", ["redis"], id="braces"),
        pytest.param(".spec.nope.deeper", [], id="absent"),
        pytest.param(".spec.engine.deeper", [], id="through a string"),
        pytest.param(".spec.ports[0].port", [1], id="index"),
        pytest.param(".spec.ports[-1].port", [2], id="from the end"),
        pytest.param(".spec.ports[7].port", [], id="outside"),
        pytest.param(".spec.ports[*].port", [1, 2], id="every item"),
        pytest.param('.status.conditions[?(@.type=="Ready")].status', ["True"], id="filter"),
        pytest.param(".status.conditions[?(@.type!='Ready')].type", ["Synced"], id="filter not"),
        pytest.param('.status.conditions[?(@.reason=="x")].status', [], id="filter absent field"),
        pytest.param(".metadata.labels['app.kubernetes.io/name']", ["shop"], id="quoted key"),
        pytest.param(".metadata.labels[*]", ["shop"], id="every value of a map"),
    ],
)
def test_find_follows_the_path(path: str, expected: list[object]) -> None:
    assert find(path, OBJ) == expected


def test_first_is_none_when_nothing_is_found() -> None:
    assert first(".spec.nope", OBJ) is None


@pytest.mark.parametrize("path", ["spec.engine", ".spec..engine", ".spec[?(@.a>1)]", ".spec["])
def test_unreadable_path_raises(path: str) -> None:
    with pytest.raises(ValueError):
        find(path, OBJ)
