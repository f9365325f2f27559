"""Where new pods go that ask for no runtime, and what becomes of the names of their images."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import pytest
from scene import message

from criproxy.cri.identity import RETIRING, RuntimeHandler, Runtimes
from criproxy.cri.methods import METHODS, To
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.selector import parse_all
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.placement import Placement
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Route, Router, Rules

ALT, THIRD = "alt.test", "third.test"
TARGET = "kubernetes.io/target-runtime"
HANDLERS = (RuntimeHandler("third", THIRD, ""),)
STARTS = pytest.mark.parametrize("method", ["RunPodSandbox", "RestorePod"])


def router_with(
    rules: str, pods: Optional[Pods] = None, retiring: bool = False, others: Optional[Rules] = None
) -> Router:
    """A router that goes by these rules."""
    made = Router(Runtimes((ALT, THIRD), HANDLERS, retiring), lambda: "", pods or Pods(), others or Rules())
    made.placement = Placement(made.runtimes, parse_all(rules))
    return made


def route(router: Router, method: str, **fields: Any) -> Route:
    """Where a call goes."""
    row = METHODS[method]
    return router.route(row, message(row.rpc.request, **fields))


def whom(routed: Route) -> List[str]:
    """The runtimes' ids."""
    return [each.runtime for each in routed.targets]


def pod(uid: str = "1", attempt: int = 0, namespace: str = "shop", **more: Any) -> Dict[str, Any]:
    """A PodSandboxConfig."""
    metadata = {"name": "web", "uid": uid, "attempt": attempt, "namespace": namespace}
    return {"metadata": metadata, "labels": {"app": "web"}, **more}


@STARTS
@pytest.mark.parametrize(
    ("rules", "owner"),
    [
        ("", ""),
        ("namespace in (shop, other)=alt.test", ALT),
        ("namespace=other=alt.test", ""),
        ("app=web=alt.test", ALT),
        ("app!=web=alt.test;app=third.test", THIRD),
        ("app=alt.test;namespace=shop=third.test", ALT),
        ("100%=alt.test", ALT),
        ("0%=alt.test", ""),
        ("namespace=shop,0%=alt.test;!gone=third.test", THIRD),
    ],
)
def test_a_new_pod_goes_by_the_first_rule_that_fits(method: str, rules: str, owner: str) -> None:
    assert whom(route(router_with(rules), method, config=pod())) == [owner]


@STARTS
@pytest.mark.parametrize(
    ("annotation", "handler", "owner"),
    [(THIRD, "", THIRD), ("", "third", THIRD), ("", "gvisor", ""), ("", "", ALT), (THIRD, "gvisor", THIRD)],
)
def test_what_a_pod_asks_for_goes_before(method: str, annotation: str, handler: str, owner: str) -> None:
    config = pod(annotations={TARGET: annotation} if annotation else {})
    assert whom(route(router_with("app=alt.test"), method, config=config, runtime_handler=handler)) == [owner]


@STARTS
def test_an_unknown_runtime_is_refused_whatever_rules_say(method: str) -> None:
    with pytest.raises(RpcError, match="unknown runtime"):
        route(router_with("app=alt.test"), method, config=pod(annotations={TARGET: "gone.test"}))


@STARTS
def test_a_pod_of_a_rule_is_refused_where_its_runtime_is_drained(method: str) -> None:
    router = router_with("app=alt.test")
    router.drained = frozenset((ALT,))
    with pytest.raises(RpcError, match="is drained") as caught:
        route(router, method, config=pod())
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_a_share_goes_by_the_uid_and_by_nothing_else() -> None:
    router = router_with("30%=alt.test")

    def goes(uid: str, attempt: int, namespace: str) -> List[str]:
        return whom(route(router, "RunPodSandbox", config=pod(uid, attempt, namespace)))

    first = [goes(str(number), 0, "a") for number in range(100)]
    assert first == [goes(str(number), 7, "b") for number in range(100)]
    assert 10 < first.count([ALT]) < 50


def test_an_image_is_pulled_where_the_sandbox_is_that_it_is_for() -> None:
    router = router_with("app=alt.test", Pods(lambda uid, attempt: THIRD if (uid, attempt) == (b"1", 0) else ""))
    route(router, "RunPodSandbox", config=pod(attempt=1))
    route(router, "RunPodSandbox", config={"metadata": {"uid": "1", "attempt": 2}})
    pulls = [route(router, "PullImage", image={"image": "x"}, sandbox_config=pod(attempt=at)) for at in range(4)]
    assert [whom(pull) for pull in pulls] == [[THIRD], [ALT], [""], [""]]
    assert {pull.to for pull in pulls} == {To.PULLED_OR_THERE}
    assert route(router_with(""), "PullImage", image={"image": "x"}, sandbox_config=pod()).to is None


CREATE: Dict[str, Any] = {"pod_sandbox_id": f"{ALT}__1", "sandbox_config": {"metadata": {"uid": "1"}}}


@pytest.mark.parametrize("image", ["nginx", "0123", f"{ALT}/nginx", f"sha256:{'a' * 64}"])
def test_a_container_of_a_pod_of_a_rule_may_have_an_image_without_a_prefix(image: str) -> None:
    spec = {"image": image, "user_specified_image": "nginx"}
    sent = route(router_with("app=alt.test"), "CreateContainer", config={"image": spec}, **CREATE)
    seen = VIEWS["CreateContainerRequest"].read(sent.body).config.image
    assert (whom(sent), seen.image) == ([ALT], image.replace(f"{ALT}/", "").encode())


