"""One spelling for each IP address: what people write, and what the kernel says, are compared in it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=65_536)
def plain_address(text: str) -> str:
    """As the kernel writes it; an IPv4 address that came over an IPv6 socket as the IPv4 address. What is none stays."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
