"""Zones and RecordSets through the API, on a real PowerDNS, asked as resolvers ask it."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml
from dns import dnssec, edns, exception, message, name, query, rcode, rdatatype

from tests.e2e.cloud import ROOT, Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
A, B = "tenant-a", "tenant-b"


@pytest.fixture(scope="module")
def dns(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """A cloud whose DNS service serves, and two tenants."""
    with make_cloud() as cloud:
        for each in ("platform", A, B):
            make_namespace(cloud, each)
        cloud.apply(yaml.safe_load((ROOT / "manifests/platform/dns.yaml").read_text()))
        cloud.wait_ready("platform", "dns", "platform", within_s=120)
        yield cloud


def record(kind: str, name: str, namespace: str, **spec: Any) -> Json:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "bunker.cloud/v1", "kind": kind, "metadata": meta, "spec": spec}


def zone(name: str, namespace: str = A, **spec: Any) -> Json:
    return record("Zone", name, namespace, **{"domain": f"{name}.example.org", **spec})


def a(name: str, *addresses: str, **rest: Any) -> Json:
    return {"name": name, "type": "A", "records": list(addresses), **rest}


def endpoint(cloud: Cloud, port: str) -> str:
    found = cloud.get("platform", "dns", "platform")
    assert found is not None
    address: str = found["status"]["endpoints"][port]
    return address


def ask(cloud: Cloud, domain: str, rdtype: str = "A", client: str = "") -> list[str]:
    """What a resolver is answered (for a client in that network), sorted."""
    options = [edns.ECSOption.from_text(client)] if client else None
    question = message.make_query(domain, rdtype, use_edns=0, options=options)
    reply = query.udp(question, endpoint(cloud, "dns").split(":")[0], timeout=5)
    wanted = rdatatype.from_text(rdtype)
    found = [rrset for rrset in reply.answer if rrset.rdtype == wanted]
    return sorted(each.to_text() for rrset in found for each in rrset)


def answered(cloud: Cloud, domain: str, rdtype: str, *values: str) -> None:
    def says_so() -> bool:
        # as resolvers do, ask again: one datagram may be lost, with its server or by a busy one
        with suppress(exception.Timeout):
            return ask(cloud, domain, rdtype) == sorted(values)
        return False

    eventually(
        says_so,
        within_s=30,
        what=f"{domain} {rdtype} is answered with {values}",
    )


def server(cloud: Cloud, method: str, path: str, body: Json | None = None) -> Json:
    """The server's own API, as somebody behind our back would use it."""
    key = cloud.secret("dns-credentials", "platform")["api-key"]
    url = f"http://{endpoint(cloud, 'api')}/api/v1/servers/localhost{path}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"X-API-Key": key}, method=method), timeout=10) as answer:
        raw = answer.read()
    found: Json = json.loads(raw) if raw else {}
    return found


def touch(cloud: Cloud, kind: str, name: str, namespace: str = A) -> None:
    """Have it looked at now, and not at its next turn."""
    # a value of its own each time: the same again is no change, so no turn
    look = f"look={time.time_ns()}"
    cloud.kubectl("annotate", kind, name, "-n", namespace, look, "--overwrite")


def remove(cloud: Cloud, kind: str, name: str, namespace: str = A) -> None:
    cloud.kubectl("delete", kind, name, "-n", namespace, "--timeout=60s", "--ignore-not-found")


