"""A message as Mattermost shows it: Markdown in one coloured attachment."""

from __future__ import annotations

import json
import re
from typing import Any

from pggit_analytics.delivery import limits, parts
from pggit_analytics.delivery.message import Finding, Message

_INVISIBLE = "\N{WORD JOINER}"


def render(message: Message) -> dict[str, Any]:
    """The JSON to post to an incoming webhook: ``text`` (notifications) and ``attachments``.

    Nothing in a name is markup, a link or mentions anybody. What does not fit is counted in "+N more".
    """
    most = parts.most_findings(message)
    return limits.fitted(
        lambda count: _payload(message, count),
        [*range(most, -1, -1)],
        lambda payload: len(json.dumps(payload["attachments"])) <= limits.MATTERMOST_ATTACHMENTS,
    )


def _payload(message: Message, most: int) -> dict[str, Any]:
    attachment: dict[str, Any] = {
        # plain text, but mentions are looked for in it
        "fallback": limits.cut(message.title, 1000, _defused),
        "color": parts.colour(message),
        "text": "\n\n".join(_paragraphs(message, most)),
        "footer": _defused(" · ".join(parts.footer(message))),
    }
    if message.link:
        attachment |= {"title": "Report", "title_link": message.link}
    return {
        "text": f"**{limits.cut(message.headline, limits.MATTERMOST_TEXT - 4, _words)}**",
        "attachments": [attachment],
    }


def _defused(text: str) -> str:
    """Nobody is mentioned, no address becomes a link."""
    text = text.replace("@", f"@{_INVISIBLE}").replace("://", f":{_INVISIBLE}//")
    return re.sub(r"(?i)www\.", lambda found: f"{found[0]}{_INVISIBLE}", text)


def _words(text: str) -> str:
    """Text in which no character is markup; an underscore inside a word is none."""
    return _defused(re.sub(r"([\\`*\[\]#|>~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text))


def _code(text: str) -> str:
    """A name, also in a table: a fence longer than any run of backticks in it."""
    inner = _defused(text).replace("|", "¦")
    fence = "`" * (1 + max(map(len, re.findall("`+", inner)), default=0))
    return f"{fence}{inner}{fence}" if len(fence) == 1 else f"{fence} {inner} {fence}"


def _paragraphs(message: Message, most: int) -> list[str]:
    found = parts.shown(message, most)
    if len(message.findings) == 1:
        paragraphs = [paragraph for finding in found for paragraph in _alone(finding)]
    else:
        paragraphs = ["\n".join(line for finding in found for line in _among_others(finding))]
    paragraphs.append(parts.more(message, most) or "")
    paragraphs.append(_words(parts.together(message)))
    paragraphs += [f"**{_words(label)}**: {_words(text)}" for label, text in parts.advice(message)]
    paragraphs += [_words(aside) for aside in message.asides]
    if message.reproduction:
        again = message.reproduction
        paragraphs.append(f"See it again:\n```sql\n{_fenced(again.sql)}\n```\n```sh\n{_fenced(again.command)}\n```")
    return [paragraph for paragraph in paragraphs if paragraph]


def _alone(finding: Finding) -> list[str]:
    """The headline says what happened: here is since when, and the table."""
    since = parts.since(finding)
    rows = parts.timing_rows(finding)
    table = [f"| {' | '.join(row)} |" for row in (parts.TABLE_HEADER, *rows)] if rows else []
    return [
        _words(f"{since[:1].upper()}{since[1:]}"),
        "\n".join([*table[:1], *(["|---|---:|---:|---:|"] if table else []), *table[1:]]),
        "\n".join(f"- {_words(note)}" for note in parts.notes(finding)),
    ]


def _among_others(finding: Finding) -> list[str]:
    line = ", ".join(part for part in (parts.timing_line(finding), parts.since(finding)) if part)
    return [
        f"- **{finding.severity}** {_code(finding.operation)} {_words(finding.statement)}",
        *(f"  - {_words(text)}" for text in [line, *parts.notes(finding)] if text),
    ]


def _fenced(text: str) -> str:
    """Names with backticks are never in it; an @ in one could still be looked at for mentions."""
    return text.replace("@", f"@{_INVISIBLE}")