@pytest.mark.parametrize("rules", ["", "app=third.test"])
def test_a_container_of_any_other_pod_may_not(rules: str) -> None:
    with pytest.raises(RpcError, match='image "nginx" is for a wrong runtime'):
        route(router_with(rules), "CreateContainer", config={"image": {"image": "nginx"}}, **CREATE)


def test_a_container_of_a_pod_of_a_rule_may_not_have_another_runtimes_image() -> None:
    with pytest.raises(RpcError, match="is for a wrong runtime"):
        route(router_with("app=alt.test"), "CreateContainer", config={"image": {"image": f"{THIRD}/nginx"}}, **CREATE)


@pytest.mark.parametrize(
    ("method", "image", "owners", "to"),
    [
        ("ImageStatus", "nginx", ["", ALT], To.IN_COMMON),
        ("ImageStatus", "nginx@sha256:" + "a" * 64, ["", ALT], To.IN_COMMON),
        ("ImageStatus", f"{ALT}/nginx", [ALT], None),
        ("ImageStatus", f"{THIRD}/nginx", [THIRD], None),
        ("ImageStatus", "sha256:" + "a" * 64, ["", ALT, THIRD], To.FIRST_HOLDER),
        ("ImageStatus", "", [""], None),
        ("PullImage", "nginx", [""], To.PULLED_OR_THERE),
        ("PullImage", f"{ALT}/nginx", [ALT], None),
        ("PullImage", "sha256:" + "a" * 64, [""], None),
        ("RemoveImage", "nginx", [""], None),
        ("RemoveImage", f"{ALT}/nginx", [ALT], None),
        ("RemoveImage", "sha256:" + "a" * 64, ["", ALT, THIRD], To.ALL_HOLDERS),
    ],
)
def test_who_is_asked_for_an_image(method: str, image: str, owners: List[str], to: Optional[To]) -> None:
    routed = route(router_with("app=alt.test"), method, image={"image": image})
    assert (whom(routed), routed.to) == (owners, to)


# Beside a retiring runtime.


def test_no_new_pod_goes_to_the_retiring_runtime() -> None:
    router = router_with("app=alt.test", retiring=True)
    assert whom(route(router, "RunPodSandbox", config=pod())) == [ALT]
    assert whom(route(router, "RunPodSandbox", config={"metadata": {"uid": "1"}})) == [""]
    with pytest.raises(RpcError, match="unknown runtime"):
        route(router, "RunPodSandbox", config=pod(annotations={TARGET: RETIRING}))


@pytest.mark.parametrize("others", [Rules(), Rules(selectors=False)], ids=["optional", "required"])
def test_an_image_of_a_pod_on_the_retiring_runtime_is_pulled_there_whatever_prefixes_mean(others: Rules) -> None:
    known = {(b"1", 0): RETIRING, (b"2", 0): ALT}
    router = router_with("", Pods(lambda uid, attempt: known.get((uid, attempt), "")), True, others)
    pulls = [
        whom(route(router, "PullImage", image={"image": "x"}, sandbox_config=pod(uid, attempt)))
        for uid, attempt in (("1", 0), ("1", 1), ("2", 0))
    ]
    assert pulls == [[RETIRING], [""], [ALT if others.selectors else ""]]


@pytest.mark.parametrize(
    ("method", "image", "owners", "to"),
    [
        ("ImageStatus", "nginx", ["", ALT, RETIRING], To.IN_COMMON),
        ("ImageStatus", f"{ALT}/nginx", [ALT], None),
        ("ImageStatus", "sha256:" + "a" * 64, ["", ALT, THIRD, RETIRING], To.FIRST_HOLDER),
        ("PullImage", "nginx", [""], To.PULLED_OR_THERE),
        ("RemoveImage", "nginx", ["", RETIRING], To.ALL_HOLDERS),
        ("RemoveImage", "0123", ["", RETIRING], To.ALL_HOLDERS),
        ("RemoveImage", f"{ALT}/nginx", [ALT], None),
    ],
)
def test_who_is_asked_for_an_image_beside_the_retiring_runtime(
    method: str, image: str, owners: List[str], to: Optional[To]
) -> None:
    routed = route(router_with("app=alt.test", retiring=True), method, image={"image": image})
    assert (whom(routed), routed.to) == (owners, to)


@pytest.mark.parametrize(
    ("image", "owners"),
    [("nginx", ["", RETIRING]), (f"{ALT}/nginx", [ALT]), ("sha256:" + "a" * 64, ["", ALT, THIRD, RETIRING])],
)
def test_a_list_of_an_image_is_of_who_may_have_it(image: str, owners: List[str]) -> None:
    routed = route(router_with("", retiring=True), "ListImages", filter={"image": {"image": image}})
    assert whom(routed) == owners


def test_a_container_on_the_retiring_runtime_has_an_image_without_a_prefix_and_no_others() -> None:
    router = router_with("", retiring=True)
    (retiring,) = router.placement.alike
    row = METHODS["CreateContainer"]
    for image in ("nginx", "0123", f"{ALT}/nginx"):
        body = message(row.rpc.request, pod_sandbox_id="p", config={"image": {"image": image}})
        if image.startswith(ALT):
            with pytest.raises(RpcError, match="is for a wrong runtime"):
                router.route(row, body, retiring)
        else:
            assert whom(router.route(row, body, retiring)) == [RETIRING]


def test_whose_an_id_is_is_told_as_far_as_it_is_known() -> None:
    router = router_with("", retiring=True)
    (retiring,) = router.placement.alike
    router.owners.note(retiring, b"old")
    assert [router.runtime_of(id) for id in (b"old", b"new", b"alt.test__1", b"gone.test__1")] == [
        RETIRING,
        "",
        ALT,
        "",
    ]
