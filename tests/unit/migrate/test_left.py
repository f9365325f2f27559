"""What a runtime still has, and what that is to a node that moves away from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_runtimes import FakeKubelet

from criproxy.migrate.left import USUAL_GRACE, LeftContainer, LeftPod, Rest, pods_on, rests
from criproxy.node.kubelet import NodeError


class TestPods:
    def test_have_their_names_and_their_containers(self, kubelet: FakeKubelet) -> None:
        sandbox = kubelet.old.run("web", ("main", "side"))
        (pod,) = pods_on(kubelet.old.path)
        assert str(pod) == "default/web"
        assert (pod.uid, pod.sandbox, pod.ready, pod.runs, pod.grace) == ("uid-of-web", sandbox, True, True, 7)
        assert sorted(container.name for container in pod.containers) == ["main", "side"]
        assert not any(container.ended or container.has_hook for container in pod.containers)

    def test_come_in_the_order_of_their_names_whether_they_run_or_not(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("b")
        kubelet.old.end(kubelet.old.run("c"))
        kubelet.old.run("a", containers=())
        pods = pods_on(kubelet.old.path)
        assert [(pod.name, pod.ready, pod.runs) for pod in pods] == [
            ("a", True, True),
            ("b", True, True),
            ("c", False, False),
        ]
        assert [container.ended for container in pods[2].containers] == [True]

    def test_of_a_runtime_that_speaks_the_older_version_are_there_too(self, kubelet: FakeKubelet) -> None:
        kubelet.new.run("web")
        assert [pod.name for pod in pods_on(kubelet.new.path)] == ["web"]

    def test_run_while_a_container_does(self) -> None:
        container = LeftContainer("1", "main", False, False)
        pod = LeftPod("default", "web", "u", "s", False, 30, (container,))
        assert pod.runs
        assert not pod._replace(containers=(container._replace(ended=True),)).runs

    @pytest.mark.parametrize(
        ("grace", "taken"),
        [("0", 0), ("", USUAL_GRACE), ("soon", USUAL_GRACE), ("-1", 0), ("9" * 30, 86400), ("3600", 3600)],
    )
    def test_have_the_time_that_kubelet_has_noted(self, grace: str, taken: int, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", grace=grace)
        assert pods_on(kubelet.old.path)[0].grace == taken

    def test_without_containers_have_the_usual_time(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", containers=())
        assert pods_on(kubelet.old.path)[0].grace == USUAL_GRACE

    @pytest.mark.parametrize("label", ["job-name", "batch.kubernetes.io/job-name"])
    def test_of_a_job_say_so(self, label: str, kubelet: FakeKubelet) -> None:
        kubelet.old.run("backup", labels={label: "nightly"})
        kubelet.old.run("web")
        assert [pod.job for pod in pods_on(kubelet.old.path)] == ["nightly", ""]

    @pytest.mark.parametrize(("source", "static"), [("file", True), ("http", True), ("api", False), (None, False)])
    def test_from_a_file_say_so(self, source: str, static: bool, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web", annotations={"kubernetes.io/config.source": source} if source else {})
        assert pods_on(kubelet.old.path)[0].static is static

    def test_with_a_hook_say_so(self, kubelet: FakeKubelet) -> None:
        hook = {"io.kubernetes.container.preStopHandler": '{"exec":{"command":["sleep","5"]}}'}
        kubelet.old.run("web", of_containers=hook)
        assert pods_on(kubelet.old.path)[0].containers[0].has_hook

    def test_of_a_runtime_that_is_away_are_not_known(self, tmp_path: Path) -> None:
        with pytest.raises(NodeError, match=r"^what is left on .*/away.sock is not known: .*/away.sock: No such file"):
            pods_on(str(tmp_path / "away.sock"))


class TestWhatAPodIs:
    @staticmethod
    def rest(kubelet: FakeKubelet) -> Rest:
        found = rests(pods_on(kubelet.old.path), pods_on(kubelet.new.path))
        return next(iter(found.values()))

    def test_it_runs(self, kubelet: FakeKubelet) -> None:
        kubelet.old.run("web")
        kubelet.new.run("web")
        assert self.rest(kubelet) is Rest.RUNS

    def test_it_has_ended(self, kubelet: FakeKubelet) -> None:
        kubelet.old.end(kubelet.old.run("web"))
        kubelet.new.run("other")
        assert self.rest(kubelet) is Rest.ENDED

    def test_it_has_moved(self, kubelet: FakeKubelet) -> None:
        kubelet.old.end(kubelet.old.run("web"))
        kubelet.new.run("web", ("side", "main"))
        assert self.rest(kubelet) is Rest.MOVED

    def test_it_has_left_behind_the_status_of_a_container_that_is_not_on_the_new_runtime(
        self, kubelet: FakeKubelet
    ) -> None:
        kubelet.old.end(kubelet.old.run("web", ("main", "once")))
        kubelet.new.run("web", ("main",))
        assert self.rest(kubelet) is Rest.ENDED

    def test_it_has_ended_on_both(self, kubelet: FakeKubelet) -> None:
        kubelet.old.end(kubelet.old.run("web"))
        kubelet.new.end(kubelet.new.run("web"))
        assert self.rest(kubelet) is Rest.ENDED
