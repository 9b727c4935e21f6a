"""What the pages name is there: files, anchors, settings, commands, options, metrics, log lines.

Whether a sentence is true can't be told by a test; whether what it sends people to exists can.
"""

import ast
import configparser
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics import MetricWrapperBase

from api.middleware import Metrics as ApiMetrics
from api.pulse import Pulse
from controlplane.access import ROLES, Access
from controlplane.arguments import parse
from controlplane.clock import SystemClock
from controlplane.conditions import Reason
from controlplane.metrics import Metrics
from controlplane.settings import PREFIX, Settings
from reconcilers._images import service_image, services, upstream_of
from reconcilers._metrics_rules import RULES
from resources.kinds import KIND_INFOS

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# They may name what is still to be made: a kind or a service that a reader adds.
EXAMPLES = re.compile("gadget|<")
TREES = "api|controlplane|drivers|reconcilers|resources|docs|manifests|scripts|tests"
PATH = re.compile(rf"(?<![\w./-])(?:{TREES})/[\w./<>*-]*[\w>*]")
BARE = re.compile(r"`(\w+\.(?:py|sh))`")
MODULE = re.compile(r"python -m ([\w.]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"```.*?```", re.DOTALL)
INI = re.compile(r"```ini\n(.*?)```", re.DOTALL)
SETTING = re.compile(rf"\b{PREFIX}[A-Z_]+")
SCRIPT = re.compile(r"scripts/([a-z-]+)((?: (?:--)?[\w.:,-]+)+)")
# a command ends with its code span, its line, a comment or a pipe
CONTROL_PLANE = re.compile(r"python -m controlplane ([^`#\n]*[^`#\n ])")
METRIC = re.compile(r"`((?:controlplane|api)_[a-z_]+|watchers)(?:\{([^}]+)\})?`")
GOT = re.compile(r"kubectl (?:-n \S+ )?(?:get|delete|describe|edit|scale) ([a-z,]+)\b")
LOGGED = re.compile(r"log's ((?:`\w+`(?:, | and )?)+)")
SHOWN = {"pods", "services", "deployments"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=name)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for text in headings}


@cache
def sources(*folders: str) -> str:
    """The code of these folders, as one text."""
    files = (p for folder in folders for p in sorted((ROOT / folder).rglob("*")) if p.is_file())
    return "\n".join(p.read_text() for p in files if p.suffix in {".py", ".sh", ""})


@each_page()
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        other = page.parent / target if target else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(link)
    assert broken == []


def test_every_page_is_found_from_the_readme() -> None:
    found = {PAGES[0]}
    while (
        fresh := {
            (page.parent / link.partition("#")[0]).resolve()
            for page in found
            for link in LINK.findall(page.read_text())
            if link.partition("#")[0].endswith(".md") and "://" not in link
        }
        - found
    ):
        found |= fresh
    assert sorted(set(PAGES) - found) == []


@each_page()
def test_files_and_modules_exist(page: Path) -> None:
    text = page.read_text()
    paths = [p for p in PATH.findall(text) if not EXAMPLES.search(p)]
    paths += [f"*/**/{bare}" for bare in BARE.findall(text)]
    modules = [m.replace(".", "/") for m in MODULE.findall(text) if m != "pytest"]
    missing = [p for p in paths if not any(any(ROOT.glob(q)) for q in (p, f"{p}.py"))]
    missing += [
        m
        for m in modules
        if not any((ROOT / f"{m}{end}").exists() for end in (".py", "/__main__.py"))
    ]
    assert missing == []


@each_page()
def test_settings_exist(page: Path) -> None:
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    # what scripts and tests read by themselves is no setting of the control plane
    known |= set(SETTING.findall(sources("scripts", "tests")))
    named = {n for n in SETTING.findall(page.read_text()) if not n.endswith("_")}
    assert named - known == set()


@each_page()
def test_options_of_scripts_exist(page: Path) -> None:
    for script, options in SCRIPT.findall(page.read_text()):
        beside = sorted((ROOT / "scripts").glob(f"{script.removesuffix('s')}_*.py"))
        text = "".join(p.read_text() for p in (ROOT / "scripts" / script, *beside))
        assert [o for o in options.split() if o.startswith("--") and o not in text] == []


@each_page()
def test_commands_of_the_control_plane_can_be_typed_as_they_stand(page: Path) -> None:
    for command in CONTROL_PLANE.findall(page.read_text()):
        words = [re.split(r"[|]", word)[0] for word in shlex.split(command)]
        parse(words, about="", roles=tuple(ROLES))


@each_page()
def test_kinds_that_are_asked_for_are_served(page: Path) -> None:
    served = SHOWN.union(*({i.plural, i.kind.lower(), *i.short_names} for i in KIND_INFOS.values()))
    asked = {word for words in GOT.findall(page.read_text()) for word in words.split(",")}
    assert asked - served == set()


@each_page()
def test_lines_of_the_log_exist(page: Path) -> None:
    logged = sources("api", "controlplane", "drivers", "reconcilers")
    for names in LOGGED.findall(page.read_text()):
        assert [
            n for n in re.findall(r"\w+", names.replace(" and ", " ")) if f'"{n}"' not in logged
        ] == []


