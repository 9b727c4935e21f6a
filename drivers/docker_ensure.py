"""Makes containers of the Docker driver, and corrects them in place without a restart."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from controlplane.errors import RetryableError
from drivers.containers import ContainerSpec, ContainerState, NetworkState
from drivers.digest import same_digest
from drivers.docker_addresses import DockerAddresses
from drivers.docker_body import container_body, endpoint_body, limits_body, restart_body
from drivers.docker_cache import InspectCache
from drivers.docker_calls import DockerCalls
from drivers.docker_containers import DockerRunning
from drivers.docker_networks import DockerNetworks, DockerVolumes


def as_made(container_id: str, spec: ContainerSpec, labels: Mapping[str, str]) -> ContainerState:
    """What one just made by `container_body` is, but for its image's id and its moment."""
    first = spec.networks[:1]  # the engine takes one; the others are connected after
    return ContainerState(
        id=container_id,
        name=spec.name,
        owner=spec.owner,
        digest=spec.digest,
        image=spec.image,
        image_id="",
        running=False,
        paused=False,
        restarting=False,
        exit_code=0,
        oom_killed=False,
        restart_count=0,
        started_at="",
        finished_at="",
        limits=spec.limits,
        networks={each.network: "" for each in first},
        network_ids={each.network: "" for each in first},
        aliases={each.network: each.aliases for each in first},
        labels=labels,
    )


