"""Model: a language model of one's own, and where its file comes from. No I/O."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, Strict, model_validator

from resources.changes import fixed, only_grows, size_to_keep
from resources.columns import AGE, CPU, MEMORY, PUBLISHED, REASON, Column, ready
from resources.meta import (
    Bool,
    FieldError,
    Footprint,
    KindInfo,
    NameClaim,
    Publish,
    Resource,
    Resources,
    SecretRef,
)
from resources.meta import Model as BaseModel
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import network_claim
from resources.quantity import Bytes, at_least
from resources.text import DnsLabel, ImageReference, Matches

Engine = Literal["llamacpp", "ollama"]
Phase = Literal["Pending", "Pulling", "Checking", "Loading", "Ready", "Failed"]

PORT: Final = 8080
"""Where it answers inside the network."""
LEAST_BYTES: Final = 2**20
"""The smallest GGUF file that says anything is some 100 kB."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}

OllamaName = Annotated[
    str,
    Matches(
        # https://github.com/ollama/ollama/blob/main/types/model/name.go
        r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,79}(?::[0-9]{1,5})?/)?(?:[A-Za-z0-9_][-A-Za-z0-9_.]{0,79}/)?"
        r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,79}(?::[A-Za-z0-9_][-A-Za-z0-9_.]{0,79})?",
        "the name of a model: write [registry/][owner/]name[:tag], such as 'llama3.2:1b'",
        320,
    ),
]
HttpUrl = Annotated[
    str,
    Matches(
        r"https?://[-A-Za-z0-9.]+(:[0-9]{1,5})?/[!-~]*",
        "an HTTP address of a file, without a password in it, such as "
        "'https://models.example.org/tiny.gguf'",
        2048,
    ),
]
ObjectKey = Annotated[
    str,
    Matches(
        r"[^\x00-\x1f\x7f/][^\x00-\x1f\x7f]*",
        "the key of an object: such as 'models/tiny.gguf', without a '/' in front",
        1024,
    ),
]
Digest = Annotated[
    str,
    Matches(
        "sha256:[0-9a-f]{64}",
        "a digest: write 'sha256:' and 64 hexadecimal digits, as `sha256sum` prints them",
        71,
    ),
]
KeepAlive = Annotated[
    str,
    Matches(
        "always|[0-9]{1,6}[smh]",
        "how long to stay in memory: write 'always', or a number with 's', 'm' or 'h', such as "
        "'5m'",
        8,
    ),
]


class BucketObject(BaseModel):
    """An object of a Bucket in the same namespace."""

    name: DnsLabel
    """Name of the Bucket. Example: `models`."""
    key: ObjectKey
    """Key of the object. Example: `tiny.gguf`."""


