"""criproxy-nodeps where there is nothing else, on each architecture; what is not this machine's is run by qemu."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from criproxy import __version__
from tests.containerd.service import eventually

from .alone import PATIENCE, PYTHON, Alone
from .debs import ARCHITECTURES, HERE

pytestmark = pytest.mark.timeout(600)

CRIPROXY = "/usr/bin/criproxy"
VERSION = f"criproxy {__version__} (compiled)\n"
NEWER_THAN_LINUX_4_4 = [
    "copy_file_range",
    "preadv2",
    "pwritev2",
    "pkey_mprotect",
    "pkey_alloc",
    "pkey_free",
    "statx",
    "io_pgetevents",
    "rseq",
    "pidfd_send_signal",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "pidfd_open",
    "clone3",
    "close_range",
    "openat2",
    "pidfd_getfd",
    "faccessat2",
    "process_madvise",
    "epoll_pwait2",
    "mount_setattr",
    "quotactl_fd",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "memfd_secret",
    "process_mrelease",
    "futex_waitv",
    "set_mempolicy_home_node",
    "cachestat",
    "fchmodat2",
    "map_shadow_stack",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "statmount",
    "listmount",
    "lsm_get_self_attr",
    "lsm_set_self_attr",
    "lsm_list_modules",
    "mseal",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
]
RESOLVE = """
import socket, sys
print(socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
"""
SCRAPE = """
import socket
sock = socket.socket(socket.AF_UNIX)
sock.connect("/run/metrics.sock")
sock.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
while data := sock.recv(65536):
    print(data.decode(), end="")
"""
NAMESERVER = """
import fcntl, socket, struct, sys, threading

def up(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", name, 1))  # SIOCSIFFLAGS, IFF_UP

def answer(sock):
    while True:
        asked, client = sock.recvfrom(512)
        question = asked[12 : asked.index(b"\\0", 12) + 5]
        head = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        sock.sendto(head + question + struct.pack(">HHHIH4B", 0xC00C, 1, 1, 60, 4, 10, 4, 5, 6), client)

up(b"lo")
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
threading.Thread(target=answer, args=(server,), daemon=True).start()
"""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    machine = Alone(tmp_path_factory.mktemp(request.param) / "root", request.param)
    machine.unpack()
    return machine


@pytest.fixture
def foreign(machine: Alone) -> Iterator[Alone]:
    """Where the node's own C library, of another version, has left what every other program reads."""
    rubbish = b"of another C library\n" * 500
    names = ["etc/ld.so.cache", "usr/lib/locale/locale-archive", "usr/lib/locale/C.utf8/LC_CTYPE"]
    files = [machine.root / name for name in (*names, "etc/ld.so.preload")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rubbish)
    files[-1].write_text("/usr/lib/absent.so\n")
    yield machine
    for file in files:
        file.unlink()


def test_it_starts_by_its_own_loader(machine: Alone) -> None:
    assert machine.run(CRIPROXY, "--version") == VERSION


def test_it_starts_without_proc(machine: Alone) -> None:
    command = f"/bin/busybox umount /proc && exec {CRIPROXY} --version"
    assert machine.run("/bin/sh", "-c", command) == VERSION


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "de_DE.UTF-8", "de_DE", "none"])
def test_it_speaks_utf8_whatever_the_language(machine: Alone, locale: str) -> None:
    look = [PYTHON, "-I", "-c", "import sys; print(sys.getfilesystemencoding(), sys.stdout.encoding, '\\u2026')"]
    for name in ("LANG", "LC_ALL"):
        variable: Dict[str, Any] = {name: locale}
        assert machine.run(*look, **variable) == "utf-8 utf-8 \u2026\n"
    assert machine.run(CRIPROXY, "--version", LANG=locale) == VERSION


def test_nothing_of_another_c_library_on_the_node_reaches_it(foreign: Alone) -> None:
    for locale in ("C.UTF-8", "de_DE.UTF-8"):
        assert foreign.run(CRIPROXY, "--version", LANG=locale) == VERSION


def test_the_demo_shows_both_runtimes(machine: Alone) -> None:
    shown = machine.run(CRIPROXY, "demo", "--once")
    assert re.search(r"^alt\.demo +\w+ +default +vm +Ready", shown, re.M)