class DockerEnsure:
    """ensure_container: one at a time for each name."""

    def __init__(
        self,
        calls: DockerCalls,
        cache: InspectCache,
        running: DockerRunning,
        networks: DockerNetworks,
        volumes: DockerVolumes,
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._running = running
        self._networks = networks
        self._volumes = volumes
        self._addresses = DockerAddresses(calls)
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ensure(self, spec: ContainerSpec, secret_env: Mapping[str, str]) -> ContainerState:
        async with self._one_at_a_time[spec.name]:
            self._body(spec, secret_env)  # where it exists, too: what is refused is refused
            networks = await self._wanted_networks(spec)
            found = None
            if not self._running.surely_absent(spec.name, spec.owner.uid):
                found = await self._running.find(spec.name, spec.owner.uid)
            if found is None:
                found = await self._create(spec, secret_env, networks)
            if found.digest != spec.digest and not same_digest(found.digest, spec):
                # Not ConflictError, here and below: that is retried at once and silently.
                raise RetryableError(
                    f"cannot ensure container '{spec.name}': it has the digest {found.digest},"
                    f" not {spec.digest}",
                    reason="DigestDiffers",
                )
            if await self._correct(found, spec, networks):
                found = await self._running.inspect(found.id) or found
            return found

    async def move(self, container_id: str) -> None:
        """Give a stopped container another address where its own is somebody else's now."""
        found = await self._running.inspect(container_id)
        if found is None:
            return
        self._addresses.forget()
        # none: the engine itself holds one, for something that is gone
        clashes = await self._addresses.clashes(container_id) or found.networks.keys()
        for name in sorted(clashes & found.networks.keys()):
            network = await self._networks.find(name)
            if network is not None:
                await self._disconnect(found, name)
                await self._connect(found, network, found.aliases[name])

    def _body(
        self, spec: ContainerSpec, secret_env: Mapping[str, str], address: str | None = None
    ) -> Mapping[str, Any]:
        return container_body(
            spec,
            secret_env,
            instance=self._calls.config.instance,
            epoch=self._calls.guard(),
            secrets_root=self._calls.config.secrets_root,
            address=address,
        )

    async def _create(
        self,
        spec: ContainerSpec,
        secret_env: Mapping[str, str],
        networks: tuple[NetworkState, ...],
    ) -> ContainerState:
        address = await self._addresses.pick(networks[0]) if networks else None
        body = self._body(spec, secret_env, address)
        for mount in spec.volumes:
            await self._volumes.check_free(mount.volume, spec.name, spec.owner.uid)
        try:
            made = await self._calls.act(
                f"create container '{spec.name}'",
                "POST",
                "/containers/create",
                query={"name": spec.name},
                body=body,
            )
        except RetryableError as exc:
            # The reply may be lost though the container is made, now or by an earlier try.
            return await self._made_after_all(spec, exc)
        # Not inspected, which takes as long as two commits: it is what was asked for, and once it
        # is started it is looked at anyway.
        self._cache.known.add(made["Id"], spec.owner, spec.name)
        return as_made(made["Id"], spec, body["Labels"])

    async def _made_after_all(self, spec: ContainerSpec, failure: RetryableError) -> ContainerState:
        if failure.reason == "Missing":
            self._cache.images.invalidate(spec.image)  # it may be what is missing
        found = await self._running.find(spec.name, spec.owner.uid)
        if found is not None:
            return found
        if failure.reason != "NameTaken":
            raise failure
        holder = await self._running.inspect(spec.name)
        who = "one that the engine doesn't list" if holder is None else "somebody else's"
        raise RetryableError(
            f"cannot create container '{spec.name}': the name is held by {who};"
            " rename or remove that container",
            retry_after_s=5.0,
            reason="NameTaken",
        ) from failure

    async def _correct(
        self, found: ContainerState, spec: ContainerSpec, networks: tuple[NetworkState, ...]
    ) -> bool:
        """Name, limits, restart policy and networks, in place. Whether anything was to do."""
        changed = False
        if found.name != spec.name:
            await self._act_on(found.id, "rename", spec.name, query={"name": spec.name})
            changed = True
        limits = limits_body(spec.limits) if found.limits != spec.limits else {}
        policy = {} if found.restarts else restart_body()
        if limits or policy:
            await self._act_on(found.id, "update", spec.name, body={**limits, **policy})
            changed = True
        return await self._correct_networks(found, spec, networks) or changed

    async def _correct_networks(
        self, found: ContainerState, spec: ContainerSpec, networks: tuple[NetworkState, ...]
    ) -> bool:
        changed = False
        for name in found.networks:
            if name not in {wanted.network for wanted in spec.networks}:
                await self._disconnect(found, name)
                changed = True
        for wanted, network in zip(spec.networks, networks, strict=True):
            # "" until the first start: then the engine looks the network up by name.
            current = found.network_ids.get(wanted.network) in {"", network.id}
            if current and set(found.aliases[wanted.network]) == set(wanted.aliases):
                continue
            if wanted.network in found.networks:
                await self._disconnect(found, wanted.network)
            await self._connect(found, network, wanted.aliases)
            changed = True
        return changed

    async def _wanted_networks(self, spec: ContainerSpec) -> tuple[NetworkState, ...]:
        """In order; before anything is made or changed."""
        found = []
        for wanted in spec.networks:
            network = await self._networks.observe(wanted.network)
            if network is None:
                raise RetryableError(
                    f"cannot connect container '{spec.name}': there is no network"
                    f" '{wanted.network}'",
                    retry_after_s=0.5,
                    reason="NetworkMissing",
                )
            found.append(network)
        return tuple(found)

    async def _connect(
        self, found: ContainerState, network: NetworkState, aliases: tuple[str, ...]
    ) -> None:
        try:
            for last in (False, False, True):
                endpoint = endpoint_body(aliases, await self._addresses.pick(network))
                try:
                    await self._calls.act(
                        f"connect container '{found.name}'",
                        "POST",
                        "/networks/{}/connect",
                        network.id,
                        body={"Container": found.id, "EndpointConfig": endpoint},
                    )
                    return
                except RetryableError as exc:
                    if last or exc.reason != "AddressInUse":
                        raise
                    self._addresses.forget()
        finally:
            self._cache.containers.invalidate(found.id)
            self._cache.networks.clear()

    async def _disconnect(self, found: ContainerState, network: str) -> None:
        # By name and by force: the network of that id may be gone, and its name made anew; the
        # engine then still refuses to start the container until the stale endpoint is removed.
        await self._calls.act(
            f"disconnect container '{found.name}'",
            "POST",
            "/networks/{}/disconnect",
            network,
            body={"Container": found.id, "Force": True},
        )
        self._cache.containers.invalidate(found.id)

    async def _act_on(
        self,
        container_id: str,
        verb: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            await self._calls.act(
                f"{verb} container '{name}'",
                "POST",
                "/containers/{}/" + verb,
                container_id,
                query=query,
                body=body,
            )
        finally:
            self._cache.containers.invalidate(container_id)