def test_the_examples_are_answered_edited_and_gone(dns: Cloud) -> None:
    for kind in ("zone", "recordset"):
        body = yaml.safe_load((ROOT / f"manifests/kinds/{kind}.yaml").read_text())
        body["metadata"]["namespace"] = A
        dns.apply(body)
    dns.wait_ready("zone", "shop", A)
    dns.wait_ready("recordset", "shop-api", A)
    domain = "shop.example.org"
    assert ask(dns, domain) == ["192.0.2.10"]
    assert ask(dns, domain, "MX") == ["10 mail.example.org."]
    assert ask(dns, domain, "TXT") == ['"v=spf1 mx -all"']
    assert ask(dns, f"www.{domain}", "CNAME") == [f"{domain}."]
    assert ask(dns, f"api.{domain}") == ["192.0.2.20"]
    # merging the RecordSet in raised the serial; the Zone says so a moment later
    eventually(
        lambda: (
            ask(dns, domain, "SOA")[0].split()[2]
            == str((dns.get("zone", "shop", A) or {})["status"]["serial"])
        ),
        within_s=10,
        what="the serial in status is the one served",
    )
    patch = {"spec": {"records": ["192.0.2.21"]}}
    dns.kubectl("patch", "recordset", "shop-api", "-n", A, "--type=merge", "-p", json.dumps(patch))
    answered(dns, f"api.{domain}", "A", "192.0.2.21")
    remove(dns, "recordset", "shop-api")
    answered(dns, f"api.{domain}", "A")
    assert "Serving" in dns.kubectl("get", "zones", "-n", A)
    remove(dns, "zone", "shop")
    eventually(
        lambda: not [z for z in server(dns, "GET", "/zones") if z["name"] == f"{domain}."],  # type: ignore[index]  # a list here
        within_s=10,
        what="the zone is gone from the server",
    )


def test_each_edit_there_and_back_is_as_if_made_so(dns: Cloud) -> None:
    first = zone("edits", recordSets=[a("www", "192.0.2.1")])
    dns.apply(first)
    dns.wait_ready("zone", "edits", A)
    before = server(dns, "GET", "/zones/edits.example.org.")
    others: list[Json] = [
        {"recordSets": [a("www", "192.0.2.2", ttl=60), a("*.apps", "192.0.2.3")]},
        {"recordSets": [{"name": "www", "type": "CNAME", "records": ["example.net"]}]},
        {"ttl": 60, "nameservers": ["ns1.example.net", "ns2.example.net"]},
        {"soa": {"email": "dns.admin@example.net", "refresh": 7200, "negativeTtl": 60}},
        {"zoneFile": {"text": "$TTL 1h\nftp A 192.0.2.9\n"}},
    ]
    for change in others:
        dns.apply(zone("edits", **{**first["spec"], **change}))
        dns.wait_ready("zone", "edits", A)
        assert server(dns, "GET", "/zones/edits.example.org.")["rrsets"] != before["rrsets"]
        dns.apply(first)
        dns.wait_ready("zone", "edits", A)
        after = server(dns, "GET", "/zones/edits.example.org.")
        assert _without_serial(after) == _without_serial(before)
        assert after["serial"] > before["serial"]
    remove(dns, "zone", "edits")


def _without_serial(found: Json) -> list[Json]:
    return sorted(
        ({"name": s["name"], "type": s["type"], "ttl": s["ttl"], "records": _contents(s)}
         for s in found["rrsets"]),
        key=lambda each: (each["name"], each["type"]),
    )  # fmt: skip


def _contents(rrset: Json) -> list[str]:
    texts = [each["content"].split() for each in rrset["records"]]
    return sorted(" ".join(t[:2] + t[3:] if rrset["type"] == "SOA" else t) for t in texts)


def test_computed_answers_follow_weight_and_place(dns: Cloud) -> None:
    geo = [
        {"networks": ["198.51.100.0/24"], "records": ["192.0.2.2"]},
        {"countries": ["US"], "records": ["192.0.2.3"]},
    ]
    weighted = [{"record": "2001:db8::1", "weight": 3}, {"record": "2001:db8::2", "weight": 1}]
    sets = [a("w", "192.0.2.1", geo=geo), {"name": "w", "type": "AAAA", "weighted": weighted}]
    dns.apply(zone("computed", recordSets=sets))
    dns.wait_ready("zone", "computed", A)
    domain = "w.computed.example.org"
    assert ask(dns, domain) == ["192.0.2.1"]
    assert ask(dns, domain, "A", "198.51.100.0/25") == ["192.0.2.2"]
    assert ask(dns, domain, "A", "8.8.8.0/24") == ["192.0.2.3"]
    answers = [ask(dns, domain, "AAAA")[0] for _ in range(80)]
    # 60 of 80 expected, standard deviation 3.9
    assert 40 <= answers.count("2001:db8::1") <= 78
    remove(dns, "zone", "computed")