def test_without_a_proxy_show_says_so(machine: Alone) -> None:
    said = machine.run(CRIPROXY, "show", status=None)
    assert "/run/criproxy.sock" in said
    assert "Traceback" not in said


def test_node_plan_tells_what_it_would_do(machine: Alone) -> None:
    said = machine.run(CRIPROXY, "node", "plan", status=None)
    assert "criproxy.service" in said
    assert "Traceback" not in said


def test_a_daemon_passes_calls_to_two_runtimes(machine: Alone) -> None:
    runtimes = [
        [CRIPROXY, "demo-runtime", "--listen", f"/run/{name}.sock", "--name", name, "--seed", f"default/{name}=busybox"]
        for name in ("primary", "alternative")
    ]
    connect = "/run/primary.sock,alt.test:/run/alternative.sock"
    with machine.running(*runtimes, [CRIPROXY, "--connect", connect, "--listen", "/run/criproxy.sock"]):
        assert eventually(lambda: listens(machine.root / "run/criproxy.sock"), bool, PATIENCE)
        shown = eventually(
            lambda: machine.run(CRIPROXY, "show", "--socket", "/run/criproxy.sock", status=None),
            re.compile(r"^alt\.test +\w+ +default +alternative +Ready", re.M).search,
            PATIENCE,
        )
    assert re.search(r"^\(primary\) +\w+ +default +primary +Ready", shown, re.M), shown
    assert re.search(r"^alt\.test +\w+ +default +alternative +Ready", shown, re.M), shown


def test_a_daemon_serves_metrics(machine: Alone) -> None:
    daemon = [CRIPROXY, "--connect", "/run/none.sock", "--listen", "/run/criproxy.sock"]
    with machine.running([*daemon, "--metrics-listen", "unix:/run/metrics.sock"]):
        assert eventually(lambda: listens(machine.root / "run/metrics.sock"), bool, PATIENCE)
        said = machine.run(PYTHON, "-I", "-c", SCRAPE)
    assert said.startswith("HTTP/1.1 200 OK")
    assert 'criproxy_runtime_up{runtime="primary"} 0.0' in said
    assert 'compiled="true"' in said


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.open(path.parent, os.O_PATH)  # the path may be too long for a socket's
        try:
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            return False
        finally:
            os.close(folder)
    return True


def test_a_name_is_looked_up_in_etc_hosts(machine: Alone) -> None:
    (machine.root / "etc/hosts").write_text("10.1.2.3 node.test\n")
    assert machine.run(PYTHON, "-I", "-c", RESOLVE, "node.test") == "10.1.2.3\n"


@pytest.mark.parametrize("services", ["", "hosts: files mdns4_minimal [NOTFOUND=return] resolve dns\n"])
def test_a_name_is_asked_of_the_nameserver(machine: Alone, services: str) -> None:
    """Whatever else the node's programs ask: services that are libraries of the node's are passed over."""
    (machine.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    (machine.root / "etc/nsswitch.conf").write_text(services)
    assert machine.run(PYTHON, "-I", "-c", NAMESERVER + RESOLVE, "other.test") == "10.4.5.6\n"


def test_it_runs_as_on_linux_4_4(machine: Alone, tmp_path: Path) -> None:
    """Each system call that came later is answered as a kernel does that does not know it."""
    if machine.architecture != HERE:
        pytest.skip("the system calls to be seen would be qemu's")
    log = tmp_path / "trace"
    newer = ",".join(f"?{name}" for name in NEWER_THAN_LINUX_4_4)
    trace = ["strace", "--follow-forks", f"--output={log}", f"--trace={newer}", f"--inject={newer}:error=ENOSYS"]
    assert machine.run(CRIPROXY, "--version", trace=trace) == VERSION
    assert "alt.demo" in machine.run(CRIPROXY, "demo", "--once", trace=trace)
    refused = set(re.findall(r"^\d+ +(\w+)\(.*ENOSYS .*\(INJECTED\)$", log.read_text(), re.M))
    assert {"rseq", "clone3"} <= refused
