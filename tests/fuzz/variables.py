"""Files of variables, against systemd's own reader of them, and against what is assigned in them."""

from __future__ import annotations

from contextlib import suppress

from criproxy import environment
from tests.fuzz.systemd import variables_of
from tests.fuzz.target import Target, options_of

_VALUES = ("", "a", "a b", 'a"b', "a'b", "a\\b", "$a", "`", "#", " a ")


def _read_variables(data: bytes) -> None:
    options, rest = options_of(data)
    # systemd takes no file with a NUL. A carriage return within a line ends the line for it, and is a blank here.
    text = rest.decode("utf-8", "replace").replace("\0", "").replace("\r", " ")
    for long_comments in (False, True):
        read, _ = environment.read(text, open_quotes=True, long_comments=long_comments)
        assert {name: value for name, (value, _) in read.items()} == variables_of(text, long_comments)
    try:
        before, _ = environment.read(text)
    except ValueError:
        return
    value = _VALUES[options % len(_VALUES)]
    for name in ("NEW", *list(before)[:1]):
        after, _ = environment.read(environment.assign(text, name, value))
        expected = {each: found.value for each, found in before.items()}
        assert {each: found.value for each, found in after.items()} == {**expected, name: value}


def _work_variables(data: bytes) -> None:
    text = options_of(data)[1].decode("utf-8", "replace")
    environment.read(text, open_quotes=True)
    with suppress(ValueError):
        environment.assign(text, "NEW", "value")


ENVIRONMENT = Target(_read_variables, _work_variables)
