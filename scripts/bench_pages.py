"""What an informer asks of the API: a list by page, and a watch; part of `scripts/bench scale`.

The API in this process on the records there are, the client in one of its own, over TLS; the client
reads every byte and parses none.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

import aiohttp
from bench_http import client
from bench_lib import quantile

from controlplane.store.connect import Database

PATH: Final = "/apis/bunker.cloud/v1/databases"
PAGE: Final = 500
"""kubectl's and client-go's."""
_HEAD_BYTES: Final = 400
"""A list's metadata is in there, before its items."""
_CONTINUE: Final = re.compile(rb'"continue":"([^"]+)"')
_VERSION: Final = re.compile(rb'"resourceVersion":"(\d+)"')


class Round(TypedDict):
    """What one client saw."""

    first_ms: float
    """The first page: it takes the snapshot that all are cut from."""
    page_ms: float
    """Any other, median."""
    list_s: float
    """All pages, one after the other."""
    watch_ms: float
    """From the request until a watch from now is open."""
    stream_s: float
    """A watch that begins with all there is (sendInitialEvents), until its bookmark says that was
    all."""


@dataclass(frozen=True, slots=True)
class Pages:
    """With so many records, in rounds."""

    records: int
    rounds: list[Round]


async def measure(dsn: str, folder: Path, records: int, rounds: int) -> Pages:
    # here, not above: where this is copied without the tests, imports must still sort alike
    from tests.integration.api.server import api_on

    async with api_on(Database(dsn), folder, tidy_up=False) as served:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, served.url, served.admin, str(records), str(rounds)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    found: list[Round] = json.loads(output)
    return Pages(records, found)


async def one_round(http: aiohttp.ClientSession, records: int) -> Round:
    took: list[float] = []
    token, version = "", b""
    while token or not took:
        began = time.perf_counter()
        query = {"limit": str(PAGE), **({"continue": token} if token else {})}
        async with http.get(PATH, params=query) as response:
            body = await response.read()
            assert response.status == 200, body
        took.append(time.perf_counter() - began)
        head = body[:_HEAD_BYTES]
        token = found[1].decode() if (found := _CONTINUE.search(head)) else ""
        version = found[1] if (found := _VERSION.search(head)) else version
    assert len(took) == -(-records // PAGE), len(took)
    return Round(
        first_ms=took[0] * 1e3,
        page_ms=quantile(sorted(took[1:]), 0.5) * 1e3,
        list_s=sum(took),
        watch_ms=await watch_s(http, version.decode()) * 1e3,
        stream_s=await stream_s(http, records),
    )


async def watch_s(http: aiohttp.ClientSession, version: str) -> float:
    began = time.perf_counter()
    async with http.get(PATH, params={"watch": "true", "resourceVersion": version}) as response:
        assert response.status == 200, await response.text()
        return time.perf_counter() - began


async def stream_s(http: aiohttp.ClientSession, records: int) -> float:
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    began, seen = time.perf_counter(), 0
    async with http.get(PATH, params=query) as response:
        async for line in response.content:
            seen += line.startswith(b'{"type":"ADDED"')
            if line.startswith(b'{"type":"BOOKMARK"'):
                assert seen == records, seen
                return time.perf_counter() - began
    raise AssertionError("the watch ended before its bookmark")


async def ask(url: str, token: str, records: int, rounds: int) -> None:
    async with client(url, token) as http:
        await one_round(http, records)
        print(json.dumps([await one_round(http, records) for _ in range(rounds)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("records", type=int)
    parser.add_argument("rounds", type=int)
    given = parser.parse_args()
    asyncio.run(ask(given.url, given.token, given.records, given.rounds))
