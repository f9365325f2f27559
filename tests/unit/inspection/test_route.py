"""``criproxy route``: where something goes, and by which rule."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from criproxy import cli
from criproxy.inspection import manifest

OPTIONS = [
    "-connect",
    "/c.sock,virtlet.cloud:/v.sock,kata.local:/k.sock",
    "-handler",
    "vm=virtlet.cloud,big=kata.local:l",
]
TARGET = "kubernetes.io/target-runtime"
PRIMARY, VIRTLET, KATA = "", "virtlet.cloud", "kata.local"
DIGEST = f"sha256:{'a' * 64}"

pytestmark = pytest.mark.usefixtures("root")


def asked(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> List[Dict[str, Any]]:
    """The answers."""
    assert cli.main(["route", "-o", "json", *words, *OPTIONS]) == status
    answers: List[Dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answers


def ids(answer: Dict[str, Any]) -> List[str]:
    return [runtime["id"] for runtime in answer["runtimes"]]


def pod(annotation: str = "", runtime_class: str = "", *images: str) -> str:
    """A pod's manifest."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return json.dumps(
        {
            "kind": "Pod",
            "metadata": {"name": "web", "annotations": {TARGET: annotation} if annotation else None},
            "spec": {"runtimeClassName": runtime_class or None, "containers": containers},
        }
    )


def of_manifest(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int = 0) -> List[Dict[str, Any]]:
    file = tmp_path / "manifest"
    file.write_text(text)
    return asked(capsys, "-f", str(file), status=status)


