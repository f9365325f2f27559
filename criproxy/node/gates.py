"""Kubelet's feature gates."""

from __future__ import annotations

import json
from typing import Any, Dict

from criproxy.node import endpoints
from criproxy.node.kubelet import Kubelet, NodeError
from criproxy.node.tree import Tree

_FIELD = "featureGates"
_ALL = "AllAlpha"
"""The gate of all features that are not on by themselves and have not been named."""
_ON = ("1", "t", "T", "true", "TRUE", "True")
"""As Go's strconv.ParseBool has it."""


def is_on(tree: Tree, kubelet: Kubelet, gate: str, default: bool = False) -> bool:
    """Whether kubelet has a feature; ``default``: if it is not told. Raises NodeError."""
    gates = _configured(tree, kubelet)
    flag = kubelet.values(("feature-gates",)).get("feature-gates", "")
    for entry in flag.split(","):
        name, _, value = entry.partition("=")
        gates[name.strip()] = value.strip() in _ON
    return gates.get(gate, default or gates.get(_ALL, False))


def _configured(tree: Tree, kubelet: Kubelet) -> Dict[str, bool]:
    """What kubelet's configuration says; later files add to those before."""
    found: Dict[str, bool] = {}
    if kubelet.version < endpoints.BETA:
        return found
    for path, text in endpoints.configurations(tree, kubelet):
        gates = _fields(path, text or "").get(_FIELD) or {}
        if not isinstance(gates, dict) or not all(isinstance(value, bool) for value in gates.values()):
            raise NodeError(f"{path}: {_FIELD} does not say true or false of each: kubelet would not start; mend it")
        found.update(gates)
    return found


def _fields(path: str, text: str) -> Dict[str, Any]:
    """The fields of a configuration; none of an empty one."""
    import yaml  # it takes its time to load, and not every kubelet has such a file

    try:
        # YAML's library would not read each JSON, and kubelet reads the first document alone.
        documents = [json.loads(text)] if text.lstrip().startswith("{") else yaml.safe_load_all(text)
        root = next(iter(documents), None)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise NodeError(f"{path} is not understood: {' '.join(str(error).split())}; mend it") from error
    return root if isinstance(root, dict) else {}
