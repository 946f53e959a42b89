"""Which addresses no upstream may have: those that hand out a cloud machine's own credentials.

The door is `is_forbidden`. Private ranges are not among them: that is where vLLM and Ollama answer.
"""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["is_forbidden"]

_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")  # outside the link-local ranges
)
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal"})


def is_forbidden(host: str) -> bool:
    """Whether a host is a link-local or metadata address, however it is written; names are not looked up.

    Args:
        host: A name, or an IPv4 or IPv6 address without brackets; "2852039166" and "0xa9fea9fe" count as IPv4, since
            the operating system takes them so.

    Example:
        >>> is_forbidden("169.254.169.254"), is_forbidden("::ffff:169.254.169.254"), is_forbidden("10.0.0.7")
        (True, True, False)
    """
    if host.rstrip(".").lower() in _METADATA_NAMES:
        return True
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or _nat64(address)
        address = embedded or ipaddress.IPv6Address(int(address))  # without its zone, which equality would look at
    return address is not None and (address.is_link_local or address in _METADATA)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    is_translated = address in ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if is_translated else None
