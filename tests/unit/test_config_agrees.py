"""What is given, read as configargparse reads it: command line before environment before configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, TextIO

import configargparse  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.config import entries, parser, sources
from criproxy.config.names import PARTS, variable
from criproxy.config.options import OPTIONS

NAMES = [option.name for option in OPTIONS]
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'#"), min_size=1, max_size=8)
# configargparse makes a list of what has brackets around it, and then refuses that.
VALUE = st.one_of(TEXT, st.sampled_from(("a b", "-x", "--listen", "--listen=/x", "="))).filter(
    lambda text: text[0] != "["
)
GIVEN = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=5)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agrees") / "criproxy.conf"


@given(file_has=GIVEN, environment_has=GIVEN, opts_have=GIVEN, line_has=GIVEN)
def test_what_is_given_counts_as_it_does_for_configargparse(
    file: Path,
    file_has: Dict[str, str],
    environment_has: Dict[str, str],
    opts_have: Dict[str, str],
    line_has: Dict[str, str],
) -> None:
    text = "".join(f"{name} = {value}\n" for name, value in file_has.items())
    file.write_text(text)
    variables = {variable(name): value for name, value in environment_has.items()}
    opts, own = ([f"--{name}={value}" for name, value in each.items()] for each in (opts_have, line_has))
    made = sources.Sources([*own, f"--config={file}"], opts, variables, {}, PARTS, "", False, [], {}, {})
    assert made.texts() == by_configargparse([*opts, *own], text, variables)


def by_configargparse(words: List[str], text: str, variables: Dict[str, str]) -> Dict[str, str]:
    """The same by the parser that shows the help."""

    class File(configargparse.ConfigFileParser):  # type: ignore[misc]
        def parse(self, stream: TextIO) -> Dict[str, str]:
            return entries.read(stream.read(), "", {})

    reading = parser.make_parser()
    reading._config_file_parser = File()
    found: Dict[str, Optional[str]] = vars(reading.parse_args(words, config_file_contents=text, env_vars=variables))
    return {name: value for name, value in found.items() if name in NAMES and value is not None}
