"""scripts/images: its recipes, its versions and the catalogue agree; hashes see every change."""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from reconcilers._images import DEFAULT_VERSIONS, DEMO, image_for, versions

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    yield importlib.import_module("image_build")
    for name in ("image_build", "image_payloads", "image_steps"):
        sys.modules.pop(name, None)


def test_every_engine_on_offer_has_a_recipe(build: ModuleType) -> None:
    known = build.recipes()
    for engine in DEFAULT_VERSIONS:
        for version in versions(engine):
            recipe = known[f"{engine}:{version}"]
            assert recipe.reference == image_for(engine, version, source="local").reference
            assert (recipe.folder / "Dockerfile").is_file()
    assert known["demo"].reference == DEMO


def test_the_quickstart_builds_the_default_versions(build: ModuleType) -> None:
    defaults = {f"{engine}:{version}" for engine, version in DEFAULT_VERSIONS.items()}
    assert set(build.QUICKSTART) == defaults | {"demo"}


def test_packages_hold_the_releases_that_the_catalogue_names(build: ModuleType) -> None:
    payloads = build.image_payloads
    packed = {major: text.split(".0-")[0] for major, text in payloads.NPM_VERSIONS.items()}
    named = {major: image_for("postgres", major, source="local").release for major in packed}
    assert packed == named
    assert {*packed, payloads.WHEEL_MAJOR} == set(versions("postgres"))


def test_the_hash_sees_files_arguments_inputs_and_the_base(
    build: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM a\n")
    first = build.Recipe("x", "x:1", folder)
    hashes = {
        first.digest("base"),
        first.digest("another base"),
        build.Recipe("x", "x:1", folder, inputs="16.1").digest("base"),
        build.Recipe("x", "x:1", folder, args=("MAJOR=16",)).digest("base"),
    }
    assert first.digest("base") in hashes
    (folder / "Dockerfile").write_text("FROM b\n")
    hashes.add(first.digest("base"))
    (folder / "Dockerfile").chmod(0o755)
    hashes.add(first.digest("base"))
    assert len(hashes) == 6


def test_an_unknown_name_is_refused_with_those_there_are(build: ModuleType) -> None:
    with pytest.raises(build.BuildError, match=r"postgres:13.*there are base, postgres:14"):
        build._chosen(build.recipes(), asked(only="postgres:13"))


def asked(**flags: bool | str) -> argparse.Namespace:
    return argparse.Namespace(**{"only": None, "all": False, "platform": False, **flags})


def test_more_is_asked_for_step_by_step(build: ModuleType) -> None:
    known = build.recipes()
    plain, platform, everything = (
        {recipe.name for recipe in build._chosen(known, asked(**flags))}
        for flags in ({}, {"platform": True}, {"all": True})
    )
    assert plain == {"postgres:18", "redis:7", "demo"}
    assert plain | {"registry", "prometheus"} <= platform < everything
    assert not {"postgres:14", "control-plane"} & platform
    assert everything == set(known)
