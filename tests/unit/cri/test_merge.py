"""Lists of several runtimes in one, where what they list is the same; and one list cut into messages."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import pytest
from cri_reference import BYTES, tree_of, wire_of
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.merge import MOST_MERGED, MergeOf, merge_of
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS
from criproxy.cri.steps import finish

LISTS = ["ListImages", "StreamImages"]
DIGESTS = [f"sha256:{digit * 64}" for digit in "abc"]
MOST = 2**64 - 1


class Entry(NamedTuple):
    """What matters of an image's entry."""

    id: str
    handler: str
    tags: Tuple[str, ...]
    digests: Tuple[str, ...]
    size: int
    pinned: bool


def plain(image: Any) -> Entry:
    tags, digests = tuple(image.repo_tags), tuple(image.repo_digests)
    return Entry(image.id, image.spec.runtime_handler, tags, digests, image.size, image.pinned)


def listed(*images: Any, method: str = "ListImages") -> bytes:
    """A runtime's list of images: entries, or the fields of some."""
    entries = [api()["Image"](**image) if isinstance(image, dict) else image for image in images]
    return bytes(api()[METHODS[method].rpc.response](images=entries).SerializeToString())


def entry(of: Entry) -> Any:
    image: Any = api()["Image"](
        id=of.id, repo_tags=of.tags, repo_digests=of.digests, size=of.size, pinned=of.pinned, username="user"
    )
    if of.handler:
        image.spec.runtime_handler = of.handler
    return image


def how(method: str) -> MergeOf:
    found = merge_of(METHODS[method])
    assert found is not None
    return found


def merged(*bodies: bytes, method: str = "ListImages") -> List[bytes]:
    """What becomes of the runtimes' lists."""
    return finish(how(method).merge([how(method).read(body) for body in bodies]))


def images_in(bodies: List[bytes], method: str = "ListImages") -> List[Any]:
    """The images in the answer."""
    answer: Any = api()[METHODS[method].rpc.response].FromString(b"".join(bodies))
    return list(answer.images)


@pytest.mark.parametrize("method", LISTS)
def test_an_image_that_several_runtimes_have_is_one_entry_where_the_first_has_it(method: str) -> None:
    bodies = (
        listed(
            {"id": "sha256:1", "repo_tags": ["one:1"], "size": 1},
            {"id": "sha256:2", "repo_tags": ["two:1", "two:2"], "repo_digests": ["two@sha256:d"], "size": 2},
            method=method,
        ),
        listed(
            {"id": "sha256:3", "repo_tags": ["a/three:1"], "size": 30},
            {"id": "sha256:2", "repo_tags": ["a/two:1"], "repo_digests": ["a/two@sha256:d"], "size": 20},
            method=method,
        ),
        listed(
            {"id": "sha256:3", "repo_tags": ["b/three:1"], "size": 300},
            {"id": "sha256:2", "repo_tags": ["b/two:1"], "size": 200, "pinned": True},
            method=method,
        ),
    )
    assert [plain(image) for image in images_in(merged(*bodies, method=method), method)] == [
        Entry("sha256:1", "", ("one:1",), (), 1, False),
        Entry("sha256:2", "", ("two:1", "two:2", "a/two:1", "b/two:1"), ("two@sha256:d", "a/two@sha256:d"), 222, True),
        Entry("sha256:3", "", ("a/three:1", "b/three:1"), (), 330, False),
    ]


def test_an_id_that_is_no_digest_and_that_both_have_has_one_entry() -> None:
    """That is so of two runtimes whose images have no prefix."""
    image = {"id": "0123", "repo_tags": ["same:1"], "size": 1}
    (got,) = images_in(merged(listed(image), listed({**image, "repo_tags": ["same:1", "other:1"]})))
    assert (list(got.repo_tags), got.size) == (["same:1", "other:1"], 2)


def test_a_name_that_both_have_stands_once() -> None:
    image = {"id": "sha256:1", "repo_tags": ["same:1"], "repo_digests": ["sha256:d"], "size": 1}
    (got,) = images_in(merged(listed(image), listed(image)))
    assert plain(got) == Entry("sha256:1", "", ("same:1",), ("sha256:d",), 2, False)


@pytest.mark.parametrize("size", [MOST, MOST - 1, 2**63])
def test_sizes_that_are_more_than_can_be_said_are_the_most_that_can(size: int) -> None:
    (got,) = images_in(merged(*[listed({"id": "sha256:1", "size": size})] * 3))
    assert got.size == MOST


def test_what_a_runtime_lists_twice_itself_stays_twice() -> None:
    twice = listed({"id": "sha256:1", "size": 1}, {"id": "sha256:1", "size": 2})
    once = listed({"id": "sha256:1", "size": 10})
    assert [image.size for image in images_in(merged(twice, once))] == [11, 2]
    assert [image.size for image in images_in(merged(once, twice))] == [13]


