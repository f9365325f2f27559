"""The change of a node, and the way back, in the order that keeps kubelet served.

There: what criproxy needs is written, criproxy is started and must be ready before kubelet is told of it. Back: kubelet
is given its own flags again before criproxy is stopped. Kubelet is restarted only if it runs.
"""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from dataclasses import replace
from typing import Callable, Iterator, List, Sequence, Tuple

from criproxy.node import kubelet as kubelets
from criproxy.node import plan as plans
from criproxy.node import units
from criproxy.node.kubelet import DROP_IN, UNIT, Ask, Kubelet, NodeError
from criproxy.node.ledger import FOLDER, Ledger
from criproxy.node.plan import DEFAULTS, DOCKERSHIM, SERVICE, SOCKET, SOCKET_UNIT, Plan, Wishes
from criproxy.node.systemd import Manager
from criproxy.node.tree import Tree

_WRITTEN = f"{FOLDER}/primary"
"""The primary runtime that was last worked out, so that another in the defaults is seen to be the operator's choice."""
_SWITCH = f"{FOLDER}/attach-detach"
"""What was last asked for of ``--enable-controller-attach-detach``: it holds for upgrades, too."""
_SHIM = f"{units.ADMIN}/{DOCKERSHIM}"
_GO_LEFTOVERS = f"{_SHIM}.d"


