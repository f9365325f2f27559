"""What must hold for a node to be changed, and what is seen to be wrong with it before kubelet notices."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from criproxy import config
from criproxy.cri.identity import RETIRING
from criproxy.node import kubelet as kubelets
from criproxy.node import plan as plans
from criproxy.node import units
from criproxy.node.kubelet import DROP_IN, UNIT, NodeError
from criproxy.node.manager import Manager
from criproxy.node.plan import DEFAULTS, ENDPOINT, SOCKET, NodePlan
from criproxy.node.runtimes import RuntimeClient
from criproxy.node.tree import Tree
from criproxy.text import few

_NAMED = 10
"""So many pods are named, the others are counted."""


class Checks:
    """The checks of one change. ``force``: runtimes may go that still have pods; ``say`` gets a line about these."""

    def __init__(
        self, tree: Tree, manager: Manager, runtimes: RuntimeClient, say: Callable[[str], None], force: bool
    ) -> None:
        self._tree = tree
        self._manager = manager
        self._runtimes = runtimes
        self._say = say
        self._force = force

    def before(self, plan: NodePlan, turned: bool, changed: bool, behind: Mapping[str, str]) -> None:
        """Raises NodeError for what is seen to be wrong before anything is touched."""
        if self._tree.is_folder(SOCKET):
            raise NodeError(
                f"{SOCKET} is a directory, so criproxy cannot listen there: remove it (rmdir {SOCKET}); nothing has"
                " been changed"
            )
        state = self._manager.state(UNIT)
        # The Go package's kubelet is on criproxy by a drop-in that is not looked at.
        elsewhere = self.elsewhere()
        if not turned and plan.kubelet is not None and elsewhere is not None:
            kubelets.check_running(plan.kubelet, elsewhere)
        if state.runs and changed and plan.primary and not plan.starts(plan.primary):
            self._check_primary(plan)
        if state.runs and changed and plan.retiring and not plan.starts(plan.retiring):
            self._check_retiring(plan.retiring, behind)
        alternatives = {runtime.id: runtime.path for runtime in plan.alternatives}
        self.pods(behind, alternatives, (plan.primary, plan.retiring))

    def _check_primary(self, plan: NodePlan) -> None:
        """A kubelet that works is not turned to a runtime that does not answer."""
        self._must_answer("primary runtime", "--primary RUNTIME", self._runtimes.version, plan.primary)
        if plan.image_service:
            self._must_answer("image service", "--image-service PATH", self._runtimes.images, plan.image_service)

    def _check_retiring(self, socket: str, behind: Mapping[str, str]) -> None:
        """Kubelet's lists fail while a retiring runtime is away: that must not be new."""
        try:
            self._runtimes.version(socket)
        except NodeError as error:
            text = f"the retiring runtime does not answer: {error}"
            if not any(path in plans.spellings(socket) for path in behind.values()):
                raise NodeError(f"{text}; nothing has been changed: start it") from error
            self._say(f"warning: {text}; kubelet cannot list its pods until it does")

    def _must_answer(self, what: str, option: str, ask: Callable[[str], object], socket: str) -> None:
        try:
            ask(socket)
        except NodeError as error:
            raise NodeError(
                f"the {what} does not answer: {error}; nothing has been changed: start it, or name another (criproxy"
                f" node apply {option})"
            ) from error

    def pods(self, behind: Mapping[str, str], alternatives: Mapping[str, str], stay: Sequence[str]) -> None:
        """Kubelet forgets the pods of a runtime that goes, and they run on: that must be wanted.

        ``behind``: the runtimes of the criproxy that runs, sockets by ids; ``alternatives``: those that stay; ``stay``:
        the sockets of those that stay and whose ids kubelet knows as they are.
        """
        if not behind:
            return
        plain = [behind[id] for id in ("", RETIRING) if id in behind]
        going = [path for path in plain if not any(path in plans.spellings(socket) for socket in stay)]
        names = list(self._lost(behind, alternatives, going if len(plain) == 1 else ()))
        if len(plain) > 1:
            names += [name for path in going for name in self._all_of(path)]
        if not names:
            return
        text = f"kubelet is about to lose pods that go on running: {few(names, _NAMED)}"
        if not self._force:
            move = ", or end the move (criproxy node migrate --finish)" if RETIRING in behind else ""
            raise NodeError(f"{text}; nothing has been changed: delete these pods first{move}, or go on with --force")
        self._say(f"warning: {text}")

    def _lost(self, behind: Mapping[str, str], alternatives: Mapping[str, str], going: Sequence[str]) -> Iterator[str]:
        """The pods in criproxy's list that kubelet loses, by their ids. ``going``: the primary runtime's socket,
        if it goes."""
        with suppress(NodeError):
            for pod in self._runtimes.pods(SOCKET):
                runtime = next((id for id in behind if id and pod.is_of(id)), "")
                if not runtime and behind[""] in going:
                    yield f"{pod.name} ({behind['']})"
                elif runtime and behind[runtime] not in plans.spellings(alternatives.get(runtime, "")):
                    yield f"{pod.name} ({runtime})"

    def _all_of(self, socket: str) -> List[str]:
        """The pods of one of two runtimes whose ids do not tell whose they are."""
        try:
            return [f"{pod.name} ({socket})" for pod in self._runtimes.pods(socket)]
        except NodeError as error:
            return [f"all that {socket} has, which does not tell ({error})"]

    def configuration(self) -> None:
        """A daemon that works is not restarted for a configuration that it would refuse: raises NodeError."""
        words = [f"--listen={SOCKET}", f"--environment-file={self._tree.host(self._tree.real(DEFAULTS))}"]
        own = self._tree.host(config.DEFAULT_FILE)
        if os.path.exists(own):
            words.append(f"--config={own}")
        try:
            config.parse(words, {})
        except config.ConfigError as error:
            raise NodeError(f"criproxy would refuse its configuration: {error}") from error

    def elsewhere(self) -> Optional[Tuple[str, ...]]:
        """The flags of a kubelet that runs and is not on criproxy, though its drop-in may be there: copied, or not in
        force. None if there is none such."""
        flags = kubelets.running_flags(self._tree, self._manager)
        return None if flags is None or any(SOCKET in flag for flag in flags) else flags

    def patch(self) -> None:
        """Raises NodeError if kubelet's drop-in is there and does not give it criproxy's socket."""
        unit = units.load(self._tree, UNIT)
        commands = unit.all("Service", "ExecStart") if unit is not None else ()
        if commands and ENDPOINT in commands[-1]:
            return
        later = unit.drop_ins[-1] if unit is not None and unit.drop_ins else ""
        if later == DROP_IN or not later:
            raise NodeError(
                f"{DROP_IN} has been edited and does not give kubelet criproxy's socket any more: remove it and do this"
                " again, or give the node back (criproxy node revert)"
            )
        raise NodeError(
            f"{later} is read after {DROP_IN} and sets ExecStart= again: rename it so that it is read before"
        )
