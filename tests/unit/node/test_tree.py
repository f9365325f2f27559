"""A node's files below a root directory: links lead as in a chroot, and nothing outside is ever seen."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from criproxy.node.tree import Tree


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What a root must not let through: it has the same names in it as the root."""
    folder = tmp_path / "outside"
    (folder / "units").mkdir(parents=True)
    (folder / "secret").write_text("outside")
    (folder / "units/kubelet.conf").write_text("outside")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    return folder


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(str(root))


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


class TestLinks:
    def test_an_absolute_link_begins_at_the_root(self, tree: Tree, root: Path, outside: Path) -> None:
        (root / "etc/secret").symlink_to(outside / "secret")
        assert tree.text("/etc/secret") is None
        put(root, str(outside / "secret")[1:], "inside")
        assert tree.text("/etc/secret") == "inside"

    def test_a_link_in_the_middle_of_a_path_does_not_lead_out(self, tree: Tree, root: Path, outside: Path) -> None:
        (root / "etc/units").symlink_to(outside / "units")
        assert tree.text("/etc/units/kubelet.conf") is None
        assert tree.names("/etc/units") == []
        assert tree.glob("/etc/units/*.conf") == []
        assert not tree.exists("/etc/units/kubelet.conf")
        assert not tree.is_folder("/etc/units")
        assert tree.host("/etc/units/new") == f"{root}{outside}/units/new"

    @pytest.mark.parametrize("path", ["/../outside/secret", "/etc/../../outside/secret", "/etc/up/outside/secret"])
    def test_two_dots_end_at_the_root(self, tree: Tree, root: Path, outside: Path, path: str) -> None:
        (root / "etc/up").symlink_to("../../../../..")
        assert tree.text(path) is None
        put(root, "outside/secret", "inside")
        assert tree.text(path) == "inside"

    def test_two_dots_after_a_link_lead_to_where_the_link_leads_from(self, tree: Tree, root: Path) -> None:
        put(root, "srv/config/deep/file", "deep")
        put(root, "srv/config/criproxy", "right")
        put(root, "etc/criproxy", "wrong")
        (root / "etc/link").symlink_to("/srv/config/deep")
        assert tree.text("/etc/link/../criproxy") == "right"

    def test_two_dots_need_a_directory_before_them(self, tree: Tree, root: Path) -> None:
        put(root, "etc/file", "")
        put(root, "etc/other", "")
        assert tree.text("/etc/missing/../other") is None
        assert tree.text("/etc/file/../other") is None
        assert not tree.exists("/etc/missing/../other")

    def test_the_entry_itself_and_that_which_it_leads_to_are_told_apart(self, tree: Tree, root: Path) -> None:
        (root / "etc/default").symlink_to("/srv/default")
        put(root, "srv/default/x", "")
        (root / "srv/default/criproxy").symlink_to("../config/criproxy")
        assert tree.host("/etc/default/criproxy") == f"{root}/srv/default/criproxy"
        assert tree.real("/etc/default/criproxy") == "/srv/config/criproxy"
        assert tree.target("/etc/default/criproxy") == f"{root}/srv/config/criproxy"
        assert tree.link("/etc/default/criproxy") == "../config/criproxy"
        assert tree.exists("/etc/default/criproxy")
        assert tree.text("/etc/default/criproxy") is None

    def test_a_loop_is_an_error_that_names_the_path(self, tree: Tree, root: Path) -> None:
        (root / "etc/a").symlink_to("b")
        (root / "etc/b").symlink_to("/etc/a")
        for look in (tree.text, tree.real, tree.names):
            with pytest.raises(OSError, match="/etc/a") as caught:
                look("/etc/a")
            assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "/etc/a")
        assert tree.link("/etc/a") == "b"
        assert not tree.is_folder("/etc/a")

    def test_as_many_links_in_a_row_as_linux_follows_are_followed(self, tree: Tree, root: Path) -> None:
        put(root, "etc/0", "there")
        for number in range(41):
            (root / f"etc/{number + 1}").symlink_to(f"{number}")
        assert tree.text("/etc/40") == "there"
        with pytest.raises(OSError, match="/etc/41"):
            tree.text("/etc/41")

    def test_the_root_of_the_machine_is_a_root_as_any(self, root: Path) -> None:
        tree = Tree("/")
        put(root, "etc/file", "there")
        (root / "etc/link").symlink_to(root / "etc/file")
        assert tree.text(f"{root}/etc/link") == "there"
        assert tree.real("/") == tree.host("/") == "/"
        assert tree.host(f"{root}/etc/link") == os.path.realpath(root / "etc") + "/link"


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("/etc/d/*.conf", ["/etc/d/a.conf", "/etc/d/b.conf"]),
            ("/etc/?/[!ac].conf", ["/etc/d/b.conf"]),
            ("/*/d/a.conf", ["/etc/d/a.conf"]),
            ("/etc/d/.*", ["/etc/d/.hidden.conf"]),
            ("/etc/l/*.conf", ["/etc/l/c.conf"]),
            ("/etc/d/a.conf", ["/etc/d/a.conf"]),
            ("/etc/d/missing", []),
            ("/etc/missing/*", []),
            ("/etc/d/a.conf/*", []),
        ],
    )
    def test_what_matches_is_found(self, tree: Tree, root: Path, pattern: str, found: list[str]) -> None:
        for name in ("a.conf", "b.conf", ".hidden.conf", "c.txt"):
            put(root, f"etc/d/{name}", "")
        put(root, "srv/l/c.conf", "")
        (root / "etc/l").symlink_to("/srv/l")
        assert tree.glob(pattern) == found

    def test_a_loop_beside_what_matches_does_no_harm(self, tree: Tree, root: Path) -> None:
        put(root, "etc/d/a.conf", "")
        (root / "etc/loop").symlink_to("loop")
        assert tree.glob("/etc/*/a.conf") == ["/etc/d/a.conf"]

    def test_a_root_with_a_pattern_in_its_name(self, tmp_path: Path) -> None:
        root = tmp_path / "r*[t]"
        put(root, "etc/a.conf", "")
        assert Tree(str(root)).glob("/etc/*.conf") == ["/etc/a.conf"]


