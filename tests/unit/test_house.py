"""House rules that no other tool checks: sizes, docstrings, unfinished work, foreign paths."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "controlplane", "drivers", "reconcilers", "resources")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40
# They list parts, and a list is easier to read whole.
LISTS = {
    ("reconcilers/agent.py", "make_agent"),
    ("controlplane/engine/term.py", "__init__"),
    ("controlplane/metrics.py", "__init__"),
}

# Spelled so that this file doesn't find itself.
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|NotImplemented" + "Error|pytest.sk" + "ip")
FOREIGN = re.compile(r"(?<![\w.])/(work|root)/|simple/?index|index-" + "url = ")
TEXT = {".py", ".md", ".yaml", ".toml", ".sh", ".lock", ".sql", ".cfg", ""}


def modules(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def texts() -> Iterator[Path]:
    """Every text file that belongs to the repository."""
    places = (*PACKAGES, "tests", "docs", "manifests", "scripts", ".ci")
    for place in places:
        for path in sorted((ROOT / place).rglob("*")):
            if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts:
                yield path
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and path.suffix in TEXT and path.name != ".git":
            yield path


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=name)
def test_module_is_small_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring: say what it is for, and what it is not"
    lines = text.count("\n")
    assert lines <= MAX_MODULE_LINES or re.search(r"lines,? because", text), (
        f"{lines} lines: split it"
    )
    long = {
        f"{node.name} ({length} lines)"
        for node in functions(tree)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
        and (name(path), node.name) not in LISTS
    }
    assert not long


def test_nothing_is_unfinished() -> None:
    found = [
        f"{name(path)}:{number}"
        for path in texts()
        if path.suffix in {".py", ".sh", ".md", ""}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_nothing_names_a_path_of_one_machine() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()[:80]}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert found == []


def test_what_needs_an_engine_is_left_out_where_there_is_none() -> None:
    """`scripts/test --fast` needs only Python; it goes by this marker."""
    needy = (ROOT / "tests/contract/docker").glob("test_*.py")
    assert not [p.name for p in needy if "pytestmark = pytest.mark.docker" not in p.read_text()]


def test_decisions_are_all_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    assert [p.name for p in sorted(folder.glob("0*.md")) if p.name not in index] == []


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 150
