"""A message as plain text, complete by itself: the e-mail's text part, and ``text`` of the generic webhook."""

from __future__ import annotations

from pggit_analytics.delivery import parts
from pggit_analytics.delivery.message import Finding, Message


def plain(message: Message) -> str:
    """The whole message in lines of text; no line holds more than one statement."""
    most = parts.most_findings(message)
    blocks = [[message.title]]
    blocks += [_finding(finding, is_alone=len(message.findings) == 1) for finding in parts.shown(message, most)]
    blocks.append([parts.more(message, most) or ""])
    blocks.append([parts.together(message), *message.asides])
    blocks += [[f"{label}: {text}"] for label, text in parts.advice(message)]
    if message.reproduction:
        again = message.reproduction
        blocks += [["See it again:", *(f"  {line}" for line in again.sql.splitlines())], [f"  {again.command}"]]
    blocks.append([f"Report: {message.link}" if message.link else ""])
    blocks.append([", ".join(parts.footer(message))])
    kept = ["\n".join(line for line in block if line) for block in blocks]
    return "\n\n".join(block for block in kept if block) + "\n"


def _finding(finding: Finding, *, is_alone: bool) -> list[str]:
    """The headline says what happened to the only one; of several, one each."""
    first = [] if is_alone else [f"{finding.severity}: {finding.sentence}"]
    details = [*parts.text_table(finding)] if is_alone else [parts.timing_line(finding), parts.since(finding)]
    indent = "" if is_alone else "  "
    return [*first, *(f"{indent}{line}" for line in [*details, *parts.notes(finding)] if line)]