def test_a_signed_zone_validates_against_its_ds_and_keeps_it(dns: Cloud) -> None:
    plain = zone("signed", recordSets=[a("www", "192.0.2.1")])
    signed = zone("signed", recordSets=[a("www", "192.0.2.1")], dnssec=True)
    dns.apply(signed)
    first = dns.wait_ready("zone", "signed", A)["status"]
    apex, host = name.from_text("signed.example.org"), endpoint(dns, "dns").split(":")[0]
    question = message.make_query(apex, "DNSKEY", want_dnssec=True)
    reply = query.tcp(question, host, timeout=5)
    keys = next(rrset for rrset in reply.answer if rrset.rdtype == rdatatype.DNSKEY)
    assert dnssec.make_ds(apex, keys[0], "SHA256").to_text() in first["ds"]
    www = message.make_query("www.signed.example.org", "A", want_dnssec=True)
    reply = query.tcp(www, host, timeout=5)
    found = next(rrset for rrset in reply.answer if rrset.rdtype == rdatatype.A)
    signature = next(rrset for rrset in reply.answer if rrset.rdtype == rdatatype.RRSIG)
    dnssec.validate(found, signature, {apex: keys})
    dns.apply(plain)
    assert dns.wait_ready("zone", "signed", A)["status"].get("ds", []) == []
    dns.apply(signed)
    assert dns.wait_ready("zone", "signed", A)["status"]["ds"] == first["ds"]
    remove(dns, "zone", "signed")


HARM: dict[str, Json] = {
    "a record removed": {"name": "www", "type": "A", "changetype": "DELETE"},
    "a record changed": {"name": "www", "type": "A", "changetype": "REPLACE", "ttl": 1,
                         "records": [{"content": "203.0.113.9", "disabled": False}]},
    "a record added": {"name": "evil", "type": "A", "changetype": "REPLACE", "ttl": 1,
                       "records": [{"content": "203.0.113.9", "disabled": False}]},
}  # fmt: skip


def test_what_is_done_behind_its_back_is_mended(dns: Cloud) -> None:
    domain = "drift.example.org"
    dns.apply(zone("drift", recordSets=[a("www", "192.0.2.1")]))
    dns.wait_ready("zone", "drift", A)
    for change in HARM.values():
        body = {"rrsets": [{**change, "name": f"{change['name']}.{domain}."}]}
        server(dns, "PATCH", f"/zones/{domain}.", body)
        touch(dns, "zone", "drift")
        answered(dns, f"www.{domain}", "A", "192.0.2.1")
        answered(dns, f"evil.{domain}", "A")
    server(dns, "DELETE", f"/zones/{domain}.")
    touch(dns, "zone", "drift")
    answered(dns, f"www.{domain}", "A", "192.0.2.1")
    remove(dns, "zone", "drift")


def test_zones_outlive_their_server_and_say_when_it_is_away(dns: Cloud) -> None:
    dns.apply(zone("lasting", recordSets=[a("www", "192.0.2.1")], dnssec=True))
    first = dns.wait_ready("zone", "lasting", A)["status"]
    with dns.engine() as engine:
        (container,) = dns.containers("dns", "platform", engine=engine)
        container.remove(force=True)
    touch(dns, "zone", "lasting")
    again = dns.wait_ready("zone", "lasting", A, within_s=120)["status"]
    answered(dns, "www.lasting.example.org", "A", "192.0.2.1")
    assert again["ds"] == first["ds"]
    remove(dns, "zone", "lasting")


def test_a_zone_file_in_a_config_map_is_imported_and_followed(dns: Cloud) -> None:
    text = "$TTL 1h\n@ NS ns.example.net.\n@ MX 10 mail\nwww A 192.0.2.1\nhost$GENERATE\n"
    file = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "file", "namespace": A}}
    dns.apply({**file, "data": {"zone": text.replace("host$GENERATE\n", "ftp CNAME www\n")}})
    dns.apply(zone("imported", zoneFile={"configMapRef": {"name": "file"}}))
    dns.wait_ready("zone", "imported", A)
    assert ask(dns, "imported.example.org", "MX") == ["10 mail.imported.example.org."]
    assert ask(dns, "imported.example.org", "NS") == ["ns.example.net."]
    dns.apply({**file, "data": {"zone": text}})
    eventually(
        lambda: (
            condition(dns.get("zone", "imported", A) or {}, "Ready")["reason"] == "ZoneFileInvalid"
        ),
        within_s=20,
        what="the broken file is told",
    )
    assert ask(dns, "www.imported.example.org") == ["192.0.2.1"]
    dns.apply({**file, "data": {"zone": "www A 192.0.2.2\n"}})
    answered(dns, "www.imported.example.org", "A", "192.0.2.2")
    remove(dns, "zone", "imported")