class ModelSource(BaseModel):
    """Where a model comes from: exactly one of name, url, bucketRef and image."""

    name: OllamaName | None = None
    """For the engine `ollama`: the model's name, with a tag. Example: `llama3.2:1b`."""
    url: HttpUrl | None = None
    """A GGUF file over HTTP, fetched from inside the namespace's network.
    Example: `https://models.example.org/tiny.gguf`."""
    bucket_ref: BucketObject | None = None
    """A GGUF file in a Bucket."""
    image: ImageReference | None = None
    """A GGUF file in a container registry, as an artifact (Ollama's and Docker's models are such).
    Example: `registry.example.org/models/tiny:1`."""
    plain_http: Bool = False
    """Speak HTTP without TLS to the registry of `image`, or of `name`. Default: false."""
    secret_ref: SecretRef | None = None
    """A Secret for the server of `url` or `image`: `token`, or `username` and `password`.
    Default: it asks for none."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        given = [self.name, self.url, self.bucket_ref, self.image]
        if sum(each is not None for each in given) != 1:
            raise ValueError("name exactly one of name, url, bucketRef and image")
        if self.secret_ref is not None and self.url is None and self.image is None:
            raise ValueError("secretRef goes with url or image; leave it out")
        return self

    @property
    def identity(self) -> str:
        """What it is, in one line."""
        if self.bucket_ref is not None:
            return f"bucket {self.bucket_ref.name}/{self.bucket_ref.key}"
        return self.name or self.url or f"image {self.image}"


class ModelSpec(BaseSpec):
    engine: Engine = "llamacpp"
    """What runs it: `llamacpp`, in a container of its own, or `ollama`, on a server of the
    platform. May not change. Default: `llamacpp`."""
    source: ModelSource
    """Where it comes from."""
    digest: Digest | None = None
    """What it must be: SHA-256 of the GGUF file, or with `ollama` the model's digest as `ollama
    list` has it. Anything else is refused. Default: whatever the source gives; see status.digest.
    Example: `sha256:2d9bc8a1b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c`."""
    keep_alive: KeepAlive = "5m"
    """How long it stays in memory after its last use; the next use loads it again. `always` keeps
    it there, `0s` unloads it at once. Default: `5m`. Example: `24h`."""
    context_length: Annotated[int, Strict(), Field(ge=64, le=1_048_576)] = 4096
    """With `llamacpp`: tokens it can look back on; more take more memory. Default: 4096."""
    resources: Resources | None = None
    """CPU and memory of its container: with `llamacpp` file, context and some 100 MiB must fit in;
    with `ollama` it is the gateway's alone. Default: `1` and `2Gi`, with `ollama` `100m` and
    `128Mi`."""
    storage: Annotated[Bytes, at_least(LEAST_BYTES, "storage")] = 8 * 2**30
    """Disk it may take, in bytes with a unit; a larger model is refused. May only grow, but for
    what there was no room for. With `llamacpp` its Volume is charged for it; with `ollama` it lies
    on the service's own. Default: `8Gi`."""
    service: DnsLabel = "models"
    """With `ollama`: name of the Platform record of the service. May not change.
    Default: `models`."""
    publish: Publish | None = None
    """Also reachable on a port of the host. Default: only inside the namespace's network."""

    @model_validator(mode="after")
    def _fits_engine(self) -> Self:
        if (self.engine == "ollama") != (self.source.name is not None):
            raise ValueError(
                "source.name goes with engine 'ollama', and url, bucketRef and image with "
                "'llamacpp'; change one of the two"
            )
        return self

    @property
    def limits(self) -> Resources:
        """CPU and memory of its container."""
        return self.resources or DEFAULT_RESOURCES[self.engine]

    @property
    def keep_alive_s(self) -> int | None:
        """Seconds; None: for ever."""
        if self.keep_alive == "always":
            return None
        return int(self.keep_alive[:-1]) * _UNITS[self.keep_alive[-1]]


DEFAULT_RESOURCES: Final[dict[Engine, Resources]] = {
    "llamacpp": Resources.model_validate({"cpu": "1", "memory": "2Gi"}),
    # 28 MiB measured under 32 streams (docker stats), and bodies of up to 16 MiB pass through
    "ollama": Resources.model_validate({"cpu": "100m", "memory": "128Mi"}),
}


class ModelStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"storage"}

    phase: Phase = "Pending"
    """What is being done: `Pending`, `Pulling`, `Checking`, `Loading`, `Ready` or `Failed`."""
    progress: str | None = None
    """How much of it is here. Example: `42%`."""
    size: str | None = None
    """Size of the model, in bytes with a unit."""
    digest: str | None = None
    """What is here. Example: `sha256:2d9bc8...`."""
    loaded: bool = False
    """Whether it is in memory now."""
    endpoint: str | None = None
    """Where the namespace's Apps reach it: OpenAI's API. Example: `http://chat:8080/v1`."""
    published: str | None = None
    """Where the host reaches it, if published. Example: `127.0.0.1:30001`."""
    secret_ref: SecretRef | None = None
    """The Secret with its address and the key it asks for (`token`)."""
    volume: str | None = None
    """The Volume record that holds the file."""
    storage: Bytes | None = None
    """Disk that its Volume has; less than is asked for while there is no room for that, and as
    little may `spec.storage` be until there is. Example: `8Gi`."""
    image: str | None = None
    """Image its container runs from."""
    container: str | None = None
    """Name of its container."""


class Model(Resource[ModelSpec, ModelStatus]):
    """A language model behind one authenticated endpoint: chat, completions and embeddings."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Model",
        plural="models",
        singular="model",
        short_names=("llm",),
        categories=("all",),
        columns=(
            Column("Engine", ".spec.engine", description="What runs it"),
            ready("Whether it serves"),
            REASON,
            Column("Progress", ".status.progress", description="How much of it is here"),
            Column("Size", ".status.size", description="Size of the model"),
            Column("Loaded", ".status.loaded", description="Whether it is in memory"),
            Column("Endpoint", ".status.endpoint", description="Where Apps reach it"),
            AGE,
            Column("Digest", ".status.digest", priority=1, description="What is here"),
            CPU,
            MEMORY,
            Column("Volume", ".status.volume", priority=1, description="Where its file is"),
            PUBLISHED,
        ),
        needs_namespace_network=True,
        refs=(("spec.source.bucketRef", "Bucket"),),
    )
    spec: ModelSpec
    status: ModelStatus = Field(default_factory=ModelStatus)

    @property
    def secret_name(self) -> str:
        """Name of the Secret that its users get."""
        return f"{self.metadata.name}-credentials"

    @property
    def admin_name(self) -> str:
        """Name of the Secret that only the platform uses: it may order another file."""
        return f"{self.metadata.name}-admin"

    @property
    def footprint(self) -> Footprint:
        """CPU and memory of its container; its disk is charged to its Volume, or to the service."""
        return self.spec.limits.footprint

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (network_claim(self.metadata.name, self.metadata.namespace),)

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        return () if self.spec.publish is None else (self.spec.publish.port,)

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.service,) if self.spec.engine == "ollama" else ()

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        least = size_to_keep(old, lambda spec: spec.storage, old.status.storage)
        return (
            *fixed(
                "make a new Model and delete this one",
                ("engine", old.spec.engine, self.spec.engine),
                ("service", old.spec.service, self.spec.service),
            ),
            *only_grows("storage", least, self.spec.storage),
        )
