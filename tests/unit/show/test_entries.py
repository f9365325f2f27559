"""What is chosen of the things on a socket, and what people and programs see of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from criproxy.cri.names import PodName
from criproxy.show import tables
from criproxy.show.choice import Choice
from criproxy.show.entries import Container, Image, Kind, Name, Role, Runtime, Seen
from criproxy.show.plain import plain

SECOND = 10**9
IMAGE = Name("alt.test/nginx:1.27", "nginx:1.27", "alt.test")
CONTAINER = Container(
    id=Name("alt.test__c0ffee", "c0ffee", "alt.test"),
    pod_id="alt.test__p",
    pod=PodName("default", "web"),
    name="app",
    attempt=0,
    image=IMAGE,
    image_ref="",
    image_id="",
    state="CONTAINER_RUNNING",
    created_at=0,
    remembered=False,
)
SEEN = Seen("/a.sock", 0, containers=(CONTAINER,))


def row(container: Container, at: int = 0, wide: bool = False) -> str:
    """A container as people see it."""
    text = tables.text(Seen("/a.sock", at, containers=(container,)), [Kind.CONTAINERS], wide)
    return text.splitlines()[2]


def test_a_container_whose_pod_is_not_listed_is_in_no_namespace() -> None:
    orphan = replace(CONTAINER, pod=None)
    seen = replace(SEEN, containers=(orphan,))
    assert Choice().of(seen) == seen
    assert Choice(namespace="default").of(seen).containers == ()
    assert row(orphan).split()[2] == "?"
    (entry,) = plain(seen, [Kind.CONTAINERS])["containers"]
    assert (entry["podNamespace"], entry["podName"]) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "age"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86399, "23h"), (200000, "2d")]
)
def test_an_age_has_one_unit(seconds: int, age: str) -> None:
    assert row(CONTAINER, seconds * SECOND).split()[-1] == age


@pytest.mark.parametrize("moment", [-(2**63), 0, 2**63 - 1])
def test_any_moment_that_a_runtime_can_tell_is_a_moment(moment: int) -> None:
    (entry,) = plain(replace(SEEN, containers=(replace(CONTAINER, created_at=moment),)), [Kind.CONTAINERS])[
        "containers"
    ]
    assert (
        entry["createdAt"]
        == {
            -(2**63): "1677-09-21T00:12:43Z",
            0: "1970-01-01T00:00:00Z",
            2**63 - 1: "2262-04-11T23:47:16Z",
        }[moment]
    )


def test_a_state_that_is_not_known_is_a_question_for_people_and_its_number_for_programs() -> None:
    strange = replace(CONTAINER, state="7")
    assert row(strange).split()[-2] == "?"
    assert plain(replace(SEEN, containers=(strange,)), [Kind.CONTAINERS])["containers"][0]["state"] == "7"


@pytest.mark.parametrize("name", ["app", "a?p", "alt.test__c0f", "c0ffee", "c0f", "*"])
def test_a_container_goes_by_its_name_and_by_the_beginning_of_its_id(name: str) -> None:
    assert Choice(name=name).of(SEEN).containers == (CONTAINER,)


@pytest.mark.parametrize("name", ["ap", "APP", "web", "c0", "0ff", "c0*", "alt.test__c0ffee0"])
def test_a_container_goes_by_nothing_else(name: str) -> None:
    assert Choice(name=name).of(SEEN).containers == ()


def test_an_image_is_of_each_runtime_that_has_it() -> None:
    image = Image(Name("sha256:0a0b0c", "sha256:0a0b0c", ""), ("", "alt.test"), (IMAGE,), (), 1, False)
    seen = Seen("/a.sock", 0, images=(image,))
    for runtime in ("", "alt.test"):
        assert Choice(runtime=runtime).of(seen).images == (image,)
    assert Choice(runtime="kata.local").of(seen).images == ()
    for name in ("0a0b0c", "0a0", "sha256:0a", "nginx:*", "alt.test/*"):
        assert Choice(name=name).of(seen).images == (image,)
    assert Choice(name="0a").of(seen).images == ()


def test_only_what_is_asked_for_is_shown_though_more_was_needed() -> None:
    runtime = Runtime("", Role.PRIMARY, "/p.sock", True, "containerd 2.0 (v1)", ("v1",), "", 0)
    seen = replace(SEEN, runtimes=(runtime,))
    assert tables.text(seen, [Kind.RUNTIMES]).startswith("RUNTIMES (1)\n")
    assert "CONTAINERS" not in tables.text(seen, [Kind.RUNTIMES])
    assert set(plain(seen, [Kind.RUNTIMES])) == {"runtimes"}
    assert plain(seen, [Kind.IMAGES]) == {}