@pytest.mark.parametrize(
    ("name", "runtimes", "rule", "inner"),
    [
        ("nginx", [PRIMARY], "nothing names another runtime", "nginx"),
        ("virtlet.cloud/cirros", [VIRTLET], "image prefix", "cirros"),
        ("virtlet.cloudy/cirros", [PRIMARY], "nothing names another runtime", "virtlet.cloudy/cirros"),
        (DIGEST, [PRIMARY, VIRTLET, KATA], "bare digest", DIGEST),
    ],
)
def test_an_image_goes_where_its_name_says(
    name: str, runtimes: List[str], rule: str, inner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = asked(capsys, "--image", name)
    assert (ids(answer), answer["rule"], answer["inner"]) == (runtimes, rule, inner)


def test_a_digest_is_the_primary_s_where_the_configuration_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    (answer,) = asked(capsys, "--image", DIGEST, "--digests=primary")
    assert ids(answer) == [PRIMARY]


def test_the_primary_s_images_have_the_socket_of_its_image_service(capsys: pytest.CaptureFixture[str]) -> None:
    (answer,) = asked(capsys, "--image", "nginx", "--image-service", "/i.sock")
    assert answer["runtimes"] == [{"id": "", "socket": "/i.sock"}]
    (answer,) = asked(capsys, "--id", "3f", "--image-service", "/i.sock")
    assert answer["runtimes"] == [{"id": "", "socket": "/c.sock"}]


@pytest.mark.parametrize(
    ("name", "runtime", "rule", "inner"),
    [("3f2a", PRIMARY, "nothing names another runtime", "3f2a"), ("kata.local__77", KATA, "id prefix", "77")],
)
def test_an_id_goes_where_its_prefix_says(
    name: str, runtime: str, rule: str, inner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = asked(capsys, "--id", name)
    assert (ids(answer), answer["rule"], answer["inner"]) == ([runtime], rule, inner)


def test_an_id_of_a_runtime_that_is_not_there_is_refused_in_the_daemon_s_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (answer,) = asked(capsys, "--id", "gone.test__1", status=1)
    assert (ids(answer), answer["rule"]) == ([], "refused")
    assert answer["why"] == (
        'criproxy: an id begins with "gone.test__", and there is no such runtime (configured: virtlet.cloud,'
        " kata.local)"
    )


@pytest.mark.parametrize(
    ("annotation", "runtime_class", "runtime", "rule", "why"),
    [
        (
            "",
            "",
            PRIMARY,
            "nothing names another runtime",
            "no annotation and no runtime handler names another runtime",
        ),
        (VIRTLET, "", VIRTLET, "annotation", f"annotation {TARGET}: virtlet.cloud"),
        ("", "vm", VIRTLET, "runtime handler", "runtime handler 'vm', which it does not see"),
        ("", "big", KATA, "runtime handler", "runtime handler 'big', which it sees as 'l'"),
        (
            VIRTLET,
            "vm",
            VIRTLET,
            "annotation and runtime handler",
            f"annotation {TARGET}: virtlet.cloud; runtime handler 'vm', which it does not see",
        ),
        (VIRTLET, "gvisor", VIRTLET, "annotation", f"annotation {TARGET}: virtlet.cloud"),
        (
            "",
            "gvisor",
            PRIMARY,
            "nothing names another runtime",
            "no annotation and no runtime handler names another runtime; it gets the runtime handler 'gvisor'",
        ),
    ],
)
def test_a_pod_goes_where_its_annotation_and_its_class_say(
    annotation: str,
    runtime_class: str,
    runtime: str,
    rule: str,
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (answer,) = of_manifest(pod(annotation, runtime_class), tmp_path, capsys)
    assert (answer["what"], answer["name"]) == ("pod", "default/web")
    assert (ids(answer), answer["rule"], answer["why"]) == ([runtime], rule, why)


@pytest.mark.parametrize(
    ("annotation", "runtime_class", "error"),
    [
        (
            "virtlet.clod",
            "",
            'criproxy: unknown runtime: "virtlet.clod" (configured: virtlet.cloud, kata.local)',
        ),
        (
            VIRTLET,
            "big",
            f'criproxy: the annotation {TARGET} asks for the runtime "virtlet.cloud", and the'
            ' runtime handler "big" for "kata.local"',
        ),
    ],
)
def test_a_pod_that_would_be_refused_is_so_in_the_daemon_s_words(
    annotation: str, runtime_class: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = of_manifest(pod(annotation, runtime_class, "nginx"), tmp_path, capsys, status=1)
    assert (answer["rule"], answer["why"], ids(answer)) == ("refused", error, [])


@pytest.mark.parametrize(
    ("annotation", "runtime_class", "image", "runtime", "rule", "inner"),
    [
        (VIRTLET, "", "cirros", VIRTLET, "annotation", "cirros"),
        (VIRTLET, "", "virtlet.cloud/cirros", VIRTLET, "image prefix", "cirros"),
        ("", "vm", "cirros", VIRTLET, "the runtime of its pod", "cirros"),
        ("", "", "cirros", PRIMARY, "nothing names another runtime", "cirros"),
        ("", "", "virtlet.cloud/cirros", None, "refused", ""),
        (VIRTLET, "", "kata.local/cirros", None, "refused", ""),
    ],
)
def test_the_images_of_a_pod_go_where_it_goes_or_are_refused(
    annotation: str,
    runtime_class: str,
    image: str,
    runtime: Optional[str],
    rule: str,
    inner: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = pod(annotation, runtime_class, image)
    _, answer = of_manifest(text, tmp_path, capsys, status=1 if runtime is None else 0)
    assert (answer["what"], answer["name"], answer["of"]) == ("image", image, "container c0")
    assert (ids(answer), answer["rule"]) == ([] if runtime is None else [runtime], rule)
    assert answer["inner"] == inner
    if runtime is None:
        assert "is for a wrong runtime" in answer["why"]


def test_a_class_alone_and_an_image_without_a_prefix_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bare, prefixed = of_manifest(pod("", "vm", "cirros", "virtlet.cloud/cirros"), tmp_path, capsys)
    assert "RuntimeClassInImageCriApi" in bare["note"]
    assert prefixed["note"] == ""


def test_each_image_of_a_pod_is_told_with_what_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
kind: Pod
metadata: {name: web}
spec:
  ephemeralContainers: [{name: debug, image: d}]
  containers: [{name: app, image: a}, {name: injected}]
  initContainers: [{name: setup, image: i}]
  volumes: [{name: data, image: {reference: v}}, {name: other, emptyDir: {}}]
"""
    _, *images = of_manifest(text, tmp_path, capsys)
    assert [(each["of"], each["name"]) for each in images] == [
        ("container setup", "i"),
        ("container app", "a"),
        ("container debug", "d"),
        ("volume data", "v"),
    ]


def test_what_makes_pods_is_read_and_other_documents_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = f"template: {{metadata: {{annotations: {{{TARGET}: kata.local}}}}, spec: {{}}}}"
    specs = dict.fromkeys(manifest._TEMPLATES, f"spec: {{{template}}}")
    specs["PodTemplate"] = template
    specs["CronJob"] = f"spec: {{jobTemplate: {{spec: {{{template}}}}}}}"
    documents = [f"kind: {kind}\nmetadata: {{name: x, namespace: n}}\n{spec}\n" for kind, spec in specs.items()]
    text = "---\n".join(["kind: ConfigMap\ndata: {a: 1}\n", *documents, "# nothing\n"])
    answers = of_manifest(text, tmp_path, capsys)
    assert [(answer["of"], answer["name"]) for answer in answers] == [(kind, "n/x") for kind in specs]
    assert {answer["rule"] for answer in answers} == {"annotation"}


def test_the_items_of_a_list_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (answer,) = of_manifest(f'{{"kind": "List", "items": [{pod(VIRTLET)}]}}', tmp_path, capsys)
    assert ids(answer) == [VIRTLET]


def test_the_handler_of_a_class_is_that_of_the_manifest_or_else_taken_for_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = "kind: RuntimeClass\nmetadata: {name: machines}\nhandler: vm\n---\n"
    (answer,) = of_manifest(named + pod("", "machines"), tmp_path, capsys)
    assert (ids(answer), answer["note"]) == ([VIRTLET], "")
    (answer,) = of_manifest(pod("", "machines"), tmp_path, capsys)
    assert (ids(answer), answer["note"]) == (
        [PRIMARY],
        "the handler of RuntimeClass machines is taken for 'machines'",
    )


def test_a_manifest_comes_by_standard_input_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pod(VIRTLET).encode())))
    (answer,) = asked(capsys, "-f", "-")
    assert ids(answer) == [VIRTLET]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no pod in it"),
        ("kind: Service\n", "there is no pod in it"),
        ("just words\n", "document 1: it is not an object: 'just words'"),
        ("kind: Service\n---\nkind: Pod\nspec: x\n", "document 2: spec is not an object: 'x'"),
        ("kind: Pod\nspec: {containers: [1]}\n", "document 1: containers is not an object: '1'"),
        ("kind: Pod\nspec: {runtimeClassName: 7}\n", "runtimeClassName is not a text (give it quotes): '7'"),
        (f"kind: Pod\nmetadata: {{annotations: {{{TARGET}: true}}}}\n", f"the annotation {TARGET} is not a text"),
        ("kind: Pod\na: [\n", "line 3: "),
        ("[" * 100000, ""),
        ("kind: Pod\na: !!python/object:os.system x\n", "could not determine a constructor"),
        ('kind: Pod\nspec: {runtimeClassName: "\\ud800"}\n', ""),
        ("a: 2020-99-99\n", ""),
        ("kind: Pod\na: &a {b: c}\nd: {<<: *a}\n", "line 3: '<<' is not understood here; write its fields out"),
        (
            "kind: List\nitems:\n- &p {kind: Pod, spec: {containers: [&c {image: x}"
            + ", *c" * 1000
            + "]}}\n"
            + "- *p\n" * 9,
            f"it has more than {manifest.MOST} pods and images",
        ),
        ("#" * (manifest.LARGEST + 1), f"it has more than {manifest.LARGEST} bytes"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_with_its_place(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "manifest"
    file.write_text(text)
    assert cli.main(["route", "-f", str(file), *OPTIONS]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"criproxy route: {file}: ")
    assert why in error
    assert len(error.splitlines()) == 1


def test_a_file_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["route", "-f", "/nonexistent/pod.yaml"]) == 2
    assert capsys.readouterr().err == "criproxy route: /nonexistent/pod.yaml: No such file or directory\n"


@pytest.mark.parametrize("words", [[], ["--image", ""], ["--image", "a", "--id", "b"], ["--image", "a\udcff"]])
def test_what_is_not_a_question_is_refused(words: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["route", *words])
    assert exit.value.code == 2


def test_a_configuration_that_the_daemon_refuses_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["route", "--image", "x", "-connect", "virtlet.cloud:/v.sock"]) == 2
    assert "has no primary runtime" in capsys.readouterr().err


def test_without_options_the_configuration_is_the_installed_service_s(
    service: Path, defaults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults.write_text("CRI_PRIMARY=/c.sock\nCRI_OTHER=alt.test:/a.sock\n")
    assert cli.main(["route", "--image", "alt.test/x"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["WHAT", "RUNTIME", "SOCKET", "WHY"]
    assert row.split("  ") == ["image alt.test/x", "alt.test", "/a.sock", 'image prefix "alt.test/"']


def test_a_table_has_the_notes_once_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "manifest"
    file.write_text(pod("", "gvisor") + "\n---\n" + pod("", "gvisor"))
    assert cli.main(["route", "-f", str(file), *OPTIONS]) == 0
    assert capsys.readouterr().err == "criproxy route: the handler of RuntimeClass gvisor is taken for 'gvisor'\n"


def test_what_a_manifest_has_in_it_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "manifest"
    file.write_text('kind: Pod\nmetadata: {name: "a\\x1b[2J\\nb"}\nspec: {runtimeClassName: "\\x1b[2J"}\n')
    assert cli.main(["route", "-f", str(file), *OPTIONS]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert (len(said.out.splitlines()), len(said.err.splitlines())) == (2, 1)


def test_it_needs_neither_grpc_nor_the_loop() -> None:
    script = (
        "import sys; from criproxy.cli import main; main(['route', '--image', 'x', '-v', '3']);"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'yaml', 'criproxy.relay.loop', 'criproxy.daemon')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_wide_table_has_what_the_runtime_sees(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["route", "-o", "wide", "--image", "virtlet.cloud/cirros", *OPTIONS]) == 0
    head, row = (line.split()[:5] for line in capsys.readouterr().out.splitlines())
    assert head == ["WHAT", "RUNTIME", "AS", "SOCKET", "WHY"]
    assert row[:4] == ["image", "virtlet.cloud/cirros", VIRTLET, "cirros"]


# Beside a retiring runtime.

RETIRING = [*OPTIONS, "--retiring", "/r.sock"]


def test_an_id_without_a_prefix_may_be_of_the_retiring_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["route", "-o", "json", "--id", "x", *RETIRING]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["runtimes"] == [{"id": "", "socket": "/c.sock"}, {"id": "retiring", "socket": "/r.sock"}]
    assert answer["why"].startswith("no id prefix, so that criproxy learns from both runtimes, or asks them")


def test_a_new_pod_goes_to_the_primary_runtime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "manifest"
    file.write_text(pod("", "", "busybox"))
    assert cli.main(["route", "-o", "json", "-f", str(file), *RETIRING]) == 0
    assert [ids(answer) for answer in json.loads(capsys.readouterr().out)] == [[PRIMARY], [PRIMARY]]


# Rules for new pods.

RULES = [
    *OPTIONS,
    "--route",
    "namespace=shop=kata.local;app=web=virtlet.cloud;10%=virtlet.cloud;namespace=test=kata.local",
]
WEB = {"app": "web"}


def by_rule(namespace: str, labels: Dict[str, str], uid: str = "", kind: str = "Pod", **spec: Any) -> str:
    """The manifest of pods that ask for no runtime."""
    metadata = {"name": "web", "namespace": namespace, "labels": labels, "uid": uid or None}
    pod = {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec}}
    return json.dumps(
        {"kind": kind, "metadata": metadata, "spec": {"template": pod}} if kind != "Pod" else {"kind": "Pod", **pod}
    )


def ruled(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, *options: str) -> List[Dict[str, Any]]:
    """The answers with these rules."""
    file = tmp_path / "manifest"
    file.write_text(text)
    assert cli.main(["route", "-o", "json", "-f", str(file), *(options or RULES)]) == 0
    answers: List[Dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answers


@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
@pytest.mark.parametrize(
    ("namespace", "labels", "runtime", "why"),
    [("shop", WEB, KATA, 'rule "namespace=shop"'), ("other", WEB, VIRTLET, 'rule "app=web"')],
)
def test_a_pod_goes_by_the_first_rule_that_fits_and_its_images_with_it(
    kind: str,
    namespace: str,
    labels: Dict[str, str],
    runtime: str,
    why: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    of_pod, image = ruled(capsys, tmp_path, by_rule(namespace, labels, kind=kind))
    assert (ids(of_pod), of_pod["rule"], of_pod["why"]) == ([runtime], "rule of the configuration", why)
    assert (ids(image), image["rule"], image["note"]) == ([runtime], "the runtime of its pod", "")


def test_of_a_pod_without_a_uid_a_share_says_where_it_may_go(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    of_pod, image = ruled(capsys, tmp_path, by_rule("other", {}))
    why = 'rule "10%=virtlet.cloud": its uid, which it has not got yet, says which'
    assert (ids(of_pod), of_pod["why"]) == ([VIRTLET, PRIMARY], why)
    assert ids(image) == [VIRTLET, PRIMARY]
    of_pod, _ = ruled(capsys, tmp_path, by_rule("test", {}, "u", "Deployment"))
    why = 'rules "10%=virtlet.cloud", "namespace=test=kata.local": its uid, which it has not got yet, says which'
    assert (ids(of_pod), of_pod["why"]) == ([VIRTLET, KATA], why)


def test_of_a_pod_that_has_a_uid_a_share_says_where_it_goes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = {tuple(ids(ruled(capsys, tmp_path, by_rule("other", {}, f"u{number}"))[0])) for number in range(50)}
    assert found == {(PRIMARY,), (VIRTLET,)}


def test_a_pod_that_no_rule_fits_or_that_has_a_class_goes_where_it_went(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = (*OPTIONS, "--route", "namespace=shop=kata.local;0%=virtlet.cloud")
    of_pod, image = ruled(capsys, tmp_path, by_rule("other", WEB), *options)
    assert (ids(of_pod), ids(image)) == ([PRIMARY], [PRIMARY])
    assert of_pod["why"] == "no annotation, no runtime handler and no rule names another runtime"
    of_pod, _ = ruled(capsys, tmp_path, by_rule("shop", WEB, runtimeClassName="vm"), *options)
    assert (ids(of_pod), of_pod["rule"]) == ([VIRTLET], "runtime handler")
    of_pod, _ = ruled(capsys, tmp_path, by_rule("shop", WEB, runtimeClassName="gvisor"), *options)
    assert ids(of_pod) == [PRIMARY]


def test_an_image_of_a_name_is_looked_for_on_all_runtimes_with_pods_of_rules(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["route", "-o", "json", "--image", "nginx", *OPTIONS, "--route=app=kata.local"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert (ids(answer), answer["rule"]) == ([PRIMARY, KATA], "name that an image of several runtimes may have")


@pytest.mark.parametrize("labels", ["[1]", '{"a": 1}', '"a"'])
def test_labels_that_are_none_are_refused(labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "manifest"
    file.write_text(f'{{"kind": "Pod", "metadata": {{"name": "x", "labels": {labels}}}}}')
    assert cli.main(["route", "-f", str(file), *RULES]) == 2
    assert "label" in capsys.readouterr().err
