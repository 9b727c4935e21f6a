"""Each request that changes something behind the seam, where one verb of a driver makes several: a
real process can die between two of them."""

from typing import Any

from controlplane.seam import Call, Seam
from drivers.docker import DockerContainers
from drivers.powerdns import DnsServer, PowerDns
from drivers.powerdns_http import HttpPowerDns


def engine_requests(containers: DockerContainers, seam: Seam) -> None:
    calls = containers._calls
    go = calls.act

    async def act(what: str, *args: Any, **kwargs: Any) -> Any:
        return await seam(Call("docker", "act", go, (what, *args), kwargs))

    calls.__dict__["act"] = act


def dns_requests(dns: PowerDns, seam: Seam) -> None:
    assert isinstance(dns, HttpPowerDns)
    go = dns._call

    async def call(server: DnsServer, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        if method == "GET":
            return await go(server, method, path, *args, **kwargs)

        async def make(path: str) -> Any:
            return await go(server, method, path, *args, **kwargs)

        return await seam(Call("powerdns", method, make, (path,)))

    dns.__dict__["_call"] = call
