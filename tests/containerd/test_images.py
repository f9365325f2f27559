"""Images, which kubelet pulls, asks for and removes by names that say whose they are."""

from __future__ import annotations

from typing import Any, Dict, List

import grpc
import pytest

from .client import Client
from .images import Image, Registry
from .kubelet import IMAGE, Runtime


@pytest.fixture(params=["primary", "alternative"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """One of the runtimes."""
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime


def names(images: List[Any]) -> List[str]:
    """All names by which a list has images."""
    return [name for image in images for name in (*image.repo_tags, *image.repo_digests)]


def in_order(images: List[Any]) -> List[Any]:
    """Images by id: a runtime lists them in another order each time."""
    return sorted(images, key=lambda image: str(image.id))


def outer_image(runtime: Runtime, image: Any) -> Any:
    """A runtime's Image as kubelet is to see it."""
    for field in (image.repo_tags, image.repo_digests):
        field[:] = [runtime.outer_image(name) for name in field]
    if image.spec.image and not image.spec.image.startswith("sha256:"):
        image.spec.image = runtime.outer_image(image.spec.image)
    return image


def add(image: Any, other: Any) -> None:
    """Puts into an image's entry what another runtime has of it."""
    image.repo_tags.extend(other.repo_tags)
    image.repo_digests.extend(other.repo_digests)
    image.size += other.size


def test_the_list_has_the_images_of_all_runtimes_the_primary_s_first(
    cri: Client, primary: Runtime, alternative: Runtime
) -> None:
    seen = list(cri.ListImages().images)
    of_primary, of_alternative = (
        [outer_image(runtime, image) for image in runtime.direct.ListImages().images]
        for runtime in (primary, alternative)
    )
    others = {each.id: each for each in of_alternative}
    for each in of_primary:
        if each.id in others:
            add(each, others.pop(each.id))
    assert in_order(seen[: len(of_primary)]) == in_order(of_primary)
    assert in_order(seen[len(of_primary) :]) == in_order(list(others.values()))
    assert IMAGE in names(seen)
    assert f"alt.test/{IMAGE}" in names(seen)


def test_a_name_as_filter_narrows_the_list_to_the_runtime_that_it_names(cri: Client, runtime: Runtime) -> None:
    name = runtime.outer_image(IMAGE)
    assert name in names(list(cri.ListImages(filter={"image": {"image": name}}).images))


def test_an_image_s_status_has_kubelet_s_names_and_the_bare_id(cri: Client, runtime: Runtime, image: Image) -> None:
    seen = cri.ImageStatus(image={"image": runtime.outer_image(IMAGE)}).image
    assert seen == outer_image(runtime, runtime.direct.ImageStatus(image={"image": IMAGE}).image)
    assert seen.id == image.config
    assert runtime.outer_image(IMAGE) in seen.repo_tags


def test_what_the_primary_has_it_answers_for_by_the_bare_id(cri: Client, primary: Runtime, image: Image) -> None:
    asked: Dict[str, Any] = {"image": {"image": image.config}}
    assert cri.ImageStatus(**asked) == primary.direct.ImageStatus(**asked)


def test_what_the_alternative_runtime_alone_has_is_found_and_removed_by_the_bare_id(
    cri: Client, registry: Registry, primary: Runtime, alternative: Runtime
) -> None:
    asked: Dict[str, Any] = {"image": {"image": registry.images["busybox:test"].config}}
    cri.PullImage(image={"image": f"alt.test/{registry.host}/busybox:test"})
    assert not primary.direct.ImageStatus(**asked).HasField("image")
    assert cri.ImageStatus(**asked).image == outer_image(alternative, alternative.direct.ImageStatus(**asked).image)
    cri.RemoveImage(**asked)
    assert not alternative.direct.ImageStatus(**asked).HasField("image")
    assert not cri.ImageStatus(**asked).HasField("image")


def test_what_both_runtimes_have_is_one_entry_and_is_removed_from_both_by_the_bare_id(
    cri: Client, registry: Registry, primary: Runtime, alternative: Runtime
) -> None:
    name = f"{registry.host}/busybox:test"
    asked: Dict[str, Any] = {"image": {"image": registry.images["busybox:test"].config}}
    for runtime in (primary, alternative):
        cri.PullImage(image={"image": runtime.outer_image(name)})
    sizes = [runtime.direct.ImageStatus(**asked).image.size for runtime in (primary, alternative)]
    (seen,) = (image for image in cri.ListImages().images if image.id == asked["image"]["image"])
    assert list(seen.repo_tags) == [name, f"alt.test/{name}"]
    assert seen.size == sum(sizes) > max(sizes)
    cri.RemoveImage(**asked)
    for client in (primary.direct, alternative.direct, cri):
        assert not client.ImageStatus(**asked).HasField("image")
        assert name not in names(list(client.ListImages().images))


def test_an_image_that_no_runtime_has_is_none_and_no_error(cri: Client, runtime: Runtime) -> None:
    answer = cri.ImageStatus(image={"image": runtime.outer_image("registry.test/nothing:1")})
    assert not answer.HasField("image")


def test_an_image_is_pulled_by_the_runtime_that_it_names_and_removed_only_there(
    cri: Client, registry: Registry, primary: Runtime, alternative: Runtime
) -> None:
    repository = f"{registry.host}/busybox"
    image = registry.images["busybox:test"]
    inner, digest = f"{repository}:test", f"{repository}@{image.manifest}"
    outer = f"alt.test/{inner}"

    assert cri.PullImage(image={"image": outer}).image_ref == image.config
    assert inner not in names(primary.direct.ListImages().images)
    assert {inner, digest} <= set(names(alternative.direct.ListImages().images))
    assert {outer, f"alt.test/{digest}"} <= set(cri.ImageStatus(image={"image": outer}).image.repo_tags) | set(
        cri.ImageStatus(image={"image": f"alt.test/{digest}"}).image.repo_digests
    )

    cri.PullImage(image={"image": inner})
    cri.RemoveImage(image={"image": outer})
    assert inner not in names(alternative.direct.ListImages().images)
    assert inner in names(cri.ListImages().images)
    cri.RemoveImage(image={"image": inner})
    assert inner not in names(cri.ListImages().images)


def test_a_pull_that_fails_fails_as_the_runtime_says(cri: Client, registry: Registry, runtime: Runtime) -> None:
    name = f"{registry.host}/nothing:1"
    failures = []
    for client, asked in ((cri, runtime.outer_image(name)), (runtime.direct, name)):
        with pytest.raises(grpc.RpcError) as caught:
            client.PullImage(image={"image": asked})
        failures.append((caught.value.code(), str(caught.value.details())))
    assert failures[0] == failures[1]
    assert "nothing" in failures[0][1]
