"""What only a real PowerDNS answers: by place, by weight, through an alias, with signatures."""

from dataclasses import replace

import pytest
from dns import flags, message, query, rdatatype

from drivers.powerdns import RRset
from tests.contract.powerdns.worlds import RealWorld, a, change, ensure, observe


def _lua(rdtype: str, code: str) -> str:
    return f'{rdtype} "{code}"'


@pytest.mark.docker
async def test_answers_by_place_know_networks_and_countries(real: RealWorld) -> None:
    code = (
        ";if netmask({'10.0.0.0/8'}) then return {'192.0.2.2'} "
        "elseif country({'US'}) then return {'192.0.2.3'} else return {'192.0.2.1'} end"
    )
    name = f"geo.{real.zone}"
    zone = await ensure(real, RRset(name, "LUA", 60, (_lua("A", code),)))
    assert RRset(name, "LUA", 60, (_lua("A", code),)) in zone.rrsets
    asked = {client: real.ask(name, "A", client) for client in ("", "10.1.0.0/16", "8.8.8.0/24")}
    assert asked == {
        "": ("192.0.2.1",),
        "10.1.0.0/16": ("192.0.2.2",),
        "8.8.8.0/24": ("192.0.2.3",),
    }


@pytest.mark.docker
async def test_an_alias_at_the_apex_is_answered_with_what_it_points_to(real: RealWorld) -> None:
    www = a(real, "www", "192.0.2.1", "192.0.2.2")
    await ensure(real, www, RRset(real.zone, "ALIAS", 60, (www.name,)))
    assert real.ask(real.zone, "A") == www.records
    await change(real, replace(www, records=("192.0.2.3",)))
    assert real.ask(real.zone, "A") == ("192.0.2.3",)


@pytest.mark.docker
async def test_answers_by_weight_follow_the_weights(real: RealWorld) -> None:
    code = "pickwrandom({{90,'192.0.2.1'},{10,'192.0.2.2'}})"
    name = f"weighted.{real.zone}"
    await ensure(real, RRset(name, "LUA", 60, (_lua("A", code),)))
    answers = [real.ask(name, "A") for _ in range(200)]
    # 180 of 200 expected, with a standard deviation of 4.2: seven of them either way
    assert 150 <= answers.count(("192.0.2.1",)) <= 199
    assert set(answers) <= {("192.0.2.1",), ("192.0.2.2",)}


@pytest.mark.docker
async def test_a_signed_zone_answers_with_signatures_and_its_ds_fits(real: RealWorld) -> None:
    await ensure(real)
    await real.driver.ensure_signed(real.server, real.zone, True)
    (key,) = (await observe(real)).keys
    question = message.make_query(real.zone, "SOA", want_dnssec=True)
    reply = query.udp(question, real.host, timeout=5)
    assert reply.flags & flags.AA
    assert {rrset.rdtype for rrset in reply.answer} == {rdatatype.SOA, rdatatype.RRSIG}
    assert real.ask(real.zone, "DNSKEY")[0].replace(" ", "") == key.dnskey.replace(" ", "")
