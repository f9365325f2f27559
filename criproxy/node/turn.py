"""The change of a node, and its undoing, in the order that keeps kubelet served.

apply writes criproxy's files, starts criproxy, and waits until the primary runtime answers through it. Only then does
kubelet get its new flags; kubelet is then watched for some seconds. A failure undoes all steps before it. revert gives
kubelet its own flags before it stops criproxy. Kubelet is restarted only if it runs.
"""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import AbstractSet, Callable, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from criproxy.cri.identity import RETIRING
from criproxy.node import kubelet as kubelets
from criproxy.node import plan as plans
from criproxy.node import program, syntax, units, watch
from criproxy.node.checks import Checks
from criproxy.node.kubelet import DROP_IN, UNIT, Ask, NodeError
from criproxy.node.ledger import DIST, Ledger, Written
from criproxy.node.manager import Manager, UnitState
from criproxy.node.plan import (
    DEFAULTS,
    DOCKERSHIM,
    IMAGE_SERVICE_NOTE,
    MOVE_NOTE,
    PRIMARY_NOTE,
    PROGRAM_NOTE,
    SERVICE,
    SOCKET,
    SOCKET_UNIT,
    SWITCH_NOTE,
    VERSION_NOTE,
    NodePlan,
    Situation,
    Wishes,
    WorkedOut,
    noted_version,
)
from criproxy.node.runtimes import RuntimeClient
from criproxy.node.tree import Tree
from criproxy.node.watch import REAL, Clock

_ALL_NOTES = (PRIMARY_NOTE, IMAGE_SERVICE_NOTE, SWITCH_NOTE, VERSION_NOTE, PROGRAM_NOTE, MOVE_NOTE)
_SERVICE_FILE = f"{units.ADMIN}/{SERVICE}"
_SHIM = f"{units.ADMIN}/{DOCKERSHIM}"
_GO_LEFTOVERS = f"{_SHIM}.d"
_RELOAD_TIME = 5.0
"""How long criproxy may take until a reload has taken effect, seconds."""
_RELOAD_INTERVAL = 0.05
"""Between two looks whether a reload has taken effect, seconds."""


@dataclass(frozen=True)
class Manner:
    """How a node is to be changed."""

    files_only: bool = False
    """Nothing is started, stopped or restarted, as policy-rc.d(8) can ask for."""
    force: bool = False
    """Runtimes may go that still have pods."""
    watch: float = watch.USUAL
    """How long kubelet is watched after its restart, seconds."""


USUALLY = Manner()


