"""Which addresses may be connected to, after the registries of RFC 6890 and its successors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.delivery.guard import check_peer
from pggit_analytics.errors import ForbiddenAddress

#: first and last of each network, and its kind
FORBIDDEN_IPV4 = [
    ("0.0.0.0", "0.255.255.255", "an unspecified"),
    ("10.0.0.0", "10.255.255.255", "a private"),
    ("100.64.0.0", "100.127.255.255", "a carrier's private"),
    ("127.0.0.0", "127.255.255.255", "a loopback"),
    ("169.254.0.0", "169.254.255.255", "a link-local"),
    ("169.254.169.254", "169.254.169.254", "a link-local"),
    ("172.16.0.0", "172.31.255.255", "a private"),
    ("192.0.0.0", "192.0.0.255", "a reserved"),
    ("192.0.2.0", "192.0.2.255", "a reserved"),
    ("192.88.99.0", "192.88.99.255", "a reserved"),
    ("192.168.0.0", "192.168.255.255", "a private"),
    ("198.18.0.0", "198.19.255.255", "a reserved"),
    ("198.51.100.0", "198.51.100.255", "a reserved"),
    ("203.0.113.0", "203.0.113.255", "a reserved"),
    ("224.0.0.0", "239.255.255.255", "a multicast"),
    ("240.0.0.0", "255.255.255.255", "a reserved"),
]

FORBIDDEN_IPV6 = [
    ("::", "::", "an unspecified"),
    ("::1", "::1", "a loopback"),
    ("::2", "::fffe:ffff:ffff", "a reserved"),
    ("::127.0.0.1", "::10.0.0.1", "a reserved"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "a private"),
    ("100::", "100::ffff:ffff:ffff:ffff", "a reserved"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a reserved"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a private"),
    ("fd00:ec2::254", "fd00:ec2::254", "a private"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a link-local"),
    ("fe80::1%eth0", "2606:4700::1%eth0", "a link-local"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a private"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a multicast"),
]

#: the neighbours of those networks, and servers of the public internet
PUBLIC = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2606:4700::6810:84e5",
    "3ffe:ffff::1",
]


@pytest.mark.parametrize(("first", "last", "kind"), FORBIDDEN_IPV4 + FORBIDDEN_IPV6)
def test_a_special_purpose_address_is_refused_by_its_kind(first: str, last: str, kind: str) -> None:
    for address in (first, last):
        with pytest.raises(ForbiddenAddress) as caught:
            check_peer(address)
        assert str(caught.value).startswith(f"{address} is {kind} address; ")
        assert str(caught.value).endswith("(--allow-private)")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address: str) -> None:
    check_peer(address)


def embedding(form: str, address: str) -> str:
    """An address of IPv6 that stands for one of IPv4."""
    a, b, c, d = (int(part) for part in address.split("."))
    return {
        "IPv4-mapped": f"::ffff:{address}",
        "NAT64": f"64:ff9b::{address}",
        "6to4": f"2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1",
    }[form]


@pytest.mark.parametrize("form", ["IPv4-mapped", "NAT64", "6to4"])
def test_a_form_of_ipv6_is_what_it_stands_for(form: str) -> None:
    for first, last, kind in FORBIDDEN_IPV4:
        for address in (first, last):
            with pytest.raises(ForbiddenAddress, match=f" is {kind} address; "):
                check_peer(embedding(form, address))
    for address in PUBLIC:
        if ":" not in address:
            check_peer(embedding(form, address))


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_every_address_of_a_private_network_is_refused(address: object) -> None:
    with pytest.raises(ForbiddenAddress, match=" is a private address; "):
        check_peer(str(address))
