"""What a service of the platform is made of, as data: containers, files, probes, credentials.

Each service is one module `_service_<name>.py` with a `SERVICE`; docs/adding-a-service.md makes
one. Pure: reconcilers/platform.py runs it, and knows no service.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controlplane.plan import Dependent, Generated, Template
from resources.meta import Resources

SecretKeys = Mapping[str, str | Generated | Template]


@dataclass(frozen=True, slots=True)
class Facts:
    """What of its record a service may look at. All of it is known before anything runs."""

    name: str
    """Name of the record, and its host name in the networks it is in."""
    settings: Mapping[str, str]
    """spec.settings, checked by the model."""
    resources: Resources
    """What all its containers share."""
    storage_bytes: int
    """Size of its Volume, without a growth that it was not given; 0: it has none."""
    published: Mapping[str, str] = field(default_factory=dict)
    """By name of the port: `address:port` on the host."""


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file under /run/secrets: text with `{key}` for values of the service's Secret and
    `{bcrypt:key}` for a hash. Configuration without secrets goes the same way."""

    path: str
    template: str
    plain: bool = False
    """Refuse values that would be more than a value in a configuration file."""


@dataclass(frozen=True, slots=True)
class Health:
    """How to ask whether a container serves, from the host."""

    port: int
    path: str | None = None
    """GET this, and 200 to 399 is healthy. None: an accepted TCP connection is."""


@dataclass(frozen=True, slots=True)
class ServiceContainer:
    """One container. The first of a service is its main one: `status.container`."""

    image: str
    """Name of the image: a row of _images.py and a recipe in manifests/images/."""
    health: Health | None
    """None: it counts as serving while it runs (what answers on UDP alone)."""
    name: str = ""
    """Empty for the main one, whose host name is the record's; others are `<record>-<name>`."""
    command: tuple[str, ...] = ()
    """Replaces the image's CMD; empty keeps it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain values; no secret."""
    variables: tuple[tuple[str, str], ...] = ()
    """(key of the Secret, variable): seen by whoever may inspect containers, so only for servers
    that read no file."""
    files: tuple[ServiceFile, ...] = ()
    """All containers of a service see all its files; another content makes them anew."""
    ports: tuple[str, ...] | None = None
    """Which of the service's ports it listens on. None: all."""
    data: bool = True
    """Mount the service's Volume where the image keeps its data."""
    share: int = 1000
    """Thousandths of the record's CPU and memory; over all containers 1000."""
    user: str | None = None
    """`uid:gid`; None: the image's own of _images.py."""
    read_only_root: bool = True
    tmpfs: tuple[str, ...] = ()
    keep_caps: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    stop_timeout_s: int = 10
    shared: bool = True
    """Also in the networks of the namespaces that use the service. All its ports are then within
    their reach: what asks for no credentials must listen on 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class Routing:
    """What a service is told of those who use it, in files that it reads anew by itself."""

    files: tuple[ServiceFile, ...]
    """Another content makes no container anew."""
    applied: Health
    """A GET that succeeds as soon as the service works by exactly these files, with the username
    and password of its Secret."""
    told: Mapping[str, tuple[str, ...]]
    """By uid of a record that uses it: the backends that are then routed to."""


@dataclass(frozen=True, slots=True)
class ServiceDef:
    """How one service is run."""

    containers: Callable[[Facts], tuple[ServiceContainer, ...]]
    """Pure; the same Facts give equal containers."""
    secret: Callable[[Facts], SecretKeys] = lambda _: {}
    """Keys of its Secret beside type, provider, host and port, which every one has; empty: it
    has no Secret. Generated values are made once and kept. Keys match [a-z][a-z0-9-]*."""
    routing: Callable[[Facts, tuple[Dependent, ...]], Routing] | None = None
    """For a service that is told who uses it, and how they are reached."""
    hourly: Callable[[Facts, int], tuple[ServiceFile, ...]] = lambda _, __: ()
    """Files that it reads anew by itself, for an hour since 1970: another content each hour makes
    no container anew, and has it try again what it tries when something is new."""
