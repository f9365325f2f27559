"""Asks the daemon's own router where calls would go, and finds out which rule has decided.

Each question is a request of the CRI as kubelet makes it. Which rule has decided is asked, too: by the same request
with less in it. So nothing that is said here can differ from what the daemon does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, List, Mapping, Optional, Tuple

from criproxy.config import Config
from criproxy.cri.identity import TARGET_RUNTIME, Names
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, To
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.selector import WHOLE, candidates, decide
from criproxy.cri.steps import finish
from criproxy.http2.grpc import RpcError
from criproxy.inspection.manifest import Image, Pod
from criproxy.relay.configured import router_of
from criproxy.relay.owners import UnknownOwner
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Route
from criproxy.text import decoded

_ANNOTATION = TARGET_RUNTIME.decode()
_NOTHING = "no annotation and no runtime handler"
_PULLED = f"sha256:{'0' * 64}"
"""Kubelet creates a container by what the pull of its image has answered, and says how the pod calls it beside that."""


class Rule(Enum):
    """What decides where a call goes."""

    ANNOTATION = "annotation"
    HANDLER = "runtime handler"
    ANNOTATION_AND_HANDLER = "annotation and runtime handler"
    ROUTE = "rule of the configuration"
    IMAGE_PREFIX = "image prefix"
    IN_COMMON = "name that an image of several runtimes may have"
    ID_PREFIX = "id prefix"
    POD = "the runtime of its pod"
    DIGEST = "bare digest"
    NONE = "nothing names another runtime"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """Where something goes."""

    what: str
    """``pod``, ``image`` or ``id``."""
    name: str
    """Of the pod ``namespace/name``."""
    of: str
    """Whose it is: of a pod what makes it, of an image the pod's part that needs it. May be empty."""
    runtimes: Tuple[str, ...]
    """Ids, empty for the primary one. None of what is refused."""
    rule: Rule
    why: str
    """The rule in this case, as a sentence that does not end; of what is refused the error that kubelet gets."""
    inner: str = ""
    """What the runtime sees: the name of an image, an id, the handler of a pod."""
    note: str = ""
    """What kubelet may do all the same."""


