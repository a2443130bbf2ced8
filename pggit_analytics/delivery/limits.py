"""The published limits of the channels, and how a message is made to keep them.

| channel | limit | published at |
| --- | --- | --- |
| Slack | 50 blocks a message | https://docs.slack.dev/reference/block-kit/blocks |
| | header 150, section text 3,000 characters | .../blocks/header-block, .../blocks/section-block |
| | 10 elements of a context block | https://docs.slack.dev/reference/block-kit/blocks/context-block |
| | text: best under 4,000, cut after 40,000 characters | https://docs.slack.dev/reference/methods/chat.postMessage |
| | all blocks together: refused from about 13,200 | https://github.com/slackapi/bolt-js/issues/2509 (measured) |
| Mattermost | message 16,383 characters, 4,000 on old servers | `PostMessageMaxRunesV2`, `PostMessageMaxRunesV1`: |
| | properties (attachments as JSON) 800,000, on old servers 8,000 | server/public/model/post.go of mattermost |
| PagerDuty | event 512 KB | https://developer.pagerduty.com/docs/events-api-v2-overview |
| | summary 1,024, dedup_key 255 characters | https://developer.pagerduty.com/docs/send-alert-event |
| e-mail | 998 octets a line | RFC 5322, section 2.1.1; RFC 5321, section 4.5.3.1.6 |

What a service counts is not always said (characters, UTF-16 units, before or after escaping). Each text is measured by
the larger: after escaping, an emoji as two units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")

SLACK_HEADER = 150
SLACK_SECTION = 3_000
SLACK_TEXT = 4_000
SLACK_TOTAL = 10_000

MATTERMOST_TEXT = 4_000
#: of the 8,000 of old servers the server itself needs some
MATTERMOST_ATTACHMENTS = 7_600

PAGERDUTY_SUMMARY = 1_024
PAGERDUTY_DEDUP_KEY = 255
PAGERDUTY_EVENT_BYTES = 512_000
#: of one value in custom_details, which is read on a phone
PAGERDUTY_DETAIL = 1_000

#: no limit of the standard: longer ones are cut by every reader
EMAIL_SUBJECT = 150

#: a limit of ours: receivers commonly accept more
WEBHOOK_BYTES = 256_000


def utf16_units(text: str) -> int:
    """Length in UTF-16 code units, what JavaScript and Java call the length of a string."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int, escape: Callable[[str], str] = str) -> str:
    """The escaped text, or of its beginning and an ellipsis, at most ``limit`` UTF-16 units after escaping."""
    escaped = escape(text)
    if utf16_units(escaped) <= limit:
        return escaped
    fits, fails = 0, len(text)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if utf16_units(escape(text[:middle] + "…")) <= limit:
            fits = middle
        else:
            fails = middle
    return escape(text[:fits].rstrip() + "…")


def fitted(build: Callable[[int], _T], most: Sequence[int], fits: Callable[[_T], bool]) -> _T:
    """What ``build`` makes of the first number of findings with which it fits; of the last if none does."""
    built = build(most[0])
    for count in most[1:]:
        if fits(built):
            break
        built = build(count)
    return built
