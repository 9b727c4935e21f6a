"""Which known field is proposed for one that is unknown."""

import pytest

from api.served import serve
from api.suggest import meant
from resources.app import App

APP = serve(App).schema


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("spec.replcas", "replicas"),
        ("sepc", "spec"),
        ("metadata.label", "labels"),
        ("spec.env[0].vlaue", "value"),
        ("spec.healthCheck.intervalSecs", "intervalSeconds"),
        ("spec.bogus", ""),
        ("spec.nowhere.image", ""),
        ("spec.env[0][1].value", ""),
        ("spec." + "replicas" * 100_000, ""),
    ],
)
def test_the_nearest_known_field_is_proposed(path: str, near: str) -> None:
    assert meant(APP, path) == near
