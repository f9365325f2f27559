"""How a node is: whether kubelet is on criproxy, and whether all that this takes is well."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

from criproxy.node import kubelet as kubelets
from criproxy.node import plan as plans
from criproxy.node import watch
from criproxy.node.kubelet import DROP_IN, UNIT, Ask, Kubelet, NodeError
from criproxy.node.ledger import Ledger
from criproxy.node.manager import Manager, UnitState
from criproxy.node.plan import DEFAULTS, ENDPOINT, SERVICE, SOCKET, SOCKET_UNIT
from criproxy.node.runtimes import RuntimeClient
from criproxy.node.tree import Tree
from criproxy.node.watch import REAL, Clock
from criproxy.text import escape, period

_COUNTED = 100
"""So many restarts of a unit are looked for in its log at most."""
_LOOP = 3
"""A unit that has been restarted by itself so often, and does not last, is in a crash loop."""


class Verdict(enum.IntEnum):
    """What there is to say of a node in one word, as an exit status."""

    WELL = 0
    NOT_WELL = 1
    NOT_TURNED_OVER = 3


class Condition(enum.Enum):
    """How a unit is, in one word."""

    RUNS = "runs"
    RESTARTING = "restarting"
    """It has ended, by itself, and been started again a moment ago, or is about to be."""
    LOOPS = "crash loop"
    """The same again and again."""
    STOPPED = "stopped"
    FAILED = "failed"
    MISSING = "missing"
    """systemd does not know it."""


@dataclass(frozen=True)
class SeenUnit:
    """A unit, and how it is."""

    name: str
    text: str
    """How it is, for a person, with its last words if it is not well."""
    condition: Condition
    restarts: Optional[int]
    """How often it was started again since somebody started it; None before systemd 235."""
    problem: str = ""
    """What is not well with it, as among the report's problems; empty if all is."""


@dataclass
class Report:
    """What has been found."""

    turned_over: bool
    lines: List[str] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)
    """What is not well, each with the next step."""
    kubelet: str = ""
    """Kubelet's version; empty if there is no kubelet, or none that can be worked with."""
    managed: bool = True
    """Whether systemd runs here, so that it is known how units are."""
    units: List[SeenUnit] = field(default_factory=list)
    grave: List[str] = field(default_factory=list)
    """Those of them with which kubelet cannot work."""
    move: str = ""
    """That the node is moving to another runtime, and what to do about it; empty if it is not."""

    @property
    def verdict(self) -> Verdict:
        """In one word."""
        if not self.turned_over:
            return Verdict.NOT_TURNED_OVER
        return Verdict.NOT_WELL if self.problems else Verdict.WELL

    @property
    def text(self) -> str:
        """As a person reads it."""
        return "\n".join(map(escape, (*self.lines, *(f"not well: {problem}" for problem in self.problems))))


