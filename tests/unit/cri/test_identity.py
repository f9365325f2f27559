"""Names of an alternative runtime's things towards kubelet, and back."""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.identity import Names, RuntimeHandler, Runtimes, UnknownRuntime, is_digest, is_label

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


@pytest.mark.parametrize("digest", [_DIGEST, b"sha384:00", b"sha512:00", b"@sha256:00"])
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
        (b"<none>@sha256:00", b"virtlet.cloud/<none>@sha256:00"),
        (b"0123abc", b"virtlet.cloud/0123abc"),
        (b"docker-pullable://nginx@sha256:00", b"virtlet.cloud/docker-pullable://nginx@sha256:00"),
    ],
)
def test_a_repo_digest_and_an_id_that_is_no_digest_get_the_runtimes_name(inner: bytes, outer: bytes) -> None:
    assert ALTERNATIVE.outer_image(inner) == outer
    assert ALTERNATIVE.inner_image(outer) == inner


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
        (b"virtlet.cloud/1", ""),
        (b"a/b__1", ""),
        (b"a:b__1", ""),
        (b"a b__1", ""),
        (b"__1", ""),
        (b"a_1", ""),
        (b"", ""),
    ],
)
def test_an_id_belongs_to_the_runtime_it_names(name: bytes, runtime: str) -> None:
    assert RUNTIMES.of_id(name).runtime == runtime


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        (b"unknown__1", b"unknown"),
        (b"x-virtlet.cloud__y", b"x-virtlet.cloud"),
        (b"\xff__1__2", b"\xff"),
        (b"a__", b"a"),
        (b"a___1", b"a"),
        (b"a" * 70_000 + b"__1", b"a" * 70_000),
    ],
)
def test_an_id_with_the_prefix_of_a_runtime_that_is_not_configured_is_nobodys(name: bytes, runtime: bytes) -> None:
    for runtimes in (RUNTIMES, Runtimes([])):
        with pytest.raises(UnknownRuntime) as caught:
            runtimes.of_id(name)
        assert caught.value.runtime == runtime


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
    assert alone.of_id(b"1") is alone.primary
    assert alone.of_image(b"virtlet.cloud/1") is alone.primary


# Runtime handlers.

HANDLERS = Runtimes(
    ["virtlet.cloud", "kata"],
    [
        RuntimeHandler("vm", "virtlet.cloud", ""),
        RuntimeHandler("virtlet", "virtlet.cloud", ""),
        RuntimeHandler("big-vm", "virtlet.cloud", "big"),
        RuntimeHandler("kata-fc", "kata", "fc"),
        RuntimeHandler("virtlet.cloud", "virtlet.cloud", ""),
        RuntimeHandler("kata", "kata", ""),
    ],
)
VIRTLET, KATA = HANDLERS.alternatives


@pytest.mark.parametrize(
    ("handler", "runtime", "inner"),
    [
        (b"vm", "virtlet.cloud", b""),
        (b"virtlet", "virtlet.cloud", b""),
        (b"big-vm", "virtlet.cloud", b"big"),
        (b"virtlet.cloud", "virtlet.cloud", b""),
        (b"kata", "kata", b""),
        (b"kata-fc", "kata", b"fc"),
    ],
)
def test_a_handler_asks_for_the_runtime_of_its_name_or_the_one_it_is_mapped_to(
    handler: bytes, runtime: str, inner: bytes
) -> None:
    names = HANDLERS.of_handler(handler)
    assert names is not None
    assert names.runtime == runtime
    assert names.inner_handler(handler) == inner


@pytest.mark.parametrize("handler", [b"", b"runc", b"big", b"fc", b"VM", b"\xff"])
def test_any_other_handler_asks_for_none_and_stays_as_it_is(handler: bytes) -> None:
    assert HANDLERS.of_handler(handler) is None
    assert VIRTLET.inner_handler(handler) == handler


def test_of_several_names_of_one_handler_kubelet_sees_the_first() -> None:
    assert VIRTLET.outer_handler(b"") == b"vm"
    assert VIRTLET.outer_handler(b"big") == b"big-vm"
    assert VIRTLET.outer_handler(b"unmapped") == b"unmapped"


def test_the_id_of_a_runtime_is_a_handler_that_kubelet_sees_if_a_runtime_class_can_have_it() -> None:
    assert KATA.outer_handler(b"") == b"kata"
    (dotted,) = Runtimes(["virtlet.cloud"], [RuntimeHandler("virtlet.cloud", "virtlet.cloud", "")]).alternatives
    assert dotted.outer_handler(b"") == b""
    assert not dotted.has_outer_handlers
    assert KATA.has_outer_handlers


def test_without_handlers_no_id_asks_for_a_runtime() -> None:
    runtimes = Runtimes(["kata"])
    assert runtimes.of_handler(b"kata") is None
    assert not runtimes.alternatives[0].has_outer_handlers


def test_the_primary_has_no_handlers_but_its_own() -> None:
    assert HANDLERS.primary.outer_handler(b"") == b""
    assert HANDLERS.primary.inner_handler(b"runc") == b"runc"
    assert not HANDLERS.primary.has_outer_handlers


def test_a_runtime_s_id_may_stand_for_one_of_its_handlers() -> None:
    (kata,) = Runtimes(["kata"], [RuntimeHandler("kata", "kata", "qemu")]).alternatives
    assert kata.inner_handler(b"kata") == b"qemu"
    assert kata.outer_handler(b"") == b""
    assert kata.outer_handler(b"qemu") == b"kata"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("vm", True), ("a", True), ("a-1", True), ("x" * 63, True), ("", False), ("x" * 64, False)]
    + [(name, False) for name in ("-a", "a-", "a.b", "A", "a_b", "ä", "a\n")],
)
def test_a_handler_of_a_runtime_class_is_a_label(name: str, is_one: bool) -> None:
    assert is_label(name) is is_one
