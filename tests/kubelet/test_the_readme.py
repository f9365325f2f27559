"""The README's first pod on a second runtime: each of its commands is run, and its output is what stands there.

What differs from node to node is not compared: ids, ages and the versions of programs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from tests.containerd.service import eventually

from .conftest import Boot
from .node import ALTERNATIVE, LAYOUT, PATIENCE, KubeletNode

README = Path(__file__).parents[2] / "README.md"
_IMAGE = "docker.io/library/busybox:1.36"
_VARIES = ((r"\b[0-9a-f]{13}\b", "ID"), (r"\b\d+[smhd]$", "AGE"), (r"containerd [0-9][^,]*", "containerd VERSION"))


def story() -> Iterator[Tuple[str, List[str]]]:
    """Each command of the story, with the lines that it prints."""
    (text,) = re.findall("```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for command in re.split("^# ", text, flags=re.MULTILINE)[1:]:
        document = re.fullmatch(r"(.*<<END\n.*?^END\n)(.*)", command, re.DOTALL | re.MULTILINE)
        line, said = document.groups() if document else command.split("\n", 1)
        yield line, compared(said)


def compared(text: str) -> List[str]:
    """The lines of an output without what varies. Columns are as wide as what is in them."""
    for pattern, name in _VARIES:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return [re.sub("  +", "  ", line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def node(boot: Boot) -> KubeletNode:
    """A node on which criproxy has been installed without an alternative runtime, beside which there is one."""
    node: KubeletNode = boot(KubeletNode, replace(LAYOUT, answers={"criproxy/other_cri": ""}))
    node.install()
    node.load(node.image, _IMAGE, ALTERNATIVE.socket)
    return node


def test_the_first_pod_on_a_second_runtime_is_as_the_readme_tells(node: KubeletNode) -> None:
    for command, said in story():
        # Kubelet needs some seconds to start a pod, and to end one.
        seen = eventually(lambda command=command: _run(node, command), lambda seen, said=said: seen == said, PATIENCE)  # type: ignore[misc]
        assert seen == said, command


def _run(node: KubeletNode, command: str) -> List[str]:
    return compared(node.attempt("sh", "-ec", command).stdout)
