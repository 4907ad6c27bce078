"""Keep Python processes off the network: only loopback and Unix sockets can be reached.

Tests and notebooks put this folder on PYTHONPATH, so it also holds in Jupyter kernels and in every
Python process that a test or a notebook starts.
"""

import ipaddress
import socket


def refuse(host):
    """Raise unless `host` is this machine."""
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise OSError(f"no network in tests: something tried to reach {host}")


def guard(owner, name, host_of):
    """Let a function of the socket module work for this machine only."""
    original = getattr(owner, name)

    def guarded(*args, **kwargs):
        refuse(host_of(*args))
        return original(*args, **kwargs)

    setattr(owner, name, guarded)


def peer(sock, address):
    """The host that a socket is to be connected to; None for a Unix socket."""
    return address[0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None


guard(socket.socket, "connect", peer)
guard(socket.socket, "connect_ex", peer)
guard(socket, "getaddrinfo", lambda host, *rest: host)
