"""Texts as systemd reads them; the cases are those of systemd.service(5) and systemd.exec(5)."""

from __future__ import annotations

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
        (r"a\ b \x\n", ["a b", "x\n"]),
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


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30))
def test_a_quoted_argument_is_read_as_it_was(argument: str) -> None:
    assert syntax.expand(f"/bin/x {syntax.quote(argument)}", {}) == ["/bin/x", argument]


def test_settings_of_a_unit() -> None:
    text = "[Unit]\nAfter=a \\\n# a comment between\n  b\n\n[Service]\nExecStart = /bin/x\n; no\nnonsense\n"
    assert list(syntax.settings(text)) == [("Unit", "After", "a    b"), ("Service", "ExecStart", "/bin/x")]
