"""Pods in manifests as people give them to kubectl: YAML or JSON, several documents, pods and what makes pods."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Dict, Iterator, List, Mapping, Tuple, Type, TypeVar

LARGEST = 2**20
"""bytes: an object of Kubernetes' has at most 1.5 MiB, and one with pods a few KiB."""
MOST = 4096
"""Pods and their images together: an alias of YAML's may stand for one many times."""
STDIN = "-"
_MERGE = "tag:yaml.org,2002:merge"
_NO_MERGE = "'<<' is not understood here; write its fields out"
_TEMPLATES = {
    "PodTemplate": ("template",),
    "ReplicationController": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where in an object of each kind the template of its pods is."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_LIST = "List"
_NAMES = {"dict": "an object", "list": "a list", "str": "a text (give it quotes)"}
"""What a field is to be, in the words of those who write manifests."""
_T = TypeVar("_T")


class ManifestError(Exception):
    """A manifest that cannot be read, or that an API server would not take. The text names its place."""


@dataclass(frozen=True)
class Image:
    """An image that a pod needs."""

    user: str
    """Who needs it: ``container app``."""
    name: str


@dataclass(frozen=True)
class Pod:
    """What of a pod says which runtime it is for."""

    owner: str
    """What makes it, as ``Deployment``; empty for a pod by itself."""
    namespace: str
    name: str
    """Its own, or that of what makes it."""
    annotations: Mapping[str, str]
    runtime_class: str
    images: Tuple[Image, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    """Empty for a pod that there is not yet, and for one that something makes."""


@dataclass
class Manifest:
    """What has been read."""

    pods: List[Pod] = field(default_factory=list)
    handlers: Dict[str, str] = field(default_factory=dict)
    """Handlers of the RuntimeClasses that are in it, by the classes' names."""
    _count: int = 0

    def add(self, pod: Pod) -> None:
        """Adds a pod. Raises ManifestError for one too many."""
        self._count += 1 + len(pod.images)
        if self._count > MOST:
            raise ManifestError(f"it has more than {MOST} pods and images; give fewer of them")
        self.pods.append(pod)


def read(path: str) -> Manifest:
    """The manifest in a file, or on standard input if the path is ``-``. Raises ManifestError."""
    name = "standard input" if path == STDIN else path
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ManifestError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST:
        raise ManifestError(f"{name}: it has more than {LARGEST} bytes; give the pod alone")
    try:
        return parse(content)
    except ManifestError as error:
        raise ManifestError(f"{name}: {error}") from error


def parse(content: bytes) -> Manifest:
    """The same of a manifest's bytes."""
    manifest = Manifest()
    for number, document in enumerate(_documents(content), 1):
        try:
            _take(manifest, document)
        except ManifestError as error:
            raise ManifestError(f"document {number}: {error}") from error
    if not manifest.pods:
        raise ManifestError(f"there is no pod in it, and nothing that makes pods ({', '.join(_TEMPLATES)})")
    return manifest


def _documents(content: bytes) -> Iterator[Any]:
    import yaml  # it takes its time to load

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def flatten_mapping(_: Any, node: Any) -> None:
        """Merges grow without bounds: each may have one before it twice."""
        for key, _value in node.value:
            if key.tag == _MERGE:
                raise yaml.MarkedYAMLError(problem=_NO_MERGE, problem_mark=key.start_mark)

    try:
        yield from yaml.load_all(content, type("_Loader", (base,), {"flatten_mapping": flatten_mapping}))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ManifestError(f"{line}{error.problem or error.context}") from error
    # ValueError: a date that there is not; the loader of a document makes Python's objects.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(" ".join(str(error).split())) from error


def _take(manifest: Manifest, document: Any) -> None:
    """Adds what a document has; one that has no pods counts for nothing."""
    if document is None:
        return
    root = _is(document, dict, "it")
    kind = _get(root, "kind", str, "")
    if kind == _LIST:
        for item in _get(root, "items", list, []):
            if _get(_is(item, dict, "items"), "kind", str, "") != _LIST:
                _take(manifest, item)
    elif kind == "RuntimeClass":
        name = _get(_get(root, "metadata", dict, {}), "name", str, "")
        manifest.handlers[name] = _get(root, "handler", str, "")
    elif kind == "Pod":
        manifest.add(_pod(root, root, ""))
    elif kind in _TEMPLATES:
        template = root
        for part in _TEMPLATES[kind]:
            template = _get(template, part, dict, {})
        manifest.add(_pod(template, root, kind))


def _pod(template: Mapping[str, Any], root: Mapping[str, Any], owner: str) -> Pod:
    metadata, named = (_get(each, "metadata", dict, {}) for each in (template, root))
    spec = _get(template, "spec", dict, {})
    return Pod(
        owner,
        _get(named, "namespace", str, "default"),
        _get(named, "name", str, "") or _get(named, "generateName", str, ""),
        _texts(metadata, "annotations", "annotation"),
        _get(spec, "runtimeClassName", str, ""),
        tuple(islice(_images(spec), MOST)),
        _texts(metadata, "labels", "label"),
        "" if owner else _get(named, "uid", str, ""),
    )


def _texts(metadata: Mapping[str, Any], name: str, what: str) -> Dict[str, str]:
    """A map of texts, which may be null."""
    found = _get(metadata, name, dict, {})
    for key, value in found.items():
        _is(value, str, f"the {what} {key}")
    return {_is(key, str, f"the name of the {what}"): value for key, value in found.items()}


def _images(spec: Mapping[str, Any]) -> Iterator[Image]:
    """The images of a pod in the order in which kubelet needs them, without those that a webhook fills in."""
    for field_name, user in (*((name, "container") for name in _CONTAINERS), ("volumes", "volume")):
        listed = _get(spec, field_name, list, [])
        if len(listed) > MOST:
            raise ManifestError(f"{field_name} has more than {MOST} entries")
        for each in listed:
            entry = _is(each, dict, field_name)
            source = _get(entry, "image", dict, {}) if user == "volume" else entry
            image = _get(source, "reference" if user == "volume" else "image", str, "")
            if image:
                yield Image(f"{user} {_get(entry, 'name', str, '?')}", image)


def _get(of: Mapping[str, Any], name: str, kind: Type[_T], default: _T) -> _T:
    """A field, which may be null."""
    value = of.get(name)
    return default if value is None else _is(value, kind, name)


def _is(value: Any, kind: Type[_T], what: str) -> _T:
    if not isinstance(value, kind):
        raise ManifestError(f"{what} is not {_NAMES[kind.__name__]}: {str(value)[:40]!r}")
    if isinstance(value, str) and not _is_utf8(value):
        raise ManifestError(f"{what} is not UTF-8: {value[:40]!r}")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
