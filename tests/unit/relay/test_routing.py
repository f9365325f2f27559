"""Whom a call is for, and what its names become: whatever kubelet sends back what it has been given, it comes home."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import message

from criproxy.cri.identity import Names, RuntimeHandler, Runtimes
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, FieldKind, Method, To
from criproxy.cri.rewrite import MOST_ELEMENTS
from criproxy.cri.verify import LONGEST_ID
from criproxy.cri.versions import ApiVersion
from criproxy.http2.grpc import Code, RpcError, request_head
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Route, Router, Rules, plan_of

IDS = ("alt.test", "third")
HANDLERS = (
    RuntimeHandler("fast", "alt.test", "runf"),
    RuntimeHandler("slow", "third", "runs"),
    RuntimeHandler("third", "third", ""),
)
TARGET = "kubernetes.io/target-runtime"
V1 = ApiVersion.V1


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(Runtimes(IDS, HANDLERS), lambda: "http://node:1", Pods(), Rules())


def names(router: Router, runtime: str) -> Names:
    """A runtime's names; the primary's id is empty."""
    return next(each for each in (router.runtimes.primary, *router.runtimes.alternatives) if each.runtime == runtime)


def route(router: Router, method: str, **fields: Any) -> Route:
    """Where a call goes."""
    row = METHODS[method]
    return router.route(row, message(row.rpc.request, **fields))


def whom(routed: Route) -> List[str]:
    """The runtimes' ids."""
    return [each.runtime for each in routed.targets]


ID = st.from_regex(r"[0-9a-f]{4,64}", fullmatch=True)
RUNTIME = st.sampled_from(["", *IDS])


@given(id=ID, runtime=RUNTIME)
def test_an_id_that_kubelet_was_given_leads_back_with_the_runtimes_own(router: Router, id: str, runtime: str) -> None:
    row = METHODS["ContainerStatus"]
    given_by_it = message("ContainerStatusResponse", status={"id": id})
    translate = router.answers.transform(row, names(router, runtime), V1, V1, pytest.fail)
    seen: Any = api()["ContainerStatusResponse"].FromString(translate(given_by_it) if translate else given_by_it)
    routed = route(router, "StopContainer", container_id=seen.status.id)
    assert whom(routed) == [runtime]
    request: Any = api()["StopContainerRequest"].FromString(routed.body)
    assert request.container_id == id


def test_a_request_that_would_take_long_to_rename_is_refused(router: Router) -> None:
    mounts = [{"image": {"image": "a"}}] * (MOST_ELEMENTS + 1)
    config = {"image": {"image": "busybox"}, "mounts": mounts}
    with pytest.raises(RpcError, match="mounts has more than 4096 elements") as refusal:
        route(router, "CreateContainer", pod_sandbox_id="p", config=config)
    assert refusal.value.code is Code.INVALID_ARGUMENT


@given(id=ID, runtime=RUNTIME)
def test_a_list_by_an_id_is_for_its_runtime_alone(router: Router, id: str, runtime: str) -> None:
    outer = names(router, runtime).outer_id(id.encode()).decode()
    routed = route(router, "ListContainers", filter={"id": outer})
    assert whom(routed) == [runtime]
    request: Any = api()["ListContainersRequest"].FromString(routed.body)
    assert request.filter.id == id


REQUESTS = [row for row in METHODS.values() if any(field.kind is FieldKind.ID for field in row.request_fields)]


def put(message: Any, path: str, value: str) -> None:
    """Sets a field, in each message on the way to it."""
    name, _, rest = path.partition(".")
    field = getattr(message, name)
    if rest:
        put(field.add() if hasattr(field, "add") else field, rest, value)
    elif hasattr(field, "append"):
        field.append(value)
    else:
        setattr(message, name, value)


