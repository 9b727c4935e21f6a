"""No part of a secret gets into a log, however long it is and wherever it is cut."""

import base64
import json
import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.logs import REDACTED, Redactor
from controlplane.pieces import LONGEST, MOST_PIECES, PIECE, Pieces

SHOWN = 2 * PIECE - 1
LINE = json.dumps({
    "event": "reconcile_failed", "kind": "App", "key": "App shop/web-frontend-v2",
    "duration_s": 0.1, "image": "registry.example.org:5000/team/web-frontend:2026.11.29-1",
    "logger": "controlplane.engine.controller", "timestamp": "2026-11-29T11:02:54.123456Z",
    "uid": "3f2b8c1e-5f0a-4a53-9a53-3d2b1f0c7a11", "address": "http://10.201.3.2:8080/healthz",
})  # fmt: skip
KEY = "\n".join(
    ["-----BEGIN PRIVATE KEY-----"]
    + [base64.b64encode(random.Random(7).randbytes(48)).decode() for _ in range(26)]
    + ["-----END PRIVATE KEY-----", ""]
)
CHARACTERS = st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=")


@given(st.text(CHARACTERS, min_size=20, max_size=1500), st.data())
def test_no_part_of_a_long_token_gets_out(text: str, data: st.DataObject) -> None:
    token = f"aB3{text}"
    redactor = Redactor()
    redactor.learn(token)
    begin = data.draw(st.integers(0, len(token) - SHOWN))
    part = token[begin : begin + data.draw(st.integers(SHOWN, len(token) - begin))]
    line = redactor.clean_line(None, "", f'{{"error": "the server says: \'{part}\' is no key"}}')
    assert part not in line
    assert REDACTED in line
    assert "the server says" in line


def test_a_line_of_a_key_gets_out_of_no_key_of_a_secret() -> None:
    for name in (True, False):
        redactor = Redactor()
        redactor.learn(KEY, named=name)
        for line in KEY.splitlines()[1:-1]:
            runs = [run for run in line.replace("/", " ").split() if len(run) >= 2 * PIECE]
            for run in runs:
                assert run not in redactor.clean_line(None, "", f"bad line: {line[3:]} and {run}")


def test_what_says_where_a_server_is_stays_readable() -> None:
    redactor = Redactor()
    for value in ("shop-db-1.internal.example.org", "registry.example.org:5000", "10.201.3.2:5432",
                  "3f2b8c1e-5f0a-4a53-9a53-3d2b1f0c7a11", "platform-platform-s3-3f2b8c1e", "App",
                  "https://s3-eu-1.example.org/web-frontend-v2/team"):  # fmt: skip
        redactor.learn(value, named=False)
        line = f'{{"why": "cannot reach {value}"}}'
        assert redactor.clean_line(None, "", line) == line
    redactor.learn("postgresql://app:q8Zt3mVx0pLw7rKd2sBn@shop-db:5432/app", named=False)
    line = redactor.clean_line(
        None, "", "no postgresql://app:q8Zt3mVx0pLw7rKd2sBn@shop-db:5432/app"
    )
    assert line == f"no postgresql://app:{REDACTED}@shop-db:5432/app"


def test_what_is_logged_of_a_record_stays_as_it_is() -> None:
    redactor = Redactor()
    redactor.learn(KEY)
    for number in range(2000):
        redactor.learn(base64.b64encode(random.Random(number).randbytes(24)).decode())
    assert redactor.clean_line(None, "", LINE) == LINE


def test_how_much_is_known_has_a_bound() -> None:
    pieces = Pieces()
    pieces.learn("aB3dE6gH9jK2" * LONGEST, named=True)
    for number in range(PIECE + 4):
        made = random.Random(number).randbytes(LONGEST)
        pieces.learn(base64.urlsafe_b64encode(made).decode(), named=True)
    assert len(pieces._known) == MOST_PIECES
