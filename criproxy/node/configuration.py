"""KubeletConfiguration, as kubelet reads it from ``--config`` and ``--config-dir``: YAML or JSON."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from criproxy.node.tree import Tree

_KIND = "KubeletConfiguration"
_GROUP = "kubelet.config.k8s.io/"
_LIMIT = 256 * 1024
"""How large a configuration may be, in characters. Real ones have two thousand."""
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class ConfigurationProblem(Exception):
    """A configuration that kubelet would not read either, or that cannot be read here. The message names its place."""


class ConfigurationField(NamedTuple):
    """A field that is set, and in which line."""

    value: str
    line: int


def read(path: str, text: str, names: Sequence[str]) -> Dict[str, ConfigurationField]:
    """Those of the fields that are set: texts, empty ones if to nothing. Of one that is set twice the last counts.

    Raises ConfigurationProblem for what is no KubeletConfiguration, and for a field that is no text.
    """
    if len(text) > _LIMIT:
        raise ConfigurationProblem(f"{path} is larger than any configuration of kubelet's ({len(text)} characters)")
    found = _read_json(path, text, names)
    if found is None:
        found = _read_yaml(path, text, names)
    _check_kind(path, found.pop("kind", None), found.pop("apiVersion", None))
    return found


def _read_json(path: str, text: str, names: Sequence[str]) -> Optional[Dict[str, ConfigurationField]]:
    """The same of JSON, some of which YAML's library would not read; None if it is none."""
    root = _parsed_json(text)
    found: Dict[str, ConfigurationField] = {}
    for name, value in (root or {}).items():
        if name not in (*names, "kind", "apiVersion"):
            continue
        line = text.count("\n", 0, text.find(json.dumps(name))) + 1
        if value is not None and not isinstance(value, str):
            raise ConfigurationProblem(_no_text(path, line, name))
        found[name] = ConfigurationField(value or "", line)
    return None if root is None else found


def _parsed_json(text: str) -> Optional[Dict[str, object]]:
    try:
        root: Optional[Dict[str, object]] = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return root


def _read_yaml(path: str, text: str, names: Sequence[str]) -> Dict[str, ConfigurationField]:
    import yaml  # it takes its time to load, and not every kubelet has such a file

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_node() if loader.check_node() else None  # kubelet reads the first document alone
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationProblem(f"{path}{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationProblem(f"{path}: {' '.join(str(error).split())}") from error
    if root is None:
        raise ConfigurationProblem(f"{path} is empty")
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationProblem(f"{path}, line {root.start_mark.line + 1}: it is no {_KIND}")
    found: Dict[str, ConfigurationField] = {}
    for key, value in root.value:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:
            raise ConfigurationProblem(f"{path}, line {line}: '<<' is not understood here; write its fields out")
        if key.tag != _TEXT or key.value not in (*names, "kind", "apiVersion"):
            continue
        if value.tag == _NULL:
            found[key.value] = ConfigurationField("", line)
        elif value.tag == _TEXT:
            found[key.value] = ConfigurationField(value.value, line)
        else:
            raise ConfigurationProblem(_no_text(path, line, key.value))
    return found


def assign(path: str, text: str, name: str, value: str) -> str:
    """The text with another value, which needs no quotes, of a field that is set; every other byte is as it was.

    Of a field that is set twice the last counts. Raises ConfigurationProblem as `read` does, and for a value that
    cannot be replaced alone.
    """
    line = read(path, text, (name,))[name].line
    is_json = _parsed_json(text) is not None
    begin, end = _json_span(text, name) if is_json else _yaml_span(text, name)
    old = text[begin:end]
    sign = old[0] if old[:1] in ("'", '"') else ""
    changed = f"{text[:begin]}{sign}{value}{sign}{old[len(old.rstrip()) :]}{text[end:]}"
    load = _parsed_json if is_json else _loaded_yaml
    if load(changed) != {**(load(text) or {}), name: value}:
        raise ConfigurationProblem(f"{path}, line {line}: {name} is tied to other fields; let it be {value}")
    return changed


def _json_span(text: str, name: str) -> Tuple[int, int]:
    """Where the last value of a field is in a text that is a JSON object."""
    decoder, span = json.JSONDecoder(), (0, 0)
    at = _after_space(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        begin = _after_space(text, _after_space(text, at) + 1)  # behind the colon
        _, end = decoder.raw_decode(text, begin)
        span = (begin, end) if key == name else span
        at = _after_space(text, end)
        at = _after_space(text, at + 1) if text[at] == "," else at
    return span


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _yaml_span(text: str, name: str) -> Tuple[int, int]:
    """The same in the first document of YAML."""
    import yaml

    loader = yaml.SafeLoader(text)
    loader.check_node()  # it reads the beginning
    root: Any = loader.get_node()
    last = [value for key, value in root.value if key.tag == _TEXT and key.value == name][-1]
    return last.start_mark.index, last.end_mark.index


def _loaded_yaml(text: str) -> Optional[Dict[str, object]]:
    """The first document's fields; None if it is not YAML."""
    import yaml

    try:
        loader: Any = yaml.SafeLoader(text)
        loaded = loader.get_data() if loader.check_data() else None
    except (yaml.YAMLError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _no_text(path: str, line: int, name: str) -> str:
    return f"{path}, line {line}: {name} is not a string: kubelet would not start"


def _check_kind(path: str, kind: Optional[ConfigurationField], version: Optional[ConfigurationField]) -> None:
    if kind is not None and kind.value not in ("", _KIND):
        raise ConfigurationProblem(f"{path}, line {kind.line}: it is no {_KIND} but a {kind.value!r}")
    if version is not None and version.value and not version.value.startswith(_GROUP):
        raise ConfigurationProblem(f"{path}, line {version.line}: apiVersion {version.value!r} is not {_GROUP}…")


def drop_ins(tree: Tree, folder: str) -> Iterator[str]:
    """The files of a ``--config-dir`` in the order in which kubelet reads them: folders are walked where their names
    come, links to folders are not followed."""
    for name in tree.names(folder):
        path = f"{folder}/{name}"
        if tree.is_folder(path) and tree.link(path) is None:
            yield from drop_ins(tree, path)
        elif name.endswith(".conf"):
            yield path