class Node:
    """A node, and what it takes to change it. ``say`` gets a line for each thing that is done.

    ``reach`` asks the runtime on a socket for its version; it raises NodeError with the reason if nobody answers.
    """

    def __init__(
        self, tree: Tree, manager: Manager, ask: Ask, reach: Callable[[str], str], say: Callable[[str], None]
    ) -> None:
        self._tree = tree
        self._manager = manager
        self._ask = ask
        self._reach = reach
        self._say = say
        self._restarted = False

    def plan(self, wishes: Wishes) -> Plan:
        """What `apply` would make. Raises NodeError."""
        written = (self._tree.text(_WRITTEN) or "").strip()
        return plans.make(self._tree, kubelets.find(self._tree, self._ask), self._completed(wishes), written)

    def _completed(self, wishes: Wishes) -> Wishes:
        """With what was asked for the last time where nothing is said now."""
        return replace(wishes, attach_detach=wishes.attach_detach or (self._tree.text(_SWITCH) or "").strip() or None)

    def differences(self, plan: Plan) -> Iterator[str]:
        """The lines of a unified diff from what there is to what is planned."""
        for path, text in plan.files:
            before = self._tree.text(path)
            old = [] if before is None else before.splitlines()
            yield from difflib.unified_diff(old, text.splitlines(), path, path, "as it is", "as planned", lineterm="")

    def turned(self) -> bool:
        """Whether kubelet's drop-in of ours is there."""
        return DROP_IN in Ledger(self._tree).entries and self._tree.exists(DROP_IN)

    # There.

    def apply(self, wishes: Wishes, again: bool = False) -> None:
        """Turns the node over, or brings what was turned over up to date; ``again``: only the latter.

        Raises NodeError if that cannot be; the node is then as it was.
        """
        ledger = Ledger(self._tree)
        if again and ledger.empty:
            self._say("nothing has been applied to this node, or it has been undone")
            return
        with ledger.locked():
            plan = self.plan(wishes)
            first = f"{units.ADMIN}/{SERVICE}" not in ledger.entries
            try:
                if wishes.attach_detach is not None:
                    ledger.keep(_SWITCH, wishes.attach_detach + "\n")
                self._make(plan, ledger)
            except (NodeError, OSError) as error:
                self._roll_back(ledger, first)
                raise NodeError(f"{_text(error)}; everything is as it was before") from error

    def _make(self, plan: Plan, ledger: Ledger) -> None:
        turned = DROP_IN in ledger.entries
        new_shim = self._write_units(plan, ledger)
        if not plan.primary:
            self._say("there is no kubelet yet; what there is to do for it is done when it comes")
            return
        names = [SOCKET_UNIT, SERVICE, *([DOCKERSHIM] if plan.shim else [])]
        for name in names:
            ledger.register_enabled(name)
        self._manager.do("enable", *names)
        if self._manager.running:
            self._start(plan, ledger, new_shim)
        if plan.kubelet is not None:
            self._patch(plan, ledger, turned)
        if not plan.shim and DOCKERSHIM in ledger.enabled:
            self._drop_dockershim(ledger)

    def _write_units(self, plan: Plan, ledger: Ledger) -> bool:
        """Writes what criproxy needs; says whether a dockershim that runs has to be restarted."""
        if ledger.keep(DEFAULTS, plan.defaults):
            self._say(f"wrote {DEFAULTS}")
        ledger.keep(_WRITTEN, f"{plan.primary if plan.worked_out else ''}\n")
        new_shim = False
        for path, text in plan.units:
            if path == _SHIM:
                new_shim = self._write_for(DOCKERSHIM, path, text, ledger)
            elif ledger.write(path, text, self._is_leftover(path, ledger)):
                self._say(f"wrote {path}")
        if plan.shim:
            self._clear_leftovers(ledger)
        if self._manager.running:
            self._manager.do("daemon-reload")
        return new_shim

    def _write_for(self, unit: str, path: str, text: str, ledger: Ledger) -> bool:
        """Writes a file of a unit's; says whether the unit has to be restarted if it runs.

        That is registered before: an earlier run may have been stopped between the one and the other.
        """
        owed = unit in ledger.owed
        if self._manager.is_running(unit):
            ledger.owe(unit)
        changed = ledger.write(path, text, self._is_leftover(path, ledger))
        if changed:
            self._say(f"wrote {path}")
        elif not owed:
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
                self._say(f"set aside {_GO_LEFTOVERS}/{name}, which the Go package has left")

    def _start(self, plan: Plan, ledger: Ledger, new_shim: bool) -> None:
        # A socket unit cannot take its place while the service is there without it, as the Go package's is.
        if self._manager.is_running(SERVICE) and not self._manager.is_running(SOCKET_UNIT):
            self._manager.do("stop", SERVICE)
        if plan.shim:
            # One that runs as it should has calls under way.
            self._manager.do("restart" if new_shim else "start", DOCKERSHIM)
            ledger.settle(DOCKERSHIM)
        self._manager.do("start", SOCKET_UNIT)
        self._manager.do("restart", SERVICE)
        self._say("criproxy is ready")

    def _patch(self, plan: Plan, ledger: Ledger, turned: bool) -> None:
        """Gives kubelet its flags. One that works must not be turned to a proxy through which nobody answers."""
        runs = self._manager.is_running(UNIT)
        if runs and not turned:
            try:
                self._say(f"through {SOCKET} answers {self._reach(SOCKET)}")
            except NodeError as error:
                raise NodeError(
                    f"the primary runtime ({plan.primary}) does not answer through criproxy, so kubelet is left alone:"
                    f" {error}; start that runtime or name another (--primary, criproxy/primary_cri)"
                ) from error
        changed = self._write_for(UNIT, DROP_IN, plan.drop_in, ledger)
        self._check_patch()
        if self._manager.running and changed:
            self._manager.do("daemon-reload")
            if runs:
                self._restarted = True
                self._manager.do("restart", UNIT)
                self._say("restarted kubelet, on criproxy from now on")
        ledger.settle(UNIT)

    def _drop_dockershim(self, ledger: Ledger) -> None:
        """The primary runtime was Docker, and is another now."""
        self._stop_services(ledger, [DOCKERSHIM])
        ledger.settle(DOCKERSHIM)
        self._undo(ledger, [_SHIM])

    def _check_patch(self) -> None:
        unit = units.load(self._tree, UNIT)
        commands = unit.all("Service", "ExecStart") if unit is not None else ()
        if not commands or f"unix://{SOCKET}" not in commands[-1]:
            later = unit.drop_ins[-1] if unit is not None and unit.drop_ins else "a drop-in"
            raise NodeError(f"{later} is read after {DROP_IN} and sets ExecStart= again: rename it to stand before")

    def _roll_back(self, ledger: Ledger, first: bool) -> None:
        """As far as it goes: what cannot be put back is said, and the first error is the one that counts."""
        if first:
            self._stop_services(ledger, list(ledger.enabled))
        try:
            ledger.roll_back()
            if self._manager.running:
                self._manager.do("daemon-reload")
                for unit in (*([] if first else [SERVICE]), *([UNIT] if self._restarted else [])):
                    self._manager.do("restart", unit)
        except (NodeError, OSError) as error:
            self._say(f"while putting things back: {_text(error)}")

    # Back.

    def revert(self) -> None:
        """Gives the node back as it was. Raises NodeError if a file cannot be put back."""
        ledger = Ledger(self._tree)
        if ledger.empty:
            self._say("there is nothing to undo")
            return
        with ledger.locked():
            try:
                self._release_kubelet(ledger)
                self._stop_services(ledger, list(ledger.enabled))
                self._undo(ledger, list(ledger.entries))
                for path in (_WRITTEN, _SWITCH):
                    with suppress(FileNotFoundError):
                        os.unlink(self._tree.host(path))
                ledger.finish_undoing()
            except OSError as error:
                raise NodeError(f"{_text(error)}; mend that and do it again: what is left is registered") from error

    def _release_kubelet(self, ledger: Ledger) -> None:
        if DROP_IN not in ledger.entries and UNIT not in ledger.owed:
            return
        runs = self._manager.is_running(UNIT)
        if runs:
            ledger.owe(UNIT)
        self._undo(ledger, [path for path in (DROP_IN,) if path in ledger.entries])
        if runs:
            self._try("restart", UNIT)
            self._say("restarted kubelet, on its own flags from now on")
        ledger.settle(UNIT)

    def _stop_services(self, ledger: Ledger, names: Sequence[str]) -> None:
        if not names:
            return
        if self._manager.running:
            self._try("stop", *names)
        self._try("disable", *names)
        ledger.forget_enabled(names)
        self._say(f"stopped and disabled {', '.join(names)}")

    def _undo(self, ledger: Ledger, paths: Sequence[str]) -> None:
        for path in reversed(paths):
            copy = ledger.undo(path)
            self._say(f"{path} is as it was" + (f"; what somebody had made of it is in {copy}" if copy else ""))
        if self._manager.running:
            self._try("daemon-reload")

    def _try(self, *words: str) -> None:
        """What does not work on the way back must not keep the rest from it."""
        try:
            self._manager.do(*words)
        except NodeError as error:
            self._say(str(error))

    # What is there.

    def status(self) -> Tuple[List[str], bool]:
        """Lines that say how things are, and whether kubelet is on criproxy."""
        turned = self.turned()
        lines = [f"kubelet: {self._kubelet_line()}", f"turned over: {'yes' if turned else 'no'}"]
        if self._manager.running:
            lines += [
                f"{unit}: {'running' if self._manager.is_running(unit) else 'not running'}"
                for unit in (UNIT, SOCKET_UNIT, SERVICE)
            ]
            in_force = f"unix://{SOCKET}" in self._manager.commands(UNIT)
            if turned and not in_force:
                lines.append(f"kubelet's flags do not name {SOCKET}: systemctl daemon-reload, then criproxy node apply")
            turned = turned and in_force
        try:
            lines.append(f"{SOCKET}: {self._reach(SOCKET)}")
        except NodeError as error:
            lines.append(f"{SOCKET}: {error}")
        return lines, turned

    def _kubelet_line(self) -> str:
        try:
            kubelet = kubelets.find(self._tree, self._ask)
        except NodeError as error:
            return str(error)
        if kubelet is None:
            return "none on this node"
        return f"{kubelet.version_text}, {_own_endpoint(self._tree, kubelet)}"


def _own_endpoint(tree: Tree, kubelet: Kubelet) -> str:
    told = kubelets.endpoint(tree, kubelet)
    return f"its own flags name {told}" if told else "its own flags name no runtime"


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