class Questions:
    """Where things go with a configuration."""

    def __init__(self, config: Config) -> None:
        self._router = router_of(config, lambda: "", Pods())
        self._pods = 0

    def of_id(self, name: str) -> Answer:
        """Where the calls of a pod or a container go that kubelet knows by this id."""
        try:
            route = self._ask("ContainerStatus", container_id=name)
        except RpcError as error:
            return Answer("id", name, "", (), Rule.REFUSED, str(error))
        except UnknownOwner:
            both = tuple(names.runtime for names in self._router.runtimes.unprefixed)
            why = "no id prefix, so that criproxy learns from both runtimes, or asks them, which of them has it"
            return Answer("id", name, "", both, Rule.NONE, why, name)
        inner = decoded(_sent("ContainerStatus", route).container_id)
        if _first(route).runtime:
            return _answer("id", name, route, Rule.ID_PREFIX, _prefix("id", name, inner), inner)
        return _answer("id", name, route, Rule.NONE, "no id prefix, so it is the primary runtime's", inner)

    def of_image(self, name: str) -> Answer:
        """Where an image goes of which nothing but its name is known."""
        route = self._ask("ImageStatus", image={"image": name})
        inner = decoded(_sent("ImageStatus", route).image.image)
        if route.to is To.IN_COMMON:
            why = (
                "no image prefix, and pods that do not say whose they are may be on any of these: it is there if each"
                " of them has the same, and pulled by that of the pod"
            )
            return _answer("image", name, route, Rule.IN_COMMON, why, inner)
        if len(route.targets) > 1:
            why = "bare digest, which does not say whose it is: the first that has it answers, all of them remove it"
            return _answer("image", name, route, Rule.DIGEST, why, inner)
        if _first(route).runtime:
            return _answer("image", name, route, Rule.IMAGE_PREFIX, _prefix("image", name, inner), inner)
        why = "no image prefix, so it is the primary runtime's"
        selects = self._router.rules.selectors and self._router.runtimes.alternatives
        note = "the annotation or the RuntimeClass of a pod can name another" if selects else ""
        return _answer("image", name, route, Rule.NONE, why, inner, note)

    def of_pod(self, pod: Pod, handlers: Mapping[str, str]) -> List[Answer]:
        """Where a pod goes, and its images. ``handlers``: those of the RuntimeClasses that are known."""
        handler = handlers.get(pod.runtime_class, pod.runtime_class)
        assumed = bool(pod.runtime_class) and pod.runtime_class not in handlers
        config = self._sandbox(pod)
        name = f"{pod.namespace}/{pod.name}"
        try:
            route = self._ask("RunPodSandbox", config=config, runtime_handler=handler)
        except RpcError as error:
            return [Answer("pod", name, pod.owner, (), Rule.REFUSED, str(error))]
        if not (handler or pod.annotations.get(_ANNOTATION)):
            ways = self._ways(pod)
            if len(ways) > 1:
                return self._by_uid(pod, name, ways)
        inner = decoded(_sent("RunPodSandbox", route).runtime_handler)
        rule, why = self._why_of_pod(_first(route), config, handler, inner)
        note = f"the handler of RuntimeClass {pod.runtime_class} is taken for {handler!r}" if assumed else ""
        answer = _answer("pod", name, route, rule, why, inner, note, pod.owner)
        return [answer, *(self._of_image_of_pod(image, _first(route), config) for image in pod.images)]

    def _sandbox(self, pod: Pod) -> Dict[str, Any]:
        """A PodSandboxConfig, with an uid of its own if it has none yet: the router remembers pods by it."""
        self._pods += 1
        metadata = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid or f"pod-{self._pods}"}
        return {"metadata": metadata, "annotations": dict(pod.annotations), "labels": dict(pod.labels)}

    def _ways(self, pod: Pod) -> Tuple[str, ...]:
        """The ids of the runtimes to which rules may send a pod whose uid is not known, in their order."""
        ways: List[str] = []
        if pod.uid:
            return ()
        for rule in candidates(self._router.placement.rules, pod.namespace.encode(), _labels(pod.labels)):
            if rule.share:
                ways.append(rule.runtime)
            if rule.share == WHOLE:
                break
        else:
            ways.append("")
        return tuple(dict.fromkeys(ways))

    def _by_uid(self, pod: Pod, name: str, ways: Tuple[str, ...]) -> List[Answer]:
        """What can be said of a pod that goes where its uid says, and of its images."""
        rules = candidates(self._router.placement.rules, pod.namespace.encode(), _labels(pod.labels))
        shares = ", ".join(f'"{rule.entry}"' for rule in rules if rule.share)
        why = f"{'rules' if ',' in shares else 'rule'} {shares}: its uid, which it has not got yet, says which"
        of_pod = "the runtime that its pod is started on"
        images = [Answer("image", image.name, image.user, ways, Rule.POD, of_pod, image.name) for image in pod.images]
        return [Answer("pod", name, pod.owner, ways, Rule.ROUTE, why), *images]

    def _why_of_pod(self, names: Names, config: Dict[str, Any], handler: str, inner: str) -> Tuple[Rule, str]:
        if not names.runtime:
            passed = f"; it gets the runtime handler {handler!r}" if handler else ""
            nothing = "no annotation, no runtime handler and no rule" if self._router.placement.rules else _NOTHING
            return Rule.NONE, f"{nothing} names another runtime{passed}"
        other = self._sandbox_without_annotations(config)
        annotation = config["annotations"].get(_ANNOTATION, "")
        by_annotation = bool(annotation) and self._target("RunPodSandbox", config=config) is names
        by_handler = bool(handler) and self._target("RunPodSandbox", config=other, runtime_handler=handler) is names
        if not (by_annotation or by_handler):
            metadata, labels = config["metadata"], _labels(config["labels"])
            namespace, uid = metadata["namespace"].encode(), metadata["uid"].encode()
            decisive = decide(self._router.placement.rules, namespace, labels, uid)
            assert decisive is not None  # nothing else names an alternative runtime
            return Rule.ROUTE, f'rule "{decisive.text}"'
        seen = f"which it sees as {inner!r}" if inner else "which it does not see"
        reasons = [f"annotation {_ANNOTATION}: {annotation}"] if by_annotation else []
        reasons += [f"runtime handler {handler!r}, {seen}"] if by_handler else []
        rule = Rule.ANNOTATION_AND_HANDLER if len(reasons) > 1 else Rule.ANNOTATION if by_annotation else Rule.HANDLER
        return rule, "; ".join(reasons)

    @staticmethod
    def _sandbox_without_annotations(config: Dict[str, Any]) -> Dict[str, Any]:
        return {"metadata": {**config["metadata"], "uid": ""}}

    def _of_image_of_pod(self, image: Image, pod: Names, config: Dict[str, Any]) -> Answer:
        """As kubelet (1.19 and later) asks: it hands the pod's annotations on with the image, and not its handler."""
        spec = {"image": image.name, "annotations": config["annotations"]}
        pulled = self._ask("PullImage", image=spec, sandbox_config=config)
        names, inner = _first(pulled), decoded(_sent("PullImage", pulled).image.image)
        try:
            self._ask(
                "CreateContainer",
                pod,
                pod_sandbox_id=decoded(pod.outer_id(b"pod")),
                config={"image": {**spec, "image": _PULLED, "user_specified_image": image.name}},
                sandbox_config=config,
            )
        except RpcError as error:
            return Answer("image", image.name, image.user, (), Rule.REFUSED, str(error))
        note = ""
        is_shared = names in self._router.placement.sharers
        if self._target("ImageStatus", image=spec) is not names and names.runtime and not is_shared:
            note = (
                "an image without a prefix, of a pod with a RuntimeClass alone: unless kubelet has the feature gate"
                " RuntimeClassInImageCriApi it looks for the image on the primary runtime, and the container fails if"
                " that has one of this name; give the pod the annotation, too, or the image the prefix"
            )
        rule, why = self._why_of_image(names, image.name, inner, spec)
        return _answer("image", image.name, pulled, rule, why, inner, note, image.user)

    def _why_of_image(self, names: Names, name: str, inner: str, spec: Dict[str, Any]) -> Tuple[Rule, str]:
        if self._target("PullImage", image={"image": name}) is names:
            if names.runtime:
                return Rule.IMAGE_PREFIX, _prefix("image", name, inner)
            return Rule.NONE, "neither its name nor its pod names another runtime"
        if self._target("PullImage", image=spec) is names:
            return Rule.ANNOTATION, f"annotation {_ANNOTATION}: {spec['annotations'].get(_ANNOTATION, '')}"
        return Rule.POD, "the runtime that its pod was started on"

    def _target(self, method: str, **fields: Any) -> Optional[Names]:
        """The one runtime that a call goes to; None if it is refused."""
        try:
            return _first(self._ask(method, **fields))
        except RpcError:
            return None

    def _ask(self, method: str, owner: Optional[Names] = None, **fields: Any) -> Route:
        """Where a call goes; ``owner``: whose its id is, if that is known.

        Raises RpcError, as kubelet would get it, and UnknownOwner.
        """
        row = METHODS[method]
        message: Any = api()[row.rpc.request]
        body = message(**fields).SerializeToString()
        finish(self._router.check(row, body))
        return self._router.route(row, body, owner)


def _answer(
    what: str, name: str, route: Route, rule: Rule, why: str, inner: str, note: str = "", of: str = ""
) -> Answer:
    return Answer(what, name, of, tuple(names.runtime for names in route.targets), rule, why, inner, note)


def _first(route: Route) -> Names:
    return route.targets[0]


def _sent(method: str, route: Route) -> Any:
    """The request as the runtime gets it."""
    return VIEWS[METHODS[method].rpc.request].read(route.body)


def _prefix(what: str, name: str, inner: str) -> str:
    return f'{what} prefix "{name[: len(name) - len(inner)]}"'


def _labels(labels: Mapping[str, str]) -> Dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in labels.items()}
