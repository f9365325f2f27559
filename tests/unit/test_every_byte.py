"""What comes from outside the process as text may have any byte in it, UTF-8 or not: it is read, or refused in one
printable line, and the log, the status and the answers that show it do not fail.

What comes over the wire is in http2/, the names of processes are in relay/test_peer.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, Sequence

import pytest
from systemd_peers import Journald, Notified

from criproxy.config import Config, ConfigError, parse, sources
from criproxy.config.options import OPTIONS, Option
from criproxy.config.reload import changes, runtimes
from criproxy.cri.messages import api
from criproxy.listening import SocketError, listen
from criproxy.relay.probe import RUNTIME_SERVICE
from criproxy.relay.runtime import dial
from criproxy.report.journal import Journal
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput
from criproxy.service import SystemdService

BYTES = [bytes((byte,)) for byte in range(256)]
TELLING = [b"\0", b"\n", b"\x1b", b" ", b",", b"\x80", b"\xff"]
"""One of each kind, where to read takes longer."""
BEGINS = {
    "connect": b"/run/a.sock,x.y:/run/b",
    "listen": b"/run/c",
    "socket-group": b"daemon",
    "image-service": b"/run/d",
    "retiring": b"/run/e",
    "handler": b"h=x.y:i",
    "route": b"a=x.y;b in (c, d)=x.y",
    "stream-url": b"http://h",
}
"""A value for an option that a byte may follow."""
USUAL = parse(["--connect=/run/a.sock,x.y:/run/b.sock"], {})


class Said:
    """All that tells people something: it must be one printable line that can be written."""

    def __init__(self, folder: str, notified: Notified) -> None:
        self._notified = notified
        self._journald = Journald(f"{folder}/journal")
        self._pipe, writing = os.pipe()
        self._stream = os.fdopen(writing, "w", encoding="ascii")
        self._logs = [Log(6, Journal(self._journald.path)), Log(6, StreamOutput(self._stream))]
        self._service = SystemdService({}, self._logs[1])

    def say(self, text: str) -> None:
        """Says it everywhere."""
        for log in self._logs:
            log.warning(text, lambda: [("CRI_RUNTIME", text)])
        (said,) = self._journald.record()["MESSAGE"]
        line = os.read(self._pipe, 1 << 20)
        assert said.isprintable()
        assert line.count(b"\n") == 1
        assert line.decode().rstrip("\n").endswith(said)
        self._service.status(text)
        while self._notified.has_more():
            assert self._notified.receive().decode().partition("STATUS=")[2].isprintable()

    def close(self) -> None:
        """Is not used any more."""
        self._notified.close()
        self._journald.close()
        self._stream.close()
        os.close(self._pipe)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        made = Said(folder, Notified(f"{folder}/notify"))
        yield made
        made.close()


@pytest.fixture(autouse=True)
def _nothing_configured_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DEFAULT_FILE", str(tmp_path / "default.conf"))


def tell(read: Callable[[], Config], said: Said) -> None:
    """Whatever there is to be said of a configuration, or of its refusal, can be said."""
    texts: Sequence[str] = ()
    with suppress(SystemExit):  # after the help, for -h
        try:
            configured = read()
            texts = (changes(USUAL, configured), runtimes(configured), *configured.warnings)
        except ConfigError as error:
            texts = (str(error),)
    for text in texts:
        said.say(text)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_value_of_an_option(option: Option, said: Said) -> None:
    for byte in BYTES:
        value = os.fsdecode(BEGINS.get(option.name, b"1") + byte)
        try:
            option.read(value)
        except ValueError as error:
            said.say(f"{option.name}: {error}")
    for byte in TELLING:
        words = [f"--{option.name}={os.fsdecode(BEGINS.get(option.name, b'1') + byte)}"]
        tell(partial(parse, words, {}), said)


@pytest.mark.parametrize("begin", [b"--config=/x", b"--environment-file=/x", b"--x", b"-", b"x"])
def test_a_word_of_the_command_line(begin: bytes, said: Said) -> None:
    for byte in BYTES:
        tell(partial(parse, [os.fsdecode(begin + byte)], {}), said)


@pytest.mark.parametrize(
    "name",
    ["CRI_PRIMARY", "CRI_OTHER", "CRI_IMAGE_SERVICE", "CRI_RETIRING", "CRIPROXY_OPTS", "CRIPROXY_CONFIG", "CRI_X"],
)
def test_a_variable(name: str, said: Said) -> None:
    for byte in BYTES[1:]:
        variables = {"CRI_PRIMARY": "/a", name: os.fsdecode(b"x.y:/b" + byte), os.fsdecode(b"CRIPROXY_" + byte): "1"}
        tell(partial(parse, [], variables), said)


@pytest.mark.parametrize("option", ["--config", "--environment-file"])
@pytest.mark.parametrize(
    "text", [b"listen=/x%s\n", b"%s", b"CRI_PRIMARY=/a%s\n", b"CRIPROXY_OPTS='-listen /a%s'\n", b"A%s=1"]
)
def test_a_file(option: str, text: bytes, tmp_path: Path, said: Said) -> None:
    file = tmp_path / "file"
    for byte in BYTES:
        file.write_bytes(text % byte)
        tell(partial(parse, [option, str(file)], {}), said)


def test_the_path_of_a_file(tmp_path: Path, said: Said) -> None:
    for byte in BYTES[1:]:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/x" + byte)
        for kind in ("config", "environment-file"):
            tell(partial(parse, [f"--{kind}={path}"], {}), said)


def test_the_path_of_a_socket(said: Said) -> None:
    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder:
        for byte in BYTES[1:]:
            path = os.fsdecode(os.fsencode(folder) + b"/x" + byte)
            if byte == b"/":
                with pytest.raises(SocketError) as refused:
                    listen(path)
                said.say(str(refused.value))
                continue
            listening = listen(path)
            with listening.sock, dial(path), pytest.raises(SocketError) as refused:
                listen(path)
            said.say(str(refused.value))
            listening.release()
            assert not os.listdir(folder)


def test_the_name_of_a_runtime(said: Said) -> None:
    answer = api()["VersionResponse"](runtime_name="nXme", runtime_version="vX").SerializeToString()
    for byte in BYTES:
        name = RUNTIME_SERVICE.who(answer.replace(b"X", byte))
        said.say(f"connected to the primary runtime: {name}")
        assert json.loads(json.dumps({"state": name})) == {"state": name}
        assert name.encode()


@pytest.mark.parametrize("command", ["node", "show"])
def test_what_a_command_prints(command: str) -> None:
    """In any locale; a path that is not there is named."""
    folder = os.fsdecode(b"/x\x1b[2J\xff\n\xc3\xa9")
    words = ["node", "status", f"--root={folder}"] if command == "node" else ["show", f"--socket={folder}"]
    environ = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-m", "criproxy", *words], capture_output=True, check=False, env=environ)
    printed = done.stdout + done.stderr
    assert b"Traceback" not in printed, printed.decode()
    assert b"\x1b" not in printed
    assert printed.count(b"\n") <= 5