@pytest.mark.parametrize(
    ("row", "path"),
    [(row, field.path) for row in REQUESTS for field in row.request_fields if field.kind is FieldKind.ID],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
@pytest.mark.parametrize("configured", [IDS, ()])
def test_an_id_of_a_runtime_that_is_not_configured_reaches_nobody(
    row: Method, path: str, configured: Sequence[str]
) -> None:
    router = Router(Runtimes(configured), lambda: "", Pods(), Rules())
    request: Any = api()[row.rpc.request]()
    put(request, path, "removed.test__1")
    if row.requires:
        put(request, row.requires, "busybox")
    body = request.SerializeToString()
    if row.to is To.ALL:
        assert router.route(row, body).targets == ()
        return
    with pytest.raises(RpcError) as caught:
        router.route(row, body)
    assert caught.value.code is Code.NOT_FOUND
    assert str(caught.value) == (
        'criproxy: an id begins with "removed.test__", and there is no such runtime'
        f" (configured: {', '.join(configured) or 'none'})"
    )


@given(first=RUNTIME, second=RUNTIME)
def test_a_list_by_ids_of_two_runtimes_is_for_nobody(router: Router, first: str, second: str) -> None:
    outer = [names(router, runtime).outer_id(b"1").decode() for runtime in (first, second)]
    routed = route(router, "ListContainers", filter={"id": outer[0], "pod_sandbox_id": outer[1]})
    assert whom(routed) == ([first] if first == second else [])


@pytest.mark.parametrize(
    ("annotation", "handler", "wanted"),
    [
        ("", "", ""),
        ("", "unknown", ""),
        ("alt.test", "", "alt.test"),
        ("", "fast", "alt.test"),
        ("", "third", "third"),
        ("alt.test", "fast", "alt.test"),
        ("alt.test", "slow", None),
        ("none", "", None),
    ],
)
def test_a_pod_is_for_the_runtime_that_its_annotation_or_its_handler_names(
    router: Router, annotation: str, handler: str, wanted: Optional[str]
) -> None:
    config = {"annotations": {TARGET: annotation} if annotation else {}}
    if wanted is None:
        with pytest.raises(RpcError, match=r"^criproxy: "):
            route(router, "RunPodSandbox", config=config, runtime_handler=handler)
    else:
        assert whom(route(router, "RunPodSandbox", config=config, runtime_handler=handler)) == [wanted]


def test_of_an_annotation_that_stands_twice_the_last_counts(router: Router) -> None:
    first, last = (
        message("RunPodSandboxRequest", config={"annotations": {TARGET: runtime}}) for runtime in ("none", "alt.test")
    )
    # To concatenate messages is to merge them: the config's map has the key twice then.
    assert whom(router.route(METHODS["RunPodSandbox"], first + last)) == ["alt.test"]


@pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.name)
def test_what_is_no_request_is_refused_where_it_is_read(router: Router, row: Any) -> None:
    unread = row.to in (To.PRIMARY, To.CONNECTED, To.EVENTS, To.STATUS)
    if unread:
        assert router.route(row, b"\xff").body == b"\xff"
    else:
        with pytest.raises(RpcError, match=r"^criproxy: the request is not a "):
            router.route(row, b"\xff")


@pytest.mark.parametrize("rules", [Rules(), Rules(status=False)])
def test_the_status_is_of_all_runtimes_or_of_the_primary(rules: Rules) -> None:
    router = Router(Runtimes(IDS), lambda: "", Pods(), rules)
    assert whom(route(router, "Status")) == (["", *IDS] if rules.status else [""])


def test_a_plan_is_made_once_and_calls_a_runtime_in_its_version() -> None:
    head = request_head("/runtime.v1.RuntimeService/Status").head
    plan = plan_of(head)
    assert plan_of(head) is plan
    assert (plan.name, plan.version, plan.method) == ("Status", V1, METHODS["Status"])
    assert plan.wire(V1) is plan.wire(None) is head.wire
    other = request_head("/runtime.v1alpha2.RuntimeService/Status").head
    assert plan.wire(ApiVersion.V1ALPHA2) == other.wire


def test_a_path_that_nobody_knows_has_no_method() -> None:
    assert plan_of(request_head("/runtime.v1.RuntimeService/New").head).method is None
    assert plan_of(request_head("/runtime.v1.ImageService/Status").head).method is None
    assert plan_of(request_head("/else").head).version is None


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("RunPodSandbox", {"config": {"metadata": {"uid": "ID"}}}),
        ("PullImage", {"sandbox_config": {"metadata": {"uid": "ID"}}, "image": {"image": "busybox"}}),
        ("ContainerStatus", {"container_id": "ID"}),
        ("CreateContainer", {"pod_sandbox_id": "ID", "config": {"image": {"image": "sha256:1"}}}),
        ("ListContainers", {"filter": {"pod_sandbox_id": "ID"}}),
    ],
)
@pytest.mark.parametrize("prefix", ["", "alt.test__"])
def test_an_id_that_no_runtime_gives_is_refused(router: Router, method: str, fields: Any, prefix: str) -> None:
    def with_id(fields: Any, id: str) -> Any:
        if isinstance(fields, str):
            return fields.replace("ID", id)
        return {name: with_id(value, id) for name, value in fields.items()}

    route(router, method, **with_id(fields, prefix + "a" * (LONGEST_ID - len(prefix))))
    with pytest.raises(RpcError, match=f"an id of {LONGEST_ID + 1} bytes; no runtime gives one of more") as caught:
        route(router, method, **with_id(fields, prefix + "a" * (LONGEST_ID + 1 - len(prefix))))
    assert caught.value.code is Code.INVALID_ARGUMENT
