"""The runtimes' own programs that write and read images, and pipes of them. None of it is read by a shell."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import IO, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from criproxy.migrate.side import Kind
from criproxy.node.kubelet import NodeError

_TIME = 1800.0
"""How long one image may take, seconds."""
_LAST_WORDS = 500
"""characters of what programs that fail have written."""
_SPOOL = "/var/tmp"
"""Where an image is for a while that cannot go through a pipe: it may be larger than a /tmp in memory."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,1023}")
"""What an image's name is made of. Nothing else gets into a command."""


class Pipe(NamedTuple):
    """A program that writes images, and one that reads them."""

    writer: Tuple[str, ...]
    reader: Tuple[str, ...]
    spooled: bool = False
    """Whether the reader has to have it in a file, since it does not read from the beginning to the end."""

    def __str__(self) -> str:
        writer, reader = shlex.join(self.writer), shlex.join(self.reader)
        return (
            f"{writer} > {_SPOOL}/image.tar && {reader} < {_SPOOL}/image.tar"
            if self.spooled
            else f"{writer} | {reader}"
        )

    def absent(self) -> List[str]:
        """The programs that are not installed here."""
        return [words[0] for words in (self.writer, self.reader) if shutil.which(words[0]) is None]

    def run(self) -> None:
        """Lets both run to their ends. Raises NodeError, with what they have written."""
        with tempfile.TemporaryFile() as said:
            statuses = self._run_by_file(said) if self.spooled else self._run(said)
            if not any(statuses):
                return
            said.seek(0)
            words = " ".join(said.read().decode("utf-8", "replace").split())[-_LAST_WORDS:].strip()
        writer, reader = statuses
        # A writer whose reader has gone ends by SIGPIPE, or says so: the reader knows why.
        failed, status = (self.reader, reader) if reader else (self.writer, writer)
        raise NodeError(
            f"{failed[0]} has failed (exit status {status}): {words or 'it says nothing'}; the whole: {self}"
        )

    def _run(self, said: IO[bytes]) -> Tuple[int, int]:
        with self._ended() as processes:
            writer = subprocess.Popen(self.writer, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
            processes.append(writer)
            processes.append(subprocess.Popen(self.reader, stdin=writer.stdout, stdout=said, stderr=said))
            if writer.stdout is not None:
                writer.stdout.close()  # the reader's end alone keeps the writer going
            end = time.monotonic() + _TIME
            reader, written = (each.wait(max(0.0, end - time.monotonic())) for each in reversed(processes))
            return written, reader

    def _run_by_file(self, said: IO[bytes]) -> Tuple[int, int]:
        with self._ended() as processes, tempfile.TemporaryFile(dir=_SPOOL) as spool:
            processes.append(subprocess.Popen(self.writer, stdin=subprocess.DEVNULL, stdout=spool, stderr=said))
            status = processes[0].wait(_TIME)
            if status:
                return status, 0
            spool.seek(0)
            processes.append(subprocess.Popen(self.reader, stdin=spool, stdout=said, stderr=said))
            return 0, processes[1].wait(_TIME)

    @contextmanager
    def _ended(self) -> Iterator[List[subprocess.Popen[bytes]]]:
        """The processes that are put in here have ended at the end. Raises NodeError."""
        processes: List[subprocess.Popen[bytes]] = []
        try:
            yield processes
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"an image has not been copied within {_TIME:g} s: {self}") from error
        except OSError as error:
            raise NodeError(f"{error.filename}: {error.strerror}: {self}") from error
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()


class Pipes(NamedTuple):
    """How images come from the runtime on one socket to that on another."""

    old_kind: Kind
    old: str
    new_kind: Kind
    new: str

    def of(self, names: Sequence[str]) -> List[Pipe]:
        """The pipes for an image with these names; none if there are no such programs, or they carry none of these."""
        carried = list(filter(self.carries, names))
        write, read = _WRITERS.get(self.old_kind), _READERS.get(self.new_kind)
        if not carried or write is None or read is None:
            return []
        # skopeo has one name of one image in each run.
        one_by_one = Kind.CRIO in (self.old_kind, self.new_kind)
        batches = [[name] for name in carried] if one_by_one else [carried]
        spooled = self.new_kind is Kind.CRIO  # skopeo looks into an archive here and there
        return [Pipe(write(self.old, batch), read(self.new, batch), spooled) for batch in batches]

    def carries(self, name: str) -> bool:
        """Whether an image has this name after the way through a pipe.

        An archive of Docker's has tags alone, and its image has another digest than in the registry.
        """
        both = self.old_kind is self.new_kind is Kind.CONTAINERD
        return bool(_NAME.fullmatch(name)) and (both or "@" not in name)


_Words = Callable[[str, Sequence[str]], Tuple[str, ...]]
"""Makes a command of a runtime's socket and images' names."""


def _ctr(socket: str, *words: str) -> Tuple[str, ...]:
    return ("ctr", "--address", socket, "--namespace", "k8s.io", "images", *words)


_WRITERS: Dict[Kind, _Words] = {
    Kind.CONTAINERD: lambda socket, names: _ctr(socket, "export", "-", "--", *names),
    Kind.DOCKER: lambda socket, names: ("docker", "save", "--", *names),
    Kind.CRIO: lambda socket, names: (
        *("skopeo", "copy", "--quiet"),
        *(f"containers-storage:{names[0]}", f"docker-archive:/dev/stdout:{names[0]}"),
    ),
}
_READERS: Dict[Kind, _Words] = {
    # What is not unpacked is when a container needs it, by the snapshotter that the CRI uses and ctr does not know.
    Kind.CONTAINERD: lambda socket, names: _ctr(socket, "import", "--no-unpack", "-"),
    Kind.DOCKER: lambda socket, names: ("docker", "load", "--quiet"),
    Kind.CRIO: lambda socket, names: (
        *("skopeo", "copy", "--quiet"),
        *("docker-archive:/dev/stdin", f"containers-storage:{names[0]}"),
    ),
}