class Node:
    """A node, and what it takes to change it. ``say`` gets a line for each thing that is done."""

    def __init__(
        self,
        tree: Tree,
        manager: Manager,
        ask: Ask,
        runtimes: RuntimeClient,
        say: Callable[[str], None],
        manner: Manner = USUALLY,
        clock: Clock = REAL,
        age: Callable[[], float] = program.age,
        digest: Callable[[], str] = program.digest,
    ) -> None:
        self._tree = tree
        self._manager = manager
        self._ask = ask
        self._runtimes = runtimes
        self._say = say
        self._manner = manner
        self._checks = Checks(tree, manager, runtimes, say, manner.force)
        self._clock = clock
        self._program_age = age
        self._program_digest = digest
        self._acts = manager.running and not manner.files_only
        """Whether units are started, stopped and restarted."""
        self._done: List[Tuple[str, str]] = []
        """What this run has done to units, verbs and units, for the way back."""

    # What is to be.

    def plan(self, wishes: Wishes) -> NodePlan:
        """What `apply` would make. Raises NodeError."""
        return self._plan(Ledger.read(self._tree), wishes)

    def _plan(self, ledger: Ledger, wishes: Wishes) -> NodePlan:
        wishes = self._completed(wishes)
        kubelet = kubelets.find(self._tree, self._ask, self._manager, wishes.kubelet_version)
        worked_out = WorkedOut(self._note(PRIMARY_NOTE), self._note(IMAGE_SERVICE_NOTE))
        first = _SERVICE_FILE not in ledger.entries
        return plans.make(Situation(self._tree, kubelet, worked_out, first, self._manager.version), wishes)

    def _completed(self, wishes: Wishes) -> Wishes:
        """Adds the options of the last time where none is given now."""
        return replace(
            wishes,
            attach_detach=wishes.attach_detach or self._note(SWITCH_NOTE) or None,
            kubelet_version=wishes.kubelet_version or noted_version(self._tree),
        )

    def _note(self, path: str) -> str:
        return plans.note(self._tree, path)

    def differences(self, plan: NodePlan) -> Iterator[str]:
        """The lines of a unified diff from what there is to what is planned."""
        return differences(self._tree, plan.files)

    def prospects(self, plan: NodePlan) -> Iterator[str]:
        """What there is to say of a plan beside its differences, the primary runtime's answer among it."""
        yield from plan.notes
        if self._manager.running and plan.primary and not plan.starts(plan.primary):
            try:
                yield f"the primary runtime ({plan.primary}) answers: {self._runtimes.version(plan.primary)}"
            except NodeError as error:
                yield f"the primary runtime does not answer: {error}; apply would refuse"

    # There.

    def apply(self, wishes: Wishes, again: bool = False) -> None:
        """Turns the node over, or brings what was turned over up to date; ``again``: only the latter.

        Raises NodeError if that fails. Its text says what is as before, and what is not.
        """
        with Ledger.opened(self._tree) as ledger:
            if again and ledger.empty:
                self._say("nothing has been applied to this node, or it has been undone")
                return
            plan = self._plan(ledger, wishes)
            for note in plan.notes:
                self._say(note)
            first, turned = _SERVICE_FILE not in ledger.entries, DROP_IN in ledger.entries
            behind = self._behind()
            changed = not turned or not self._is_in_force(plan, behind)
            if self._acts:
                self._checks.before(plan, turned, changed, behind)
            try:
                self._keep_notes(ledger, plan, wishes)
                self._make(plan, ledger, changed)
            except (NodeError, OSError) as error:
                left = self._roll_back(ledger, first)
                raise NodeError(f"{reason(error)}; {_as_before(left)}") from error

    def _is_in_force(self, plan: NodePlan, behind: Mapping[str, str]) -> bool:
        """Whether the primary and the retiring runtime are those of the criproxy that runs, as far as that can be told,
        and the image service is the one of before."""
        images = plans.configured(self._tree.text(DEFAULTS) or "").get("CRI_IMAGE_SERVICE", "")
        return plan.image_service == images and _are_behind(plan, behind or self._configured())

    def _configured(self) -> Mapping[str, str]:
        """The primary and the retiring runtime of the defaults: sockets by ids."""
        primary, retiring, _ = plans.sockets(self._tree)
        return {id: path for id, path in (("", primary), (RETIRING, retiring)) if path}

    def _behind(self) -> Mapping[str, str]:
        """The runtimes of the criproxy that runs: sockets by ids. Empty if it does not run or does not tell."""
        if not self._acts or not self._manager.state(SERVICE).runs:
            return {}
        with suppress(NodeError):
            return self._runtimes.behind(SOCKET)
        return {}

    def _keep_notes(self, ledger: Ledger, plan: NodePlan, wishes: Wishes) -> None:
        if wishes.attach_detach is not None:
            ledger.keep(SWITCH_NOTE, f"{wishes.attach_detach}\n")
        if wishes.kubelet_version is not None:
            ledger.keep(VERSION_NOTE, f"{'.'.join(map(str, wishes.kubelet_version))}\n")
        if wishes.only_for_a_move:
            ledger.keep(MOVE_NOTE, "yes\n")
        ledger.keep(PRIMARY_NOTE, f"{plan.worked_out.primary}\n")
        ledger.keep(IMAGE_SERVICE_NOTE, f"{plan.worked_out.image_service}\n")

    def _make(self, plan: NodePlan, ledger: Ledger, changed: bool) -> None:
        new = self._write_units(plan, ledger)
        if plan.kubelet is None:
            self._say(f"{kubelets.missing(self._tree)}; it will be configured when its package arrives")
        if not plan.primary:
            return
        self._checks.configuration()
        names = [SOCKET_UNIT, SERVICE, *([DOCKERSHIM] if plan.shim else [])]
        for name in names:
            ledger.register_enabled(name)
        self._manager.do("enable", *names)
        if self._acts:
            self._start(plan, ledger, new)
            self._see_through(plan, changed)
        if plan.kubelet is not None:
            self._patch(plan, ledger)
        if not plan.shim and DOCKERSHIM in ledger.enabled:
            self._drop_dockershim(ledger)

    def _write_units(self, plan: NodePlan, ledger: Ledger) -> Set[str]:
        """Writes what criproxy needs; gives the units that have to be restarted if they run."""
        if ledger.keep(DEFAULTS, plan.defaults):
            self._say(f"wrote {DEFAULTS}")
        new = {
            os.path.basename(path)
            for path, text in plan.units
            if self._write_for(os.path.basename(path), path, text, ledger)
        }
        if plan.shim:
            self._clear_leftovers(ledger)
        if self._manager.running:
            self._manager.do("daemon-reload")
        return new

    def _write_for(self, unit: str, path: str, text: str, ledger: Ledger) -> bool:
        """Writes a file of a unit's; says whether the unit has to be restarted if it runs.

        That is registered before: an earlier run may have been stopped between the one and the other.
        """
        owed = unit in ledger.owed
        matters = syntax.of_processes(self._tree.text(path) or "") != syntax.of_processes(text)
        if matters and self._manager.running and self._manager.state(unit).runs:
            ledger.owe(unit)
        written = ledger.write(path, text, self._is_leftover(path, ledger))
        if written is Written.BESIDE and path + DIST in ledger.laid:
            self._say(f"{path} has been edited and stays in force; criproxy's own version is in {path}{DIST}")
        if written is Written.CHANGED:
            self._say(f"wrote {path}")
        changed = written is Written.CHANGED and matters
        if not (changed or owed):
            ledger.settle(unit)
        return changed or owed

    def _is_leftover(self, path: str, ledger: Ledger) -> bool:
        text = self._tree.text(path)
        return path not in ledger.entries and text is not None and plans.is_from_the_go_package(path, text)

    def _clear_leftovers(self, ledger: Ledger) -> None:
        """The Go package made its dockershim of copies of kubelet's drop-ins, which would change ours."""
        for name in self._tree.names(_GO_LEFTOVERS):
            if name.endswith(".conf"):
                ledger.take_away(f"{_GO_LEFTOVERS}/{name}")
                self._say(f"moved {_GO_LEFTOVERS}/{name} aside: the Go package left it")

    def _start(self, plan: NodePlan, ledger: Ledger, new: AbstractSet[str]) -> None:
        runs, listens = self._manager.state(SERVICE).runs, self._manager.state(SOCKET_UNIT).runs
        # A socket unit cannot take its place while the service is there without it, as the Go package's is.
        if runs and not listens:
            self._do("stop", SERVICE)
            runs = False
        if plan.shim:
            # One that runs as it should has calls under way.
            self._do("restart" if DOCKERSHIM in new else "start", DOCKERSHIM)
            ledger.settle(DOCKERSHIM)
        self._do("restart" if listens and SOCKET_UNIT in new else "start", SOCKET_UNIT)
        ledger.settle(SOCKET_UNIT)
        if runs and new.isdisjoint((SERVICE, SOCKET_UNIT)) and not self._is_outdated():
            # A restart would forget what runtimes that are away had.
            self._do("reload", SERVICE)
            self._await_reload(plan)
        else:
            self._do("restart", SERVICE)
            ledger.settle(SERVICE)
            self._say(f"criproxy listens on {SOCKET}")
        ledger.keep(PROGRAM_NOTE, f"{self._program_digest()}\n")

    def _is_outdated(self) -> bool:
        """Whether the service runs a program that has been replaced by another since."""
        age = watch.age_of(self._manager, SERVICE, self._clock)
        if age is not None and age <= self._program_age():
            return False
        return self._note(PROGRAM_NOTE) != self._program_digest()

    def _await_reload(self, plan: NodePlan) -> None:
        """Waits until criproxy says that it has the planned primary and retiring runtime, if it says."""
        end = self._clock.now() + _RELOAD_TIME
        while self._clock.now() < end:
            behind = self._behind()
            if not behind or _are_behind(plan, behind):
                return
            self._clock.sleep(_RELOAD_INTERVAL)
        retiring = f" and the retiring one {behind[RETIRING]}" if RETIRING in behind else ""
        raise NodeError(
            f"criproxy was told to reload and still has the primary runtime {behind.get('')}{retiring}: journalctl -u"
            f" {SERVICE} says why"
        )

    def _see_through(self, plan: NodePlan, changed: bool) -> None:
        """A kubelet that works is not left on a proxy through which nobody answers.

        Where nothing of that is changed, it is no worse than it was: an upgrade goes on while a runtime is away.
        """
        if not self._manager.state(UNIT).runs:
            return
        try:
            self._say(f"through {SOCKET} answers {self._runtimes.version(SOCKET)}")
        except NodeError as error:
            if not changed:
                self._say(f"warning: the primary runtime ({plan.primary}) does not answer: {error}")
                return
            raise NodeError(
                f"the primary runtime ({plan.primary}) does not answer through criproxy: {error}; start it, or name"
                " another (criproxy node apply --primary RUNTIME)"
            ) from error

    def _patch(self, plan: NodePlan, ledger: Ledger) -> None:
        """Gives kubelet its flags."""
        state = self._manager.state(UNIT) if self._acts else UnitState()
        runs = state.runs
        restless = watch.is_restless(self._manager, UNIT, state, self._clock)
        before = self._tree.text(DROP_IN)
        changed = self._write_for(UNIT, DROP_IN, plan.drop_in, ledger)
        self._checks.patch()
        if self._manager.running and (changed or self._tree.text(DROP_IN) != before):
            self._manager.do("daemon-reload")
        if runs and (changed or self._checks.elsewhere() is not None):
            self._do("restart", UNIT)
            self._see_kubelet_live(restless)
            self._say("restarted kubelet: it is on criproxy now")
        elif changed and UNIT in ledger.owed and not self._acts:
            self._say("kubelet is on criproxy only after a restart: criproxy node apply")
            return
        ledger.settle(UNIT)

    def _see_kubelet_live(self, restless: bool) -> None:
        if restless:
            self._say(f"{UNIT} was in a crash loop before, so it is not watched")
            return
        end = watch.ends(self._manager, UNIT, self._manner.watch, self._clock)
        if end:
            raise NodeError(f"kubelet fails with its new flags: {end}.{self._last_words(UNIT)}")

    def _last_words(self, unit: str) -> str:
        said = self._manager.last_words(unit)
        return f" Its log ends: {said}" if said else ""

    def _drop_dockershim(self, ledger: Ledger) -> None:
        """The primary runtime was Docker, and is another now."""
        self._stop_services(ledger, [DOCKERSHIM])
        ledger.settle(DOCKERSHIM)
        self._undo(ledger, [_SHIM])

    def _do(self, verb: str, unit: str) -> None:
        self._done.append((verb, unit))
        self._manager.do(verb, unit)

    def _roll_back(self, ledger: Ledger, first: bool) -> List[str]:
        """As far as it goes; gives a line for each thing that is not as it was."""
        left: List[str] = []
        if first:
            left += self._stop_services(ledger, list(ledger.enabled))
        left += [str(undone) for undone in ledger.roll_back() if undone.failed]
        if not self._manager.running:
            return left
        left += self._try("daemon-reload")
        if not self._acts:
            return left
        verbs = [verb for verb, unit in self._done if unit == SERVICE and verb in ("restart", "reload")]
        if ("restart", SOCKET_UNIT) in self._done and not first:
            left += self._try("restart", SOCKET_UNIT)
            verbs = ["restart"]
        if verbs and not first:
            left += self._try(verbs[-1], SERVICE)
        if ("restart", UNIT) in self._done:
            left += self._try("restart", UNIT)
        return left

    # Back.

    def revert(self) -> None:
        """Gives the node back as it was. Raises NodeError that says what could not be put back."""
        with Ledger.opened(self._tree) as ledger:
            if ledger.empty:
                self._say("there is nothing to undo")
                return
            self._check_revert()
            left = self._release_kubelet(ledger)
            if not left:
                left += self._stop_services(ledger, list(ledger.enabled))
                left += self._undo(ledger, list(ledger.entries))
            if left:
                raise NodeError(
                    f"not everything could be undone: {'; '.join(left)}. Mend that and run criproxy node revert again:"
                    " what is left is registered"
                )
            for path in _ALL_NOTES:
                with suppress(FileNotFoundError):
                    os.unlink(self._tree.host(path))
            left = [str(undone) for undone in ledger.finish_undoing() if undone.failed]
            if left:
                raise NodeError(f"not everything could be undone: {'; '.join(left)}")

    def _check_revert(self) -> None:
        """Raises NodeError if kubelet would lose pods. During a move, its own flags may name either runtime."""
        behind, configured = self._behind(), self._configured() if self._acts else {}
        if RETIRING not in {**configured, **behind}:
            self._checks.pods(behind, {}, (behind.get("", ""),))
            return
        stays: Tuple[str, ...] = ()
        with suppress(NodeError):  # then the pods of both are named
            kubelet = kubelets.find(self._tree, self._ask, self._manager, noted_version(self._tree))
            if kubelet is None:
                return
            stays = (plans.used_by(self._tree, kubelet, configured.get("", "")),)
        self._checks.pods(behind or configured, {}, stays)

    def _release_kubelet(self, ledger: Ledger) -> List[str]:
        if DROP_IN not in ledger.entries and UNIT not in ledger.owed:
            return []
        state = self._manager.state(UNIT) if self._manager.running else None
        # One that has failed may have done so for want of criproxy.
        to_start = state is not None and (state.runs or state.active == "failed")
        if to_start:
            ledger.owe(UNIT)
        left = self._undo(ledger, [path for path in (DROP_IN,) if path in ledger.entries])
        if left:
            return left
        if to_start and self._acts:
            if state is not None and state.active == "failed":
                self._try("reset-failed", UNIT)
            left = self._try("restart", UNIT)
            if not left:
                self._say("restarted kubelet: it is on its own flags now")
        elif to_start:
            self._say("kubelet is on its own flags only after a restart: systemctl restart kubelet")
        ledger.settle(UNIT)
        return []

    def _stop_services(self, ledger: Ledger, names: Sequence[str]) -> List[str]:
        if not names:
            return []
        left = self._try("stop", *names) if self._acts else []
        left += self._try("disable", *names)
        ledger.forget_enabled(names)
        self._say(f"{'stopped and disabled' if self._acts else 'disabled'} {', '.join(names)}")
        return left

    def _undo(self, ledger: Ledger, paths: Sequence[str]) -> List[str]:
        """Puts back what stood at these paths; gives a line for each that could not be."""
        undone = ledger.undo(paths)
        for one in undone:
            if not one.failed:
                self._say(str(one))
        if self._manager.running:
            self._try("daemon-reload")
        return [str(one) for one in undone if one.failed]

    def _try(self, *words: str) -> List[str]:
        """Runs a step of the undoing. A failure must not stop the other steps: gives its text."""
        try:
            self._manager.do(*words)
        except NodeError as error:
            self._say(str(error))
            return [str(error)]
        return []


def _are_behind(plan: NodePlan, behind: Mapping[str, str]) -> bool:
    """Whether criproxy has the planned primary and retiring runtime behind it, by their sockets."""
    wanted = {"": plan.primary, RETIRING: plan.retiring}
    return all(behind.get(id, "") in plans.spellings(path) for id, path in wanted.items())


def _as_before(left: Iterable[str]) -> str:
    text = "; ".join(left)
    return f"not everything could be undone: {text}" if text else "all changes have been undone"


def differences(tree: Tree, files: Iterable[Tuple[str, str]]) -> Iterator[str]:
    """The lines of a unified diff from the files that there are to these texts of them."""
    for path, text in files:
        old = (tree.text(path) or "").splitlines()
        yield from difflib.unified_diff(old, text.splitlines(), path, path, "as it is", "as planned", lineterm="")


def reason(error: Exception) -> str:
    """Why something failed: an error's text, or its file and what is said of that."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
