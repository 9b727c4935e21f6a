"""The catalogue of engine images: pinned, complete, and equal in contract for both sources."""

from typing import get_args

import pytest

from controlplane.errors import TerminalError
from reconcilers._images import (
    DEFAULT_VERSIONS,
    LOCAL_PREFIX,
    ImageChoice,
    Source,
    image_for,
    versions,
)

ENGINES = ("postgres", "redis")
OFFERED = [(engine, version) for engine in ENGINES for version in versions(engine)]


def test_image_for_names_a_local_recipe() -> None:
    assert image_for("postgres", "16", source="local") == ImageChoice(
        engine="postgres",
        version="16",
        release="16.14",
        reference="bunker.local/postgres:16",
        uid=999,
        gid=999,
        data_path="/var/lib/postgresql/data",
    )


@pytest.mark.parametrize(("engine", "version"), OFFERED)
def test_upstream_reference_is_pinned_to_an_exact_release(engine: str, version: str) -> None:
    choice = image_for(engine, version, source="upstream")
    assert choice.reference == f"{engine}:{choice.release}-bookworm"
    assert choice.release.startswith(f"{version}.")


@pytest.mark.parametrize(("engine", "version"), OFFERED)
def test_both_sources_keep_the_same_contract(engine: str, version: str) -> None:
    contracts = {
        (choice.user, choice.data_path, choice.version)
        for source in get_args(Source)
        for choice in [image_for(engine, version, source=source)]
    }
    assert len(contracts) == 1


@pytest.mark.parametrize(("engine", "version"), OFFERED)
def test_local_tag_can_not_be_taken_for_a_public_image(engine: str, version: str) -> None:
    reference = image_for(engine, version, source="local").reference
    assert reference.startswith(LOCAL_PREFIX)
    assert "." in reference.split("/")[0]


def test_data_is_mounted_one_level_higher_from_18_on() -> None:
    assert image_for("postgres", "18", source="local").data_path == "/var/lib/postgresql"


@pytest.mark.parametrize("engine", ENGINES)
def test_default_version_is_offered(engine: str) -> None:
    assert DEFAULT_VERSIONS[engine] in versions(engine)


@pytest.mark.parametrize(
    ("engine", "version", "reason"),
    [
        pytest.param("postgres", "13", "UnknownVersion", id="a major that is not offered"),
        pytest.param("oracle", "19", "UnknownEngine", id="an engine that is not offered"),
    ],
)
def test_image_for_refuses(engine: str, version: str, reason: str) -> None:
    with pytest.raises(TerminalError) as caught:
        image_for(engine, version, source="local")
    assert caught.value.reason == reason
