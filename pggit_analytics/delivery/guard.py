"""Which addresses of the network a channel may not lead to: those that only exist inside somebody's network.

Whoever may name a channel's URL could otherwise make this process talk to services that trust their neighbours, such
as the metadata service of a cloud. The check is made on addresses, never on names, and on the very address that is
connected to: what a name meant a moment ago does not matter.

The networks are those of the IANA registries of special-purpose addresses (RFC 6890 and its successors) that are not
globally reachable, listed here because the standard library's own list differs between releases of Python.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from pggit_analytics.errors import ForbiddenAddress

_IPV4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a carrier's private"),
        ("127.0.0.0/8", "a loopback"),
        ("169.254.0.0/16", "a link-local"),
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a reserved"),
        ("192.0.2.0/24", "a reserved"),
        ("192.88.99.0/24", "a reserved"),
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a reserved"),
        ("198.51.100.0/24", "a reserved"),
        ("203.0.113.0/24", "a reserved"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),
    )
)

_IPV6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "an unspecified"),
        ("::1/128", "a loopback"),
        ("fc00::/7", "a private"),
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a private"),
        ("ff00::/8", "a multicast"),
        ("64:ff9b:1::/48", "a private"),
        ("2001::/23", "a reserved"),
        ("2001:db8::/32", "a reserved"),
        ("3fff::/20", "a reserved"),
    )
)

#: all that is handed out for the public internet so far; whatever is outside and not translated below is reserved
_GLOBAL_UNICAST = IPv6Network("2000::/3")

#: networks of IPv6 in which an address of IPv4 is embedded, and how far it is from the right
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def check_peer(address: str) -> None:
    """Let an address pass only if it belongs to the public internet.

    Args:
        address: of IPv4 or IPv6, as a socket's ``getpeername`` gives it.

    Raises:
        ForbiddenAddress: it is loopback, private, link-local, of a carrier's NAT, multicast, unspecified or reserved,
            or a form of IPv6 (mapped, 6to4, NAT64) that stands for such an address.
    """
    kind = _forbidden_kind(ip_address(address))
    if kind:
        raise ForbiddenAddress(
            f"{address} is {kind} address; if it is meant, allow private ones on this webhook (--allow-private)"
        )


def _forbidden_kind(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4 if address in network), None)
    if address.scope_id:  # of one link; networks never contain such addresses
        return "a link-local"
    for network, shift in _EMBEDDING:
        if address in network:
            return _forbidden_kind(IPv4Address((int(address) >> shift) & 0xFFFF_FFFF))
    kind = next((kind for network, kind in _IPV6 if address in network), None)
    return kind or (None if address in _GLOBAL_UNICAST else "a reserved")
