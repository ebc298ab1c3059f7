"""The names of this machine, which tell a request of its own people from one that DNS rebinding brought here."""

import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

# a name or an address, and a port: nothing that urlsplit would read in another way
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
OWN_NAMES = {"localhost", "host.docker.internal"}  # the second is Docker's for the machine that it runs on
OWN_DOMAINS = (".localhost", ".local")  # RFC 6761 and RFC 6762: neither is looked up in the DNS


def host_of(authority: str) -> str | None:
    """The name or address in a Host header, in lower case and without its port; None where it is broken."""
    match = AUTHORITY.fullmatch(authority)
    return match and match[1].lower().strip("[]").rstrip(".")


def origin_authority(origin: str) -> str | None:
    """What a Host header would say for an Origin; None where it is broken, or null."""
    try:
        authority = urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return None
    return authority if host_of(authority) else None


def is_allowed(host: str, allowed_hosts: Collection[str]) -> bool:
    """Whether --allowed_hosts names the host: itself, by *.example.org, or by *."""
    return any(
        allowed in ("*", host) or allowed.startswith("*.") and host.endswith(allowed[1:])
        for allowed in map(str.lower, allowed_hosts)
    )


def is_own(host: str) -> bool:
    """Whether the host is this machine, or an address: a page that got here by rebinding has a name in the DNS."""
    return is_address(host) or host in OWN_NAMES | {socket.gethostname().lower()} or host.endswith(OWN_DOMAINS)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there. Raises OSError where the name leads nowhere."""
    addresses = [info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)
