"""Names of an alternative runtime's things towards kubelet, and back."""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.identity import Names, Runtimes, is_digest

ALTERNATIVE = Names("virtlet.cloud")
PRIMARY = Names("")

_DIGEST = b"sha256:" + b"0123456789abcdef" * 4
_ANY = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        (b"virtlet.cloud__", b"virtlet.cloud/", b"virtlet.cloud__virtlet.cloud__x", b"virtlet.cloud/a/b", _DIGEST)
    ),
)


def test_an_id_gets_the_runtimes_name_and_two_underscores() -> None:
    assert ALTERNATIVE.outer_id(b"0123abc") == b"virtlet.cloud__0123abc"
    assert ALTERNATIVE.inner_id(b"virtlet.cloud__0123abc") == b"0123abc"


def test_an_image_gets_the_runtimes_name_and_a_slash() -> None:
    assert ALTERNATIVE.outer_image(b"cirros:1@sha256:01") == b"virtlet.cloud/cirros:1@sha256:01"
    assert ALTERNATIVE.inner_image(b"virtlet.cloud/cirros:1") == b"cirros:1"


@pytest.mark.parametrize("digest", [_DIGEST, b"sha384:00", b"sha512:00"])
def test_a_bare_digest_stays_as_it_is(digest: bytes) -> None:
    assert is_digest(digest)
    assert ALTERNATIVE.outer_image(digest) == digest
    assert ALTERNATIVE.inner_image(digest) == digest
    assert not ALTERNATIVE.has_image(digest)


@pytest.mark.parametrize("image", [b"", b"nginx", b"nginx@sha256:00", b"sha256", b"registry/sha256:tag", b"md5:00"])
def test_other_names_are_no_digests(image: bytes) -> None:
    assert not is_digest(image)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (b"docker.io/library/nginx@sha256:00", b"virtlet.cloud/docker.io/library/nginx@sha256:00"),
        (b"@sha256:00", b"@sha256:00"),
        (b"sha256:00", b"sha256:00"),
        (b"<none>@sha256:00", b"virtlet.cloud/<none>@sha256:00"),
    ],
)
def test_a_repo_digest_gets_the_runtimes_name_if_it_has_a_name(inner: bytes, outer: bytes) -> None:
    assert ALTERNATIVE.outer_repo_digest(inner) == outer


@given(_ANY)
def test_an_id_comes_back_as_it_went_out(name: bytes) -> None:
    outer = ALTERNATIVE.outer_id(name)
    assert ALTERNATIVE.has_id(outer)
    assert ALTERNATIVE.inner_id(outer) == name


@given(_ANY)
def test_an_image_comes_back_as_it_went_out(name: bytes) -> None:
    outer = ALTERNATIVE.outer_image(name)
    assert ALTERNATIVE.has_image(outer) != is_digest(name)
    assert ALTERNATIVE.inner_image(outer) == name


@given(_ANY)
def test_the_primarys_things_have_the_names_that_it_gave_them(name: bytes) -> None:
    changes: list[Callable[[bytes], bytes]] = [
        PRIMARY.outer_id,
        PRIMARY.inner_id,
        PRIMARY.outer_image,
        PRIMARY.inner_image,
        PRIMARY.outer_repo_digest,
    ]
    assert all(change(name) == name for change in changes)
    assert not PRIMARY.has_id(name)
    assert not PRIMARY.has_image(name)


@pytest.mark.parametrize(
    "name", [b"virtlet.cloud", b"virtlet.cloud_x", b"x-virtlet.cloud__y", b"VIRTLET.CLOUD__x", b""]
)
def test_what_does_not_begin_with_the_runtimes_name_is_not_its(name: bytes) -> None:
    assert not ALTERNATIVE.has_id(name)
    assert ALTERNATIVE.inner_id(name) == name
    assert not ALTERNATIVE.has_image(name)
    assert ALTERNATIVE.inner_image(name) == name


# Several runtimes.

RUNTIMES = Runtimes(["virtlet.cloud", "kata", "kata.io"])


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        (b"virtlet.cloud__1", "virtlet.cloud"),
        (b"kata__1", "kata"),
        (b"kata.io__1", "kata.io"),
        (b"kata", ""),
        (b"0123abc", ""),
        (b"unknown__1", ""),
        (b"virtlet.cloud/1", ""),
        (b"", ""),
    ],
)
def test_an_id_belongs_to_the_runtime_it_names(name: bytes, runtime: str) -> None:
    assert RUNTIMES.of_id(name).runtime == runtime


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        (b"virtlet.cloud/cirros", "virtlet.cloud"),
        (b"kata/nginx", "kata"),
        (b"kata.io/nginx", "kata.io"),
        (b"nginx", ""),
        (b"docker.io/kata/nginx", ""),
        (_DIGEST, ""),
        (b"kata__nginx", ""),
        (b"", ""),
    ],
)
def test_an_image_belongs_to_the_runtime_it_names(name: bytes, runtime: str) -> None:
    assert RUNTIMES.of_image(name).runtime == runtime


def test_a_pods_annotation_names_a_runtime_that_is_there() -> None:
    assert RUNTIMES.of_target(b"kata.io").runtime == "kata.io"
    for unknown in (b"", b"KATA", b"kata__", b"docker", b"\xff"):
        with pytest.raises(KeyError):
            RUNTIMES.of_target(unknown)


def test_the_runtimes_keep_their_order() -> None:
    assert [names.runtime for names in RUNTIMES.alternatives] == ["virtlet.cloud", "kata", "kata.io"]
    assert RUNTIMES.primary.runtime == ""


def test_without_alternatives_everything_is_the_primarys() -> None:
    alone = Runtimes([])
    assert alone.of_id(b"virtlet.cloud__1") is alone.primary
    assert alone.of_image(b"virtlet.cloud/1") is alone.primary