def test_images_for_several_runtime_handlers_are_several() -> None:
    first = listed({"id": "sha256:1", "spec": {"runtime_handler": "vm"}, "size": 1}, {"id": "sha256:1", "size": 2})
    second = listed({"id": "sha256:1", "size": 10})
    assert [(image.spec.runtime_handler, image.size) for image in images_in(merged(first, second))] == [
        ("vm", 1),
        ("", 12),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([], []),
        ([{"id": "sha256:1"}], []),
        ([{"id": "sha256:1"}], [{"id": "sha256:2"}]),
        ([{"id": "sha256:1", "spec": {"runtime_handler": "vm"}}], [{"id": "sha256:1"}]),
        ([{"id": "0123"}], [{"id": "alt.test/0123"}]),
        ([{"repo_tags": ["x:1"]}], [{"repo_tags": ["a/x:1"]}]),
        ([{"id": "sha256:1"}, {"id": "sha256:1"}], [{"id": "sha256:2"}]),
        ([{"id": "sha256:1"}], [{"id": "sha256:2"}, {"id": "sha256:2"}]),
    ],
    ids=["empty", "one", "two", "handlers", "prefixes", "no ids", "twice in the first", "twice in the second"],
)
def test_lists_that_share_nothing_are_the_same_bytes(first: List[Dict[str, Any]], second: List[Dict[str, Any]]) -> None:
    # Fields in an order that no library writes, and one that nobody knows.
    bodies = [
        wire_of([*reversed(tree_of(listed(*each), "ListImagesResponse")), (99, BYTES, b"x")])
        for each in (first, second)
    ]
    assert merged(*bodies) == bodies
    assert [id(body) for body in merged(*bodies)] == [id(body) for body in bodies]


def test_a_list_that_shares_nothing_with_the_others_is_the_same_bytes() -> None:
    disjoint = listed({"id": "sha256:9"}) + wire_of([(99, BYTES, b"x")])
    got = merged(disjoint, listed({"id": "sha256:1"}), listed({"id": "sha256:1"}))
    assert got[0] is disjoint
    assert got[2] == b""


def test_fields_that_nobody_knows_survive() -> None:
    first, second = (
        wire_of([(1, BYTES, [(1, BYTES, b"sha256:1"), (77, BYTES, text)]), (99, BYTES, text)])
        for text in (b"of the first", b"of the second")
    )
    got = b"".join(merged(first, second))
    tree = tree_of(got, "ListImagesResponse")
    assert [number for number, _, _ in tree] == [1, 99, 99]
    assert tree[0][2] == [(1, BYTES, b"sha256:1"), (77, BYTES, b"of the first")]


def test_names_that_are_no_text_pass() -> None:
    first, second = (
        wire_of([(1, BYTES, [(1, BYTES, b"sha256:1\xff"), (2, BYTES, name)])]) for name in (b"\xff\xc3", b"a/\xff\xc3")
    )
    assert tree_of(b"".join(merged(first, second)), "ListImagesResponse") == [
        (1, BYTES, [(1, BYTES, b"sha256:1\xff"), (2, BYTES, b"\xff\xc3"), (2, BYTES, b"a/\xff\xc3")])
    ]


NAMES = st.lists(st.sampled_from(["x:1", "x:2", "a/x:1", "b/x:1"]), unique=True, max_size=3).map(tuple)
IMAGES = st.lists(
    st.builds(
        Entry, st.sampled_from(DIGESTS), st.sampled_from(["", "vm"]), NAMES, NAMES, st.integers(0, 9), st.booleans()
    ),
    unique_by=lambda image: (image.id, image.handler),
    max_size=5,
)


def in_one(runtimes: List[List[Entry]]) -> List[Entry]:
    """The plain way: what kubelet is to see of these lists."""
    found: Dict[Tuple[str, str], Entry] = {}
    for image in (image for images in runtimes for image in images):
        key = (image.id, image.handler)
        known = found.setdefault(key, image)
        if known is not image:
            tags, digests = known.tags + image.tags, known.digests + image.digests
            found[key] = Entry(
                *key,
                tuple(dict.fromkeys(tags)),
                tuple(dict.fromkeys(digests)),
                known.size + image.size,
                known.pinned or image.pinned,
            )
    return list(found.values())


@given(st.lists(IMAGES, min_size=1, max_size=4))
def test_any_lists(runtimes: List[List[Entry]]) -> None:
    bodies = [listed(*map(entry, images)) for images in runtimes]
    images = images_in(merged(*bodies))
    assert [plain(image) for image in images] == in_one(runtimes)
    assert {image.username for image in images} <= {"user"}


@pytest.mark.parametrize("method", [*LISTS, "ListMetricDescriptors"])
def test_what_does_not_parse_stays_as_it_is(method: str) -> None:
    good = listed({"id": DIGESTS[0]}, method="ListImages")
    assert merged(b"\xff\xff", good, method=method) == [b"\xff\xff", good]


def test_only_what_several_runtimes_list_is_merged() -> None:
    assert [name for name, row in METHODS.items() if merge_of(row) is not None] == ["ListMetricDescriptors", *LISTS]


def test_a_metric_is_described_by_the_first_that_has_it() -> None:
    response: Any = api()["ListMetricDescriptorsResponse"]
    bodies = [
        response(descriptors=[{"name": name, "help": str(index)} for name in names]).SerializeToString()
        for index, names in enumerate((["a", "b"], ["b", "c"], ["d"]))
    ]
    got = merged(*bodies, method="ListMetricDescriptors")
    described = response.FromString(b"".join(got)).descriptors
    assert [(each.name, each.help) for each in described] == [("a", "0"), ("b", "0"), ("c", "1"), ("d", "2")]
    assert (got[0], got[2]) == (bodies[0], bodies[2])


def test_a_list_of_more_entries_than_are_read_stays_as_it_is() -> None:
    image = {"id": "sha256:1", "repo_tags": ["a:1"]}
    large = listed(image) + b"\x0a\x00" * MOST_MERGED
    assert merged(large, listed(image)) == [large, listed(image)]
    assert merged(large[:-2], listed(image)) == [large[:-2], b""]