class TestWhatCannotBeRead:
    """Is not taken for absent."""

    def test_a_file_where_a_directory_is_looked_into(self, tree: Tree, root: Path) -> None:
        put(root, "etc/d", "")
        with pytest.raises(NotADirectoryError, match="/etc/d"):
            tree.names("/etc/d")
        assert tree.names("/etc/d/below") == []
        assert tree.names("/etc/missing") == []

    def test_a_directory_where_a_file_is_read(self, tree: Tree) -> None:
        with pytest.raises(IsADirectoryError, match="'/etc'"):
            tree.text("/etc")

    @pytest.mark.parametrize("path", ["/etc/a\0b", "/etc/\0/*", "/etc/*/\ud800"])
    def test_nothing_is_at_what_can_be_no_path(self, tree: Tree, root: Path, path: str) -> None:
        put(root, "etc/d/a.conf", "")
        assert not tree.exists(path)
        assert not tree.is_folder(path)
        assert tree.text(path) is None
        assert tree.link(path) is None
        assert tree.names(path) == []
        assert tree.glob(path) == []

    @pytest.mark.parametrize("function", ["lstat", "readlink", "listdir"])
    def test_what_is_closed_to_us(self, tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
        put(root, "etc/d/a.conf", "")
        real = getattr(os, function)

        def closed(path: str) -> object:
            if str(path).startswith(f"{root}/etc/d"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(os, function, closed)
        looks = {
            "lstat": (tree.exists, tree.is_folder),
            "readlink": (tree.exists, tree.is_folder, tree.text, tree.link, tree.names),
            "listdir": (tree.names,),
        }[function]
        for look in looks:
            path = "/etc/d" if function == "listdir" else "/etc/d/a.conf"
            with pytest.raises(PermissionError) as caught:
                look(path)
            assert caught.value.filename == path
        with pytest.raises(PermissionError):
            tree.glob("/etc/d/*")


class TestPlanned:
    def test_has_a_text_in_the_place_of_a_file_s(self, tree: Tree, root: Path) -> None:
        put(root, "etc/a", "as it is")
        planned = tree.planned({"/etc/a": "as planned"})
        assert (planned.text("/etc/a"), tree.text("/etc/a")) == ("as planned", "as it is")

    def test_has_it_behind_each_link_that_leads_there(self, tree: Tree, root: Path) -> None:
        put(root, "etc/a", "as it is")
        (root / "etc/b").symlink_to("a")
        assert tree.planned({"/etc/b": "as planned"}).text("/etc/a") == "as planned"

    def test_has_files_and_folders_that_are_not_there_yet(self, tree: Tree, root: Path) -> None:
        put(root, "etc/units/10.conf", "ten")
        planned = tree.planned({"/etc/units/20.conf": "twenty"}).planned({"/etc/new/1": "one"})
        assert planned.names("/etc/units") == ["10.conf", "20.conf"]
        assert planned.names("/etc/new") == ["1"]
        assert planned.names("/etc/none") == []
        assert planned.is_folder("/etc/new")
        assert not planned.is_folder("/etc/new/1")
        assert planned.exists("/etc/new/1")
        assert not planned.exists("/etc/new/2")
        assert planned.glob("/etc/units/*.conf") == ["/etc/units/10.conf", "/etc/units/20.conf"]
        assert not tree.exists("/etc/new")
