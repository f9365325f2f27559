"""KubeletConfiguration in all that YAML and JSON have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("text", "assigned"),
    [
        (f"{FIELD}: unix:///a\n", f"{FIELD}: unix:///new\n"),
        (f"a: 1 # one\n{FIELD}:  'unix:///a' # it\nb: [2]", f"a: 1 # one\n{FIELD}:  'unix:///new' # it\nb: [2]"),
        (f'"{FIELD}": "unix:///a"\n', f'"{FIELD}": "unix:///new"\n'),
        (f"{FIELD}:\n  unix:///a\n", f"{FIELD}:\n  unix:///new\n"),
        (f"{FIELD}: >-\n  unix:///a\nb: 2\n", f"{FIELD}: unix:///new\nb: 2\n"),
        (f"? {FIELD}\n: unix:///a\n", f"? {FIELD}\n: unix:///new\n"),
        (f"{{a: 1, {FIELD}: 'unix:///a'}}\n", f"{{a: 1, {FIELD}: 'unix:///new'}}\n"),
        (f"{FIELD}: first\n{FIELD}: unix:///a\n", f"{FIELD}: first\n{FIELD}: unix:///new\n"),
        (f"---\n{FIELD}: unix:///a\n---\n{FIELD}: x\n", f"---\n{FIELD}: unix:///new\n---\n{FIELD}: x\n"),
        (f"\ufeff{FIELD}: unix:///a\n", f"\ufeff{FIELD}: unix:///new\n"),
        (f'{{\n\t"{FIELD}"\t:\t"unix:\\/\\/a"\n}}\n', f'{{\n\t"{FIELD}"\t:\t"unix:///new"\n}}\n'),
        (
            f'{{"a":{{"{FIELD}":"x"}} , "{FIELD}":"unix:///a","b":[1,{{}}]}}',
            f'{{"a":{{"{FIELD}":"x"}} , "{FIELD}":"unix:///new","b":[1,{{}}]}}',
        ),
    ],
)
def test_another_value_is_put_in_the_place_of_one_and_nothing_else_changes(text: str, assigned: str) -> None:
    assert configuration.assign("/k", text, FIELD, "unix:///new") == assigned


@pytest.mark.parametrize("text", [f"evictionHard: &a unix:///a\n{FIELD}: *a\n", f"{FIELD}: &a unix:///a\nb: *a\n"])
def test_a_value_that_is_another_fields_too_is_not_replaced(text: str) -> None:
    with pytest.raises(ConfigurationProblem, match=r"/k, line \d: containerRuntimeEndpoint is tied to other fields"):
        configuration.assign("/k", text, FIELD, "unix:///new")


def common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_WAYS: Dict[str, Callable[[Any], str]] = {
    "json": json.dumps,
    "indented": lambda fields: json.dumps(fields, indent=2),
    "yaml": lambda fields: str(yaml.safe_dump(fields, sort_keys=False)),
    "flow": lambda fields: str(yaml.safe_dump(fields, default_flow_style=True, sort_keys=False)),
    "quoted": lambda fields: str(yaml.safe_dump(fields, default_style='"', sort_keys=False)),
}


@given(
    st.dictionaries(st.sampled_from(["maxPods", "evictionHard", "clusterDNS", "x"]), _VALUES),
    st.dictionaries(st.sampled_from(["clusterDomain", "rotateCertificates"]), _VALUES),
    st.text(max_size=30),
    st.sampled_from(sorted(_WAYS)),
)
def test_whatever_stands_around_it_is_as_it_was(first: Any, last: Any, old: str, way: str) -> None:
    text = _WAYS[way]({**first, FIELD: old, **last})
    try:
        read(text)
    except ConfigurationProblem:  # YAML that is not: some characters JSON alone takes
        return
    changed = configuration.assign("/k", text, FIELD, "unix:///new.sock")
    assert yaml.safe_load(changed) == {**yaml.safe_load(text), FIELD: "unix:///new.sock"}
    begin, end = common(text, changed), common(text[::-1], changed[::-1])
    assert changed[begin : len(changed) - end].strip("'\"\n") in "unix:///new.sock"
