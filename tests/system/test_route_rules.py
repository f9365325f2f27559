"""New pods by rules on an alternative runtime, and their images, as kubelet and its users see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import grpc
import pytest
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartService, run, v1

DONE, REFUSED, NO_DAEMON = 0, 1, 2
ID = "alt.test"
RULE = "namespace in (shop, test)"
TARGET = "kubernetes.io/target-runtime"
ONE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE: Dict[str, Any] = {
    "image": {"image": "docker.io/library/nginx:1", "annotations": {"kubernetes.io/config.source": "api"}}
}
GONE = "failed to do request: dial tcp: lookup registry.test: no such host"


def config(namespace: str = "shop", uid: str = "1", attempt: int = 0, **more: Any) -> Dict[str, Any]:
    """A PodSandboxConfig."""
    metadata = {"name": "web", "namespace": namespace, "uid": uid, "attempt": attempt}
    return {"metadata": metadata, "labels": {"app": "web"}, **more}


def failing(text: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    """An answer that is none."""

    def fail(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNKNOWN, text)

    return fail


def have(runtime: Runtime, id: str) -> None:
    """Lets a runtime have the image."""
    image = {"id": id, "repo_tags": [IMAGE["image"]["image"]], "size": 1}
    runtime.answers["ImageStatus"] = v1.ImageStatusResponse(image=image if id else None)


@pytest.fixture(autouse=True)
def pods(primary: Runtime, other: Runtime) -> None:
    """Both runtimes start pods."""
    for runtime in (primary, other):
        runtime.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")


@pytest.fixture
def kubelet(connect: Connect, service: Proxy) -> Client:
    return connect(service)


@pytest.fixture
def canary(service: Proxy, kubelet: Client) -> Client:
    """Kubelet where a rule is in force."""
    assert run(service, "route", "add", f"{RULE}={ID}").returncode == DONE
    return kubelet


def start(kubelet: Client, **fields: Any) -> str:
    """Starts a pod; gives the id that kubelet knows."""
    id: str = kubelet.call("RunPodSandbox", config=config(**fields)).pod_sandbox_id
    return id


# Where pods go.


def test_a_rule_holds_for_new_pods_from_the_command_on_and_until_it_is_removed(
    service: Proxy, kubelet: Client, file: Path
) -> None:
    before = file.read_text()
    assert start(kubelet) == "p"
    done = run(service, "route", "add", f"namespace  in (shop,test) = {ID}")
    said = f'rule "{RULE}": new pods that ask for no runtime go to "{ID}"\n'
    assert (done.returncode, done.stdout, done.stderr) == (DONE, said, "")
    assert file.read_text() == before + f'CRIPROXY_ROUTE="{RULE}={ID}"\n'
    assert [start(kubelet, namespace=namespace) for namespace in ("shop", "test", "other")] == [
        f"{ID}__p",
        f"{ID}__p",
        "p",
    ]
    done = run(service, "route", "remove", RULE)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout.splitlines() == [
        f'rule "{RULE}" of "{ID}" is removed; pods that it has sent there stay',
        f"images are looked for without that runtime then; while it has such pods rather: criproxy route add '0%={ID}'",
    ]
    assert file.read_text() == before + "CRIPROXY_ROUTE=\n"
    assert start(kubelet) == "p"


def test_what_a_pod_asks_for_goes_before(canary: Client, service: Proxy) -> None:
    assert canary.call("RunPodSandbox", config=config(), runtime_handler="gvisor").pod_sandbox_id == "p"
    annotated = config(namespace="other", annotations={TARGET: ID})
    assert canary.call("RunPodSandbox", config=annotated).pod_sandbox_id == f"{ID}__p"
    code, text = canary.fail("RunPodSandbox", config=config(annotations={TARGET: "gone.test"}))
    assert (code, "unknown runtime" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_where_the_runtime_is_drained_pods_of_the_rule_are_refused(canary: Client, service: Proxy) -> None:
    run(service, "drain", ID)
    service.wait_for_log(f"route: runtime '{ID}' is drained: pods of the rule '{RULE}' are refused")
    code, text = canary.fail("RunPodSandbox", config=config())
    assert (code, text.startswith(f'criproxy: runtime "{ID}" is drained')) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        True,
    )
    assert start(canary, namespace="other") == "p"


def test_a_share_of_pods_goes_and_each_always_the_same_way(service: Proxy, kubelet: Client) -> None:
    run(service, "route", "add", f"50%={ID}")
    ways = {uid: start(kubelet, uid=uid) for uid in map(str, range(40))}
    assert set(ways.values()) == {"p", f"{ID}__p"}
    assert ways == {uid: start(kubelet, uid=uid, attempt=1, namespace="x") for uid in ways}


def test_a_rule_outlasts_a_restart(start_service: StartService, connect: Connect) -> None:
    first = start_service()
    run(first, "route", "add", f"app=web={ID}")
    first.stop()
    assert start(connect(start_service())) == f"{ID}__p"


# Their images.


@pytest.mark.parametrize(
    ("ids", "there"),
    [(("", ""), False), ((ONE, ""), False), (("", ONE), False), ((ONE, OTHER), False), ((ONE, ONE), True)],
)
def test_an_image_is_there_if_both_have_it(
    ids: List[str], there: bool, canary: Client, primary: Runtime, other: Runtime
) -> None:
    for runtime, id in zip((primary, other), ids):
        have(runtime, id)
    answer = canary.call("ImageStatus", **IMAGE)
    assert (answer.HasField("image"), answer.image.id) == (there, ids[0] if there else "")


def test_the_user_of_an_image_is_found_though_a_runtime_lacks_it(
    canary: Client, primary: Runtime, other: Runtime
) -> None:
    """kubelet runs a container as root whose image it does not find, when it asks for the second time."""
    have(other, "")
    image = {"id": ONE, "repo_tags": [IMAGE["image"]["image"]], "size": 1, "username": "nobody"}
    primary.answers["ImageStatus"] = v1.ImageStatusResponse(image=image)
    assert not canary.call("ImageStatus", **IMAGE).HasField("image")
    canary.call("PullImage", **IMAGE, sandbox_config=config("other"))
    user = canary.call("ImageStatus", image={"image": IMAGE["image"]["image"]}).image.username
    assert user == "nobody"


def test_of_a_runtime_that_is_away_it_is_not_asked(
    canary: Client, service: Proxy, primary: Runtime, other: Runtime
) -> None:
    have(primary, ONE)
    other.stop()
    service.wait_for_log(f'runtime "{ID}" ({other.path}): ')
    assert canary.call("ImageStatus", **IMAGE).image.id == ONE


def test_an_image_is_pulled_where_the_sandbox_is_and_its_container_made_there(
    canary: Client, primary: Runtime, other: Runtime
) -> None:
    sandbox = start(canary)
    other.answers["PullImage"] = v1.PullImageResponse(image_ref=ONE)
    ref = canary.call("PullImage", **IMAGE, sandbox_config=config()).image_ref
    spec = {"image": ref, "user_specified_image": "nginx:1"}
    canary.call("CreateContainer", pod_sandbox_id=sandbox, config={"image": spec}, sandbox_config=config())
    canary.call(
        "CreateContainer", pod_sandbox_id=sandbox, config={"image": {"image": "nginx:1"}}, sandbox_config=config()
    )
    assert [call.request.config.image.image for call in other.called("CreateContainer")] == [ONE, "nginx:1"]
    assert not primary.called("PullImage")
    # Another sandbox of the pod.
    canary.call("RunPodSandbox", config=config(namespace="other", attempt=1))
    canary.call("PullImage", **IMAGE, sandbox_config=config(attempt=1))
    assert (len(primary.called("PullImage")), len(other.called("PullImage"))) == (1, 1)
    canary.call("PullImage", **IMAGE, sandbox_config=config())
    assert len(other.called("PullImage")) == 2


def test_after_a_restart_an_image_is_pulled_where_the_sandbox_is(
    start_service: StartService, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    metadata = {"uid": "1", "attempt": 1}
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p", "metadata": metadata}])
    service = start_service()
    run(service, "route", "add", f"{RULE}={ID}")
    kubelet = connect(service)
    kubelet.call("ListPodSandbox")
    kubelet.call("PullImage", **IMAGE, sandbox_config=config(attempt=1))
    assert other.called("PullImage")
    kubelet.call("PullImage", **IMAGE, sandbox_config=config(attempt=2))
    assert primary.called("PullImage")


def test_where_the_registry_is_gone_the_image_that_is_there_is_used(
    canary: Client, service: Proxy, primary: Runtime
) -> None:
    have(primary, ONE)
    primary.answers["PullImage"] = failing(GONE)
    assert not canary.call("ImageStatus", **IMAGE).HasField("image")
    assert canary.call("PullImage", **IMAGE, sandbox_config=config("other")).image_ref == ONE
    service.wait_for_log(
        f'could not pull "{IMAGE["image"]["image"]}", and the one that it has is used: UNKNOWN: {GONE}'
    )
    code = grpc.StatusCode.UNKNOWN
    denied = "pull access denied, repository does not exist or may require authorization"
    primary.answers["PullImage"] = failing(denied)
    assert canary.fail("PullImage", **IMAGE, sandbox_config=config("other")) == (code, denied)


def test_a_pod_that_always_pulls_fails_where_all_have_its_image(
    canary: Client, primary: Runtime, other: Runtime
) -> None:
    have(primary, ONE)
    have(other, ONE)
    primary.answers["PullImage"] = failing(GONE)
    assert canary.call("ImageStatus", **IMAGE).image.id == ONE
    assert canary.fail("PullImage", **IMAGE, sandbox_config=config("other")) == (grpc.StatusCode.UNKNOWN, GONE)


def test_pods_of_a_rule_that_has_gone_keep_their_images_by_one_about_nobody(
    canary: Client, service: Proxy, primary: Runtime, other: Runtime
) -> None:
    have(primary, ONE)
    run(service, "route", "remove", RULE)
    assert canary.call("ImageStatus", **IMAGE).image.id == ONE
    run(service, "route", "add", f"0%={ID}")
    assert not canary.call("ImageStatus", **IMAGE).HasField("image")
    assert start(canary) == "p"


# The command.


def test_rules_are_listed_in_the_order_in_which_they_count(service: Proxy, other: Runtime) -> None:
    assert run(service, "route", "list").stdout.splitlines() == ["RULE  RUNTIME"]
    for words in ([f"{RULE}={ID}"], [f"app=web,tier!=db,12.5%={ID}"], [f"!gone={ID}", "--first"]):
        assert run(service, "route", "add", *words).returncode == DONE
    texts = ["!gone", RULE, "app=web,tier!=db,12.5%"]
    lines = run(service, "route", "list").stdout.splitlines()
    assert [line.rpartition("  ")[0].rstrip() for line in lines[1:]] == texts
    assert json.loads(run(service, "route", "list", "-o", "json").stdout) == [
        {"rule": text, "runtime": ID} for text in texts
    ]
    wide = run(service, "route", "list", "-o", "wide").stdout.splitlines()
    assert (wide[0].split(), wide[1].split()) == (["RULE", "RUNTIME", "SOCKET"], ["!gone", ID, other.path])
    assert json.loads(run(service, "status", "-o", "json").stdout)["daemon"]["routes"][0]["rule"] == "!gone"
    done = run(service, "route", "remove", f"{RULE}={ID}")
    assert (done.returncode, len(done.stdout.splitlines())) == (DONE, 1)
    service.stop()
    assert run(service, "route", "list").returncode == NO_DAEMON


def test_a_rule_that_is_there_is_not_added_twice(service: Proxy, file: Path) -> None:
    for _ in range(2):
        assert run(service, "route", "add", f"app=web={ID}").returncode == DONE
        assert f"CRIPROXY_ROUTE=app=web={ID}\n" in file.read_text()
    file.write_text(file.read_text().replace("CRI_OTHER=", "CRI_OTHER=gamma.test:/run/gamma.sock,"))
    run(service, "undrain", ID)  # which reads the file
    done = run(service, "route", "add", "app = web = gamma.test")
    assert done.returncode == REFUSED
    again = "criproxy route remove 'app=web' first"
    assert done.stderr == f'criproxy route add: the rule "app=web" is there already, for "{ID}": {again}\n'


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("add", f"a b={ID}"), "'a b' is not understood"),
        (("add", "app"), "is not RULE=ID"),
        (("add", "app=gone.test"), f'there is no runtime "gone.test" (there are: {ID})'),
        (("remove", "app"), 'there is no rule "app" (there are: none)'),
        (("remove", ""), 'there is no rule "" (there are: none)'),
    ],
)
def test_what_cannot_be_is_refused(words: List[str], reason: str, service: Proxy, file: Path) -> None:
    before = file.read_text()
    done = run(service, "route", *words)
    assert done.returncode == REFUSED
    assert reason in done.stderr
    assert file.read_text() == before
    assert not service.logged("reload")


def test_where_the_file_would_change_nothing_it_is_refused(start_service: StartService, file: Path) -> None:
    before = file.read_text()
    service = start_service(f"--route=app={ID}")
    for words in (("add", f"tier={ID}"), ("remove", "app")):
        done = run(service, "route", *words)
        assert done.returncode == REFUSED
        assert f"CRIPROXY_ROUTE in {file} would change nothing: --route is given on the command line" in done.stderr
    assert file.read_text() == before


def test_the_rules_of_a_runtime_go_with_it(service: Proxy, file: Path) -> None:
    told = json.loads(run(service, "route", "add", f"app=web={ID}", "-o", "json").stdout)
    assert told == {"rule": "app=web", "runtime": ID, "inForce": True}
    assert run(service, "runtime", "remove", ID).returncode == DONE
    assert "CRIPROXY_ROUTE=\n" in file.read_text()


def test_without_a_daemon_the_file_is_changed(service: Proxy, file: Path) -> None:
    service.stop()
    done = run(service, "route", "add", f"app={ID}", "--environment-file", str(file))
    assert done.returncode == DONE
    assert done.stdout.endswith(", from the daemon's next start on\n")
    assert f"{file} says it now (criproxy status tells why)" in done.stderr
    assert f"CRIPROXY_ROUTE=app={ID}\n" in file.read_text()


def test_what_route_explains_is_what_the_daemon_does(canary: Client, service: Proxy, file: Path) -> None:
    for namespace in ("shop", "other"):
        metadata = {"name": "web", "namespace": namespace, "uid": "u"}
        manifest = {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
        words = ["route", "-o", "json", "-f", "-", f"--environment-file={file}"]
        done = subprocess.run(
            [sys.executable, "-m", "criproxy", *words],
            input=json.dumps(manifest),
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        told, image = json.loads(done.stdout)
        owner = told["runtimes"][0]["id"]
        assert start(canary, namespace=namespace, uid="u") == (f"{owner}__p" if owner else "p")
        assert image["runtimes"] == told["runtimes"]
