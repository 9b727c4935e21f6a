"""The one place where a kind says what simulation can't read off its schema and example.

By default a kind needs nothing here: its record is manifests/kinds/<kind>.yaml, its values come
from its schema, what it refers to is made from the other kinds' examples, and its fakes are those
of tests/support/fakes.py. Said here: names, values and fields that mean something special, and
an oracle `expected`, written from the kind's documentation without a look at its plan(). Over 400
lines, as whoever adds a kind looks here alone.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from controlplane.records import Key
from drivers.containers import LABEL_SLOT
from reconcilers.registry import RECONCILERS
from resources.database import PLANS, DatabaseSpec
from resources.kinds import KIND_INFOS, MODELS
from resources.meta import PLATFORM_NAMESPACE, Record
from resources.platform import PlatformSpec
from tests.sim import buckets, mail, vpn
from tests.support.platform import Platform

ROOT: Final = Path(__file__).resolve().parents[2]
SPACE: Final = "shop"

Oracle = Callable[[Platform, Record], None]
"""Raises AssertionError when the fakes are not what the record asks for."""


@dataclass(frozen=True, slots=True)
class World:
    """One kind in simulation."""

    kind: str
    name: str = ""
    """Of its record; "": that of its example."""
    namespace: str = SPACE
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Instead of the example's spec, where that is too big or too special."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Candidates of a field beside those that its schema gives."""
    leave: frozenset[str] = frozenset()
    """Fields not edited, each with its reason in a comment where it is set."""
    lives: bool = True
    """Users create and delete such records; the Host is there by itself."""
    expected: Oracle | None = None
    forgets: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], bool] = (
        lambda earlier, now: True
    )
    """Whether a record with these earlier specs may be compared with one made afresh."""

    def comparable(self, earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> bool:
        """A port once asked for stays, too, when none is asked for any more, as documented."""
        asked = {port for spec in earlier for port in _published(spec)} - {None}
        return not (asked and None in _published(now)) and self.forgets(earlier, now)


def _published(spec: Mapping[str, Any]) -> set[int | None]:
    """Host ports asked for; None: any."""
    found = spec.get("publish") or ()
    found = [found] if isinstance(found, Mapping) else found
    return {each.get("port") for each in found}


# --- oracles: what is outside, told from the spec alone ---


def app_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    mine = platform.of(key_of(record))
    slots = {int(state.labels[LABEL_SLOT]) for state in mine}
    assert len(slots) == len(mine) == spec.replicas, "one container for each replica"
    assert slots <= set(range(spec.replicas + spec.surge))
    for state in mine:
        made = platform.engine.containers[state.id].spec
        assert made is not None
        assert state.running, f"{state.name} runs"
        assert not state.paused
        assert state.image == spec.image
        assert state.limits.cpu_millicores == spec.resources.cpu
        assert state.limits.memory_bytes == spec.resources.memory
        assert made.command == spec.command
        assert {item.name: item.value for item in spec.env}.items() <= made.env.items()
        assert bool(made.ports) == (spec.publish is not None)
        if spec.publish is not None and spec.publish.port is not None:
            assert [port.host_port for port in made.ports] == [spec.publish.port]
        assert (made.secrets_dir is not None) == bool(spec.database_refs)
        if spec.restarted_at is not None:
            assert made.labels["bunker.cloud/restarted-at"] == spec.restarted_at
        _in_its_network(platform, record, state.networks, state.aliases)


def database_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    (state,) = platform.of(key_of(record))
    size = spec.resources or PLANS[spec.plan].resources
    made = platform.engine.containers[state.id].spec
    assert made is not None
    assert state.running
    assert not state.paused
    assert state.limits.cpu_millicores == size.cpu
    assert state.limits.memory_bytes == size.memory
    assert bool(made.ports) == (spec.publish is not None)
    assert len(made.volumes) == 1
    volume = platform.engine.volumes[made.volumes[0].volume]
    assert volume.owner is not None
    owners = {each.uid for each in platform.store.cache.list("Volume")}
    assert volume.owner.uid in owners, "its data is on a Volume that has a record"
    folder = platform.files.folders[record.metadata.uid]
    assert folder.intact
    redis = {"maxmemory": size.memory * 3 // 4} if spec.engine == "redis" else {}
    assert platform.engine.containers[state.id].told == redis, "what the server itself goes by"
    _in_its_network(platform, record, state.networks, state.aliases)


def model_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    (state,) = platform.of(key_of(record))
    made = platform.engine.containers[state.id].spec
    assert made is not None
    assert state.running
    assert not state.paused
    assert state.limits.cpu_millicores == spec.limits.cpu
    assert state.limits.memory_bytes == spec.limits.memory
    assert bool(made.ports) == (spec.publish is not None)
    assert set(platform.files.folders[record.metadata.uid].files) == {"token", "admin"}
    _in_its_network(platform, record, state.networks, state.aliases)
    (mount,) = made.volumes
    held = platform.llamacpp.held[(mount.volume, record.metadata.name)]
    assert held.order.source == spec.source.identity
    assert held.file is not None
    assert spec.digest in (None, held.file.digest)
    assert held.present
    if spec.keep_alive == "always":
        assert held.loaded


def namespace_world(platform: Platform, record: Record) -> None:
    network = platform.engine.network_named(record.owned_name)
    assert network is not None
    assert network.owner is not None
    assert network.owner.uid == record.metadata.uid
    mates = [n for n in platform.engine.networks.values() if n.subnet == network.subnet]
    assert len(mates) == 1, "no two namespaces share a subnet"


def volume_world(platform: Platform, record: Record) -> None:
    name = getattr(record, "docker_name", "")
    assert platform.engine.volumes[name].owner is not None


RECORD_SETS: Final = (
    ({"name": "www", "type": "A", "records": ["192.0.2.1"]},),
    (
        {"name": "www", "type": "CNAME", "records": ["example.net"]},
        {"name": "@", "type": "TXT", "records": ["v=spf1 -all"], "ttl": 60},
    ),
    (),
)


def zone_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    server = platform.dns.anywhere
    assert server is not None
    if spec.zone_file is not None and spec.zone_file.config_map_ref is not None:
        # a file that isn't there: until it is mended nothing in the zone changes, and it says so
        told = platform.status(key_of(record)).get("conditions") or ()
        said = {each["type"]: each["reason"] for each in told}
        assert said.get("Complete", "") in ("", "ZoneFileInvalid")
        return
    zone = server.zones[f"{spec.domain}."]
    assert zone.signed == spec.dnssec
    assert zone.soa is not None
    assert (zone.soa.refresh, zone.soa.minimum) == (spec.soa.refresh, spec.soa.negative_ttl)
    expected = {(f"{spec.domain}.", "NS")}
    for each in spec.record_sets:
        name = f"{spec.domain}." if each.name == "@" else f"{each.name}.{spec.domain}."
        expected.add((name, each.type))
        (found,) = [s for s in zone.rrsets if (s.name, s.type) == (name, each.type)]
        assert found.ttl == (spec.ttl if each.ttl is None else each.ttl)
        values = " ".join(found.records)
        assert all(value.strip('"') in values for value in each.records)
    if spec.zone_file is not None and spec.zone_file.text:
        expected.add((f"ftp.{spec.domain}.", "A"))
    mine = {(each.name, each.type) for each in zone.rrsets}
    assert mine >= expected
    assert zone.account, "it says whose it is"


def set_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    server = platform.dns.anywhere
    assert server is not None
    name = spec.name if spec.name.endswith(".") else f"{spec.name}.shop.example.org."
    name = name.removeprefix("@.")
    found = {_plain(each) for each in server.lookup(name, spec.type)}
    wanted = {_plain(each) for each in spec.records}
    if spec.type in ("ALIAS", "CNAME", "NS", "PTR"):  # a name in the zone, unless it is a whole one
        wanted = {each if "." in each else f"{each}.shop.example.org" for each in wanted}
    zone = platform.get(Key("Zone", record.metadata.namespace, spec.zone_ref.name)).obj["spec"]
    if "configMapRef" in (zone.get("zoneFile") or {}):
        return  # a file that isn't there: until it is mended nothing in the zone changes
    theirs, alias = _held(zone, name, spec.type), _held(zone, name, "CNAME")
    if spec.geo:
        computed = server.lookup(name, "LUA")
        if theirs:
            assert not computed, "the Zone itself has that name"
            return
        (code,) = computed
        places = [each for place in spec.geo for each in (*place.networks, *place.records)]
        assert all(f"'{each}'" in code for each in (*spec.records, *places))
        assert not found, "its answers are computed"
        return
    if spec.type == "TXT" and not alias:  # several may say something, not the same thing twice
        wanted_once = {each for each in wanted if _says(each) in {_says(other) for other in theirs}}
        assert not found & wanted_once - theirs, "the Zone itself says that"
        wanted = wanted if not wanted_once else set()
    elif theirs:
        assert not found & wanted - theirs, "the Zone itself has that name"
        return
    assert found >= wanted, "its values are served"


def _held(zone: Mapping[str, Any], name: str, type_: str) -> set[str]:
    """What a Zone's own spec answers there for that type, or as an alias of all types."""
    return {
        _plain(value)
        for each in zone.get("recordSets", ())
        if f"{each['name']}.shop.example.org.".removeprefix("@.") == name
        and each["type"] in (type_, "CNAME")
        for value in each["records"]
    }


def _says(text: str) -> str:
    """There is one policy of a sort at a name (RFC 7208 for SPF); any other text is itself."""
    return text.split(" ", 1)[0].split(";", 1)[0] if text.startswith("v=") else text


def _plain(value: str) -> str:
    """Without what a server writes differently: quotes, pieces of long texts, the last dot."""
    return value.replace('" "', "").strip('"').removesuffix(".")


def _in_its_network(
    platform: Platform,
    record: Record,
    networks: Mapping[str, str],
    aliases: Mapping[str, tuple[str, ...]],
) -> None:
    home = MODELS["Namespace"].model_validate(
        platform.get(Key("Namespace", "", record.metadata.namespace)).obj
    )
    name = home.owned_name
    assert name in networks
    assert record.metadata.name in aliases[name]
    found = platform.engine.network_named(name)
    assert found is not None


def without_history(earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> bool:
    """Which slots its replicas are in is their history, with more slots than replicas; and taking
    restartedAt out replaces none, as documented."""
    restarted = "restartedAt" not in now and any("restartedAt" in spec for spec in earlier)
    return not restarted and not any(spec.get("surge") for spec in (*earlier, now))


def as_if_new(earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> bool:
    """A volume that has grown stays so, and its data's major is the default, as documented."""
    return storage_never_shrank(earlier, now, DatabaseSpec) and "version" in now


def storage_never_shrank(
    earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any], model: type[DatabaseSpec]
) -> bool:
    sizes = [model.model_validate(spec).storage_bytes for spec in (*earlier, now)]
    return max(sizes) == sizes[-1]


def with_its_data(earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> bool:
    """Data and credentials stay when somebody else's server is used instead, as documented."""
    sizes = [_kept(spec) for spec in (*earlier, now)]
    return max(sizes) == sizes[-1]


def _kept(spec: Mapping[str, Any]) -> int:
    try:
        made = PlatformSpec.model_validate(spec)
    except ValidationError:  # refused, and so never anything
        return 0
    return 0 if made.external else made.storage_bytes


SPECIAL: Final[tuple[World, ...]] = (
    World(
        "App",
        values={
            "image": ("shop:1", "shop:2"),
            "replicas": (0, 1, 2, 3),
            "restartedAt": ("2026-02-01T09:30:00+01:00",),
        },
        expected=app_world,
        forgets=without_history,
    ),
    World("Database", name="shop-db", expected=database_world, forgets=as_if_new),
    World("Namespace", name="extra", namespace="", expected=namespace_world),
    World("Volume", namespace="", expected=volume_world),
    World("Platform", namespace=PLATFORM_NAMESPACE, forgets=with_its_data),
    World("Model", name="chat", expected=model_world),
    World(
        "Zone",
        values={
            "recordSets": tuple([dict(each) for each in sets] for sets in RECORD_SETS),
            "zoneFile": ({"text": "ftp A 192.0.2.77\n"}, {"configMapRef": {"name": "zone"}}),
            "nameservers": (["ns1.example.net", "ns2"],),
            "soa": ({"email": "dns@example.net", "refresh": 7200},),
        },
        expected=zone_world,
        # its keys outlive being switched off, so that the DS above stays right
        forgets=lambda earlier, now: not any(each.get("dnssec") for each in earlier),
    ),
    World("RecordSet", values={"type": ("A",), "records": (["192.0.2.8"],)}, expected=set_world),
    World(
        "Bucket",
        values=buckets.VALUES,
        expected=buckets.bucket_world,
        # S3 has no way back to never having kept versions
        forgets=lambda earlier, now: not any(each.get("versioning") for each in earlier),
    ),
    World("MailDomain", expected=mail.domain_world),
    World(
        "Mailbox",
        values={"forward": ({"to": ["x@y.example"]}, {"to": ["x@y.example"], "keepCopy": False})},
        expected=mail.mailbox_world,
    ),
    World("MailAlias", expected=mail.alias_world),
    # a port once asked for stays when none is asked for any more, as documented
    World("VpnNetwork", expected=vpn.network_world, leave=frozenset({"listenPort"})),
    World(
        "VpnPeer",
        values={
            "publicKey": ("Qmr6iheIC/kY4ojNJTO89wmazCcGRMWgt2MTd3jvOjc=",),
            "allowedIPs": (["192.168.7.0/24"], []),
            "routes": (["0.0.0.0/0"],),
        },
        expected=vpn.peer_world,
        # an address once asked for stays when none is asked for any more, as documented
        leave=frozenset({"address"}),
    ),
    World("Host", name="host", namespace="", lives=False),
)
WORLDS: Final[Mapping[str, World]] = {
    kind: next(
        (each for each in SPECIAL if each.kind == kind),
        World(kind, namespace=SPACE if KIND_INFOS[kind].namespaced else ""),
    )
    for kind in RECONCILERS
}
"""Every kind that has a reconciler, by itself."""


@cache
def _example(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        (ROOT / f"manifests/kinds/{kind.lower()}.yaml").read_text()
    )
    return found


def example(kind: str) -> dict[str, Any]:
    """The kind's minimal valid object, by its own manifest."""
    obj = deepcopy(_example(kind))
    world = WORLDS.get(kind, World(kind))
    meta = obj["metadata"]
    if world.name:
        meta["name"] = world.name
    if KIND_INFOS[kind].namespaced:
        meta["namespace"] = world.namespace
    if world.spec:
        obj["spec"] = dict(world.spec)
    return obj


def key_of(record: Record) -> Key:
    return Key(record.info.kind, record.metadata.namespace, record.metadata.name)


def ref_names() -> dict[str, tuple[str, ...]]:
    """What a reference may name: the examples of the other kinds."""
    found: dict[str, tuple[str, ...]] = {
        f"{kind}Ref": (example(kind)["metadata"]["name"],) for kind in KIND_INFOS
    }
    for info in KIND_INFOS.values():
        for path, kind in info.refs:
            if kind not in KIND_INFOS:
                continue  # a kind to come
            leaf = path.removesuffix("[]").rpartition(".")[2]
            found[leaf] = (example(kind)["metadata"]["name"],)
    return found
