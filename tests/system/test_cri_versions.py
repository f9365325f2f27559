"""kubelets and runtimes that speak different versions of the CRI."""

from __future__ import annotations

import grpc
import pytest
from peers import Connect, MakeRuntime, StartProxy, v1

V1, V1ALPHA2, V1ALPHA1 = "runtime.v1", "runtime.v1alpha2", "runtime"
SPOKEN = {V1: "v1", V1ALPHA2: "v1alpha2", V1ALPHA1: "v1alpha1"}


@pytest.mark.parametrize("kubelet", SPOKEN)
@pytest.mark.parametrize("first", SPOKEN)
@pytest.mark.parametrize("second", SPOKEN)
def test_any_kubelet_works_with_any_two_runtimes(
    kubelet: str,
    first: str,
    second: str,
    runtime: MakeRuntime,
    start_proxy: StartProxy,
    connect: Connect,
) -> None:
    primary = runtime("primary", packages=[first]).start()
    other = runtime("other", packages=[second]).start()
    client = connect(start_proxy(primary, {"alt.test": other}), kubelet)
    for each in (primary, other):
        each.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id=each.name)])
    assert client.call("Version").runtime_api_version == SPOKEN[kubelet]
    assert [pod.id for pod in client.call("ListPodSandbox").items] == ["primary", "alt.test__other"]
    client.call("StopContainer", container_id="alt.test__c", timeout=20)
    assert [call.package for call in other.called("StopContainer")] == [second]
    assert [call.package for call in primary.called("ListPodSandbox")] == [first]


def test_a_runtime_is_called_in_kubelets_version_if_it_speaks_it(
    runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
) -> None:
    primary = runtime("primary", packages=[V1, V1ALPHA2]).start()
    proxy = start_proxy(primary, {})
    for package in (V1ALPHA2, V1):
        connect(proxy, package).call("Status")
    assert [call.package for call in primary.called("Status")] == [V1ALPHA2, V1]


def test_a_method_that_an_older_runtime_lacks_is_unimplemented(
    runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
) -> None:
    primary = runtime("primary", packages=[V1ALPHA2]).start()

    def lacks(request: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method RuntimeConfig")

    primary.answers["RuntimeConfig"] = lacks
    code, text = connect(start_proxy(primary, {})).fail("RuntimeConfig")
    assert (code, text) == (grpc.StatusCode.UNIMPLEMENTED, "unknown method RuntimeConfig")


# NamespaceOption {1: 1 (network), 2: 1 (pid)} in RunPodSandboxRequest.config.linux.security_context: bool in v1alpha1.
def _pod(namespaces: bytes) -> bytes:
    body = namespaces
    for number in (1, 2, 8, 1):  # namespace_options, security_context, linux, config
        body = bytes((number << 3 | 2, len(body))) + body
    return body


@pytest.mark.parametrize(
    ("kubelet", "theirs", "sent", "arrives"),
    [
        (V1ALPHA1, V1, b"\x08\x01\x10\x01", b"\x08\x02\x10\x02"),
        (V1, V1ALPHA1, b"\x08\x02\x10\x01\x18\x02", b"\x08\x01\x10\x00\x18\x01"),
        (V1, V1ALPHA2, b"\x08\x02\x10\x01", b"\x08\x02\x10\x01"),
    ],
)
def test_the_hosts_namespaces_mean_the_same_in_v1alpha1(
    kubelet: str,
    theirs: str,
    sent: bytes,
    arrives: bytes,
    runtime: MakeRuntime,
    start_proxy: StartProxy,
    connect: Connect,
) -> None:
    primary = runtime("primary", packages=[theirs]).start()
    client = connect(start_proxy(primary, {}), kubelet)
    client.stub("RunPodSandbox")(_pod(sent), timeout=20)
    assert primary.called("RunPodSandbox")[0].raw == _pod(arrives)


def test_a_file_systems_identifier_does_not_cross_from_v1alpha1(
    runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
) -> None:
    primary = runtime("primary", packages=[V1ALPHA1]).start()
    usage = v1.FilesystemUsage(timestamp=7, fs_id=v1.FilesystemIdentifier(mountpoint="a-uuid-there"))
    primary.answers["ImageFsInfo"] = v1.ImageFsInfoResponse(image_filesystems=[usage])
    proxy = start_proxy(primary, {})
    (got,) = connect(proxy, V1).call("ImageFsInfo").image_filesystems
    assert (got.timestamp, got.HasField("fs_id")) == (7, False)
    (got,) = connect(proxy, V1ALPHA1).call("ImageFsInfo").image_filesystems
    assert got.fs_id.mountpoint == "a-uuid-there"
