"""Addresses of each type: what is accepted, what is refused, and that none is ever shown."""

from __future__ import annotations

import pytest

from pggit_analytics.delivery.addresses import WEBHOOK_TYPES, Address, parse_address
from pggit_analytics.errors import InvalidAddress, InvalidArgument

KEY = "0123456789abcdefABCDEF0123456789"
SECRET = "sixteen-chars-16"


@pytest.mark.parametrize(
    ("webhook_type", "text", "expected"),
    [
        (
            "slack",
            " https://hooks.slack.com/services/T0/B0/x\n",
            Address("https", "https://hooks.slack.com/services/T0/B0/x", None, "hooks.slack.com", 443, True),
        ),
        (
            "mattermost",
            "https://chat.example.com:8443/hooks/x",
            Address("https", "https://chat.example.com:8443/hooks/x", None, "chat.example.com", 8443, True),
        ),
        (
            "pagerduty",
            f"https://events.eu.pagerduty.com/v2/enqueue#{KEY}",
            Address("https", "https://events.eu.pagerduty.com/v2/enqueue", KEY, "events.eu.pagerduty.com", 443, True),
        ),
        (
            "pagerduty",
            KEY,
            Address("https", "https://events.pagerduty.com/v2/enqueue", KEY, "events.pagerduty.com", 443, True),
        ),
        (
            "webhook",
            f"https://[2606:4700::1]/in?token=a#{SECRET}#%20",
            Address("https", "https://[2606:4700::1]/in?token=a", f"{SECRET}#%20", "2606:4700::1", 443, True),
        ),
        (
            "email",
            "smtps://user:pass@mail.example.com?from=a+b@example.com",
            Address(
                "smtps",
                "smtps://user:pass@mail.example.com?from=a+b@example.com",
                None,
                "mail.example.com",
                465,
                True,
                "user",
                "pass",
                "a+b@example.com",
            ),
        ),
        (
            "email",
            "smtp://a%40b:p%23%2F%3A@mail.example.com:2525?from=a%40b.example",
            Address(
                "smtp",
                "smtp://a%40b:p%23%2F%3A@mail.example.com:2525?from=a%40b.example",
                None,
                "mail.example.com",
                2525,
                True,
                "a@b",
                "p#/:",
                "a@b.example",
            ),
        ),
        (
            "email",
            "smtp://mail.example.com?from=a@b",
            Address("smtp", "smtp://mail.example.com?from=a@b", None, "mail.example.com", 587, True, sender="a@b"),
        ),
    ],
)
def test_an_address_is_read(webhook_type: str, text: str, expected: Address) -> None:
    assert parse_address(webhook_type, text) == expected


@pytest.mark.parametrize(
    ("webhook_type", "text", "port"),
    [
        ("slack", "http://localhost/hook", 80),
        ("mattermost", "http://10.0.0.5:8065/hooks/x", 8065),
        ("pagerduty", f"http://localhost/v2/enqueue#{KEY}", 80),
        ("webhook", f"http://[::1]/in#{SECRET}", 80),
        ("email", "smtp://relay?from=a@b&tls=none", 25),
    ],
)
def test_without_tls_only_where_private_targets_are_allowed(webhook_type: str, text: str, port: int) -> None:
    with pytest.raises(InvalidAddress, match="--allow-private"):
        parse_address(webhook_type, text)
    address = parse_address(webhook_type, text, allow_private=True)
    assert (address.is_tls, address.port) == (False, port)


