"""Which images of running pods another runtime lacks, and how it gets them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List, NamedTuple

import grpc
import pytest
from moving import NOT_READY, Peer, digest
from node_lab import FakeClock

from criproxy.migrate.images import Image, copy, lacking, size
from criproxy.node.kubelet import NodeError
from criproxy.node.watch import Clock

ONE, OTHER = digest("1"), digest("2")
ARCHIVES = """\
#!/bin/sh
# Writes or reads an archive, which is a line for each name.
case $1 in
save) shift 2; printf '%s\\n' "$@" ;;
--address) case $6 in
  export) shift 8; printf '%s\\n' "$@" ;;
  import) cat > "$PLACE/imported" ;;
  esac ;;
esac
echo "$0 $*" >> "$PLACE/done"
"""


class Scene(NamedTuple):
    """Two runtimes, programs that stand for docker and ctr, and what is told."""

    old: Peer
    new: Peer
    place: Path
    told: List[str]

    def lacking(self) -> List[Image]:
        return lacking(self.old.path, self.new.path)

    def copy(self) -> None:
        clock = FakeClock()
        copy(self.lacking(), self.old.path, self.new.path, self.told.append, Clock(clock.now, clock.sleep))

    def program(self, name: str, text: str = ARCHIVES) -> None:
        file = self.place / name
        file.write_text(text)
        file.chmod(0o755)

    def imports(self) -> None:
        """Lets the new runtime have what ctr has imported."""
        asked = self.new.runtime.answers["ImageStatus"]

        def answer(request: object, context: grpc.ServicerContext) -> object:
            file = self.place / "imported"
            for name in file.read_text().split() if file.exists() else ():
                self.new.images[name] = self.old.images[name]
            return asked(request, context)

        self.new.runtime.answers["ImageStatus"] = answer


@pytest.fixture(params=["docker"])
def scene(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    old, new = Peer(tmp_path / "old.sock", request.param), Peer(tmp_path / "new.sock")
    place = tmp_path / "bin"
    place.mkdir()
    os.symlink("/bin/cat", place / "cat")
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("PLACE", str(place))
    old.runtime.start()
    new.runtime.start()
    found = Scene(old, new, place, [])
    found.imports()
    yield found
    old.runtime.stop()
    new.runtime.stop()


both_kinds = pytest.mark.parametrize("scene", ["docker", "containerd"], indirect=True)


class TestLacking:
    def test_is_what_ready_pods_use_and_the_other_does_not_have(self, scene: Scene) -> None:
        scene.old.has(ONE, "web:1", "web@sha256:7", size=5)
        scene.old.has(OTHER, "there:1")
        scene.new.has(OTHER, "there:1")
        for name, id in (("b", ONE), ("a", ONE), ("c", OTHER)):
            scene.old.run(name, id)
        scene.old.run("gone", scene.old.has(digest("3"), "gone:1").id, state=NOT_READY)
        (image,) = scene.lacking()
        assert image == Image(ONE, ("web:1",), ("web:1", "web@sha256:7"), 5, ("default/a", "default/b"))

    def test_is_what_the_other_has_another_image_by_that_name_of(self, scene: Scene) -> None:
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        scene.new.has(OTHER, "web:1")
        assert [image.id for image in scene.lacking()] == [ONE]
        scene.new.has(ONE.partition(":")[2], "web:1")  # as CRI-O writes it
        assert scene.lacking() == []

    def test_goes_by_the_name_in_the_pod_where_that_is_known(self, scene: Scene) -> None:
        scene.old.has(ONE, "web:1", "web:latest", "web@sha256:7")
        scene.old.run("web", ONE, named="web@sha256:7")
        assert [image.names for image in scene.lacking()] == [("web@sha256:7",)]
        scene.new.has(ONE, "web@sha256:7")
        assert scene.lacking() == []

    def test_goes_by_the_digest_of_one_without_a_tag(self, scene: Scene) -> None:
        scene.old.has(ONE, "<none>:<none>", "web@sha256:7")
        scene.old.run("web", ONE)
        assert [image.names for image in scene.lacking()] == [("web@sha256:7",)]

    def test_is_nothing_that_kubelet_cannot_ask_for_by_a_name(self, scene: Scene) -> None:
        scene.old.run("unnamed", scene.old.has(ONE, "<none>:<none>").id)
        scene.old.run("removed", OTHER)
        assert scene.lacking() == []

    def test_has_the_image_of_the_other_s_sandboxes_of_whichever_id(self, scene: Scene) -> None:
        scene.new.info = {"config": '{"sandboxImage": "pause:1"}'}
        assert scene.lacking() == [Image("", ("pause:1",), (), 0, ())]
        scene.old.has(ONE, "pause:1", size=7)
        assert scene.lacking() == [Image("", ("pause:1",), ("pause:1",), 7, ())]
        scene.new.has(OTHER, "pause:1")
        assert scene.lacking() == []

    def test_is_nothing_of_an_image_that_is_said_not_to_be_found(self, scene: Scene) -> None:
        def answer(_: object, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such image")

        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        scene.new.runtime.answers["ImageStatus"] = answer
        assert len(scene.lacking()) == 1

    def test_cannot_be_told_of_a_runtime_that_does_not_answer(self, scene: Scene) -> None:
        scene.new.runtime.stop()
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        with pytest.raises(NodeError, match=r"which images are there cannot be told: .*new\.sock"):
            scene.lacking()


class TestCopying:
    @both_kinds
    def test_goes_through_a_pipe_of_the_runtimes_own_programs(self, scene: Scene) -> None:
        for program in ("docker", "ctr"):
            scene.program(program)
        scene.old.run("web", scene.old.has(ONE, "web:1", size=3 << 20).id)
        scene.old.run("db", scene.old.has(OTHER, "db:1", size=5 << 29).id)
        scene.copy()
        assert scene.lacking() == []
        assert scene.new.pulled == []
        assert [line for line in scene.told if "image" in line.split()[0]] == [
            "image 1 of 2: web:1 (3.0 MiB)",
            "image 2 of 2: db:1 (2.5 GiB)",
        ]
        assert [line for line in scene.told if f"| ctr --address {scene.new.path} --namespace k8s.io" in line]

    @pytest.mark.parametrize("scene", ["containerd"], indirect=True)
    def test_takes_the_digests_along_from_containerd_to_containerd(self, scene: Scene) -> None:
        scene.program("ctr")
        scene.old.run("web", scene.old.has(ONE, "web:1", "web@sha256:7").id)
        scene.copy()
        assert {"web:1", "web@sha256:7"} <= set(scene.new.images)

    def test_leaves_digests_to_a_pull_where_an_archive_has_none(self, scene: Scene) -> None:
        for program in ("docker", "ctr"):
            scene.program(program)
        scene.old.run("web", scene.old.has(ONE, "web:1", "web@sha256:7").id, named="web@sha256:7")
        scene.new.registry["web@sha256:7"] = ONE
        scene.copy()
        assert scene.new.pulled == ["web@sha256:7"]
        assert scene.lacking() == []

    @pytest.mark.parametrize("scene", ["docker", "x"], indirect=True)
    def test_is_a_pull_where_there_are_no_programs(self, scene: Scene) -> None:
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        scene.new.registry["web:1"] = ONE
        scene.copy()
        assert scene.lacking() == []
        assert "  PullImage web:1" in scene.told

    def test_that_can_be_neither_says_the_command_to_run_by_hand(self, scene: Scene) -> None:
        scene.program("ctr")
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        with pytest.raises(NodeError) as raised:
            scene.copy()
        text = str(raised.value)
        assert text.startswith("web:1 cannot be brought to the new runtime: docker cannot be found here; nor can it be")
        assert text.endswith(
            f"load it there by hand: docker save -- web:1 | ctr --address {scene.new.path} --namespace k8s.io images"
            " import --no-unpack -"
        )

    @pytest.mark.parametrize("scene", ["x"], indirect=True)
    def test_from_a_runtime_of_its_own_kind_is_left_to_whoever_knows_that(self, scene: Scene) -> None:
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        with pytest.raises(NodeError, match="PullImage: NOT_FOUND: web:1: not found; load it there by the new"):
            scene.copy()

    def test_refuses_another_image_that_the_registry_has_by_that_name_now(self, scene: Scene) -> None:
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        scene.new.registry["web:1"] = OTHER
        with pytest.raises(NodeError, match=f"^web:1 is another image .* that runs \\({ONE}\\)"):
            scene.copy()

    def test_takes_any_image_of_that_name_for_sandboxes(self, scene: Scene) -> None:
        scene.new.info = {"config": '{"sandboxImage": "pause:1"}'}
        scene.new.registry["pause:1"] = OTHER
        scene.copy()
        assert scene.lacking() == []

    @pytest.mark.parametrize(("program", "status"), [("docker", 3), ("ctr", 4)])
    def test_that_fails_says_which_program_and_its_words(self, program: str, status: int, scene: Scene) -> None:
        for name in ("docker", "ctr"):
            scene.program(name)
        scene.program(program, f"#!/bin/sh\necho 'no space left' >&2\nexit {status}\n")
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        with pytest.raises(NodeError) as raised:
            scene.copy()
        assert str(raised.value).startswith(
            f"{program} has failed (exit status {status}): no space left; the whole: docker"
        )

    def test_that_brings_nothing_ends_as_a_pull_does(self, scene: Scene) -> None:
        for name in ("docker", "ctr"):
            scene.program(name, "#!/bin/sh\nexit 0\n")
        scene.old.run("web", scene.old.has(ONE, "web:1").id)
        with pytest.raises(NodeError, match=r"^web:1 cannot be brought to the new runtime: PullImage: NOT_FOUND"):
            scene.copy()

    def test_needs_both_to_answer(self, scene: Scene) -> None:
        image = Image(ONE, ("web:1",), ("web:1",), 1, ())
        scene.new.runtime.stop()
        with pytest.raises(NodeError, match=r"^images cannot be copied: .*new\.sock"):
            copy([image], scene.old.path, scene.new.path, scene.told.append)


def test_a_size_is_told_in_a_unit_that_fits() -> None:
    assert [size(number) for number in (0, 1 << 20, 3 << 29)] == ["0.0 MiB", "1.0 MiB", "1.5 GiB"]
