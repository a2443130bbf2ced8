"""Charts as SVG for a page and as PNG for a message, without a browser, JavaScript at hand or the network."""

from __future__ import annotations

import re
import struct
import textwrap
import zlib
from typing import Any

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

#: what a chart is drawn with -> the same on a dark page; the page's style sheet swaps them
INK, QUIET, GRID, PAPER = "#1b1f24", "#565e68", "#dfe3e8", "#ffffff"
BAND, LINE, HIGH, SLOW, MARK = "#d6e4f5", "#1f5fae", "#6f9fd8", "#b3261e", "#8a4b00"
PHASES = ("#1f5fae", "#a04a00", "#1a7145")
SHARES = ("#eef3fa", "#cfe0f5", "#9fc2ea", "#4f86c9", "#1c4f93")
ON_SHARES = ("#1b1f25", "#1b1f25", "#1b1f25", "#fffffe", "#fffffe")
DARK = {
    INK: "#e6e8eb",
    QUIET: "#a9b1ba",
    GRID: "#343a42",
    PAPER: "#1a1d21",
    BAND: "#24405f",
    LINE: "#7fb4f5",
    HIGH: "#5585bd",
    SLOW: "#ff8a80",
    MARK: "#ffb866",
    PHASES[1]: "#ffb27a",
    PHASES[2]: "#7bd3a3",
    SHARES[0]: "#20262e",
    SHARES[1]: "#24384f",
    SHARES[2]: "#2c5580",
    SHARES[3]: "#5a93d6",
    SHARES[4]: "#a9cdf8",
    ON_SHARES[0]: "#e6e8ea",
    ON_SHARES[3]: "#0c1116",
}

#: measured with a font that comes along; on a page the reader's own takes its place
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_PNG_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_TAG, _NUMBER = re.compile(r"<[^>]*>"), re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_NOISE = (
    re.compile(r'<path class="(?:background|foreground)"[^>]*/>'),
    re.compile(
        r" (?:class|role|aria-roledescription|aria-label|aria-hidden|pointer-events|stroke-miterlimit|font-family)"
        r'="[^"]*"'
    ),
    re.compile(r' (?:opacity="1"|stroke-width="1"|fill-opacity="1")'),
)
_EMPTY = re.compile(r"<g[^>]*></g>|<g[^>]*/>")


def svg(chart: alt.TopLevelMixin, *, label: str) -> Markup:
    """The chart as an SVG element that scales with its place and is read as ``label``.

    Args:
        chart: drawn with the colours of this module.
        label: says in words what the chart shows.
    """
    drawn = vl_convert.vegalite_to_svg(_specification(chart, _FONT, background=None))
    opening, _, inside = drawn.partition(">")
    size = re.search(r'viewBox="([^"]*)"', opening)
    assert size is not None, "a drawing has a viewBox"
    for noise in _NOISE:
        inside = noise.sub("", inside)
    inside = _TAG.sub(lambda tag: _NUMBER.sub(_rounded, tag[0]), inside)
    while (shorter := _EMPTY.sub("", inside)) != inside:
        inside = shorter
    _, _, width, _ = size[1].split()
    return Markup('<svg viewBox="{}" style="max-width:{}px" role="img" aria-label="{}" fill="none">{}').format(
        size[1],
        width,
        label,
        Markup(inside),  # noqa: S704 - drawn by the library, which escapes texts
    )


def png(chart: alt.TopLevelMixin, *, title: str, subtitle: str = "") -> bytes:
    """The chart as a PNG that can stand by itself: on white, with a title, twice the resolution of a page."""
    drawn = _specification(chart, _PNG_FONT, background=PAPER)
    drawn["title"] = {"text": textwrap.wrap(title, 88), "subtitle": textwrap.wrap(subtitle, 120)}
    return _compressed(bytes(vl_convert.vegalite_to_png(drawn, scale=2)))


def _compressed(picture: bytes) -> bytes:
    """The same PNG with its pixels compressed as well as zlib can: a third of what the library writes in haste."""
    chunks: list[tuple[bytes, bytes]] = []
    place = len(_PNG_SIGNATURE)
    while place < len(picture):
        length, kind = struct.unpack_from(">I4s", picture, place)
        chunks.append((kind, picture[place + 8 : place + 8 + length]))
        place += 12 + length
    pixels = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    before = [chunk for chunk in chunks if chunk[0] not in {b"IDAT", b"IEND"}]
    chunks = [*before, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def style(*, selector: str = "svg") -> Markup:
    """CSS that gives the charts their colours of a dark page."""
    rules = [
        f'{selector} [{attribute}="{light}"]{{{attribute}:{dark}}}'
        for light, dark in DARK.items()
        for attribute in ("fill", "stroke")
    ]
    return Markup("\n".join(rules))  # noqa: S704 - constants


def _specification(chart: alt.TopLevelMixin, font: str, *, background: str | None) -> dict[str, Any]:
    # tests check the charts against the schema; here that takes longer than drawing them
    with debug_mode(False):
        made: dict[str, Any] = chart.to_dict(validate=False)
    made["padding"] = 4 if background is None else 16
    made["config"] = {
        "font": font,
        "background": background or "transparent",
        "aria": False,
        "view": {"stroke": None},
        "axis": {
            "labelColor": QUIET,
            "titleColor": QUIET,
            "tickColor": GRID,
            "domainColor": GRID,
            "gridColor": GRID,
            "labelFontSize": 12,
        },
        "text": {"fontSize": 12, "color": INK},
        "title": {
            "anchor": "start",
            "color": INK,
            "subtitleColor": QUIET,
            "fontSize": 17,
            "subtitleFontSize": 13,
            "offset": 12,
        },
    }
    return made


def _rounded(number: re.Match[str]) -> str:
    """To a tenth of a pixel."""
    return f"{float(number[0]):.1f}".removesuffix(".0")
