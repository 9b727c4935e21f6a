"""scripts/images: obtain the images that Databases, Apps and the control plane run from.

  scripts/images                       what the quickstart needs: base, postgres:18, redis:7, demo
  scripts/images --only postgres:16    some (their base comes along)
  scripts/images --platform            those, and what the services of the platform run from
  scripts/images --all                 also every PostgreSQL major and the control plane's own image
  scripts/images --list                what there is, and what is built
  scripts/images --probe               print `upstream` or `local`: what this host can use

`--source local` builds manifests/images/ here from Debian, PyPI and npm packages; `upstream`
pulls the pinned public images; `auto` pulls where a registry answers and builds elsewhere.
A built image carries the hash of its recipe, so a second run builds nothing. docs/images.md
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import image_payloads  # noqa: E402  # found through the path set above
from image_steps import BuildError, run, say  # noqa: E402

from reconcilers import _images as catalogue  # noqa: E402

RECIPES = ROOT / "manifests/images"
LABEL = "bunker.cloud/recipe"
QUICKSTART = ("postgres:18", "redis:7", "demo")
PROBE_TIMEOUT_S = 30
"""A registry that can't serve a 30 MB image's manifest in this time is of no use here."""
REFUSED = re.compile(
    r"toomanyrequests|too many requests|\b429\b|\bdenied: |access denied|unauthorized: ",
    re.IGNORECASE,
)
"""In the engine's words: a registry is there, and gives this host nothing for now. All else, from
"no such host" to a proxy's "Forbidden", is what a host without a registry may say."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one local image comes to be: a Dockerfile, and what is laid beside it."""

    name: str
    reference: str
    folder: Path
    inputs: str = ""
    """What the result depends on beside the files of the folder; part of its hash."""
    args: tuple[str, ...] = ()
    payload: Callable[[Path, str], None] | None = None
    upstream: str = ""
    """The public image that takes its place with `--source upstream`; "": always built here."""

    def digest(self, base: str) -> str:
        """Hash of everything that the image is made from."""
        sums = hashlib.sha256(f"{base}\n{self.inputs}\n{self.args}\n".encode())
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            sums.update(f"{path.relative_to(self.folder)} {path.stat().st_mode:o}\n".encode())
            sums.update(path.read_bytes())
        return sums.hexdigest()[:16]


def recipes() -> dict[str, Recipe]:
    """Every recipe but the base's, by the name used on the command line."""
    found = [
        Recipe(
            name=f"postgres:{major}",
            reference=(image := catalogue.image_for("postgres", major, source="local")).reference,
            folder=RECIPES / "postgres",
            inputs=image.release,
            args=(f"MAJOR={major}", f"DATA_PATH={image.data_path}", f"PGDATA={_pgdata(major)}"),
            payload=partial(_postgres, major),
            upstream=catalogue.image_for("postgres", major, source="upstream").reference,
        )
        for major in catalogue.versions("postgres")
    ]
    found += [
        Recipe(
            name=f"redis:{version}",
            reference=catalogue.image_for("redis", version, source="local").reference,
            folder=RECIPES / "redis",
            upstream=catalogue.image_for("redis", version, source="upstream").reference,
        )
        for version in catalogue.versions("redis")
    ]
    found += [
        Recipe(
            name=name,
            reference=(image := catalogue.service_image(name, source="local")).reference,
            folder=RECIPES / name,
            inputs=image.release,
            payload=image_payloads.SERVICES.get(name),
            upstream=catalogue.upstream_of(name),
        )
        for name in catalogue.services()
    ]
    found.append(Recipe("demo", catalogue.DEMO, RECIPES / "demo"))
    found.append(Recipe("wireguard", catalogue.WIREGUARD, RECIPES / "wireguard"))
    found.append(
        Recipe(
            name="llamacpp",
            reference=catalogue.LLAMACPP,
            folder=RECIPES / "llamacpp",
            payload=image_payloads.wheels,
        )
    )
    found.append(
        Recipe(
            name="control-plane",
            reference=catalogue.CONTROL_PLANE,
            folder=RECIPES / "control-plane",
            inputs=_tree_digest(),
            payload=image_payloads.control_plane,
        )
    )
    return {recipe.name: recipe for recipe in found}


def _postgres(major: str, context: Path, name: str) -> None:
    image_payloads.postgres(context, major, name)


def _pgdata(major: str) -> str:
    """As in the public image: https://github.com/docker-library/postgres/pull/1259"""
    below = f"{major}/docker" if int(major) >= 18 else "data"
    return f"/var/lib/postgresql/{below}"


