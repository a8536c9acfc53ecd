"""What a process listens on and is connected to, as Linux tells it."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class Socket:
    """One end of TCP or UDP; ``remote`` is 0.0.0.0 or :: where there is no other end."""

    kind: str
    local: Address
    local_port: int
    remote: Address


def sockets_of(pid: int) -> list[Socket]:
    """All sockets of the internet that a process has open."""
    open_ones = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            open_ones.add(os.readlink(descriptor))
        except FileNotFoundError:  # closed meanwhile
            continue
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        table = Path(f"/proc/{pid}/net/{kind}")
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, remote, *rest = line.split()
            if f"socket:[{rest[6]}]" in open_ones:
                address, _, port = local.partition(":")
                found.append(
                    Socket(
                        kind=kind,
                        local=_address(address),
                        local_port=int(port, 16),
                        remote=_address(remote.partition(":")[0]),
                    )
                )
    return found


def is_loopback(socket: Socket) -> bool:
    """Whether neither end is of another machine, and none can come from one."""
    return socket.local.is_loopback and (socket.remote.is_loopback or socket.remote.is_unspecified)


def _address(text: str) -> Address:
    """From hexadecimal words of four bytes, each in the machine's order of bytes (see proc(5))."""
    words = bytes.fromhex(text)
    ordered = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    address = ipaddress.ip_address(ordered)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
