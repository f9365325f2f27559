"""KubeletConfiguration in all that YAML and JSON have."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import pytest

from criproxy.node import configuration
from criproxy.node.configuration import ConfigurationProblem
from criproxy.node.tree import Tree

FIELD = "containerRuntimeEndpoint"
OTHER = "imageServiceEndpoint"


def read(text: str) -> Dict[str, Tuple[str, int]]:
    return dict(configuration.read("/k", text, (FIELD, OTHER)))


@pytest.mark.parametrize(
    "text",
    [
        f"{FIELD}: unix:///a\n",
        f"kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n{FIELD}: 'unix:///a' # it\n",
        f'"{FIELD}": "unix:///a"\n',
        f"{FIELD}:\n  unix:///a\n",
        f"{FIELD}: >-\n  unix:///a\n",
        f"? {FIELD}\n: unix:///a\n",
        f"{{kind: KubeletConfiguration, {FIELD}: 'unix:///a'}}\n",
        f'\n{{\n\t"kind": "KubeletConfiguration",\n\t"{FIELD}"\t:\t"unix:\\/\\/\\/a"\n}}\n',
        f'{{"{FIELD}":"unix:///a","evictionHard":{{"memory.available":"1"}}}}',
        f'{{"kind": "KubeletConfiguration",\n  "{FIELD}"\n  : "unix:///a"}}\n',
        f"evictionHard: &a unix:///a\n{FIELD}: *a\n",
        f"{FIELD}: !!str unix:///a\n",
        f"{FIELD}: unix:///lost\n{FIELD}: unix:///a\n",
        f"%YAML 1.1\n---\n{FIELD}: unix:///a\n---\n{FIELD}: unix:///lost\n",
        f"---\n{FIELD}: unix:///a\n...\n: {{ no yaml\n",
        f"\ufeff{FIELD}: unix:///a\n",
        f"{FIELD}: unix:///a\r\nx: y\r\n",
    ],
)
def test_a_field_however_it_is_written(text: str) -> None:
    assert read(text)[FIELD][0] == "unix:///a"


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n",
        f"nested:\n  {FIELD}: no\n",
        f"# {FIELD}: no\na: 1\n",
        f"text: |\n  {FIELD}: no\n",
        f"{FIELD.lower()}: no\n",
        f"list:\n  - {FIELD}: no\n",
    ],
)
def test_a_field_that_is_not_set(text: str) -> None:
    assert read(text) == {}


@pytest.mark.parametrize("value", ["", " ''", " ~", " null"])
def test_a_field_that_is_set_to_nothing_says_so(value: str) -> None:
    assert read(f"a: 1\n{FIELD}:{value}\n") == {FIELD: ("", 2)}


def test_a_field_has_its_line() -> None:
    assert read(f"# one\n\n{FIELD}: /a\n{OTHER}:\n  /b\n") == {FIELD: ("/a", 3), OTHER: ("/b", 4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "/k is empty"),
        ("# nothing\n", "/k is empty"),
        ("just text\n", "/k, line 1: it is no KubeletConfiguration"),
        ("- a\n", "line 1: it is no KubeletConfiguration"),
        (f"kind: Pod\n{FIELD}: /a\n", "line 1: it is no KubeletConfiguration but a 'Pod'"),
        (f"{FIELD}: /a\napiVersion: v1\n", "line 2: apiVersion 'v1' is not kubelet.config.k8s.io/"),
        (f"a: 1\n{FIELD}: 5\n", f"line 2: {FIELD} is not a string"),
        (f"{FIELD}: true\n", f"{FIELD} is not a string"),
        (f"{FIELD}: [/a]\n", f"{FIELD} is not a string"),
        (f"{FIELD}: {{a: b}}\n", f"{FIELD} is not a string"),
        (f"{FIELD}: !secret /a\n", f"{FIELD} is not a string"),
        (f"a: &a {{{FIELD}: /a}}\n<<: *a\n", "line 2: '<<' is not understood"),
        ("a: 'b\n", "/k, line 2: found unexpected end of stream"),
        ("a: b: c\n", "/k, line 1: mapping values are not allowed here"),
        ("a: *b\n", "/k, line 1: found undefined alias 'b'"),
        ("a:\n\tb: c\n", "/k, line 2: found character"),
        ("a: \x00\n", "/k: unacceptable character"),
        ("[" * 20_000, "/k: maximum recursion depth"),
        ("a: 1\n" * 60_000, "/k is larger than any configuration"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationProblem, match=message):
        read(text)


def test_aliases_of_aliases_take_no_time() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(30))]
    assert read("\n".join((*lines, f"{FIELD}: /a", "")))[FIELD][0] == "/a"


def test_a_folder_is_walked_with_its_folders_and_links_to_files(tmp_path: Path) -> None:
    for path in ("20.conf", "30/2.conf", "30/10.conf", "30.conf", "a.yaml", "10.d/x.conf", "40.conf/y.conf"):
        file = tmp_path / "d" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "d/50").symlink_to(tmp_path / "d/30")
    (tmp_path / "d/60.conf").symlink_to("20.conf")
    found = configuration.drop_ins(Tree(str(tmp_path)), "/d")
    assert [path[len("/d/") :] for path in found] == [
        *("10.d/x.conf", "20.conf", "30/10.conf", "30/2.conf", "30.conf", "40.conf/y.conf", "60.conf")
    ]
