"""From a service's definition to container specs, files and Secret keys. Pure, knows no service."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from controlplane.errors import TerminalError
from controlplane.plan import Dependent, Generated, Template, Want
from drivers.containers import (
    LABEL_PREFIX,
    ContainerSpec,
    Limits,
    NetworkAttachment,
    PublishedPort,
    VolumeMount,
)
from reconcilers import _container as box
from reconcilers._composed import holds_values
from reconcilers._images import ImageChoice, Source, service_image
from reconcilers._service import Facts, Routing, ServiceContainer, ServiceDef, ServiceFile
from reconcilers._services import SERVICES
from reconcilers._volumes import granted_of, volume_name
from resources.network import service_claims
from resources.platform import Platform

LABEL_GIVEN: Final = LABEL_PREFIX + "given"
"""What its files and secret variables were made from, hashed: another needs a new container."""
NO_FORWARDING: Final = {"net.ipv4.ip_forward": "0"}
"""In several tenants' networks at once, and never a way from one to the other."""


def definition(record: Platform) -> ServiceDef:
    """How the record's service is run. Raises TerminalError if this release can't."""
    found = SERVICES.get(record.spec.service)
    if found is None:
        raise TerminalError(
            f"cannot run service '{record.spec.service}': this release has "
            f"{', '.join(sorted(SERVICES))}; set spec.external to use a server of that kind",
            reason="ServiceUnknown",
        )
    return found


def facts_of(want: Want[Platform]) -> Facts:
    """What the service may look at."""
    spec = want.record.spec
    name = volume_name(want.record, want.namespace_uid, spec.service)
    return Facts(
        want.record.metadata.name,
        spec.settings,
        spec.limits,
        granted_of(want.children.get(("Volume", name)), spec.storage_bytes),
        published_of(want),
    )


def published_of(want: Want[Platform]) -> dict[str, str]:
    """By name of the port: address and port on the host."""
    pairs = zip(want.record.spec.publish, want.ports, strict=False)
    return {port.name: f"{port.address}:{number}" for port, number in pairs}


def secret_keys(want: Want[Platform]) -> dict[str, str | Generated | Template]:
    """Keys of its Secret (https://servicebinding.io/spec/core/1.1.0/); empty: it has none."""
    record = want.record
    own = definition(record).secret(facts_of(want))
    if not own:
        return {}
    offer = record.spec.offer
    return {
        "type": record.spec.service,
        "provider": "bunker",
        "host": record.metadata.name,
        "port": str(offer.ports[offer.primary].number),
        **own,
    }


