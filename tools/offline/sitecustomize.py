"""Keep Python processes off the network: only loopback and Unix sockets can be reached.

Tests and notebooks put this folder on PYTHONPATH, so it also holds in Jupyter kernels and in every
Python process that a test or a notebook starts.
"""

import ipaddress
import socket

_connect, _connect_ex, _getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.getaddrinfo,
)


def _refuse(host):
    """Raise unless `host` is this machine."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise OSError(f"no network in tests: something tried to reach {host}")


def _check(sock, address):
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        _refuse(address[0])


def _guarded_connect(self, address):
    _check(self, address)
    return _connect(self, address)


def _guarded_connect_ex(self, address):
    _check(self, address)
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host, *args, **kwargs):
    if host != socket.gethostname():  # a look-up of our own name asks for this machine
        _refuse(host)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _guarded_connect
socket.socket.connect_ex = _guarded_connect_ex
socket.getaddrinfo = _guarded_getaddrinfo
