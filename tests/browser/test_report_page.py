"""The report in Debian's Chromium: nothing is fetched, nothing overflows, all of it can be reached and read.

Run with `make test-all`, or alone: ``tests/browser.sh install && pytest -m browser tests/browser``.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pggit_analytics.report.page import page

from ..unit.report_rows import HOSTILE, LONG, full, nothing, report, slow

pytestmark = pytest.mark.browser

PAGES = ("full", "empty", "hostile names")

#: visible texts whose contrast with what is behind them is below 4.5; WCAG 2.2, 1.4.3
_FAINT = """
function channel(v) { v /= 255; return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); }
function luminance(c) { return 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]); }
function parsed(text) { const v = text.match(/[\\d.]+/g).map(Number); return v.length > 3 ? v : [...v.slice(0, 3), 1]; }
function over(top, below) { return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])); }
function behind(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(parsed(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
}
function drawnBehind(text) {
  const box = text.getBoundingClientRect(), x = box.left + box.width / 2, y = box.top + box.height / 2;
  for (const shape of text.ownerSVGElement.querySelectorAll('rect, path')) {
    const style = getComputedStyle(shape), area = shape.getBoundingClientRect();
    const holds = area.left <= x && x <= area.right && area.top <= y && y <= area.bottom;
    // cells of a heat map; what else is drawn has no text on it
    if (holds && style.fill !== 'none' && style.stroke !== 'none' && shape.getAttribute('d')?.endsWith('Z'))
      return parsed(style.fill);
  }
  return behind(text.ownerSVGElement);
}
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest('.hidden, .skip')) continue;
  const isDrawn = element instanceof SVGElement, style = getComputedStyle(element);
  const background = isDrawn ? drawnBehind(element) : behind(element);
  const ink = over(parsed(isDrawn ? style.fill : style.color), background);
  const [a, b] = [luminance(ink), luminance(background)].sort((p, q) => q - p);
  const ratio = (a + 0.05) / (b + 0.05);
  seen += 1;
  if (ratio < 4.5) faint.push([walker.currentNode.data.trim().slice(0, 40), ratio.toFixed(2)]);
}
return {seen, faint};
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on disk."""
    directory = tmp_path_factory.mktemp("pages")
    made = {"full": full(), "empty": nothing(), "hostile names": slow(HOSTILE, LONG)}
    files = {}
    for name, rows in made.items():
        files[name] = directory / f"{name.replace(' ', '_')}.html"
        files[name].write_text(page(report(rows)), encoding="utf-8")
    return files


def show(
    chromium: webdriver.Chrome, file: Path, *, width: int = 1280, scheme: str = "light", motion: str = "no-preference"
) -> None:
    """Open a page as a reader with such a screen and such wishes does."""
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    chromium.get(file.as_uri())


def events(chromium: webdriver.Chrome, method: str) -> list[dict[str, Any]]:
    """What the browser's network log holds of one kind."""
    logged = (json.loads(entry["message"])["message"] for entry in chromium.get_log("performance"))
    return [message["params"] for message in logged if message["method"] == method]