def _tree_digest() -> str:
    """Hash of our own sources, which the control plane's image carries."""
    sums = hashlib.sha256()
    for folder in ("api", "controlplane", "drivers", "reconcilers", "resources"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                sums.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    lock = ROOT / "requirements.lock"
    sums.update(lock.read_bytes() if lock.exists() else b"")
    return sums.hexdigest()


class TooSlowError(BuildError):
    """The engine was not done in time."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said
        """Its output by then."""


# --- the engine ------------------------------------------------------------------------------


def _docker(*argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *argv], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as exc:
        raise BuildError(
            "the docker command is missing: install the distribution's docker"
        ) from exc
    except subprocess.TimeoutExpired as exc:
        # bytes, whatever was asked for: https://github.com/python/cpython/issues/87597
        said = (exc.stdout or b"").decode(errors="replace")
        raise TooSlowError(f"docker {argv[0]} was not done within {timeout_s} s", said) from exc


def recipe_of(reference: str) -> str | None:
    """The recipe hash an image was built from ("" if it has none), None if there is no image."""
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    done = _docker("image", "inspect", "--format", form, reference)
    return done.stdout.strip().replace("<no value>", "") if done.returncode == 0 else None


def size_of(reference: str) -> str:
    """Its size as a person reads it; "" if there is no such image."""
    done = _docker("image", "inspect", "--format", "{{.Size}}", reference)
    return f"{int(done.stdout) / 1e6:.0f} MB" if done.returncode == 0 else ""


def _build_args() -> list[str]:
    """The host's apt proxy, if it has one; these two names never end up in an image's history."""
    argv: list[str] = []
    for scheme in ("http", "https"):
        key = f"Acquire::{scheme}::Proxy"
        argv_config = ["apt-config", "shell", "PROXY", key]
        done = subprocess.run(argv_config, capture_output=True, text=True, check=False)
        if value := done.stdout.strip().removeprefix("PROXY=").strip("'"):
            argv += ["--build-arg", f"{scheme}_proxy={value}"]
    return argv


# --- building and pulling --------------------------------------------------------------------


def ensure_base(*, source: catalogue.Source, refresh: bool) -> str:
    """The base image, built or pulled; returns the hash that its dependants include."""
    name, reference = "base", catalogue.BASE
    if source == "upstream":
        digest = hashlib.sha256(catalogue.BASE_UPSTREAM.encode()).hexdigest()[:16]
        _pull(name, catalogue.BASE_UPSTREAM, refresh=refresh)
        run(name, ["docker", "tag", catalogue.BASE_UPSTREAM, reference])
        return digest
    digest = Recipe(name, reference, RECIPES / "base").digest(image_payloads.SUITE)
    if not refresh and recipe_of(reference) == digest:
        say(name, f"up to date ({reference})")
        return digest
    with tempfile.TemporaryDirectory(prefix="bunker-images-") as folder:
        tree = Path(folder) / "root"
        image_payloads.base_tree(tree, name)
        say(name, "importing")
        packed = Path(folder) / "root.tar"
        run(name, ["tar", "-C", str(tree), "--numeric-owner", "-cf", str(packed), "."])
        change = ["--change", f'LABEL {LABEL}="{digest}"', "--change", 'CMD ["bash"]']
        run(name, ["docker", "import", *change, str(packed), reference])
    say(name, f"built {reference}, {size_of(reference)}")
    return digest


def ensure(recipe: Recipe, base: str, *, source: catalogue.Source, refresh: bool) -> None:
    """One image, pulled or built; nothing if it is there from the same recipe."""
    if source == "upstream" and recipe.upstream:
        _pull(recipe.name, recipe.upstream, refresh=refresh)
        return
    digest = recipe.digest(base)
    if not refresh and recipe_of(recipe.reference) == digest:
        say(recipe.name, f"up to date ({recipe.reference})")
        return
    started = time.monotonic()
    say(recipe.name, "building")
    with tempfile.TemporaryDirectory(prefix="bunker-images-") as folder:
        context = Path(folder) / "context"
        _copy_recipe(recipe.folder, context)
        if recipe.payload is not None:
            recipe.payload(context, recipe.name)
        let_all_read(context)
        # The host's network: a fresh host's bridge may have no name service for a build.
        argv = ["docker", "build", "--network=host", "--force-rm", "-t", recipe.reference]
        argv += ["--no-cache"] if refresh else []
        argv += ["--label", f"{LABEL}={digest}", *_build_args()]
        for arg in recipe.args:
            argv += ["--build-arg", arg]
        run(recipe.name, [*argv, str(context)])
    took = time.monotonic() - started
    say(recipe.name, f"built {recipe.reference}, {size_of(recipe.reference)}, in {took:.0f} s")


def _copy_recipe(folder: Path, context: Path) -> None:
    context.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (context / path.name).write_bytes(path.read_bytes())
            (context / path.name).chmod(path.stat().st_mode & 0o777)


def let_all_read(context: Path) -> None:
    """Modes as of umask 022: what an image runs is not root's, who may have 077."""
    for path in (context, *context.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


def _pull(name: str, reference: str, *, refresh: bool) -> None:
    if not refresh and recipe_of(reference) is not None:
        say(name, f"present ({reference})")
        return
    say(name, f"pulling {reference}")
    run(name, ["docker", "pull", reference])
    say(name, f"pulled {reference}, {size_of(reference)}")


def probe() -> catalogue.Source:
    """Whether public images can be had here: asked with the smallest one that we need.

    Raises BuildError where a registry is there and refuses: scripts/up remembers what it is told
    here, and data should not have its images from elsewhere for good as one request was refused.
    """
    if _docker("image", "inspect", catalogue.BASE_UPSTREAM).returncode == 0:
        return "upstream"
    try:
        done = _docker("pull", catalogue.BASE_UPSTREAM, timeout_s=PROBE_TIMEOUT_S)
    except TooSlowError as error:
        # The engine says so once it has the manifest: the registry is there, and the line slow.
        if "Pulling from " in error.said:
            return "upstream"
        return _without_registry(str(error))
    if done.returncode == 0:
        return "upstream"
    why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason")
    if REFUSED.search(why):
        raise BuildError(
            f"the registry answered: {why.strip()}\n"
            "    try later, or build all images on this host, for good: CP_IMAGES=local"
        )
    return _without_registry(why.strip())


def _without_registry(why: str) -> catalogue.Source:
    print(f"scripts/images: no public images can be had here: {why}", file=sys.stderr)
    return "local"


# --- the command line ------------------------------------------------------------------------


def show(known: dict[str, Recipe]) -> None:
    """The table of --list."""
    base = Recipe("base", catalogue.BASE, RECIPES / "base").digest(image_payloads.SUITE)
    rows = [("NAME", "LOCAL", "STATE", "SIZE", "UPSTREAM")]
    state = _state(recipe_of(catalogue.BASE), base)
    rows.append(("base", catalogue.BASE, state, size_of(catalogue.BASE), catalogue.BASE_UPSTREAM))
    for recipe in known.values():
        state = _state(recipe_of(recipe.reference), recipe.digest(base))
        size = size_of(recipe.reference)
        rows.append((recipe.name, recipe.reference, state, size, recipe.upstream or "(built)"))
    for row in rows:
        print("{:<15}{:<34}{:<10}{:<9}{}".format(*row))


def _state(found: str | None, wanted: str) -> str:
    if found is None:
        return "missing"
    return "current" if found == wanted else "outdated"


def _chosen(known: dict[str, Recipe], options: argparse.Namespace) -> list[Recipe]:
    names: Sequence[str] = list(known) if options.all else QUICKSTART
    if options.platform and not options.all:
        apart = ("control-plane", *(f"postgres:{m}" for m in catalogue.versions("postgres")))
        names = [*QUICKSTART, *(n for n in known if n not in apart and n not in QUICKSTART)]
    only = options.only
    if only is not None:
        names = [name for name in only.split(",") if name != "base"]
    if unknown := sorted(set(names) - set(known)):
        raise BuildError(f"no image named {', '.join(unknown)}; there are base, {', '.join(known)}")
    return [known[name] for name in names]


def obtain(chosen: list[Recipe], *, source: catalogue.Source, refresh: bool) -> None:
    """The base, then the others, two at a time (apt and docker build wait more than they work)."""
    base = ensure_base(source=source, refresh=refresh)
    with ThreadPoolExecutor(max_workers=2) as pool:
        one = partial(ensure, base=base, source=source, refresh=refresh)
        futures = {recipe.name: pool.submit(one, recipe) for recipe in chosen}
    failed = [f"{name}: {error}" for name, f in futures.items() if (error := f.exception())]
    if failed:
        raise BuildError("\n".join(failed))


def _arguments() -> argparse.Namespace:
    summary = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("scripts/images", description=__doc__, formatter_class=summary)
    default = os.environ.get("CP_IMAGES") or "auto"
    parser.add_argument("--source", choices=("upstream", "local", "auto"), default=default)
    parser.add_argument("--only", metavar="NAME,...", help="some images, e.g. postgres:16,redis:7")
    parser.add_argument("--platform", action="store_true", help="also the platform's services")
    parser.add_argument("--all", action="store_true", help="every image")
    parser.add_argument("--refresh", action="store_true", help="build or pull again regardless")
    parser.add_argument("--list", action="store_true", help="show images and their state")
    parser.add_argument("--probe", action="store_true", help="print what --source auto would use")
    return parser.parse_args()


def main() -> int:
    """Exit status 0: every image asked for is there."""
    options = _arguments()
    started = time.monotonic()
    try:
        if options.probe:
            print(probe())
            return 0
        known = recipes()
        if options.list:
            show(known)
            return 0
        chosen = _chosen(known, options)
        source: catalogue.Source = probe() if options.source == "auto" else options.source
        obtain(chosen, source=source, refresh=options.refresh)
    except BuildError as error:
        print(f"scripts/images: {error}", file=sys.stderr)
        return 1
    took = time.monotonic() - started
    say("done", f"{len(chosen) + 1} images, source {source}, {took:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
