"""Whatever names a runtime has for its images: kubelet finds them alike in all answers, and each leads back to it."""

from __future__ import annotations

from functools import cache
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
from cri_reference import is_map, is_repeated, paths_to
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.identity import Names
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, FieldKind, Method
from criproxy.cri.rewrite import renaming
from criproxy.cri.schema import SchemaField

IMAGE_FIELDS = {
    "Image": ("id", "repo_tags", "repo_digests"),
    "ImageSpec": ("image", "user_specified_image", "image_ref"),
    "Container": ("image_ref", "image_id"),
    "ContainerStatus": ("image_ref", "image_id"),
    "PullImageResponse": ("image_ref",),
}
"""Where the CRI has an image's identity (api.proto)."""

ALTERNATIVE, PRIMARY = Names("alt.test"), Names("")
HEX = "0123456789abcdef" * 4
NAMES = st.one_of(
    st.sampled_from(
        [
            HEX,
            f"sha256:{HEX}",
            f"@sha256:{HEX}",
            f"nginx@sha256:{HEX}",
            f"docker-pullable://nginx@sha256:{HEX}",
            f"docker://sha256:{HEX}",
            f"<none>@sha256:{HEX}",
            "nginx:1",
            "alt.test/nginx:1",
            f"alt.test/sha256:{HEX}",
            f"alt.test/{HEX}",
        ]
    ),
    st.text(min_size=1, max_size=12),
)


def _names_an_image(message: str, field: SchemaField) -> bool:
    return field.name in IMAGE_FIELDS.get(message, ())


@cache
def _holds_images(message: str) -> bool:
    return any(True for _ in paths_to(message, _names_an_image))


ANSWERS = [row for row in METHODS.values() if _holds_images(row.rpc.response)]
REQUESTS = [row for row in METHODS.values() if _holds_images(row.rpc.request)]


def fill(message: Any, names: Iterator[str]) -> None:
    """Puts the next name into each field that names an image, twice into what is repeated."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in IMAGE_FIELDS.get(message.DESCRIPTOR.name, ()):
            if is_repeated(field):
                value.extend((next(names), next(names)))
            else:
                setattr(message, field.name, next(names))
        elif field.message_type is not None and not is_map(field) and _holds_images(field.message_type.name):
            for element in (value.add(), value.add()) if is_repeated(field) else (value,):
                fill(element, names)


def names_in(message: Any) -> List[str]:
    """All image names in a message, in the order of its fields."""
    found: List[str] = []
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in IMAGE_FIELDS.get(message.DESCRIPTOR.name, ()):
            found.extend(value if is_repeated(field) else [value])
        elif field.message_type is not None and not is_map(field):
            for element in value if is_repeated(field) else [value]:
                found.extend(names_in(element))
    return found


def endless(names: List[str]) -> Iterator[str]:
    while True:
        yield from names


def answered(row: Method, answer: Any, runtime: Names) -> Any:
    """A runtime's answer as kubelet gets it."""
    changes = {FieldKind.ID: runtime.outer_id, FieldKind.IMAGE: runtime.outer_image}
    change = renaming(row.rpc.response, row.response_fields, changes)
    return type(answer).FromString(change(answer.SerializeToString()))


def test_images_are_named_in_the_answers_and_requests_that_the_api_says() -> None:
    assert {row.name for row in ANSWERS} == {
        *("ListImages", "StreamImages", "ImageStatus", "PullImage"),
        *("ListContainers", "StreamContainers", "ContainerStatus", "PodSandboxStatus", "GetContainerEvents"),
    }
    assert {row.name for row in REQUESTS} == {
        *("ListImages", "StreamImages", "ImageStatus", "PullImage", "RemoveImage"),
        *("CreateContainer", "RestorePod"),
    }


@pytest.mark.parametrize("runtime", [ALTERNATIVE, PRIMARY], ids=["alternative", "primary"])
@given(pool=st.lists(NAMES, min_size=1, max_size=6))
def test_fields_that_agree_with_the_runtime_agree_with_kubelet(runtime: Names, pool: List[str]) -> None:
    """One name has one name in all fields of all answers, and no two names have the same."""
    outer: Dict[str, Set[str]] = {}
    names = endless(pool)
    for row in ANSWERS:
        answer = api()[row.rpc.response]()
        fill(answer, names)
        before, after = names_in(answer), names_in(answered(row, answer, runtime))
        assert len(before) == len(after) > 0
        for one, other in zip(before, after):
            outer.setdefault(one, set()).add(other)
    seen = [name for names_of_one in outer.values() for name in names_of_one]
    assert len(seen) == len(outer) == len(set(seen))


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: str(row.name))
@given(pool=st.lists(NAMES, min_size=1, max_size=6))
def test_a_name_from_any_answer_leads_back_in_any_request(row: Method, pool: List[str]) -> None:
    request = api()[row.rpc.request]()
    fill(request, (ALTERNATIVE.outer_image(name.encode()).decode() for name in endless(pool)))
    expected = api()[row.rpc.request]()
    fill(expected, endless(pool))
    kinds = (FieldKind.IMAGE, FieldKind.OWN_IMAGE, FieldKind.USER_SPECIFIED_IMAGE)
    change = renaming(row.rpc.request, row.request_fields, dict.fromkeys(kinds, ALTERNATIVE.inner_image))
    assert type(expected).FromString(change(request.SerializeToString())) == expected


Used = List[Tuple[str, str]]
"""Of each container its ``image_id``, which runtimes have since CRI 1.30, and its ``image_ref``."""


def unused(images: List[str], containers: Used, runtime: Names) -> Set[str]:
    """The images that kubelet's image collection takes for unused, by their ids as the runtime has them.

    As in kubelet's image_gc_manager.go and helpers.go: an image is used if its id is some container's ``image_id``, or
    its ``image_ref`` where that is empty.
    """
    of_images, of_containers = METHODS["ListImages"], METHODS["ListContainers"]
    images_listed = api()[of_images.rpc.response](images=[{"id": name} for name in images])
    containers_listed = api()[of_containers.rpc.response](
        containers=[{"image_id": image_id, "image_ref": image_ref} for image_id, image_ref in containers]
    )
    found = {image.id for image in answered(of_images, images_listed, runtime).images}
    used = {each.image_id or each.image_ref for each in answered(of_containers, containers_listed, runtime).containers}
    return {runtime.inner_image(name.encode()).decode() for name in found - used}


@pytest.mark.parametrize("image", [HEX, f"sha256:{HEX}"], ids=["CRI-O before 1.31", "a digest"])
@pytest.mark.parametrize("image_id", [True, False], ids=["with image_id", "with image_ref alone"])
def test_an_image_of_a_running_container_is_in_use(image: str, image_id: bool) -> None:
    container = (image, f"nginx@sha256:{HEX}") if image_id else ("", image)
    assert unused([image, "f" * 64], [container], ALTERNATIVE) == {"f" * 64}


@given(st.lists(NAMES, max_size=6), st.lists(st.tuples(st.just("") | NAMES, NAMES), max_size=6))
def test_images_are_unused_as_if_kubelet_had_asked_the_runtime(images: List[str], containers: Used) -> None:
    assert unused(images, containers, ALTERNATIVE) == set(images) - {one or other for one, other in containers}