@pytest.mark.parametrize("name", PAGES)
def test_no_request_leaves_the_page_and_the_console_is_silent(
    chromium: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    show(chromium, pages[name])
    asked = [event["request"]["url"] for event in events(chromium, "Network.requestWillBeSent")]
    assert pages[name].as_uri() in asked
    assert [url for url in asked if url != pages[name].as_uri() and not url.startswith("data:")] == []
    assert chromium.get_log("browser") == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_the_page_is_no_wider_than_the_screen(
    chromium: webdriver.Chrome, pages: dict[str, Path], name: str, width: int
) -> None:
    show(chromium, pages[name], width=width)
    chromium.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_one_form_of_each_chart_is_shown(chromium: webdriver.Chrome, pages: dict[str, Path], width: int) -> None:
    show(chromium, pages["full"], width=width)
    for figure in chromium.find_elements(By.TAG_NAME, "figure"):
        shown = [one.size["width"] for one in figure.find_elements(By.TAG_NAME, "svg") if one.is_displayed()]
        assert len(shown) == 1
        assert 100 < shown[0] <= width


@pytest.mark.parametrize("name", PAGES)
def test_what_a_screen_reader_gets_is_complete(chromium: webdriver.Chrome, pages: dict[str, Path], name: str) -> None:
    show(chromium, pages[name])
    chromium.execute_cdp_cmd("Accessibility.enable", {})
    nodes = [
        node
        for node in chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        if not node["ignored"] and "role" in node
    ]
    said = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
    roles = [role for role, _ in said]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    for role in ("image", "link", "region", "table", "heading", "article"):
        assert all(name.strip() for kind, name in said if kind == role), role
    assert roles.count("image") == len(
        [one for one in chromium.find_elements(By.CSS_SELECTOR, "figure svg") if one.is_displayed()]
    )
    levels = [
        next(one["value"]["value"] for one in node["properties"] if one["name"] == "level")
        for node in nodes
        if node["role"]["value"] == "heading"
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(
    chromium: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    show(chromium, pages["full"])
    expected = chromium.execute_script(
        "return [...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(one => one.checkVisibility()).map(one => one.outerHTML.slice(0, 120))"
    )
    reached = []
    for _ in expected:
        chromium.switch_to.active_element.send_keys(Keys.TAB)
        found, outline, is_inside = chromium.execute_script(
            "const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);"
            "return [one.outerHTML.slice(0, 120), style.outlineStyle + ' ' + parseFloat(style.outlineWidth),"
            "        box.top >= -1 && box.left >= -1 && box.height > 0]"
        )
        reached.append(found)
        assert outline == "solid 3", found
        assert is_inside, found
    assert reached == expected
    assert 'class="skip"' in reached[0]


def test_the_skip_link_leads_past_the_navigation(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    show(chromium, pages["full"])
    chromium.switch_to.active_element.send_keys(Keys.TAB)
    chromium.switch_to.active_element.send_keys(Keys.ENTER)
    assert chromium.switch_to.active_element.tag_name == "main"
    chromium.switch_to.active_element.send_keys(Keys.TAB)
    assert chromium.execute_script("return document.activeElement.closest('main') !== null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_text_stands_out_from_what_is_behind_it(
    chromium: webdriver.Chrome, pages: dict[str, Path], scheme: str, width: int
) -> None:
    show(chromium, pages["full"], width=width, scheme=scheme)
    chromium.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = chromium.execute_script(_FAINT)
    assert found["seen"] > 150
    assert found["faint"] == []


def test_the_dark_page_is_dark_with_its_charts(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        show(chromium, pages["full"], scheme=scheme)
        brightness[scheme] = chromium.execute_script(
            "const sum = text => text.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0);"
            "return [sum(getComputedStyle(document.body).backgroundColor),"
            "        sum(getComputedStyle(document.querySelector('.chart text')).fill)]"
        )
    (page_by_day, text_by_day), (page_by_night, text_by_night) = brightness["light"], brightness["dark"]
    assert page_by_day > 600
    assert text_by_day < 300
    assert page_by_night < 200
    assert text_by_night > 450


@pytest.mark.parametrize(("motion", "behaviour"), [("no-preference", "smooth"), ("reduce", "auto")])
def test_who_wants_no_motion_gets_none(
    chromium: webdriver.Chrome, pages: dict[str, Path], motion: str, behaviour: str
) -> None:
    show(chromium, pages["full"], motion=motion)
    assert chromium.execute_script("return getComputedStyle(document.documentElement).scrollBehavior") == behaviour
    assert chromium.execute_script("return document.getAnimations().length") == 0


def test_names_are_shown_as_they_are(chromium: webdriver.Chrome, pages: dict[str, Path]) -> None:
    show(chromium, pages["hostile names"])
    texts = [one.get_attribute("textContent") for one in chromium.find_elements(By.CSS_SELECTOR, "article tbody th")]
    assert HOSTILE in texts
    assert LONG in texts
