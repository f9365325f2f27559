"""Environment files: read as systemd does (the cases are those of its own test-env-file.c, and the manual's)."""

from __future__ import annotations

from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.environment import Assignment, assign, extend, read


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
        ("='x\n==y\na=a\n", {"a": "a"}),
        ("\va=a\n\u00a0b=b\nc=c\n", {"c": "c"}),
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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a='b\nc=d\n", {"a": "b\nc=d\n"}),
        ('a="b" "c\\"\n', {"a": 'bc"\n'}),
        ('a=1\nb="c\\', {"a": "1", "b": "c"}),
        ("a='b\\", {"a": "b\\"}),
    ],
)
def test_systemd_takes_all_that_follows_a_quote_that_is_not_closed(text: str, wanted: Dict[str, str]) -> None:
    assert {name: value for name, (value, _) in read(text, open_quotes=True)[0].items()} == wanted


def test_what_follows_a_quote_that_is_not_closed_is_no_variable_even_if_what_is_before_it_is_no_name() -> None:
    assert read("1='x\nb=b\n", open_quotes=True) == ({}, [1])
    with pytest.raises(ValueError, match="line 1: 1: the quote is not closed"):
        read("1='x\nb=b\n")


def test_a_comment_went_on_in_the_next_line_once() -> None:
    text = "# a \\\nb=1\n; c \\\\\nd=2\n# \\"
    assert values(text) == {"b": "1", "d": "2"}
    assert {name: value for name, (value, _) in read(text, long_comments=True)[0].items()} == {"d": "2"}


@pytest.mark.parametrize(
    "part",
    [
        " ",
        "\t\n",
        "a ",
        "a=b\n",
        "word\n",
        "a=b ",
        "=",
        "''",
        "' ' ",
        '"\\\\" ',
        "\\",
        "\\ ",
        "1a='\n",
        '1a="\\\n',
        "# \\\n",
        "\r",
    ],
)
@pytest.mark.parametrize("begin", ["a=x", "a", "a='' ", "#"])
def test_a_file_of_a_quarter_of_a_mebibyte_is_read(begin: str, part: str) -> None:
    """Were it read once for each blank or line in it, this would take hours."""
    size = 256 * 1024
    text = f"{begin}{part * (size // len(part))}x"
    for long_comments in (False, True):
        read(text, open_quotes=True, long_comments=long_comments)


@pytest.mark.parametrize("value", ["", "/run/x.sock", "a b", "it's", 'say "x" for $5 and `y` \\ z', "#1", "two\nlines"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "A=1",
        "A=1\n",
        "NAME=old\nA=1\n",
        "NAME='o\nl\nd'\nA=1\n",
        "NAME=x,\\\n  y\nA=1",
        "#NAME=shown\nA=1\n",
        "; NAME=1",
        "A=1\\",
        "A=1\\\n",
        "# A=1\\",
    ],
)
def test_what_is_assigned_is_read_and_nothing_else_changes(text: str, value: str) -> None:
    before, _ = read(text)
    after, _ = read(assign(text, "NAME", value))
    assert after["NAME"].value == value
    assert {name: found.value for name, found in after.items() if name != "NAME"} == {
        name: found.value for name, found in before.items() if name != "NAME"
    }


@pytest.mark.parametrize(
    ("text", "assigned"),
    [
        ("A=1\nNAME=x\nB=2\n", "A=1\nNAME=new\nB=2\n"),
        ("NAME=first\nNAME=last\n", "NAME=first\nNAME=new\n"),
        ("# Say NAME=VALUE.\n#NAME=shown\n\nB=2\n", "# Say NAME=VALUE.\n#NAME=shown\nNAME=new\n\nB=2\n"),
        ("A='\n#NAME=not a comment\n'\nB=2", "A='\n#NAME=not a comment\n'\nB=2\nNAME=new\n"),
        ("  NAME=x\n", "NAME=new\n"),
    ],
)
def test_an_assignment_takes_the_place_of_the_last_one_or_stands_where_one_is_shown(text: str, assigned: str) -> None:
    assert assign(text, "NAME", "new") == assigned


def test_nothing_is_assigned_in_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="the quote is not closed"):
        assign("A='x\n", "NAME", "new")


@pytest.mark.parametrize(
    ("text", "extended"),
    [
        ("NAME=--a\n", "NAME=--a --b\n"),
        ("NAME=--a --c", "NAME=--a --c --b"),
        ("NAME=\n", "NAME=--b\n"),
        ('NAME=""\n', 'NAME="--b"\n'),
        ("A=1\n NAME = '--a'  \nB=2\n", "A=1\n NAME = '--a --b'  \nB=2\n"),
        ('NAME="--a \\\n--c \\\n "\nB=2\n', 'NAME="--a \\\n--c \\\n --b"\nB=2\n'),
        ("NAME=first\nNAME='last'\n#NAME=x\n", "NAME=first\nNAME='last --b'\n#NAME=x\n"),
        ('NAME="one"two\n', 'NAME="one"two --b\n'),
        ("NAME=a\\ \nB=2\n", 'NAME="a --b"\nB=2\n'),
    ],
)
def test_a_value_is_extended_where_it_ends_and_nothing_else_changes(text: str, extended: str) -> None:
    assert extend(text, "NAME", "--b") == extended


@given(
    st.lists(
        st.sampled_from(["--a", "--c=x", "'q r'", '"s"', "\\ ", "\\\n", " ", '"', "'", "#", ";", "\n"]), max_size=8
    ),
    st.sampled_from(["", "#NAME=0\n", "NAME=0\n", "A='\nNAME=1'\n"]),
)
def test_what_is_extended_is_read_with_the_words_behind_it(parts: List[str], before: str) -> None:
    text = f"{before}NAME={''.join(parts)}\nB=2\n"
    try:
        there = read(text)[0]
        value = there["NAME"].value
    except (ValueError, KeyError):
        with pytest.raises(ValueError, match=r"is not (closed|set)"):
            extend(text, "NAME", "--b")
        return
    after = read(extend(text, "NAME", "--b"))[0]
    assert after["NAME"].value in (f"{value} --b", f"{value}--b")
    assert after["NAME"].value.split() == [*value.split(), "--b"]
    assert {name: found.value for name, found in after.items() if name != "NAME"} == {
        name: found.value for name, found in there.items() if name != "NAME"
    }


def test_a_variable_that_is_not_set_cannot_be_extended() -> None:
    with pytest.raises(ValueError, match="NAME is not set"):
        extend("A=1\n#NAME=x\n", "NAME", "--b")
