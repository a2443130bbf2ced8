"""The site of the documentation: built without a warning, complete, and fetching nothing from elsewhere."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import click
import pytest
import yaml

from pggit_analytics.cli import cli
from tests.commands import run_here

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: what is made by the hook
MADE = {"tasks.md", "changelog.md", "command_line.md", "frames.md"}


@dataclass
class Page(HTMLParser):
    """What a page refers to."""

    file: Path
    #: fetched when the page is shown
    fetched: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what it refers to."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in {"stylesheet", "icon", "preconnect", "preload"}:
            self.fetched.append(given["href"])
        elif "src" in given:
            self.fetched.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def _named(entries: object) -> set[str]:
    """The files that a part of the navigation names."""
    if isinstance(entries, str):
        return {entries}
    below = entries.values() if isinstance(entries, dict) else entries
    return set().union(*map(_named, below))  # type: ignore[call-overload]


def test_every_document_is_in_the_navigation() -> None:
    configuration = (ROOT / "mkdocs.yml").read_text()
    named = _named(yaml.safe_load(configuration)["nav"])
    assert named == {file.name for file in DOCS.glob("*.md")} | MADE


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for page in pages.values():
        assert page.fetched
        assert [address for address in page.fetched if urlsplit(address).netloc] == [], page.file.name
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//[^)\"']*", sheet.read_text()) == [], sheet.name


def test_every_link_within_the_site_leads_to_a_page_and_to_a_place_on_it(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for page in pages.values():
        for link in [*page.links, *page.fetched]:
            if urlsplit(link).scheme or urlsplit(link).netloc:
                continue
            address, anchor = urldefrag(link)
            target = (page.file.parent / unquote(urlsplit(address).path)).resolve() if address else page.file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                broken.append((page.file.name, link))
    assert [(name, link) for name, link in broken if name != "404.html"] == []


def test_documents_that_are_named_are_linked(site: Path) -> None:
    page = (site / "notebooks.html").read_text()
    assert '<a href="python_api.html">python_api.md</a>' in page
    assert "<code>docs/" not in page


def _words(command: click.Command, *words: str) -> list[tuple[str, ...]]:
    below = command.commands if isinstance(command, click.Group) else {}
    return [words, *(found for name, one in below.items() for found in _words(one, *words, name))]


def test_the_help_of_every_command_is_on_the_page_as_the_command_prints_it(site: Path, pages: dict[Path, Page]) -> None:
    page = (site / "command_line.html").read_text()
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())
    said = run_here("alerts", "snooze", "--help").stdout
    assert " ".join(said.split()) in text
    for words in _words(cli):
        assert f"Usage: {' '.join(('pggit-analytics', *words))} [OPTIONS]" in text


@pytest.mark.parametrize("name", ["connect", "metrics", "incidents", "plot", "tune", "Detections", "NotDeployed"])
def test_the_reference_is_made_of_the_docstrings(pages: dict[Path, Page], name: str) -> None:
    (page,) = [page for file, page in pages.items() if file.name == "python_api.html"]
    assert any(anchor.rpartition(".")[2] == name for anchor in page.anchors)


def test_frames_are_listed_with_their_columns_and_what_is_said_of_them(site: Path) -> None:
    text = (site / "frames.html").read_text()
    assert "One row per finished operation." in text
    assert "<td><code>baseline_p99_ms</code></td>\n<td>Float64</td>\n<td>may be</td>" in text
