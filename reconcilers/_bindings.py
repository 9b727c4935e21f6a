"""What of other records goes into an App: bindings as files, Secrets and ConfigMaps as variables.

Pure. No value passes through here: values are read when a step is carried out.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from controlplane.plan import Wait, Want
from drivers.containers import SECRETS_PATH
from reconcilers import _container as box
from resources.app import App

BINDINGS: Final = "bindings"
"""Folder of the bindings below where secrets are mounted."""
_PLAIN_KEYS: Final = (
    ("host", "_HOST"),
    ("port", "_PORT"),
    ("username", "_USERNAME"),
    ("database", "_DATABASE"),
)
"""Key of a binding, and the ending of the variable that has its value."""
_FILE_KEYS: Final = (("password", "_PASSWORD_FILE"), ("uri", "_URI_FILE"))
"""Key of a binding, and the ending of the variable that has the path of its file."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What of other records goes into its containers."""

    files: tuple[box.SecretFolder, ...] = ()
    variables: tuple[box.SecretVariables, ...] = ()
    given: str = ""
    complete: bool = True
    """False: something it names is missing now; what runs is left as it is."""

    @property
    def version(self) -> str | None:
        return box.version_of(self.files) if self.files else None


def missing(want: Want[App], *, ready_only: bool) -> Wait | None:
    """Which record that it names is missing, or (for a first start) not ready."""
    for name, content in sorted(want.secrets.items()):
        if content is None:
            kind, _, bare = name.partition("/")
            message = f"waiting for {kind} '{bare}' of spec.envFrom: there is none; create it"
            return Wait(f"{kind}Missing", message)
    for ref in want.refs.values():
        if ref.binding is None or (ready_only and not ref.ready):
            why = ref.message or f"{ref.kind} '{ref.name}' has no credentials yet"
            return Wait(f"{ref.kind}NotReady", f"waiting: {why}")
    return None


def inputs_of(want: Want[App]) -> Inputs:
    """Files and variables that come from what it names."""
    spec = want.record.spec
    refs = {ref.name: ref for ref in want.refs.values()}
    files: list[box.SecretFolder] = []
    variables: list[box.SecretVariables] = []
    given: list[str] = []
    for item in spec.env_from:
        name = item.reads.partition("/")[2]
        source = box.SecretSource(item.kind, name, want.secrets.get(item.reads) or "")
        variables.append(box.SecretVariables(source, item.prefix))
        given.append(source.content)
    for wanted in spec.database_refs:
        ref = refs.get(wanted.name)
        binding = ref.binding if ref else None
        source = box.SecretSource(
            "Secret",
            binding.secret_name if binding else "",
            binding.content_hmac if binding else "",
        )
        files.append(box.SecretFolder(f"{BINDINGS}/{wanted.name}", source))
        if wanted.env_prefix:
            names = tuple((key, wanted.env_prefix + end) for key, end in _PLAIN_KEYS)
            variables.append(box.SecretVariables(source, names=names))
            # not the content: a new password is a changed file, and restarts nothing
            given.append(ref.uid or "" if ref else "")
    return Inputs(
        tuple(files),
        tuple(variables),
        hashlib.sha256(repr(given).encode()).hexdigest()[:16] if given else "",
        missing(want, ready_only=False) is None,
    )


def env_of(want: Want[App]) -> dict[str, str]:
    """Its plain variables; what comes from Secrets is added when a container is made."""
    env: dict[str, str] = {}
    spec = want.record.spec
    if spec.database_refs:
        env["SERVICE_BINDING_ROOT"] = f"{SECRETS_PATH}/{BINDINGS}"
    for ref in spec.database_refs:
        if ref.env_prefix:
            folder = f"{SECRETS_PATH}/{BINDINGS}/{ref.name}"
            env |= {ref.env_prefix + end: f"{folder}/{key}" for key, end in _FILE_KEYS}
    return env | {item.name: item.value for item in spec.env}
