"""Units as systemd puts them together, and what it starts them with. tests/node holds the same against real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

import pytest
from fake_systemd import FakeSystemd

from criproxy.node import units
from criproxy.node.specifiers import Specifiers, Unknown
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree
from criproxy.node.units import Unit

ETC = "/etc/systemd/system"
LIB = "/usr/lib/systemd/system"
NAME = "kubelet.service"


class Files:
    """A node's files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree(str(root))

    def put(self, path: str, text: str = "") -> None:
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogateescape"))

    def link(self, path: str, target: str) -> None:
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def variable(self, path: str, value: str) -> None:
        """Lets a drop-in at this path set a variable."""
        self.put(path, f"[Service]\nEnvironment=A={value}\n")

    def load(self, manager: Any = None) -> Unit:
        unit = units.load(self.tree, NAME, manager=manager)
        assert unit is not None
        return unit

    def environment(self, manager: Any = None) -> Dict[str, str]:
        return units.environment(self.tree, self.load(manager), manager)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A node with a kubelet."""
    made = Files(tmp_path)
    made.put(f"{LIB}/{NAME}", "[Service]\nExecStart=/usr/bin/kubelet\n")
    return made


class TestWhichFilesCount:
    @pytest.mark.parametrize(
        "folders",
        [
            ("/etc/systemd/system.control", "/run/systemd/system.control"),
            ("/run/systemd/system.control", "/run/systemd/transient"),
            ("/run/systemd/transient", "/run/systemd/generator.early"),
            ("/run/systemd/generator.early", ETC),
            (ETC, "/run/systemd/system"),
            ("/run/systemd/system", "/run/systemd/generator"),
            ("/run/systemd/generator", "/usr/local/lib/systemd/system"),
            ("/usr/local/lib/systemd/system", "/lib/systemd/system"),
            ("/lib/systemd/system", LIB),
            (LIB, "/run/systemd/generator.late"),
        ],
    )
    def test_of_two_units_the_first_on_the_path(self, tmp_path: Path, folders: Sequence[str]) -> None:
        files = Files(tmp_path)
        for folder in folders:
            files.put(f"{folder}/{NAME}", f"[Service]\nExecStart={folder}\n")
        assert files.load().all("Service", "ExecStart") == (folders[0],)

    def test_a_directory_with_two_names_is_one(self, files: Files) -> None:
        files.link("/lib", "usr/lib")
        assert files.load().fragment == f"{LIB}/{NAME}"

    def test_an_alias_has_the_drop_ins_of_all_its_names(self, files: Files) -> None:
        (files.root / LIB[1:] / NAME).unlink()
        files.put(f"{LIB}/node-agent.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
        files.link(f"{ETC}/{NAME}", f"{LIB}/node-agent.service")
        files.link(f"{ETC}/other.service", "../../../usr/lib/systemd/system/node-agent.service")
        names = (f"{ETC}/{NAME}", f"{LIB}/node-agent.service", f"{ETC}/node-.service", f"{ETC}/other.service")
        drop_ins = [f"{name}.d/{number}.conf" for number, name in enumerate(names)]
        for path in (*drop_ins, f"{ETC}/agent.service.d/9.conf"):
            files.put(path, "[Service]\n")
        unit = files.load()
        assert (unit.name, set(unit.names)) == (NAME, {NAME, "node-agent.service", "other.service"})
        assert (unit.fragment, list(unit.drop_ins)) == (f"{LIB}/node-agent.service", drop_ins)

    @pytest.mark.parametrize("target", ["agent@.service", "agent@x.service", "kubelet.socket"])
    def test_a_link_that_makes_no_alias_counts_for_nothing(self, files: Files, target: str) -> None:
        files.put(f"{ETC}/{target}", "[Service]\nExecStart=/bin/other\n")
        files.link(f"{ETC}/{NAME}", target)
        assert files.load().fragment == f"{LIB}/{NAME}"

    def test_a_link_to_a_file_elsewhere_is_that_file(self, files: Files) -> None:
        files.put("/opt/other.service", "[Service]\nExecStart=/opt/kubelet\n")
        files.link(f"{ETC}/{NAME}", "/opt/other.service")
        unit = files.load()
        assert (unit.names, unit.all("Service", "ExecStart")) == ((NAME,), ("/opt/kubelet",))

    @pytest.mark.parametrize("target", ["gone.service", "/opt/gone.service"])
    def test_a_link_to_nothing_is_no_unit(self, files: Files, target: str) -> None:
        files.link(f"{ETC}/{NAME}", target)
        assert units.load(files.tree, NAME) is None
        assert not units.is_masked(files.tree, NAME)

    def test_a_mask_is_a_link_to_nowhere_or_an_empty_file(self, files: Files) -> None:
        assert not units.is_masked(files.tree, NAME)
        files.put(f"{ETC}/{NAME}")
        assert units.is_masked(files.tree, NAME)
        (files.root / ETC[1:] / NAME).unlink()
        files.link(f"{ETC}/{NAME}", "/dev/null")
        assert units.is_masked(files.tree, NAME)
        assert units.load(files.tree, NAME) is None

    def test_hidden_files_and_others_are_no_drop_ins(self, files: Files) -> None:
        for name in (".hidden.conf", "a.conf.bak", "a"):
            files.variable(f"{ETC}/{NAME}.d/{name}", "lost")
        assert files.load().drop_ins == ()

    def test_a_setting_has_its_place(self, files: Files) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", "[Service]\n# one\nExecStart=\nExecStart=/a \\\n  b\nUser=x\n")
        unit = files.load()
        assert [value.where for value in unit.values("Service", "ExecStart")] == [f"{ETC}/{NAME}.d/a.conf, line 4"]
        assert unit.values("Service", "User")[0].line == 6


class TestASystemdThatRuns:
    def test_says_which_files_it_has_loaded(self, files: Files) -> None:
        files.put("/opt/there", "[Service]\nExecStart=/opt/kubelet\n")
        manager = FakeSystemd(Names=f"{NAME} x.service", FragmentPath=f"{LIB}/{NAME}", DropInPaths="/opt/there")
        unit = files.load(manager)
        assert (unit.names, unit.drop_ins, unit.stale) == ((NAME, "x.service"), ("/opt/there",), False)

    def test_counts_less_than_files_that_it_has_not_read(self, files: Files) -> None:
        files.put("/opt/there", "[Service]\n")
        manager = FakeSystemd(FragmentPath="/opt/there", NeedDaemonReload="yes")
        unit = files.load(manager)
        assert (unit.fragment, unit.stale) == (f"{LIB}/{NAME}", True)

    def test_does_not_notice_a_new_directory_by_itself(self, files: Files) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", "[Service]\n")
        unit = files.load(FakeSystemd(FragmentPath=f"{LIB}/{NAME}"))
        assert (unit.drop_ins, unit.stale) == ((f"{ETC}/{NAME}.d/a.conf",), True)

    def test_may_not_have_the_unit_yet(self, files: Files) -> None:
        assert files.load(FakeSystemd(LoadState="not-found")).fragment == f"{LIB}/{NAME}"

    def test_may_have_a_unit_that_is_in_no_file(self, files: Files) -> None:
        (files.root / LIB[1:] / NAME).unlink()
        with pytest.raises(SyntaxProblem, match="no unit file"):
            files.load(FakeSystemd())

    def test_knew_of_no_aliases_once(self, files: Files) -> None:
        files.link(f"{ETC}/other.service", f"{LIB}/{NAME}")
        files.put(f"{ETC}/other.service.d/a.conf", "[Service]\n")
        assert files.load(FakeSystemd(version=232, FragmentPath=f"{LIB}/{NAME}")).names == (NAME,)
        assert files.load(FakeSystemd(version=246, FragmentPath=f"{LIB}/{NAME}")).names == (NAME, "other.service")


class TestVariables:
    def test_files_go_before_the_unit_which_goes_before_what_is_passed_and_inherited(self, files: Files) -> None:
        files.put(
            f"{ETC}/{NAME}.d/a.conf",
            "[Service]\nPassEnvironment=A B C NONE\nEnvironment=A=unit B=unit\nEnvironmentFile=/etc/a\n",
        )
        files.put("/etc/a", "A=file\n")
        files.put("/proc/1/environ", "A=init\0B=init\0C=init\0E=init\0")
        manager = FakeSystemd(variables={"A": "manager", "C": "manager", "D": "manager"}, FragmentPath=f"{LIB}/{NAME}")
        assert files.environment(manager) == {"A": "file", "B": "unit", "C": "init", "D": "manager"}

    def test_each_has_its_place(self, files: Files) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", "[Service]\nEnvironment=A=1\nEnvironmentFile=/etc/b\n")
        files.put("/etc/b", "# b\nB=1\n")
        found = units.variables(files.tree, files.load())
        assert {name: one.where for name, one in found.items()} == {
            "A": f"{ETC}/{NAME}.d/a.conf, line 2",
            "B": "/etc/b, line 2",
        }

    def test_what_cannot_be_read_is_skipped_with_what_follows_in_its_setting(self, files: Files) -> None:
        files.put(
            f"{ETC}/{NAME}.d/a.conf",
            "[Service]\nEnvironment=A=1 'B=2\nEnvironment=C=3 D=\\q E=5\nEnvironment=F=%z G=7\n"
            "Environment=H=\\x41 1=2 I\n",
        )
        assert files.environment() == {"A": "1", "C": "3", "G": "7", "H": "A"}

    def test_some_are_taken_away(self, files: Files) -> None:
        files.put(
            f"{ETC}/{NAME}.d/a.conf",
            '[Service]\nEnvironment=A=1 B=2 C=3\nUnsetEnvironment=A "B=x" C=3\nUnsetEnvironment=D\n',
        )
        assert files.environment() == {"B": "2"}

    def test_where_no_systemd_runs_its_configuration_counts(self, files: Files) -> None:
        files.put("/etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=A=1 B=1\n")
        files.put("/usr/lib/systemd/system.conf", "[Manager]\nDefaultEnvironment=C=lost\n")
        files.put("/etc/systemd/system.conf.d/a.conf", "[Manager]\nDefaultEnvironment=B=2 D=%E\n")
        assert files.environment() == {"A": "1", "B": "2", "D": "/etc"}

    def test_what_only_the_running_systemd_knows_is_not_known(self, files: Files) -> None:
        files.put(
            f"{ETC}/{NAME}.d/a.conf", "[Service]\nPassEnvironment=A\nEnvironment=B=%H\nUser=x\nEnvironment=HOME=/h\n"
        )
        found = units.variables(files.tree, files.load())
        assert [bool(found[name].problem) for name in ("A", "B", "USER", "HOME", "INVOCATION_ID", "C")] == [
            *(True, True, True, False, True, False)
        ]

    def test_patterns_and_specifiers_name_files(self, files: Files) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", "[Service]\nEnvironmentFile=-/etc/none\nEnvironmentFile=%E/%p.d/*.env\n")
        files.put("/etc/kubelet.d/1.env", "A=1\nB=1\n")
        files.put("/etc/kubelet.d/2.env", "B=2\n")
        assert files.environment() == {"A": "1", "B": "2"}

    @pytest.mark.parametrize("value", ['"/etc/a"', "etc/a", "- /etc/a"])
    def test_what_is_no_path_is_no_file(self, files: Files, value: str) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", f"[Service]\nEnvironmentFile={value}\n")
        files.put("/etc/a", "A=1\n")
        assert files.environment() == {}

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("/etc/none", "a.conf, line 2: there is no /etc/none: systemd does not start"),
            ("/etc", "/etc is not a text file"),
            ("/etc/binary", "/etc/binary is not a text file"),
            ("/etc/%H", "EnvironmentFile=/etc/%H: the value of %H is not known"),
        ],
    )
    def test_a_file_without_which_the_unit_does_not_start(self, files: Files, value: str, message: str) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", f"[Service]\nEnvironmentFile={value}\n")
        files.put("/etc/binary", "A=\udcff\n")
        with pytest.raises(SyntaxProblem, match=message):
            files.environment()
        if "%" not in value:
            files.put(f"{ETC}/{NAME}.d/a.conf", f"[Service]\nEnvironmentFile=-{value}\n")
            assert files.environment() == {}

    def test_a_comment_that_ends_with_a_backslash_is_read_as_by_the_release(self, files: Files) -> None:
        files.put(f"{ETC}/{NAME}.d/a.conf", "[Service]\nEnvironmentFile=/etc/a\n")
        files.put("/etc/a", "# x \\\nA=1\nB=2\n")
        shown: Dict[str, Any] = {"FragmentPath": f"{LIB}/{NAME}", "DropInPaths": f"{ETC}/{NAME}.d/a.conf"}
        assert files.environment(FakeSystemd(version=253, **shown)) == {"B": "2"}
        assert files.environment(FakeSystemd(version=254, **shown)) == {"A": "1", "B": "2"}
        with pytest.raises(SyntaxProblem, match="/etc/a: a comment ends with a backslash"):
            files.environment()


class TestSpecifiers:
    def test_of_a_name(self, files: Files) -> None:
        named = Specifiers(files.tree, ("a-b\\x2dc.service",), running=False)
        assert named.resolve("%n|%N|%p|%P|%j|%J|%i|%I|%f|%%n") == (
            "a-b\\x2dc.service|a-b\\x2dc|a-b\\x2dc|a/b-c|b\\x2dc|b-c|||/a/b-c|%n"
        )

    def test_of_a_unit_with_two_names_it_is_not_known_which(self, files: Files) -> None:
        named = Specifiers(files.tree, ("a.service", "b.service"), running=True)
        for letter in "nNpPjJf":
            with pytest.raises(Unknown):
                named.resolve(f"%{letter}")

    def test_of_directories(self, files: Files) -> None:
        named = Specifiers(files.tree, (NAME,), running=False)
        assert named.resolve("%t %E %S %C %L %T %V %h") == "/run /etc /var/lib /var/cache /var/log /tmp /var/tmp /root"

    def test_of_the_node_only_while_it_runs(self, files: Files) -> None:
        files.put("/proc/sys/kernel/hostname", "node.example.com\n")
        files.put("/proc/sys/kernel/random/boot_id", "01-23\n")
        files.put("/etc/machine-id", "abc\n")
        assert Specifiers(files.tree, (NAME,), running=True).resolve("%H %l %b %m") == "node.example.com node 0123 abc"
        for letter in "HlbmvsR":
            with pytest.raises(Unknown, match=f"the value of %{letter} is not known here"):
                Specifiers(files.tree, (NAME,), running=False).resolve(f"a%{letter}")

    def test_of_a_systemd_that_does_not_have_them_yet(self, files: Files) -> None:
        with pytest.raises(Unknown):
            Specifiers(files.tree, (NAME,), running=True, version=232).resolve("%E")

    def test_of_none(self, files: Files) -> None:
        named = Specifiers(files.tree, (NAME,), running=False)
        assert named.resolve("5% %-% %") == "5% %-% %"
        with pytest.raises(SyntaxProblem, match="systemd has no specifier %z"):
            named.resolve("%z")