@pytest.mark.parametrize(
    ("webhook_type", "text", "fault"),
    [
        ("slack", "", "is empty or has a character"),
        ("slack", "#", "is empty or has a character"),
        ("slack", "topsecret", "is no URL such as"),
        ("slack", "https:///topsecret", "is no URL such as"),
        ("slack", "https://host/top secret", "has a character that a URL cannot have"),
        ("slack", "https://host/topsecret\r\nX: y", "has a character that a URL cannot have"),
        ("slack", "https://host\\@topsecret/", "has a character that a URL cannot have"),
        ("slack", "https://hôst/topsecret", "has a character that a URL cannot have"),
        ("slack", "https://host:0/topsecret", "is no URL such as"),
        ("slack", "https://host:99999/topsecret", "its host or port cannot be read"),
        ("slack", "https://host:port/topsecret", "its host or port cannot be read"),
        ("slack", "https://[::1/topsecret", "its host or port cannot be read"),
        ("slack", "https://ho%73t/topsecret", "is no URL such as"),
        ("slack", "https://host/" + "topsecret" * 300, "has 2713 characters, at most 2048"),
        ("slack", "ftp://host/topsecret", "does not begin with https://"),
        ("slack", "https://host/topsecret#x", "has a part after #"),
        ("mattermost", "https://host/topsecret#", "has a part after #"),
        ("pagerduty", "topsecret", "is no URL such as"),
        ("pagerduty", "https://host/topsecret", "an integration key of 32 characters"),
        ("pagerduty", f"https://host/topsecret#{KEY}0", "an integration key of 32 characters"),
        ("webhook", "https://host/topsecret", "a secret of 16 characters or more"),
        ("webhook", f"https://host/topsecret#{SECRET[1:]}", "a secret of 16 characters or more"),
        ("webhook", "https://host/topsecret#blanks are no good", "has a character that a URL cannot have"),
        ("email", "https://host/topsecret", "does not begin with smtps://"),
        ("email", "smtps://u:topsecret@host", "does not say whom messages are from"),
        ("email", "smtps://u:topsecret@host?from=me", "does not say whom messages are from"),
        ("email", "smtps://u:topsecret@host?from=a@b%0d%0aBcc:c@d", "does not say whom messages are from"),
        ("email", "smtps://u:topsecret@host?from=a@b&to=c@d", "an option other than from and tls"),
        ("email", "smtps://u:topsecret@host?from=a@b&from=c@d", "or one of them twice"),
        ("email", "smtps://u:topsecret@host/path?from=a@b", "has a path"),
        ("email", "smtps://u:topsecret#x@host?from=a@b", "its host or port cannot be read"),
        ("email", "smtps://u:topsecret@host?from=a@b#x", "has a path or a part after #"),
        ("email", "smtps://u@host?from=a@b", "has a user without a password"),
        ("email", "smtps://u:t%C3%B6psecret@host?from=a@b", "other than printable ASCII"),
        ("email", "smtps://u:t%0d%0apsecret@host?from=a@b", "other than printable ASCII"),
        ("email", "smtps://u:topsecret@host?from=a@b&tls=none", "other than tls=none"),
        ("email", "smtp://u:topsecret@host?from=a@b&tls=none", "a password is never sent unencrypted"),
        ("email", "smtp://host?from=a@b&tls=maybe", "other than tls=none"),
    ],
)
def test_what_is_wrong_is_said_and_the_address_is_not_repeated(webhook_type: str, text: str, fault: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(webhook_type, text, allow_private=fault != "other than tls=none")
    assert str(caught.value).startswith(f"the address of a webhook of type {webhook_type} ")
    assert fault in str(caught.value)
    assert "secret" not in str(caught.value).replace("a secret of", "")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert caught.value.exit_code == 2


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(
        InvalidArgument, match=r"^the type of a webhook is 'teams', expected one of slack, mattermost, "
    ):
        parse_address("teams", "https://host/topsecret")


def test_an_address_shows_as_three_stars() -> None:
    texts = [f"https://host/topsecret#{SECRET}", f"https://host/topsecret#{KEY}", "https://host/topsecret"]
    texts = [*texts, "smtps://u:topsecret@host?from=a@b"]
    types = dict(zip(["webhook", "pagerduty", "slack", "email"], texts, strict=True))
    for webhook_type, text in types.items():
        address = parse_address(webhook_type, text)
        assert f"{address} {address!r} {[address]}" == "*** *** [***]"
    assert {*types, "mattermost"} == set(WEBHOOK_TYPES)
