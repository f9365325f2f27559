"""Where new pods go that ask for no runtime, and which runtimes share the names of images because of such pods."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

from criproxy.cri.identity import Names, Runtimes, is_digest
from criproxy.cri.methods import To
from criproxy.cri.selector import RouteRule, decide


class Placement:
    """What the rules of a configuration say. Without any, every pod that asks for no runtime is the primary one's."""

    def __init__(self, runtimes: Runtimes, rules: Sequence[RouteRule] = ()) -> None:
        self._runtimes = runtimes
        named = {rule.runtime for rule in rules}
        self.rules = rules
        self.sharers = tuple(names for names in runtimes.others if names.retiring or names.runtime in named)
        """The runtimes, beside the primary one, that have pods whose images do not say whose they are: those of rules,
        and the retiring one."""
        self.alike = tuple(names for names in self.sharers if not names.prefixed)
        """Those of them whose images have the same names for kubelet as the primary's."""

    def of_pod(self, pod: Any) -> Optional[Names]:
        """The alternative runtime that a rule has for a new pod (its PodSandboxConfig), if one has."""
        rule = decide(self.rules, pod.metadata.namespace, pod.labels, pod.metadata.uid)
        return None if rule is None else self._runtimes.of_target(rule.runtime.encode())

    def of_image(self, shared: To, names: Names, image: bytes) -> Tuple[Optional[To], Tuple[Names, ...]]:
        """What becomes of a call for an image that goes to this runtime otherwise, and whom it goes to, too.

        ``shared``: what its row says for the name of an image that may be one of several runtimes'. None: nothing else.
        """
        if not image or is_digest(image) or self._runtimes.of_image(image).runtime:
            return None, ()
        if shared is To.PULLED_OR_THERE:
            return shared, ()
        others = self.sharers if shared is To.IN_COMMON else self.alike
        return (shared, others) if others and not names.runtime else (None, ())