class _NoTokens:
    """Nobody logs in here."""

    async def put(
        self, token_hash: bytes, user: str, groups: Sequence[str], expires_at: datetime, /
    ) -> None:
        raise AssertionError(user)

    async def find(self, token_hash: bytes, /) -> None:
        return None

    async def drop(self, token_hash: bytes, /) -> None:
        return None


def metrics() -> dict[str, str]:
    """Every metric that /metrics tells, with its labels."""
    registry = CollectorRegistry()
    Metrics(registry, ["App"])
    ApiMetrics(registry)
    clock = SystemClock()
    Pulse(Access(_NoTokens(), clock), clock, registry)
    return {
        ("%s_total" if isinstance(metric, Counter) else "%s") % family.name: ",".join(
            metric._labelnames  # the library tells them nowhere else
        )
        for metric in registry._collector_to_names
        if isinstance(metric, MetricWrapperBase)
        for family in metric.collect()
    }


def test_operations_lists_every_metric() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+)(?:\{([a-z,]+)\})?` \|", page, re.MULTILINE)
    assert dict(listed) == metrics()


@each_page()
def test_metrics_exist_with_their_labels(page: Path) -> None:
    known = metrics()
    for metric, labels in METRIC.findall(page.read_text()):
        assert metric in known
        assert {label.partition("=")[0] for label in labels.split(",") if label} <= {
            *known[metric].split(",")
        }


def test_platform_lists_every_alert() -> None:
    page = (ROOT / "docs/platform.md").read_text()
    alerts = re.findall(r"alert: (\w+)", RULES)
    assert [alert for alert in alerts if not re.search(rf"\b{alert}\b", page)] == []
    assert set(re.findall(r"\bcontrolplane_[a-z_]+", RULES)) <= set(metrics())


def test_images_lists_every_image_of_a_service() -> None:
    page = (ROOT / "docs/images.md").read_text()
    for service in services():
        ours = service_image(service, source="local")
        upstream = upstream_of(service)
        pulled = f"`{upstream.partition(':')[0]}:<release>`" if upstream else "(always built)"
        row = (service, pulled, f"`{ours.reference}`", ours.user, ours.data_path)
        assert f"| {' | '.join(row)} |" in page


# Modules whose errors no condition shows: they end a command, a start or a request.
ELSEWHERE = re.compile(
    r"controlplane/(store/|settings|secrets|vaulted|moving|agent)|drivers/(fake/|docker_streams|push)"
    r"|reconcilers/podstreams"
)
REASON = re.compile("[A-Z][a-z]+(?:[A-Z][a-z]+)*")


def reasons() -> set[str]:
    """What conditions are given as their reason, as far as the code has it as text."""
    found = {str(reason) for reason in Reason}
    for folder in ("controlplane", "drivers", "reconcilers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not ELSEWHERE.match(name(path)):
                for given in given_reasons(ast.parse(path.read_text())):
                    found |= set(texts(given))
    images = "".join(p.read_text() for p in sorted((ROOT / "manifests/images").rglob("*.py")))
    errors = re.findall(r"(?:Load|Fetch)Error\(\s*\"(\w+)\"", images)
    refusals = re.findall(
        r"Refused\(\"(\w+)\"", (ROOT / "manifests/images/mail/mailctl").read_text()
    )
    return {*found, *errors, *refusals} - {""}


def given_reasons(tree: ast.Module) -> Iterator[ast.expr]:
    """Every expression that becomes a reason: of an error, a wait, a report or a condition, or the
    first of a pair (reason, message) that a function returns."""
    places = {"Wait": 0, "Fact": 1, "Report": 2, "Refused": 0, "Served": 0}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=made), args=args, keywords=keywords):
                yield from (word.value for word in keywords if word.arg == "reason")
                if made in places and len(args) > places[made]:
                    yield args[places[made]]
            case ast.Return(value=ast.Tuple(elts=[reason, _])):
                yield reason
            case _:
                pass


def texts(given: ast.expr) -> Iterator[str]:
    """The reasons among the values that an expression can have."""
    match given:
        case ast.Constant(value=str(text)) if REASON.fullmatch(text):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*texts(one), *texts(other))
        case _:
            pass  # a name or a call: what it can be is text elsewhere


def test_every_reason_is_explained_and_exists() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    given = reasons()
    assert len(given) > 100, "they are no longer found where they are given"
    assert given - explained == set()
    code = sources("controlplane", "drivers", "reconcilers", "manifests/images")
    made_up = {word for word in explained if f'"{word}"' not in code}
    # {kind}Missing and {kind}NotReady: what an App's variables and files come from
    assert made_up == {"ConfigMapMissing", "DatabaseNotReady"}


@each_page()
def test_who_applies_a_service_of_the_platform_applies_its_namespace_too(page: Path) -> None:
    for line in page.read_text().splitlines():
        if re.search(r"kubectl apply .*manifests/platform/[a-z]", line):
            assert "manifests/platform/00-namespace.yaml" in line


def test_no_unit_is_kept_down_by_failures_at_boot() -> None:
    """By systemd's own default five within ten seconds are enough, with RestartSec=1."""
    shown = [
        parsed
        for page in PAGES
        for text in INI.findall(page.read_text())
        if "Service" in (parsed := unit(text))
    ]
    assert shown
    for each in shown:
        assert each["Service"]["Restart"] == "always"
        assert each["Unit"].get("StartLimitIntervalSec") == "0"


def unit(text: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.read_string(text)
    return parsed
