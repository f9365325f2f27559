"""Status of two real runtimes."""

from __future__ import annotations

import json
from typing import Dict, Tuple

import pytest

from .client import Client
from .conftest import ALTERNATIVE
from .kubelet import Proxy, Runtime
from .service import eventually

CONDITION = f"{ALTERNATIVE}/RuntimeReady"


def conditions(client: Client, verbose: bool = False) -> Dict[str, Tuple[bool, str]]:
    """Whether each condition is met, and the reason."""
    return {one.type: (one.status, one.reason) for one in client.Status(verbose=verbose).status.conditions}


@pytest.mark.parametrize("version", ["v1", "v1alpha2"])
def test_has_the_primarys_conditions_as_they_are_and_one_of_the_alternative(
    version: str, proxy: Proxy, primary: Runtime, alternative: Runtime
) -> None:
    with Client(proxy.socket, version) as cri:
        # An alternative that an earlier test has restarted may still have to load its network's configuration.
        wanted = {**conditions(primary.direct), CONDITION: conditions(alternative.direct)["RuntimeReady"]}
        assert eventually(lambda: conditions(cri), lambda found: found == wanted) == wanted
        assert wanted[CONDITION] == (True, "")


def test_says_that_the_alternative_is_not_there_until_it_is(cri: Client, alternative: Runtime) -> None:
    eventually(lambda: conditions(cri), lambda found: found[CONDITION][0])
    alternative.containerd.stop()
    try:
        found = eventually(lambda: conditions(cri), lambda found: not found[CONDITION][0])
        assert found[CONDITION] == (False, "RuntimeNotAvailable")
        assert found["RuntimeReady"] == (True, "")
    finally:
        alternative.containerd.start()
    assert eventually(lambda: conditions(cri), lambda found: found[CONDITION][0])[CONDITION] == (True, "")


def test_waits_for_the_primary_and_tells_a_person_at_once_that_it_is_not_there(
    cri: Client, primary: Runtime, alternative: Runtime
) -> None:
    primary.containerd.stop()
    try:
        kubelets = cri.begin("Status")
        found = conditions(cri, verbose=True)
        assert found["RuntimeReady"] == found["NetworkReady"] == (False, "RuntimeNotAvailable")
        assert found[CONDITION] == (True, "")
        assert not kubelets.done()
    finally:
        primary.containerd.start()
    answered = {one.type: one.reason for one in kubelets.result().status.conditions}
    assert answered["RuntimeReady"] != "RuntimeNotAvailable"
    assert eventually(lambda: conditions(cri), lambda found: found["RuntimeReady"][0])["RuntimeReady"] == (True, "")


def test_tells_what_each_runtime_and_the_proxy_tell_if_it_is_asked(
    cri: Client, primary: Runtime, alternative: Runtime
) -> None:
    eventually(lambda: conditions(cri), lambda found: found[CONDITION][0])
    info = dict(cri.Status(verbose=True).info)
    own, others = json.loads(info.pop("criproxy")), json.loads(info.pop(ALTERNATIVE))
    theirs = dict(primary.direct.Status(verbose=True).info)
    assert info.keys() == theirs.keys()
    assert json.loads(info["config"]) == json.loads(theirs["config"])
    config = alternative.direct.Status(verbose=True).info["config"]
    assert others["config"] == json.loads(config)
    sockets = [str(runtime.containerd.socket) for runtime in (primary, alternative)]
    assert [(one["id"], one["socket"]) for one in own["runtimes"]] == list(zip(["", ALTERNATIVE], sockets))
    assert all(one["available"] and one["connectedSince"] and "v1" in one["apiVersions"] for one in own["runtimes"])


def test_has_no_info_unless_it_is_asked_for(cri: Client) -> None:
    assert not cri.Status().info
