"""The lifecycles that are played on a real engine, small enough to be played hundreds of times."""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.records import Key
from tests.e2e import records
from tests.integration.crashes.data import KEEPERS
from tests.integration.crashes.platform import DockerPlatform
from tests.sim.stage import Stage
from tests.sim.story import Act, Story, delete, delete_fully, provide, restart

SPECS: Final[Mapping[str, Mapping[str, Any]]] = {
    "web": records.app("web", "")["spec"],
    "wired": records.app("wired", "", databaseRefs=[{"name": "cache"}])["spec"],
    "cache": records.redis("cache", "")["spec"],
    "store": records.postgres("store", "", version="18")["spec"],
    "signed": {
        "domain": "signed.example.org",
        "dnssec": True,
        "deletionPolicy": "Retain",
        "recordSets": [{"name": "www", "type": "A", "records": ["192.0.2.1"]}],
    },
}
"""By name of the record."""


async def create(stage: Stage, key: Key) -> None:
    await stage.make(key.kind, SPECS.get(key.name), key.name)


async def remake(stage: Stage, key: Key) -> None:
    """Another one of its name, the moment it is gone."""
    await delete_fully(stage, key)
    await create(stage, key)


async def write(stage: Stage, key: Key) -> None:
    """A user's data in its server."""
    assert isinstance(stage.platform, DockerPlatform)
    await stage.platform.write_data(key)


def beside(kind: str, name: str) -> Act:
    """Another record, made before."""

    async def make(stage: Stage, key: Key) -> None:
        del key
        await create(stage, Key(kind, "shop", name))

    return make


def changing(**fields: Any) -> Act:
    """An edit of these fields."""

    async def edit(stage: Stage, key: Key) -> None:
        await stage.edit(key, {**stage.spec(key), **fields})

    return edit


def lifecycle(kind: str, name: str, edits: Mapping[str, Act], *before: Act) -> list[Story]:
    """Every story of one record."""
    led = (*before, create, *((write,) if kind in KEEPERS else ()))
    return [
        Story(kind, f"{name}-create", create, (*before, provide), name),
        Story(kind, f"{name}-delete", delete, led, name),
        Story(kind, f"{name}-adopt", create, (*led, delete_fully), name),
        Story(kind, f"{name}-remake", remake, led, name),
        Story(kind, f"{name}-restart", restart, led, name),
        *(Story(kind, f"{name}-{edit}", act, led, name) for edit, act in edits.items()),
    ]


BIGGER: Final = {"cpu": "60m", "memory": "56Mi"}
SMALLER: Final = {"cpu": "40m", "memory": "24Mi"}
WEB: Final = {
    "limits": changing(resources=BIGGER),
    "environment": changing(env=[{"name": "COLOUR", "value": "blue"}]),
    "replicas": changing(replicas=2),
    "published": changing(publish={}),
    "paused": changing(paused=True),
    "surge": changing(surge=1, env=[{"name": "COLOUR", "value": "blue"}]),
}
CACHE: Final = {
    "limits": changing(resources=BIGGER),
    "smaller": changing(resources=SMALLER),
    "unpublished": changing(publish=None),
    "unkept": changing(deletionPolicy="Delete"),
}
STORE: Final = {
    "limits": changing(resources={"cpu": "250m", "memory": "160Mi"}),
    "unpublished": changing(publish=None),
}
ZONE: Final = {
    "records": changing(recordSets=[{"name": "www", "type": "A", "records": ["192.0.2.7"]}]),
    "soa": changing(soa={"email": "dns@example.net", "refresh": 7200}, ttl=60),
    "signed": changing(dnssec=True),
    "file": changing(zoneFile={"text": "ftp A 192.0.2.77\n"}),
    "kept": changing(deletionPolicy="Retain"),
}
SIGNED: Final = {
    "unsigned": changing(dnssec=False),
    "unkept": changing(deletionPolicy="Delete"),
}
RECORD_SET: Final = {
    "name": changing(name="other"),
    "records": changing(records=["192.0.2.8"], ttl=30),
    "paused": changing(paused=True),
}
BUCKET: Final = {
    "unversioned": changing(versioning=False),
    "settings": changing(
        lifecycle=[{"name": "tmp", "prefix": "tmp/", "expireDays": 3}],
        cors=[{"origins": ["https://shop.example.org"]}],
        tags={"team": "web"},
        publicRead=True,
    ),
    "quota": changing(quota="64Mi"),
    "keys": changing(
        accessKeys=[{"name": "default", "access": "read"}, {"name": "extra", "prefix": "in/"}]
    ),
    "rotation": changing(accessKeys=[{"name": "default", "rotation": 1}]),
    "keyless": changing(accessKeys=[]),
    "unkept": changing(deletionPolicy="Delete"),
}
VPN: Final = {
    "routes": changing(routes=["192.168.7.0/24"], betweenPeers=False),
    "mtu": changing(mtu=1400),
    "key": changing(keyRevision=2),
    "limits": changing(resources=BIGGER),
    "paused": changing(paused=True),
}
PEER: Final = {
    "disabled": changing(enabled=False),
    "address": changing(address="10.99.0.7"),
    "key": changing(keyRevision=2),
    "behind": changing(allowedIPs=["192.168.9.0/24"]),
    "own-key": changing(publicKey="Qmr6iheIC/kY4ojNJTO89wmazCcGRMWgt2MTd3jvOjc="),
}
DOMAIN: Final = {
    "disabled": changing(enabled=False),
    "published": changing(zoneRef={"name": "shop"}, addresses=["192.0.2.25"]),
}
MAILBOX: Final = {
    "quota": changing(quota="3Gi", displayName="J. Doe"),
    "forward": changing(forward={"to": ["x@y.example"]}),
    "aliases": changing(aliases=["j", "doe"]),
    "disabled": changing(enabled=False),
    "unkept": changing(deletionPolicy="Delete"),
}
ALIAS: Final = {
    "targets": changing(targets=["jane@shop.example.org", "x@y.example"]),
    "disabled": changing(enabled=False),
}
STORIES: Final[tuple[Story, ...]] = (
    *lifecycle("App", "web", WEB),
    Story("App", "wired-create", create, (beside("Database", "cache"),), "wired"),
    *lifecycle("Database", "cache", CACHE),
    *lifecycle("Database", "store", STORE),
    *lifecycle("Volume", "old-shop-data", {"priority": changing(priority=7)}),
    *lifecycle("Namespace", "extra", {"priority": changing(priority=7)}),
    *lifecycle("Zone", "shop", ZONE),
    *lifecycle("Zone", "signed", SIGNED),
    *lifecycle("RecordSet", "shop-api", RECORD_SET),
    *lifecycle("Bucket", "assets", BUCKET),
    *lifecycle("Bucket", "gone", {}),
    *lifecycle("VpnNetwork", "office", VPN),
    *lifecycle("VpnPeer", "laptop", PEER),
    *lifecycle("MailDomain", "shop", DOMAIN),
    *lifecycle("Mailbox", "jane", MAILBOX),
    *lifecycle("MailAlias", "info", ALIAS),
)
