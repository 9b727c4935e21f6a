"""Records of zones, on a real PowerDNS and on its fake."""

from dataclasses import replace

import pytest

from controlplane.errors import ConflictError, TerminalError
from drivers.powerdns import RRset
from tests.contract.powerdns.worlds import World, a, change, ensure, ns_of, observe, soa_of


async def test_records_are_replaced_and_removed_and_the_others_stay(world: World) -> None:
    keep, old = a(world, "keep", "192.0.2.1"), a(world, "old", "192.0.2.2")
    before = await ensure(world, keep, old, a(world, "change", "192.0.2.3"))
    changed = a(world, "change", "192.0.2.4", ttl=90)
    after = await change(world, changed, replace(old, records=()))
    assert after.rrsets == tuple(sorted((ns_of(world.zone), keep, changed)))
    assert after.serial > before.serial
    assert await world.driver.observe_answer(world.address, world.zone) == after.serial
    assert world.ask(changed.name, "A") == ("192.0.2.4",)


async def test_no_change_is_no_new_serial(world: World) -> None:
    before = await ensure(world)
    assert await change(world) == before


async def test_removing_what_is_not_there_is_fine(world: World) -> None:
    before = await ensure(world)
    after = await change(world, a(world, "ghost"))
    assert after.rrsets == before.rrsets


async def test_a_cname_takes_the_place_of_others_and_gives_it_back(world: World) -> None:
    address = a(world, "www", "192.0.2.1")
    cname = RRset(address.name, "CNAME", 60, (f"other.{world.zone}",))
    await ensure(world, address)
    # sorted as a diff comes: what is made before what goes
    assert cname in (await change(world, cname, replace(address, records=()))).rrsets
    assert address in (await change(world, address, replace(cname, records=()))).rrsets


async def test_a_new_soa_goes_on_from_the_present_serial(world: World) -> None:
    await ensure(world)
    for number in range(3):
        await change(world, a(world, f"n{number}", "192.0.2.1"))
    before = await observe(world)
    soa = replace(soa_of(world.zone), refresh=7200, mailbox=f"admin.{world.zone}")
    await world.driver.ensure_rrsets(world.server, world.zone, (a(world, "x", "192.0.2.1"),), soa)
    after = await observe(world)
    assert after.soa == soa
    assert after.serial > before.serial


REFUSED = {
    "out of zone": RRset("www.elsewhere.test.", "A", 60, ("192.0.2.1",)),
    "no address": RRset("bad.{}", "A", 60, ("192.0.2.400",)),
    "one record twice": RRset("bad.{}", "A", 60, ("192.0.2.1", "192.0.2.1")),
    "a CNAME at the apex": RRset("{}", "CNAME", 60, ("www.example.test.",)),
    "a target without its dot": RRset("bad.{}", "ALIAS", 60, ("www.example.test",)),
    "not as the server writes it": RRset("bad.{}", "SVCB", 60, ('1 . alpn="dot" port="853"',)),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
async def test_one_bad_record_set_refuses_the_whole_change(world: World, bad: RRset) -> None:
    before = await ensure(world)
    bad = replace(bad, name=bad.name.format(world.zone))
    with pytest.raises(TerminalError) as refused:
        await change(world, a(world, "good", "192.0.2.1"), bad)
    assert refused.value.reason == "SpecRefused"
    assert (await observe(world)).rrsets == before.rrsets


async def test_changing_a_zone_that_is_gone_is_a_lost_race(world: World) -> None:
    with pytest.raises(ConflictError):
        await world.driver.ensure_rrsets(world.server, world.zone, (a(world, "x", "192.0.2.1"),))
    with pytest.raises(ConflictError):
        await world.driver.ensure_signed(world.server, world.zone, True)


HASH = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"
CONTENTS = {
    "A": ("192.0.2.1", "192.0.2.2"),
    "AAAA": ("2001:db8::1",),
    "CAA": ('0 issue "letsencrypt.org"', '128 iodef "mailto:a@b.test"'),
    "CNAME": ("www.example.test.",),
    "DNAME": ("other.test.",),
    "DS": ("60485 5 1 2bb183af5f22588179a53b0a98631fad1a292118",),
    "HTTPS": ("1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,192.0.2.2",),
    "LOC": (
        "0 0 0.000 S 0 0 0.000 W 0.00m 1.00m 10000.00m 10.00m",
        "1 0 0.000 N 39 23 60.000 E 0.00m 1.00m 10000.00m 10.00m",
        "52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m",
    ),
    "MX": ("0 .", "10 mail.example.test."),
    "NAPTR": ('100 10 "u" "sip+E2U" "!^.*$!sip:info@example.test!" .',),
    "NS": ("ns.example.test.",),
    "OPENPGPKEY": ("AwEAAQ==",),
    "PTR": ("host.example.test.",),
    "SMIMEA": (f"3 1 1 {HASH}",),
    "SRV": ("0 0 0 .", "10 60 5060 sip.example.test."),
    "SSHFP": (f"4 2 {HASH}",),
    "SVCB": ("1 svc.example.test. alpn=dot port=853",),
    "TLSA": (f"3 1 1 {HASH}",),
    "TXT": (
        '"v=spf1 -all"',
        '"say \\"hi\\" \\\\ ; \\195\\164"',
        '""',
        f'"{"x" * 255}" "{"y" * 45}"',
    ),
    "URI": ('10 1 "https://example.test/a"',),
}


@pytest.mark.parametrize("rdtype", CONTENTS)
async def test_every_type_comes_back_as_it_was_given_and_is_answered(
    world: World, rdtype: str
) -> None:
    name = f"{rdtype.lower()}.{world.zone}"
    wanted = RRset(name, rdtype, 60, tuple(sorted(CONTENTS[rdtype])))
    cut = (RRset(name, "NS", 60, ("ns.example.test.",)),) if rdtype == "DS" else ()
    zone = await ensure(world, wanted, *cut)
    assert wanted in zone.rrsets
    if rdtype != "NS":  # a delegation is a referral, not an answer
        assert world.ask(name, rdtype) == wanted.records
