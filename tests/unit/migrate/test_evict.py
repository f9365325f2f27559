"""A pod is stopped on the old runtime, and kubelet makes it anew on the new one."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
from two_runtimes import FakeKubelet, served

from criproxy.migrate.evict import COMES_BACK, JOB_COMES_BACK, STARTS, clear, evict, prospects
from criproxy.migrate.left import pods_on
from criproxy.node.kubelet import NodeError

STATIC = {"kubernetes.io/config.source": "file"}


def evicted(kubelet: FakeKubelet) -> List[str]:
    """What is said while the first pod of the old runtime is evicted."""
    said: List[str] = []
    evict(pods_on(kubelet.old.path)[0], kubelet.old.path, kubelet.new.path, said.append, kubelet.clock)
    return [line.replace(kubelet.old.path, "OLD").replace(kubelet.new.path, "NEW") for line in said]


class TestAPodThatRuns:
    def test_is_stopped_and_comes_back_and_leaves_nothing_behind(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", ("main", "side"), annotations=STATIC)
        assert evicted(kubelet) == [
            "default/web: stopping main, side (at most 7 s)",
            "default/web is on NEW",
            "default/web has nothing on OLD any more",
        ]
        assert (kubelet.old.pods, kubelet.new.pods) == ([], ["web"])
        assert not kubelet.old.call("ListContainers").containers

    def test_gives_each_container_the_time_that_the_pod_has(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", ("main", "side"), grace="9")
        evicted(kubelet)
        assert [request.timeout for request in kubelet.old.stopped] == [9, 9]

    def test_without_containers_is_stopped_too(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", (), annotations=STATIC)
        assert evicted(kubelet) == ["default/web is on NEW", "default/web has nothing on OLD any more"]

    def test_is_left_alone_where_others_run(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web")
        kubelet.old.run("xyz")
        evicted(kubelet)
        assert [(pod.name, pod.runs) for pod in pods_on(kubelet.old.path)] == [("xyz", True)]

    def test_is_waited_for_until_its_images_are_pulled(self, kubelet: FakeKubelet) -> None:
        kubelet.pulls = 20
        kubelet.old.run("web", ("main", "side"))
        evicted(kubelet)
        assert kubelet.pulls == 0
        assert kubelet.old.pods == []
        assert len(kubelet.new.call("ListContainers").containers) == 2

    def test_keeps_what_it_has_if_an_image_never_comes(self, kubelet: FakeKubelet) -> None:
        kubelet.pulls = 10**6
        kubelet.old.run("web")
        with pytest.raises(NodeError, match=r"default/web is on .*, but not all of its containers are after 300 s"):
            evicted(kubelet)
        assert kubelet.old.pods == ["web"]
        assert STARTS <= kubelet.time < STARTS + 10

    def test_may_be_deleted_meanwhile(self, kubelet: FakeKubelet) -> None:
        kubelet.deleted.append("web")
        kubelet.old.run("web", annotations=STATIC)
        assert evicted(kubelet)[-1] == "default/web is gone"
        assert (kubelet.old.pods, kubelet.new.pods) == ([], [])

    def test_may_be_gone_before(self, kubelet: FakeKubelet) -> None:
        sandbox = kubelet.old.run("web", annotations=STATIC)
        pod = pods_on(kubelet.old.path)[0]
        kubelet.old.call("RemovePodSandbox", pod_sandbox_id=sandbox)
        said: List[str] = []
        evict(pod, kubelet.old.path, kubelet.new.path, said.append, kubelet.clock)
        assert said[-1] == "default/web is gone"

    def test_stops_the_others_from_being_evicted_if_it_does_not_come_back(self, kubelet: FakeKubelet) -> None:
        kubelet.never.append("web")
        kubelet.old.run("web")
        with pytest.raises(NodeError) as raised:
            evicted(kubelet)
        assert str(raised.value).replace(kubelet.old.path, "OLD").replace(kubelet.new.path, "NEW") == (
            "default/web has not come back on NEW within 120 s: kubectl describe pod --namespace default web says why,"
            " or its restartPolicy does not want it; try again then, and what has ended on OLD is removed"
        )
        assert COMES_BACK <= kubelet.time < COMES_BACK + 10
        assert kubelet.old.pods == ["web"]

    def test_of_a_job_need_not_come_back(self, kubelet: FakeKubelet) -> None:
        kubelet.never.append("backup")
        kubelet.old.run("backup", labels={"job-name": "nightly"})
        assert evicted(kubelet) == [
            "default/backup: stopping main (at most 7 s)",
            "default/backup has not come back, and has ended",
            "default/backup has nothing on OLD any more",
        ]
        assert JOB_COMES_BACK <= kubelet.time < JOB_COMES_BACK + 10

    def test_of_a_job_may_come_back(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("backup", labels={"job-name": "nightly"})
        assert "default/backup is on NEW" in evicted(kubelet)

    def test_that_cannot_be_stopped_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "more").mkdir()
        with served(tmp_path / "more", "StopContainer") as kubelet:
            kubelet.old.run("web")
            with pytest.raises(NodeError, match=r"^default/web: .*/old.sock: StopContainer: UNIMPLEMENTED"):
                evicted(kubelet)
            assert pods_on(kubelet.old.path)[0].ready


class TestAContainerThatKubeletStartsAgain:
    def test_ends_with_the_sandbox(self, kubelet: FakeKubelet) -> None:
        """kubelet has seen the first one end, and the sandbox is there yet."""
        sandbox = kubelet.old.run("web", annotations=STATIC)

        def again() -> None:
            made = {"metadata": {"name": "main", "attempt": 1}, "image": {"image": "docker.io/library/nginx:1"}}
            answer = kubelet.old.call("CreateContainer", pod_sandbox_id=sandbox, config=made, sandbox_config={})
            kubelet.old.call("StartContainer", container_id=answer.container_id)

        kubelet.old.on_stop = again
        evicted(kubelet)
        assert not kubelet.old.call("ListContainers").containers


class TestAPodThatHasEnded:
    def test_is_removed_at_once(self, kubelet: FakeKubelet) -> None:
        kubelet.old.end(kubelet.old.run("once"))
        kubelet.busy = True
        assert evicted(kubelet) == ["default/once has nothing on OLD any more"]
        assert (kubelet.old.pods, kubelet.time) == ([], 0.0)

    def test_may_be_gone_before(self, kubelet: FakeKubelet) -> None:
        kubelet.old.end(kubelet.old.run("once"))
        pod = pods_on(kubelet.old.path)[0]
        said: List[str] = []
        clear(pod, kubelet.old.path, said.append)
        clear(pod, kubelet.old.path, said.append)
        assert kubelet.old.pods == []


class TestWhatIsToBeKnownBefore:
    @staticmethod
    def told(kubelet: FakeKubelet) -> List[str]:
        return prospects(pods_on(kubelet.old.path)[0])

    def test_nothing_of_a_static_pod(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", annotations=STATIC)
        assert self.told(kubelet) == []

    def test_that_a_pod_may_not_be_meant_to_come_back(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web")
        assert self.told(kubelet) == [
            "default/web does not come back if its restartPolicy is Never, which no runtime knows"
        ]

    def test_that_a_jobs_pod_may_be_followed_by_another(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("backup", labels={"job-name": "nightly"})
        assert self.told(kubelet) == [
            'default/backup may not come back: it is of the Job "nightly", which makes another then'
        ]

    def test_that_a_hook_is_not_run(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", annotations=STATIC, of_containers={"io.kubernetes.container.preStopHandler": "{}"})
        assert self.told(kubelet) == ['default/web: the preStop hook of "main" is not run (kubectl delete pod runs it)']
