"""Bodies as kubectl 1.37 sends them, and hostile ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.protobuf import MAGIC, ProtobufError, UnsupportedProtobufError, decode_protobuf


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field; values below 128 only, which is all these tests need."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def envelope(api_version: bytes, kind: bytes, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw)


def test_namespace_leaves_out_gos_zero_values() -> None:
    meta = b"".join(
        [
            field(1, b"shop"),
            field(2, b""),
            field(3, b""),
            field(7, 0),
            field(8, b""),
            field(11, field(1, b"team") + field(2, b"a")),
        ]
    )
    body = envelope(b"v1", b"Namespace", field(1, meta) + field(2, b"") + field(3, field(1, b"")))
    assert decode_protobuf(body) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "generation": 0, "labels": {"team": "a"}},
    }


def test_secret_data_becomes_base64() -> None:
    entry = field(1, b"a") + field(2, b"b")
    raw = field(1, field(1, b"acc")) + field(2, entry) + field(3, b"Opaque") + field(5, 1)
    assert decode_protobuf(envelope(b"v1", b"Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "acc"},
        "data": {"a": "Yg=="},
        "type": "Opaque",
        "immutable": True,
    }


def test_access_review_reads_its_attributes() -> None:
    attributes = field(1, b"ns") + field(2, b"create") + field(3, b"bunker.cloud")
    raw = field(1, b"") + field(2, field(1, attributes + field(5, b"databases")))
    decoded = decode_protobuf(envelope(b"authorization.k8s.io/v1", b"SelfSubjectAccessReview", raw))
    assert decoded["spec"]["resourceAttributes"] == {
        "namespace": "ns",
        "verb": "create",
        "group": "bunker.cloud",
        "resource": "databases",
    }


def test_delete_options_keep_every_dry_run() -> None:
    raw = field(1, 0) + field(2, field(1, b"u")) + field(4, b"Foreground") + field(5, b"All")
    assert decode_protobuf(envelope(b"v1", b"DeleteOptions", raw)) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    }


def test_time_is_whole_seconds_in_utc() -> None:
    meta = field(8, field(1, 60) + field(2, 5))
    body = envelope(b"v1", b"ConfigMap", field(1, meta))
    assert decode_protobuf(body)["metadata"] == {"creationTimestamp": "1970-01-01T00:01:00Z"}


def test_kind_outside_the_tables_is_unsupported() -> None:
    with pytest.raises(UnsupportedProtobufError):
        decode_protobuf(envelope(b"v1", b"Pod", b""))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}", id="json"),
        pytest.param(MAGIC + b"\x0a\x7f", id="cut short"),
        pytest.param(MAGIC + b"\x80" * 12, id="endless number"),
        pytest.param(envelope(b"v1", b"Namespace", field(1, 1)), id="number for a message"),
        pytest.param(envelope(b"v1", b"Namespace", field(1, field(1, b"\xff"))), id="not UTF-8"),
        pytest.param(
            envelope(b"v1", b"Namespace", field(1, field(8, b"\x08\x80\xa0\x94\xa5\x8d\x1d"))),
            id="the year 33658",
        ),
    ],
)
def test_bad_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        decode_protobuf(body)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(raw: bytes) -> None:
    try:
        decoded = decode_protobuf(envelope(b"v1", b"Secret", b"") + raw)
    except ProtobufError:
        return
    assert decoded["kind"]
