"""What README and docs show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, matches
from tests.docs.story import Story
from tradewind_server.actions.catalogue import signatures
from tradewind_server.engine.codec import TYPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "clients").rglob("README.md"))]
STORIES = ["README.md", "docs/quickstart.md"]
ALONE = [
    f"docs/{name}.md"
    for name in (
        "diagnostics",
        "watching",
        "subscriptions",
        "finding",
        "testing",
        "pictures",
        "actions",
        "secrets",
        "language",
        "human_tasks",
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES + ALONE)
def test_commands_of_a_page_do_what_it_shows(name: str, tmp_path: Path) -> None:
    """Every command is run in order, and its output compared with the page."""
    with Story(tmp_path) as story:
        assert story.read(ROOT / name) > 0


@pytest.mark.parametrize(
    "name", ["README.md", "docs/quickstart.md", "docs/workers.md", "docs/watching.md", "docs/subscriptions.md"]
)
def test_python_of_a_page_compiles(name: str) -> None:
    """A typing error in an example is found without running it."""
    for block in blocks(ROOT / name):
        if block.language == "python":
            compile(block.text, f"{name}:{block.line}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the repository names one that is there."""
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_api_page_is_as_the_protos_say() -> None:
    """The page of the API is made, not written."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "api_docs.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_event_types_of_the_page_are_those_of_the_engine() -> None:
    """docs/watching.md lists every type that a watcher can see."""
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "watching.md").read_text(), re.M)
    assert [name for name in listed if name[0].isupper() and not name.isupper() and "_" not in name] == sorted(TYPES)


def test_page_of_actions_has_every_parameter() -> None:
    """And no action is missing."""
    page = (ROOT / "docs" / "actions.md").read_text()
    chapters = {heading: text for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.M | re.S)}
    elsewhere = {"std.js": "std.javascript", "std.ssh_proxied": "std.ssh", "std.mistral_http": "std.http"}
    for name, signature in signatures().items():
        text = chapters.get(elsewhere.get(name, name), chapters["Without the world"])
        assert name in page, name
        for parameter in signature.required | (signature.optional or frozenset()):
            assert f"`{parameter}`" in text, f"{name}: {parameter}"


def test_readme_is_short() -> None:
    """250 lines at most."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
        ("ID  NAME", "ID     NAME", True),
        ("one\n", "one\ntwo\n", False),
        ("one\n…", "one\ntwo\n", True),
    ],
)
def test_comparison_sees_what_differs(expected: str, found: str, same: bool) -> None:
    """The ellipsis stands for anything, and nothing else does."""
    assert matches(expected, found) is same