def test_of_tenants_that_race_for_a_name_one_wins_and_the_other_is_told(dns: Cloud) -> None:
    domains = {A: "race.example.org", B: "sub.race.example.org"}
    bodies = [zone("race", ns, domain=domain) for ns, domain in domains.items()]
    bodies += [zone("same", ns, domain="same.example.org") for ns in (A, B)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(dns.apply, bodies))
    for each in ("race", "same"):
        winner, loser = _decided(dns, each)
        refused = condition(dns.get("zone", each, loser) or {}, "Admitted")
        assert refused["reason"] == "NameTaken"
        assert winner not in refused["message"]
        assert "another namespace" in refused["message"]
        remove(dns, "zone", each, winner)
        dns.wait_ready("zone", each, loser)
        remove(dns, "zone", each, loser)


def _refused(cloud: Cloud, zone_name: str, namespace: str) -> bool:
    found = cloud.get("zone", zone_name, namespace) or {}
    return condition(found, "Admitted").get("status") == "False"


def _decided(cloud: Cloud, zone_name: str) -> tuple[str, str]:
    def look() -> tuple[str, str] | None:
        ready = [ns for ns in (A, B) if cloud.is_ready("zone", zone_name, ns)]
        lost = [ns for ns in (A, B) if _refused(cloud, zone_name, ns)]
        return (ready[0], lost[0]) if len(ready) == len(lost) == 1 else None

    found = eventually(look, within_s=30, what=f"one of two Zones '{zone_name}' is Ready")
    assert found is not None
    return found


def test_a_kept_zone_waits_for_its_tenant_and_for_nobody_else(dns: Cloud) -> None:
    kept = zone("kept", recordSets=[a("www", "192.0.2.1")], dnssec=True, deletionPolicy="Retain")
    dns.apply(kept)
    first = dns.wait_ready("zone", "kept", A)["status"]
    remove(dns, "zone", "kept")
    assert ask(dns, "www.kept.example.org") == ["192.0.2.1"]
    dns.apply(zone("kept", B))
    eventually(
        lambda: condition(dns.get("zone", "kept", B) or {}, "Ready").get("reason") == "NameTaken",
        within_s=20,
        what="another tenant is told",
    )
    remove(dns, "zone", "kept", B)
    dns.apply({**kept, "spec": {**kept["spec"], "deletionPolicy": "Delete"}})
    assert dns.wait_ready("zone", "kept", A)["status"]["ds"] == first["ds"]
    remove(dns, "zone", "kept")
    reply = query.udp(
        message.make_query("kept.example.org", "SOA"), endpoint(dns, "dns").split(":")[0], timeout=5
    )
    eventually(
        lambda: reply.rcode() == rcode.REFUSED or not ask(dns, "kept.example.org", "SOA"),
        within_s=10,
        what="the zone is no longer answered",
    )


def test_a_wrong_record_is_refused_with_field_and_fix(dns: Cloud) -> None:
    bad = yaml.safe_dump(zone("bad", recordSets=[a("www", "192.0.2.400")]))
    said = dns.kubectl("apply", "-f", "-", stdin=bad, check=False)
    assert "spec.recordSets[0].records" in said
    assert "'192.0.2.400' is not an IPv4 address, such as '192.0.2.10'" in said


def test_a_paused_zone_has_nothing_outside_and_goes_at_once(dns: Cloud) -> None:
    dns.apply(zone("resting", paused=True))
    eventually(
        lambda: condition(dns.get("zone", "resting", A) or {}, "Synced"),
        within_s=10,
        what="it says that it is paused",
    )
    found = dns.get("zone", "resting", A)
    assert found is not None
    assert not found["metadata"].get("finalizers")
    remove(dns, "zone", "resting")
