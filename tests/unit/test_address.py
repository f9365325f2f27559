"""Addresses of unix sockets."""

from __future__ import annotations

import pytest

from criproxy.address import path_of


@pytest.mark.parametrize("address", ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"])
def test_the_path_is_what_comes_after_the_scheme(address: str) -> None:
    assert path_of(address) == "/run/a.sock"


@pytest.mark.parametrize("address", ["", "tcp://127.0.0.1:1", "containerd", "/run/unix:/a"])
def test_what_has_no_scheme_of_unix_sockets_stays_as_it_stands(address: str) -> None:
    assert path_of(address) == address
