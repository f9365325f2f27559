"""Addresses of sockets."""

from __future__ import annotations

from typing import Tuple

import pytest

from criproxy.address import host_and_port, path_of


@pytest.mark.parametrize("address", ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"])
def test_the_path_is_what_comes_after_the_scheme(address: str) -> None:
    assert path_of(address) == "/run/a.sock"


@pytest.mark.parametrize("address", ["", "tcp://127.0.0.1:1", "containerd", "/run/unix:/a"])
def test_what_has_no_scheme_of_unix_sockets_stays_as_it_stands(address: str) -> None:
    assert path_of(address) == address


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:11251", ("127.0.0.1", 11251)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[2001:db8::192.0.2.1]:80", ("2001:db8::192.0.2.1", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: Tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":11251",
        "11251",
        "localhost:11251",
        "127.1:11251",
        "127.0.0.256:1",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:\u0661",
        "::1:11251",
        "[127.0.0.1]:1",
        "[fe80::1%lo]:1",
        "[:::]:1",
        "/run/metrics.sock",
        "127.0.0.1:1\n",
    ],
)
def test_what_has_no_literal_address_or_no_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="nor an address and a port like 127"):
        host_and_port(address)
