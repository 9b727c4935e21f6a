"""scripts/images: its recipes, its versions and the catalogue agree; hashes see every change."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator
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


DOCKER = """#!/bin/sh
case $1 in
  image) exit {inspected} ;;
  pull) echo "Using default tag" >&2; {pulls} ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a docker command in place that has no image, and pulls as it is told to."""

    def put(pulls: str, *, inspected: int = 1) -> None:
        docker = tmp_path / "docker"
        docker.write_text(DOCKER.format(pulls=pulls, inspected=inspected))
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


def refusing(text: str) -> str:
    return f"echo 'Error response from daemon: {text}' >&2; echo >&2; exit 1"


def test_public_images_are_used_where_there_are_any(
    build: ModuleType, engine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    engine("exit 0")
    assert build.probe() == "upstream"
    engine("exit 1", inspected=0)
    assert build.probe() == "upstream"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "toomanyrequests: You have reached your unauthenticated pull rate limit.",
        "unexpected status from HEAD request to https://r.test/v2/x: 429 Too Many Requests",
        "pull access denied for debian, repository does not exist or may require docker login",
        "denied: requested access to the resource is denied",
        "unauthorized: incorrect username or password",
    ],
)
def test_a_registry_that_refuses_decides_nothing(
    build: ModuleType, engine: Callable[..., None], text: str
) -> None:
    """It would for good: scripts/up remembers the answer."""
    engine(refusing(text))
    with pytest.raises(
        build.BuildError, match=r"registry answered(?s:.*)CP_IMAGES=local"
    ) as caught:
        build.probe()
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'Get "https://r.test/v2/": dial tcp: lookup r.test on 9.9.9.9:53: no such host',
        'Get "https://r.test/v2/": dial tcp: lookup r.test: i/o timeout',
        'Get "https://r.test/v2/": dial tcp 10.0.0.1:443: connect: connection refused',
        'Get "https://r.test/v2/": dial tcp 10.0.0.1:443: connect: network is unreachable',
        "dial tcp: lookup r.test: Temporary failure in name resolution",
        'Get "https://r.test/v2/": net/http: request canceled while waiting for connection '
        "(Client.Timeout exceeded while awaiting headers)",
        'Get "https://r.test/v2/": proxyconnect tcp: Forbidden',
        "permission denied while trying to connect to the Docker daemon socket",
        "manifest unknown",
    ],
)
def test_images_are_built_where_no_registry_is_reached_and_that_is_told(
    build: ModuleType, engine: Callable[..., None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine(refusing(text))
    assert build.probe() == "local"
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert text in err


def test_a_slow_registry_is_one_and_a_silent_one_is_none(
    build: ModuleType,
    engine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(build, "PROBE_TIMEOUT_S", 1.5)
    engine("echo 'bookworm-slim: Pulling from library/debian'; exec sleep 60")
    assert build.probe() == "upstream"
    monkeypatch.setattr(build, "PROBE_TIMEOUT_S", 0.1)
    engine("exec sleep 60")
    assert build.probe() == "local"
    assert "within 0.1 s" in capsys.readouterr().err


def apt_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with nothing but an apt-get, which writes what it is asked for there."""
    apt, asked = tmp_path / "apt-get", tmp_path / "asked"
    apt.write_text(f'#!/bin/sh\necho "$*" >>{asked}\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return asked


def test_debootstrap_is_not_installed_where_nothing_may_be(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scripts/up --no-install says so."""
    asked = apt_alone(tmp_path, monkeypatch)
    monkeypatch.setenv("INSTALL", "no")
    with pytest.raises(build.BuildError, match="apt-get install debootstrap"):
        build.image_payloads._ensure_debootstrap("base")
    assert not asked.exists()


def test_debootstrap_is_installed_once_others_are_done_installing(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = apt_alone(tmp_path, monkeypatch)
    build.image_payloads._ensure_debootstrap("base")
    told = asked.read_text().splitlines()
    assert told
    assert all("DPkg::Lock::Timeout=300 install" in line for line in told)


def test_what_is_put_into_an_image_can_be_read_by_whoever_it_runs_as(
    build: ModuleType, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    (context / "site").mkdir(parents=True, mode=0o700)
    for name, mode in (("app.py", 0o600), ("entrypoint.sh", 0o700), ("site/lib.py", 0o640)):
        (context / name).write_text("")
        (context / name).chmod(mode)
    (context / "link").symlink_to("nowhere")
    build.let_all_read(context)
    found = {each.name: each.lstat().st_mode & 0o777 for each in (context, *context.rglob("*"))}
    assert found.pop("link")
    assert found == {
        "context": 0o755,
        "site": 0o755,
        "app.py": 0o644,
        "entrypoint.sh": 0o755,
        "lib.py": 0o644,
    }