@dataclass(frozen=True, slots=True)
class Part:
    """One container of a service, as it should be."""

    made_of: ServiceContainer
    image: ImageChoice
    spec: ContainerSpec
    variables: tuple[box.SecretVariables, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """All containers of a service, and the files that they share."""

    parts: tuple[Part, ...]
    files: tuple[box.SecretFile, ...]
    user: tuple[int, int] | None
    """Who may read the files; None: every user of the containers, as they have several."""
    routing: Routing | None = None
    """What it is told of those who use it."""

    @property
    def version(self) -> str:
        """Changes whenever the files would."""
        return box.version_of(self.files)


@dataclass(frozen=True, slots=True)
class Assembler:
    """Puts a service's containers together."""

    source: Source
    secrets_dir: str
    mount: str | None
    """The engine's volume for its data; None: it has none."""
    networks: tuple[str, ...]
    """Networks of the namespaces that use it, besides its own."""
    hour: int
    """Since 1970."""

    def assemble(self, want: Want[Platform]) -> Assembly:
        """All of it, for this pass. Raises TerminalError for an unknown service."""
        record = want.record
        made = definition(record)
        containers = made.containers(facts_of(want))
        routing = made.routing and made.routing(facts_of(want), want.dependents)
        secret = want.children.get(("Secret", record.secret_name))
        source = box.SecretSource(
            "Secret", record.secret_name, secret.content_hmac if secret else ""
        )
        files = _files((file for each in containers for file in each.files), source)
        hourly = made.hourly(facts_of(want), self.hour)
        live = _files((*(routing.files if routing else ()), *hourly), source)
        sizes = _shares(record, containers)
        parts = tuple(
            self._part(want, container, (files, live), source, size)
            for container, size in zip(containers, sizes, strict=True)
        )
        users = {(part.image.uid, part.image.gid) for part in parts if part.made_of.user is None}
        alone = len(users) == 1 and all(part.made_of.user is None for part in parts)
        return Assembly(parts, (*files, *live), users.pop() if alone else None, routing)

    def _part(
        self,
        want: Want[Platform],
        made_of: ServiceContainer,
        files: tuple[tuple[box.SecretFile, ...], tuple[box.SecretFile, ...]],
        source: box.SecretSource,
        limits: Limits,
    ) -> Part:
        record = want.record
        image = service_image(made_of.image, source=self.source)
        variables: tuple[box.SecretVariables, ...] = ()
        if made_of.variables:
            variables = (box.SecretVariables(source, names=made_of.variables),)
        given = _given(files[0], source if variables else None)
        spec = ContainerSpec(
            name=container_name(record, made_of),
            owner=box.owner_of(record),
            image=(not made_of.name and record.spec.image) or image.reference,
            digest="",
            limits=limits,
            command=made_of.command,
            env=made_of.env,
            networks=self._networks(want, made_of),
            volumes=self._volumes(made_of, image),
            secrets_dir=self.secrets_dir if any(files) else None,
            ports=_ports(want, made_of),
            user=image.user if made_of.user is None else made_of.user,
            read_only_root=made_of.read_only_root,
            tmpfs=made_of.tmpfs,
            stop_timeout_s=made_of.stop_timeout_s,
            labels={LABEL_GIVEN: given} if given else {},
            keep_caps=made_of.keep_caps,
            capabilities=made_of.capabilities,
            devices=made_of.devices,
            sysctls={**NO_FORWARDING, **made_of.sysctls},
        )
        return Part(made_of, image, box.sealed(spec), variables)

    def _volumes(self, made_of: ServiceContainer, image: ImageChoice) -> tuple[VolumeMount, ...]:
        if not made_of.data or self.mount is None:
            return ()
        return (VolumeMount(self.mount, image.data_path),)

    def _networks(
        self, want: Want[Platform], made_of: ServiceContainer
    ) -> tuple[NetworkAttachment, ...]:
        name = want.record.metadata.name
        aliases = (name,) if not made_of.name else (f"{name}-{made_of.name}",)
        others = self.networks if made_of.shared else ()
        return tuple(NetworkAttachment(network, aliases) for network in (want.network, *others))


def _files(files: Iterable[ServiceFile], source: box.SecretSource) -> tuple[box.SecretFile, ...]:
    return tuple(
        box.SecretFile(
            file.path,
            source if holds_values(file.template) else None,
            file.template,
            plain=file.plain,
        )
        for file in files
    )


def _given(files: tuple[box.SecretFile, ...], variables: box.SecretSource | None) -> str:
    """Hash of all that a container reads of others; variables count as if they were a file."""
    read = files if variables is None else (*files, box.SecretFile("", variables, ""))
    return box.version_of(read) if read else ""


def container_name(record: Platform, made_of: ServiceContainer) -> str:
    """A function of the record alone."""
    return "-".join(part for part in (record.owned_name, made_of.name) if part)


def user_networks(want: Want[Platform], attached: Set[str]) -> tuple[str, ...]:
    """Networks of the namespaces whose records use this service, besides its own.

    None of a namespace whose users all wait to be admitted: somebody else may have the service's
    name there. One that is `attached` stays so while its namespace isn't ready for a moment, until
    the records that use the service are being deleted: then it would hold the network back.
    """
    service = want.record.metadata.name
    return tuple(
        sorted(
            {
                each.network
                for each in want.dependents
                if each.network not in ("", want.network)
                and (
                    (each.network_ready and _uses(each, service))
                    or (each.network in attached and not each.deleting)
                )
            }
        )
    )


def _uses(user: Dependent, service: str) -> bool:
    """Whether it was admitted as a user of the service: while an edit of it waits, only if it holds
    the service's name already."""
    held = user.status.get("allocation")
    if held is None or held.get("spec") is None:
        return held is not None
    (claim,) = service_claims((service,), user.namespace)
    return any(
        (name["scope"], name["name"]) == (claim.scope, claim.name) for name in held.get("names", ())
    )


def _ports(want: Want[Platform], made_of: ServiceContainer) -> tuple[PublishedPort, ...]:
    spec = want.record.spec
    listens = spec.offer.ports if made_of.ports is None else made_of.ports
    return tuple(
        PublishedPort(spec.offer.ports[port.name].number, number, port.address, protocol)
        for port, number in zip(spec.publish, want.ports, strict=False)
        if port.name in listens
        for protocol in spec.offer.ports[port.name].protocols
    )


def _shares(record: Platform, containers: tuple[ServiceContainer, ...]) -> tuple[Limits, ...]:
    """The record's CPU and memory, divided without a rest: the main one takes what is left."""
    whole = record.spec.limits
    others = [
        Limits(whole.cpu * each.share // 1000, whole.memory * each.share // 1000)
        for each in containers[1:]
    ]
    main = Limits(
        whole.cpu - sum(each.cpu_millicores for each in others),
        whole.memory - sum(each.memory_bytes for each in others),
    )
    return (main, *others)


def endpoints_of(
    record: Platform, containers: Mapping[str, str], parts: tuple[Part, ...]
) -> dict[str, str]:
    """By name of the port: `address:port`, from each container's address by its name."""
    found = {}
    for part in parts:
        address = containers.get(part.spec.name)
        listens = record.spec.offer.ports if part.made_of.ports is None else part.made_of.ports
        if address:
            for name in listens:
                found[name] = f"{address}:{record.spec.offer.ports[name].number}"
    return found
