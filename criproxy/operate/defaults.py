"""The service's environment file: a change of it is taken by the daemon, or undone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Callable, Dict, Mapping, Optional

from criproxy import config, environment
from criproxy.client import ClientError
from criproxy.config import Config, ConfigError
from criproxy.control.client import ControlClient
from criproxy.node.files import STAGED, Before, Files, new_file
from criproxy.node.kubelet import NodeError
from criproxy.node.ledger import LOCKED, locked
from criproxy.node.tree import Tree
from criproxy.operate.outcome import Refused


class Defaults:
    """The environment file of a daemon, which need not run."""

    def __init__(self, socket: str, file: str) -> None:
        """``socket``: the control socket; ``file``: the environment file that counts if no daemon says another."""
        self._socket = socket
        self._tree = Tree("/")
        self._files = Files(self._tree)
        self.status: Optional[Any] = None
        """What the daemon says of itself (StatusResponse); None if it does not answer."""
        self.silence = ""
        """Why it does not."""
        self._before: Optional[Before] = None
        """What stood in its place before `change`."""
        self.look()
        path = file if self.status is None else self.status.daemon.environment_file
        self.path = path and self._tree.real(os.path.abspath(path))
        """Empty if the daemon reads no such file: then all is fixed."""

    def look(self) -> None:
        """Asks the daemon how it is."""
        try:
            with ControlClient(self._socket) as client:
                self.status = client.call("Status")
        except ClientError as error:
            self.status, self.silence = None, str(error)

    def variables(self) -> Dict[str, str]:
        """What the file sets; nothing if it does not exist. Raises Refused if it cannot be read."""
        try:
            return {name: found.value for name, found in environment.read(self._text())[0].items()}
        except ValueError as error:
            raise Refused(f"{self.path}: {error}") from error

    def config(self) -> Config:
        """The configuration with the file as it is. Raises Refused if the daemon would not take it."""
        return self._parsed(self.path)

    @property
    def later(self) -> str:
        """When a change counts that the daemon has not heard of, as the end of a sentence; nothing if it has."""
        return ", from the daemon's next start on" if self.status is None else ""

    @property
    def unheard(self) -> str:
        """That the daemon has not heard of a change; nothing if it has."""
        return f"{self.silence}; {self.path} says it now (criproxy status tells why)" if self.status is None else ""

    def refuse_if_fixed(self, name: str) -> None:
        """Raises Refused if a line for this variable would change nothing."""
        fixed = self.config().fixed if self.status is None else self.status.daemon.fixed
        if name in fixed:
            where = f" in {self.path}" if self.path else ""
            raise Refused(f"{name}{where} would change nothing: {fixed[name]}; change it there")

    def change(self, values: Mapping[str, str]) -> None:
        """Sets variables, if that is a configuration that the daemon takes, and has it taken. Raises Refused."""
        self._alone(lambda: self._change(values))

    def undo(self) -> None:
        """Takes the last change back. Raises Refused."""
        self._alone(self._put_back)

    def _alone(self, work: Callable[[], None]) -> None:
        """Does something to the file while no other command does."""
        folder = LOCKED if self.path.startswith(f"{LOCKED}/") else os.path.dirname(self.path)
        try:
            with locked(self._tree, folder):
                work()
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}") from error
        except NodeError as error:
            raise Refused(str(error)) from error

    def _change(self, values: Mapping[str, str]) -> None:
        there, old = self.variables(), self._text()
        text = old
        for name, value in values.items():
            self.refuse_if_fixed(name)
            if there.get(name, "") != value:
                text = environment.assign(text, name, value)
        self._before = self._files.seen(self.path)
        if text != old:
            self._write(text)
        if self.status is not None:
            self._reload()

    def _write(self, text: str) -> None:
        """Puts a text in the place of the file, unless the daemon would refuse it."""
        self._files.stage(self.path, new_file(text.encode("utf-8", "surrogateescape"), self._before))
        try:
            self._parsed(self.path + STAGED)
        except Refused:
            self._files.clear(self.path)
            raise
        self._files.install(self.path)

    def _reload(self) -> None:
        """Has the daemon read the file again; if it does not take it, the file is put back."""
        try:
            self._ask_to_reload()
        except ClientError as error:
            self._put_back()
            raise Refused(f"{error}; {self.path} is as before") from error
        self.look()

    def _put_back(self) -> None:
        if self._before is None:
            self._files.remove(self.path)
        else:
            self._files.put(self.path, self._before)
        if self.status is not None:
            with suppress(ClientError):  # the file is as it was, and so is what the daemon says of it
                self._ask_to_reload()

    def _ask_to_reload(self) -> None:
        with ControlClient(self._socket) as client:
            client.call("Reload")

    def _parsed(self, path: str) -> Config:
        """What the daemon would make of a file. Its environment, and words that the unit does not have, are its own."""
        listen = () if self.status is None else (f"--listen={self.status.daemon.listen}",)
        try:
            return config.parse([*listen, f"--environment-file={path}"], {})
        except ConfigError as error:
            raise Refused(str(error).replace(path, self.path)) from error

    def _text(self) -> str:
        try:
            return self._tree.text(self.path) or ""
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}") from error
