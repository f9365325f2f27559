"""The sockets that kubelet is told to use: by its flags, or else by its configuration."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Iterator, Optional, Tuple

from criproxy import address
from criproxy.node import configuration
from criproxy.node.configuration import ConfigurationProblem
from criproxy.node.kubelet import Kubelet, KubeletSetting, NodeError, Version
from criproxy.node.tree import Tree

INSTANCE_CONFIG = "/var/lib/kubelet/instance-config.yaml"
"""What kubeadm (1.34 and later) keeps of this node's own part of kubelet's configuration.

kubelet does not read it: kubeadm puts it into ``--config`` each time that it writes that.
"""

DEFAULT = "/run/containerd/containerd.sock"
"""What kubelets use that are told nothing else, from the release after these on."""
REMOTE_BY_DEFAULT: Version = (1, 24, 0)
"""Kubelets before this use Docker unless ``--container-runtime`` says ``remote``."""
_CONFIGURED: Version = (1, 27, 0)
"""Kubelets since this take the runtime from their configuration, too."""
BETA: Version = (1, 10, 0)
"""Kubelets since this have a configuration whose version is a beta, with the cgroup driver and feature gates in it."""
_CONFIGURED_LOGS: Version = (1, 32, 0)
"""Kubelets since this can have the pods' logs elsewhere than in ``/var/log/pods``."""
_DROP_INS: Version = (1, 28, 0)
"""Kubelets since this have ``--config-dir``."""
_DROP_INS_FOR_ALL: Version = (1, 30, 0)
_DROP_INS_ALPHA = "KUBELET_CONFIG_DROPIN_DIR_ALPHA"
"""The variable without which kubelets before that refuse ``--config-dir``."""


