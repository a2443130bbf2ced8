"""The documentation's site in Debian's Chromium: nothing is asked of anybody else, and a phone shows all of it.

Run with `make test-all`, or alone: ``tests/browser.sh install && pytest -m browser tests/browser``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium import webdriver

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Leave the test's output alone."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """Where the site is served, and its pages."""
    directory = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(directory))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", sorted(file.name for file in directory.glob("*.html"))
        server.shutdown()
        thread.join()


def test_nothing_is_asked_of_anybody_else_and_no_page_is_wider_than_a_phone(
    chromium: webdriver.Chrome, site: tuple[str, list[str]]
) -> None:
    address, pages = site
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert len(pages) > 20
    for page in pages:
        chromium.get_log("performance")
        chromium.get(f"{address}{page}")
        logged = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in logged if one["method"] == "Network.requestWillBeSent"]
        assert f"{address}{page}" in asked
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == [], page
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= screen["width"], page


def test_the_search_finds_a_page_without_asking_anybody_else(
    chromium: webdriver.Chrome, site: tuple[str, list[str]]
) -> None:
    address, _ = site
    chromium.get_log("performance")
    chromium.get(f"{address}index.html?q=snooze")
    script = """
        const done = arguments[0], look = () => {
            const found = document.querySelectorAll('.md-search-result__link');
            found.length ? done([...found].map(one => one.href)) : setTimeout(look, 50);
        };
        look();
    """
    chromium.set_script_timeout(60)
    found = chromium.execute_async_script(script)
    assert any("notifications.html" in link or "tasks.html" in link for link in found)
    logged = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in logged if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
