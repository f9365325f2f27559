"""Texts as systemd reads them; the cases are those of systemd.service(5) and systemd.exec(5)."""

from __future__ import annotations

from contextlib import suppress
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.node import syntax


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ('--x="a b"', ["--x=a b"]),
        (r"a\ b \x\n", [r"a\ b", "\\x\n"]),
        (r"a\x2fb\057c \u00e9\xc3\xa9 \\ \s\"\'", ["a/b/c", "éé", "\\", " \"'"]),
        (r"\x00 \000 \400 \ud800", [r"\x00", r"\000", r"\400", r"\ud800"]),
        ("a\u00a0b\u2003c", ["a\u00a0b\u2003c"]),
        ('""', [""]),
        ("", []),
    ],
)
def test_words(text: str, words: List[str]) -> None:
    assert syntax.split(text) == words


def test_a_quote_without_an_end_is_refused() -> None:
    with pytest.raises(syntax.SyntaxProblem, match="without an end"):
        syntax.split("a 'b")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("/bin/echo $ONE $TWO ${TWO}", ["/bin/echo", "one", "two", "two", "two two"]),
        ("/bin/echo ${ONE}x x$ONE", ["/bin/echo", "onex", "x$ONE"]),
        ("/bin/echo $NONE ${NONE} $$ONE 100%%", ["/bin/echo", "", "$ONE", "100%"]),
        ("/bin/echo $QUOTED ${PERCENT}", ["/bin/echo", "a b", "c", "%%"]),
    ],
)
def test_variables(command: str, arguments: List[str]) -> None:
    variables = {"ONE": "one", "TWO": "two two", "QUOTED": "'a b' c", "PERCENT": "%%"}
    assert syntax.expand(command, variables) == arguments


def test_a_file_of_variables_that_cannot_be_read_is_named() -> None:
    assert syntax.variables("/etc/default/x", "A=1\nB='b c'\n") == {"A": "1", "B": "b c"}
    with pytest.raises(syntax.SyntaxProblem, match="/etc/default/x: line 2: B: the quote is not closed"):
        syntax.variables("/etc/default/x", "A=1\nB='b c\n")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("/a b ; /c", [["/a", "b"], ["/c"]]),
        (r"/a \; ';' b;c ;", [["/a", ";", ";", "b;c"]]),
        ("", []),
    ],
)
def test_commands(text: str, commands: List[List[str]]) -> None:
    assert syntax.commands(text) == commands


@pytest.mark.parametrize(
    ("word", "names", "arguments"),
    [
        ("$A", ["A"], ["x", "o'brien y"]),
        ("${A}", ["A"], ["x \"o'brien y"]),
        ("a${A}$A$$", ["A"], ["ax \"o'brien y$A$"]),
        ("$NONE", ["NONE"], []),
        ("$A-b", ["A-b"], []),
        ("$", [""], []),
        ("$$A", [], ["$A"]),
        ("${A", [], ["${A"]),
        ("${A:-x}", [], ["${A:-x}"]),
    ],
)
def test_a_value_is_split_though_its_quotes_are_not_closed(word: str, names: List[str], arguments: List[str]) -> None:
    assert syntax.names(word) == names
    assert syntax.arguments(word, lambda name: {"A": "x \"o'brien y"}.get(name, "")) == arguments


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("${a", "${a"), ("${a${B}", ""), ("x${a:${B}", "x${a:b"), ("${}", ""), ("${a$$", "${a$$"), ("$$${B}", "$b")],
)
def test_a_variable_without_an_end_is_text(word: str, wanted: str) -> None:
    assert syntax.arguments(word, lambda name: {"B": "b"}.get(name, "")) == [wanted]


@pytest.mark.parametrize(
    "part", ["${", "${a:", "$$", "${}", "\\x2f", "a ", "a ; ", "\\;", "'", "a=b\\\n", "\\\n#\n", "\\", "[a]\n"]
)
def test_a_unit_of_a_quarter_of_a_mebibyte_is_read(part: str) -> None:
    """Were it read once for each part of it, this would take hours."""
    text = f"a={part * (256 * 1024 // len(part))}"
    list(syntax.read(text))
    with suppress(syntax.SyntaxProblem):
        syntax.commands(text)
    syntax.assignments(text)
    syntax.names(text)
    assert syntax.arguments(text, lambda _: "")


def test_an_environment_is_read_up_to_what_cannot_be() -> None:
    assert syntax.assignments("A=1 'B=2 3' \"C=4") == ["A=1", "B=2 3"]
    assert syntax.assignments(r"A=\x41 B=\q C=1") == ["A=A"]
    assert [syntax.assigned(word) for word in ("A=b=c", "A", "1=a", "=a")] == [("A", "b=c"), *[("", "")] * 3]


def test_settings_have_their_lines() -> None:
    text = "\ufeff[Service]\n\nA=1 \\\n  2\n# no\nB=a\\\\\nC=3\\"
    found = [(key, value, line) for _, key, value, line in syntax.read(text)]
    assert found == [("A", "1    2", 3), ("B", "a\\\\", 6), ("C", "3", 7)]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30))
def test_a_quoted_argument_is_read_as_it_was(argument: str) -> None:
    assert syntax.expand(f"/bin/x {syntax.quote(argument)}", {}) == ["/bin/x", argument]


def test_settings_of_a_unit() -> None:
    text = "[Unit]\nAfter=a \\\n# a comment between\n  b\n\n[Service]\nExecStart = /bin/x\n; no\nnonsense\n"
    assert list(syntax.settings(text)) == [("Unit", "After", "a    b"), ("Service", "ExecStart", "/bin/x")]