class Look:
    """Looks at a node, and changes nothing."""

    def __init__(self, tree: Tree, manager: Manager, ask: Ask, runtimes: RuntimeClient, clock: Clock = REAL) -> None:
        self._tree = tree
        self._manager = manager
        self._ask = ask
        self._runtimes = runtimes
        self._clock = clock
        self._ledger = Ledger.read(tree)
        self._report = Report(DROP_IN in self._ledger.entries and tree.exists(DROP_IN))

    def report(self, asks: bool = True) -> Report:
        """What there is to say. Raises NodeError if the manager of services does not answer.

        ``asks``: whether the primary runtime is asked through criproxy, which takes as long as it takes.
        """
        kubelet = self._see_kubelet()
        self._report.managed = self._manager.running
        if self._report.managed:
            self._see_units()
            if self._report.turned_over:
                self._see_flags()
            self._see_answer(asks)
        self._see_move(asks)
        if self._report.turned_over and kubelet is not None:
            self._see_drift(kubelet)
        return self._report

    def _say(self, line: str) -> None:
        self._report.lines.append(line)

    def _complain(self, problem: str, grave: bool = False) -> None:
        self._report.problems.append(problem)
        if grave:
            self._report.grave.append(problem)

    def _see_kubelet(self) -> Optional[Kubelet]:
        head = "kubelet is on criproxy" if self._report.turned_over else "kubelet is not on criproxy"
        try:
            kubelet = kubelets.find(self._tree, self._ask, self._manager, plans.noted_version(self._tree))
        except NodeError as error:
            self._say(head)
            self._complain(str(error))
            return None
        self._report.kubelet = kubelet.version_text if kubelet else ""
        self._say(f"{head} ({kubelet.version_text})" if kubelet else f"{head}: {kubelets.missing(self._tree)}")
        return kubelet

    def _see_units(self) -> None:
        for unit in (UNIT, SOCKET_UNIT, SERVICE):
            state = self._manager.state(unit)
            condition, text = self._described(unit, state)
            self._say(f"{unit}: {text}")
            problem = ""
            if self._report.turned_over and condition is not Condition.RUNS:
                remedy = f"journalctl -u {unit}" if state.restarting or state.restarts else f"systemctl start {unit}"
                problem = f"{unit} is {text}. Next: {remedy}"
                self._complain(problem, grave=True)
            self._report.units.append(SeenUnit(unit, text, condition, state.restarts, problem))

    def _described(self, unit: str, state: UnitState) -> Tuple[Condition, str]:
        if state.load == "masked":
            return Condition.STOPPED, f"masked (systemctl unmask {unit})"
        if watch.is_restless(self._manager, unit, state, self._clock):
            once = state.restarts is not None and state.restarts < _LOOP
            text = f"restarting{self._how_often(unit, state)}{self._last_words(unit)}"
            return Condition.RESTARTING if once else Condition.LOOPS, text
        if state.active == "active":
            return Condition.RUNS, "listening" if unit == SOCKET_UNIT else "running"
        if state.active == "failed":
            return Condition.FAILED, f"failed ({state.result}){self._last_words(unit)}"
        if state.load == "not-found" or not state.active:
            return Condition.MISSING, "not there" if state.load == "not-found" else "not known to systemd"
        return Condition.STOPPED, state.active

    def _how_often(self, unit: str, state: UnitState) -> str:
        """How many times in how long, as far as its log has them."""
        if not state.restarts:
            return ""
        found = self._manager.restarts(unit, min(state.restarts, _COUNTED))
        if not found:
            return f" ({state.restarts} times)"
        return f" ({len(found)} times in {period(self._clock.now() - found[0])})"

    def _last_words(self, unit: str) -> str:
        said = self._manager.last_words(unit, 1)
        return f": {said.rstrip('.')}" if said else ""

    def _see_flags(self) -> None:
        if ENDPOINT not in self._manager.show(UNIT, "ExecStart")["ExecStart"]:
            self._complain(f"the unit that systemd has loaded for kubelet does not name {SOCKET}. Next: {_AGAIN}")
            return
        flags = kubelets.running_flags(self._tree, self._manager)
        if flags is not None and not any(ENDPOINT in flag for flag in flags):
            self._complain(f"the kubelet that runs was not started on {SOCKET}. Next: systemctl restart {UNIT}")

    def _see_answer(self, asks: bool) -> None:
        if self._tree.is_folder(SOCKET):
            self._say(f"{SOCKET}: a directory")
            if self._report.turned_over:
                self._complain(
                    f"{SOCKET} is a directory, so criproxy cannot listen there. Next: rmdir {SOCKET}, then systemctl"
                    f" restart {SOCKET_UNIT} {SERVICE}",
                    grave=True,
                )
            return
        if not asks:
            return
        try:
            self._say(f"{SOCKET}: {self._runtimes.version(SOCKET)}")
        except NodeError as error:
            self._say(f"{SOCKET}: no answer")
            if self._report.turned_over:
                self._complain(
                    f"kubelet gets no answer: {error}. Next: criproxy status tells how each runtime is", grave=True
                )

    def _see_move(self, asks: bool) -> None:
        primary, retiring, _ = plans.sockets(self._tree)
        if not retiring:
            return
        if self._report.turned_over:
            self._report.move = f"{plans.move_text(primary, retiring)} (criproxy node migrate --finish ends it)"
        elif self._tree.exists(plans.MOVE_NOTE):
            again = f"criproxy node migrate --to {primary}, or --back"
            self._report.move = f"a move to {primary} has been interrupted. Next: {again}"
        else:
            return
        self._say(self._report.move)
        if asks and self._report.managed and self._report.turned_over:
            self._see_left(retiring)

    def _see_left(self, retiring: str) -> None:
        try:
            left = len(self._runtimes.pods(retiring))
            self._say(f"pods that run on {retiring}: {left}")
        except NodeError as error:
            text = f"the retiring runtime does not answer, and kubelet cannot list its pods: {error}"
            self._complain(f"{text}. Next: start it", grave=True)

    def _see_drift(self, kubelet: Kubelet) -> None:
        """Kubelet's own flags may name other sockets by now, as after an upgrade by kubeadm. What somebody has chosen
        is not looked at."""
        found = plans.configured(self._tree.text(DEFAULTS) or "")
        primary, images = found.get("CRI_PRIMARY", ""), found.get("CRI_IMAGE_SERVICE", "")
        try:
            if primary == plans.note(self._tree, plans.PRIMARY_NOTE):
                self._see_primary(plans.used_by(self._tree, kubelet, primary), primary)
            if images == plans.note(self._tree, plans.IMAGE_SERVICE_NOTE):
                self._see_images(plans.images_used_by(self._tree, kubelet, images, primary), images)
        except NodeError as error:
            self._complain(str(error))

    def _see_primary(self, used: str, primary: str) -> None:
        if used not in plans.spellings(primary):
            self._complain(
                f"kubelet's own flags or configuration name the runtime {used}, and criproxy's primary one is"
                f" {primary}. Next: criproxy node apply (or, if that is how it should be, criproxy node apply --primary"
                f" {primary})"
            )

    def _see_images(self, used: str, images: str) -> None:
        if used == images or (images and used in plans.spellings(images)):
            return
        ours = images or "the primary runtime's own"
        self._complain(
            f"kubelet's own flags or configuration name the image service {used or 'of the runtime'}, and criproxy's is"
            f" {ours}. Next: criproxy node apply (or, if that is how it should be, criproxy node apply --image-service"
            f" {images or repr('')})"
        )


_AGAIN = "systemctl daemon-reload, then criproxy node apply"
