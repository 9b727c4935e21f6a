"""Accept headers as clients send them."""

import pytest

from api.negotiate import As, discovery_version, representation

KUBECTL_GET = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,"
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(None, As.OBJECT, id="absent"),
        pytest.param("", As.OBJECT, id="empty"),
        pytest.param("*/*", As.OBJECT, id="anything"),
        pytest.param("application/json, */*", As.OBJECT, id="json first"),
        pytest.param(KUBECTL_GET, As.TABLE, id="kubectl get"),
        pytest.param(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            As.OBJECT,
            id="old Table falls back",
        ),
        pytest.param(
            "application/vnd.kubernetes.protobuf,application/json", As.OBJECT, id="protobuf first"
        ),
        pytest.param(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            As.PARTIAL_LIST,
            id="metadata informer",
        ),
        pytest.param("application/json;stream=watch", As.OBJECT, id="watch"),
        pytest.param("text/html", None, id="html only"),
        pytest.param("application/json;q=0", None, id="excluded"),
        pytest.param("application/vnd.kubernetes.protobuf", None, id="protobuf only"),
    ],
)
def test_representation_is_the_first_served(accept: str | None, expected: As | None) -> None:
    assert representation(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(AGGREGATED, "v2", id="kubectl"),
        pytest.param(AGGREGATED.split(",", 1)[1], "v2beta1", id="kubectl 1.27"),
        pytest.param("application/json", "", id="legacy"),
        pytest.param(None, "", id="absent"),
        pytest.param("text/plain", None, id="not acceptable"),
    ],
)
def test_discovery_version_follows_the_header(accept: str | None, expected: str | None) -> None:
    assert discovery_version(accept) == expected