def endpoint(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """The runtime that kubelet is told to use, as it is told: its flag, or else its configuration; empty if neither
    says, and if it is Docker within kubelet. Raises NodeError."""
    flags = kubelet.given(("container-runtime", "container-runtime-endpoint"))
    if kubelet.version < REMOTE_BY_DEFAULT:
        kind = flags.get("container-runtime", KubeletSetting("docker"))
        if kind.value == "docker":
            return KubeletSetting("", note="kubelet uses Docker by itself")
        if kind.value != "remote":
            raise NodeError(
                f"{kind.source} is {kind.value!r}, which has no CRI socket: name another runtime (--primary)"
            )
    flag = flags.get("container-runtime-endpoint")
    if flag is None:
        return _checked(tree, kubelet, _configured(tree, kubelet, "containerRuntimeEndpoint"))
    if not flag.value:
        raise NodeError(f"{flag.source} is empty: kubelet does not start; give it a value")
    return flag


def image_service(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """The socket that kubelet asks for images if that is not its runtime's own; empty if it is. Raises NodeError."""
    runtime = endpoint(tree, kubelet)
    if kubelet.version < REMOTE_BY_DEFAULT and not runtime.value:
        return KubeletSetting("")
    told = told_of_images(tree, kubelet)
    if not told.value:
        return KubeletSetting("")
    own = socket(runtime) if runtime.value else DEFAULT
    path = socket(told)
    return KubeletSetting("") if short(path) == short(own) else replace(told, value=path)


def told_of_images(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """What kubelet is told of its image service, be it that of its runtime; empty if nothing. Raises NodeError."""
    flag = kubelet.given(("image-service-endpoint",)).get("image-service-endpoint")
    return _configured(tree, kubelet, "imageServiceEndpoint") if flag is None else flag


def socket(told: KubeletSetting) -> str:
    """The path of the socket that an endpoint is (``unix:///run/x``, ``unix:/run/x`` or ``/run/x``).

    Raises NodeError for another kind, and for none.
    """
    path = address.path_of(told.value)
    if not re.fullmatch(r"/[^/].*", path):
        raise NodeError(f"kubelet's {told.source} is {told.value!r}: criproxy needs a unix socket")
    return path


def short(path: str) -> str:
    """A path below /run as it is without the /var that may stand before it."""
    return path[len("/var") :] if path.startswith("/var/run/") else path


def cgroup_driver(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """The cgroup driver that kubelet is told to use: by its flag, or else its configuration; empty if neither says.

    Raises NodeError.
    """
    flag = kubelet.given(("cgroup-driver",)).get("cgroup-driver")
    return _configured(tree, kubelet, "cgroupDriver", BETA) if flag is None else flag


def cgroup_root(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """The cgroup below which kubelet is told to put all pods; empty if it is not told. Raises NodeError."""
    flag = kubelet.given(("cgroup-root",)).get("cgroup-root")
    return _configured(tree, kubelet, "cgroupRoot", BETA) if flag is None else flag


def pod_logs(tree: Tree, kubelet: Kubelet) -> KubeletSetting:
    """The folder in which kubelet is told to have the pods' logs; empty if it is not told. Raises NodeError."""
    return _configured(tree, kubelet, "podLogsDir", _CONFIGURED_LOGS)


def _configured(tree: Tree, kubelet: Kubelet, name: str, since: Version = _CONFIGURED) -> KubeletSetting:
    """What kubelet's configuration says: the last of the files in which it is set."""
    if kubelet.version < since:
        return KubeletSetting("")
    told = KubeletSetting("")
    for path, text in configurations(tree, kubelet):
        if text is None:
            told = replace(told, note=f"{path} does not exist yet")
            continue
        try:
            field = configuration.read(path, text, (name,)).get(name)
        except ConfigurationProblem as problem:
            raise NodeError(f"{problem}; mend it, or name the primary runtime (--primary)") from problem
        if field is not None:
            told = (
                KubeletSetting(field.value, name, f"{path}, line {field.line}") if field.value else KubeletSetting("")
            )
    return told


def configurations(tree: Tree, kubelet: Kubelet) -> Iterator[Tuple[str, Optional[str]]]:
    """The files of kubelet's configuration with their texts, in the order in which later ones win."""
    flags = kubelet.given(("config", "config-dir"))
    main, folder = (flags.get(name, KubeletSetting("")) for name in ("config", "config-dir"))
    if main.value:
        path = _absolute(kubelet, main.value)
        yield path, tree.text(path)
    if not folder.value:
        return
    if kubelet.version < _DROP_INS:
        raise NodeError(f"{folder.source}: kubelet {kubelet.version_text} has no such flag and does not start")
    if kubelet.version < _DROP_INS_FOR_ALL and _DROP_INS_ALPHA not in kubelet.variables:
        raise NodeError(
            f"{folder.source}: kubelet {kubelet.version_text} does not start with it unless {_DROP_INS_ALPHA} is set in"
            " its environment"
        )
    path = _absolute(kubelet, folder.value)
    if not tree.is_folder(path):
        yield path, None
    for file in configuration.drop_ins(tree, path):
        yield file, tree.text(file)


def _absolute(kubelet: Kubelet, path: str) -> str:
    """A path as kubelet takes it, from the directory that it is started in."""
    folder = kubelet.unit.last("Service", "WorkingDirectory").lstrip("-") or "/"
    return os.path.normpath(os.path.join("/root" if folder == "~" else folder, path))


def _checked(tree: Tree, kubelet: Kubelet, told: KubeletSetting) -> KubeletSetting:
    """Raises NodeError if kubelet would use its default, and kubeadm has another runtime in mind for this node."""
    text = tree.text(INSTANCE_CONFIG)
    if told.value or text is None or kubelet.version < _CONFIGURED:
        return told
    try:
        field = configuration.read(INSTANCE_CONFIG, text, ("containerRuntimeEndpoint",)).get("containerRuntimeEndpoint")
    except ConfigurationProblem as problem:
        raise NodeError(f"{problem}; mend it, or name the primary runtime (--primary)") from problem
    if field is None or not field.value or short(socket(KubeletSetting(field.value, "", ""))) == DEFAULT:
        return told
    raise NodeError(
        f"{INSTANCE_CONFIG}, line {field.line}, names {field.value!r}, but kubelet does not read that file, and what"
        " it reads names no runtime: let kubeadm put it there (kubeadm upgrade node), or name the primary runtime"
        " (--primary)"
    )
