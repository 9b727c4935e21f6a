"""Which record a path names."""

import pytest

from api.errors import StatusError
from api.served import Catalogue
from api.target import resolve
from resources.kinds import KINDS

CATALOGUE = Catalogue(KINDS)
G = "/apis/bunker.cloud/v1"


@pytest.mark.parametrize(
    ("method", "path", "want"),
    [
        ("GET", "/api/v1/namespaces", ("Namespace", "list", None, "", "")),
        ("POST", "/api/v1/namespaces", ("Namespace", "create", None, "", "")),
        ("GET", "/api/v1/namespaces/x", ("Namespace", "get", None, "x", "")),
        ("PUT", "/api/v1/namespaces/x/status", ("Namespace", "update", None, "x", "status")),
        ("PUT", "/api/v1/namespaces/x/finalize", ("Namespace", "update", None, "x", "finalize")),
        ("GET", "/api/v1/namespaces/x/secrets", ("Secret", "list", "x", "", "")),
        ("GET", "/api/v1/namespaces/x/secrets/y", ("Secret", "get", "x", "y", "")),
        ("GET", "/api/v1/namespaces/status/secrets/y", ("Secret", "get", "status", "y", "")),
        ("GET", "/api/v1/secrets", ("Secret", "list", None, "", "")),
        ("GET", G + "/databases", ("Database", "list", None, "", "")),
        ("DELETE", G + "/namespaces/x/databases", ("Database", "deletecollection", "x", "", "")),
        ("PATCH", G + "/namespaces/x/apps/y/scale", ("App", "patch", "x", "y", "scale")),
        ("DELETE", G + "/volumes/v", ("Volume", "delete", None, "v", "")),
        ("GET", G + "/namespaces/x/apps/y/", ("App", "get", "x", "y", "")),
    ],
)
def test_a_path_names(method: str, path: str, want: tuple[object, ...]) -> None:
    found = resolve(CATALOGUE, method, path)
    assert (
        found.served.info.kind,
        found.verb,
        found.namespace,
        found.name,
        found.subresource,
    ) == want


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/nope", 404),
        ("GET", "/api/v2/namespaces", 404),
        ("GET", "/apis/bunker.cloud/v2/databases", 404),
        ("GET", "/apis/bunker.cloud", 404),
        ("GET", G + "/namespaces/x/volumes", 404),
        ("GET", G + "/databases/y", 404),
        ("GET", G + "/namespaces/x/databases/y/scale", 404),
        ("GET", G + "/namespaces/x/databases/y/status/z", 404),
        ("GET", "/api/v1/namespaces/x/secrets/y/status", 404),
        ("POST", G + "/databases", 405),
        ("DELETE", "/api/v1/secrets", 405),
        ("PUT", G + "/namespaces/x/databases", 405),
        ("POST", G + "/namespaces/x/databases/y", 405),
        ("DELETE", G + "/namespaces/x/databases/y/status", 405),
        ("OPTIONS", "/api/v1/namespaces", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("DELETE", "/api/v1/namespaces/x/", 400),
        ("DELETE", "/api/v1/namespaces//secrets", 400),
        ("DELETE", "/api/v1/namespaces/x/secrets/", 400),
    ],
)
def test_a_path_or_verb_that_is_not_served(method: str, path: str, code: int) -> None:
    with pytest.raises(StatusError) as caught:
        resolve(CATALOGUE, method, path)
    assert caught.value.code == code


def test_only_a_list_becomes_a_watch() -> None:
    assert resolve(CATALOGUE, "GET", "/api/v1/secrets", watch=True).verb == "watch"
    path = "/api/v1/namespaces/x/secrets/y"
    assert resolve(CATALOGUE, "GET", path, watch=True).verb == "get"
