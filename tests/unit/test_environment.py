"""Environment files: read as systemd does (the cases are those of its own test-env-file.c, and the manual's)."""

from __future__ import annotations

from typing import Dict, List

import pytest

from criproxy.environment import Assignment, read


def values(text: str) -> Dict[str, str]:
    return {name: value for name, (value, _) in read(text)[0].items()}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("a=a\n", {"a": "a"}),
        ("a=a", {"a": "a"}),
        ("a=\nb=b\n", {"a": "", "b": "b"}),
        (" a = a b \t\n", {"a": "a b"}),
        ("a=a\r\nb='b'\r\n", {"a": "a", "b": "b"}),
        ("a=1\na=2\n", {"a": "2"}),
        ("# a=a\n  ; a=a\nb=b # none\n", {"b": "b # none"}),
        ("# a comment ends with its line \\\na=a\n", {"a": "a"}),
        ('a="a b"\n', {"a": "a b"}),
        ("a='a \"b\" \\n'\n", {"a": 'a "b" \\n'}),
        ('a="1" \'2\'3 "4"\n', {"a": '123 "4"'}),
        ('a="\\"\\\\\\$\\`\\x"\n', {"a": '"\\$`\\x'}),
        ("a=it's\n", {"a": "it's"}),
        ("a='x\ny'\nb=b\n", {"a": "x\ny", "b": "b"}),
        ("a=b\\\nc\\\n d\nb=b\n", {"a": "bc d", "b": "b"}),
        ('a="b\\\nc"\n', {"a": "bc"}),
        ("a=\\ b\\ \n", {"a": " b "}),
        ("a=b\\\\\nc=c\n", {"a": "b\\", "c": "c"}),
        ("a=b\\", {"a": "b"}),
        ("a=b=c\n", {"a": "b=c"}),
        ("a=\\'b\n", {"a": "'b"}),
        ("SPACED = x\nb=2", {"SPACED": "x", "b": "2"}),
        ("a=\u00e9\n", {"a": "\u00e9"}),
        ("a=\n\nb=b\n", {"a": "", "b": "b"}),
        ('a=""\n', {"a": ""}),
    ],
)
def test_values_are_read_as_systemd_reads_them(text: str, wanted: Dict[str, str]) -> None:
    assert values(text) == wanted


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("word\n\n export a=b\n", [1, 3]),
        ("a=a\n1a=b\n=c\n a-b=c\nb='\n'\nx", [2, 3, 4, 7]),
    ],
)
def test_lines_without_a_variable_are_skipped_and_told(text: str, lines: List[int]) -> None:
    assert read(text)[1] == lines


def test_a_variable_has_its_line() -> None:
    text = "# one\n\na='1\n2' \\\n\n  b=2\n"
    assert read(text)[0] == {"a": Assignment("1\n2", 3), "b": Assignment("2", 6)}


@pytest.mark.parametrize(
    ("text", "named"),
    [("a='b\n", "line 1: a"), ('\nb="c\nd=e\n', "line 2: b"), ('a="b" "c\n', "line 1: a"), ('a="\\"', "line 1: a")],
)
def test_a_quote_that_is_not_closed_is_refused(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}: the quote is not closed"):
        read(text)


def test_a_long_file_takes_no_time() -> None:
    text = "a=" + "x " * 20_000 + "\n" + "word " * 20_000 + "\n" + "b='" + "y" * 50_000 + "'\n"
    assert len(values(text)["b"]) == 50_000
