"""The command line, the environment and the file: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, List, Sequence

import pytest

from criproxy import __version__, cli, config
from criproxy.config import Config, ConfigError, Runtime, parse
from criproxy.cri.identity import Handler

PRIMARY = Runtime("", "/a.sock")
ALTERNATIVE = Runtime("alt.test", "/b.sock")
OPTIONS = {
    "connect": ("/one.sock", "/two.sock", "/three.sock"),
    "listen": ("one.sock", "two.sock", "three.sock"),
    "image-prefix": ("required", "optional", "required"),
    "digests": ("primary", "all", "primary"),
    "status": ("primary", "all", "primary"),
    "stream-port": ("1", "2", "3"),
    "stream-url": ("http://one", "http://two", "http://three"),
    "connection-timeout": ("1", "2", "3"),
    "fan-out-timeout": ("1", "2", "3"),
    "absence-grace": ("1", "2", "3"),
    "event-poll": ("2", "3", "4"),
    "max-message-size": ("1", "2", "3"),
    "verbosity": ("1", "2", "3"),
    "log-to-stderr": ("True", "False", "True"),
}
"""Every option but `handler`, with a value for the command line, one for the environment and one for the file."""


@pytest.fixture(autouse=True)
def _nothing_configured_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("CRI_", "CRIPROXY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "DEFAULT_FILE", str(tmp_path / "default.conf"))


def variable(option: str) -> str:
    return "CRIPROXY_" + option.upper().replace("-", "_")


def value_of(configured: Config, option: str) -> str:
    """The option's value as text, as in `OPTIONS`."""
    if option == "connect":
        return configured.runtimes[0].path
    value = getattr(configured, option.replace("-", "_"))
    return f"{value:g}" if isinstance(value, float) else str(value)


def connected(text: str) -> Config:
    return parse(["-connect", text], {})


def refused(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the program refuses this command line."""
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("criproxy: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    return err


# What runs the Go program.


def test_without_options_it_is_configured_as_the_go_program() -> None:
    assert parse([], {}) == Config(
        runtimes=(Runtime("", "/var/run/dockershim.sock"),),
        listen="/run/criproxy.sock",
        handlers=(),
        image_prefix="optional",
        digests="all",
        status="all",
        stream_url="",
        stream_port=11250,
        connection_timeout=5.0,
        fan_out_timeout=5.0,
        absence_grace=60.0,
        event_poll=1.0,
        max_message_size=64 * 1024 * 1024,
        verbosity=0,
        log_to_stderr=False,
        warnings=(),
    )


def test_the_command_line_of_the_go_programs_unit_is_accepted() -> None:
    words = "-v 3 -logtostderr -connect /var/run/dockershim.sock,virtlet.cloud:/run/virtlet.sock -listen /run/c.sock"
    configured = parse(words.split(), {})
    assert configured.runtimes == (
        Runtime("", "/var/run/dockershim.sock"),
        Runtime("virtlet.cloud", "/run/virtlet.sock"),
    )
    assert configured.listen == "/run/c.sock"
    assert configured.verbosity == 3
    assert configured.log_to_stderr
    assert configured.warnings == ()


@pytest.mark.parametrize(
    "words",
    [
        ["-v", "3"],
        ["-v=3"],
        ["--v", "3"],
        ["--v=3"],
        ["-verbosity", "3"],
        ["-verbosity=3"],
        ["--verbosity", "3"],
        ["--verbosity=3"],
        ["-v", "1", "-v=3"],
    ],
)
def test_one_dash_or_two_and_a_word_or_an_equals_sign_say_the_same(words: List[str]) -> None:
    assert parse(words, {}).verbosity == 3


@pytest.mark.parametrize("name", ["-streamPort", "--streamPort", "-stream-port", "--stream-port"])
def test_the_stream_port_has_gos_name_and_a_spelled_out_one(name: str) -> None:
    assert parse([name, "10010"], {}).stream_port == 10010
    assert parse([f"{name}=10010"], {}).stream_port == 10010


@pytest.mark.parametrize("name", ["-streamUrl", "--streamUrl", "-stream-url", "--stream-url"])
def test_the_stream_url_has_gos_name_and_a_spelled_out_one(name: str) -> None:
    assert parse([name, "http://10.0.0.1:10010"], {}).stream_url == "http://10.0.0.1:10010"


def test_a_value_may_begin_with_a_dash() -> None:
    assert parse(["-listen", "-v", "-v", "2"], {}).listen == "-v"


@pytest.mark.parametrize(
    "words",
    [
        ["-alsologtostderr"],
        ["--alsologtostderr=false"],
        ["-stderrthreshold", "INFO"],
        ["-stderrthreshold=INFO"],
        ["-log_dir", "/var/log"],
        ["-log_backtrace_at", ":0"],
        ["-vmodule", "proxy=3"],
        ["-apiserver", "http://localhost:8080"],
        ["-apiVersion", "1.8"],
    ],
)
def test_a_flag_without_effect_is_accepted_with_one_warning(words: List[str]) -> None:
    configured = parse([*words, *words, "-v", "1"], {})
    name = words[0].lstrip("-").partition("=")[0]
    assert configured.verbosity == 1
    assert configured.warnings == (f"the option -{name} has no effect",)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], False),
        (["-logtostderr"], True),
        (["--log-to-stderr"], True),
        (["-logtostderr=true"], True),
        (["-logtostderr", "-logtostderr=F"], False),
        (["-logtostderr=0"], False),
    ],
)
def test_logtostderr_is_a_switch_that_takes_no_other_word(words: List[str], wanted: bool) -> None:
    configured = parse([*words, "-v", "1"], {})
    assert (configured.log_to_stderr, configured.verbosity) == (wanted, 1)


@pytest.mark.parametrize(
    "word", ["-nonsense", "--nonsense=3", "-conn", "--conn=/a.sock", "-vv", "-v3", "--stream", "-c", "---v"]
)
def test_an_unknown_or_shortened_option_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(word) in refused([word, "/a.sock"], capsys)


@pytest.mark.parametrize("word", ["show-me", "--", "-", "", "/a.sock"])
def test_a_word_that_is_no_option_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(word) in refused(["-v", "1", word], capsys)


@pytest.mark.parametrize("name", ["-connect", "--listen", "-v", "-streamPort", "-config", "-apiserver"])
def test_an_option_without_its_value_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"'{name}' needs a value" in refused(["-logtostderr", name], capsys)


@pytest.mark.parametrize("word", ["--help=yes", "-version=1"])
def test_a_value_for_what_takes_none_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(word) in refused([word], capsys)


# Runtimes.


@pytest.mark.parametrize(
    ("text", "runtimes"),
    [
        ("/a.sock", [PRIMARY]),
        ("unix:///a.sock", [PRIMARY]),
        ("unix:/a.sock", [PRIMARY]),
        ("run/a.sock", [Runtime("", "run/a.sock")]),
        ("unix://run/a.sock", [Runtime("", "run/a.sock")]),
        ("/a:b.sock", [Runtime("", "/a:b.sock")]),
        ("unix:///a:b.sock", [Runtime("", "/a:b.sock")]),
        ("/a.sock,alt.test:/b.sock", [PRIMARY, ALTERNATIVE]),
        ("alt.test:/b.sock,/a.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:unix:///b.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:unix:/b.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:run/b.sock", [PRIMARY, Runtime("alt.test", "run/b.sock")]),
        ("/a.sock,alt.test:/b:c.sock", [PRIMARY, Runtime("alt.test", "/b:c.sock")]),
        ("z.z:/z,/a.sock,alt.test:/b.sock", [PRIMARY, Runtime("z.z", "/z"), ALTERNATIVE]),
    ],
)
def test_a_runtime_is_an_id_and_a_path_and_the_primary_comes_first(text: str, runtimes: List[Runtime]) -> None:
    assert list(connected(text).runtimes) == runtimes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("alt.test:/b.sock", "'alt.test:/b.sock' has no primary runtime"),
        ("/a.sock,/b.sock", "two primary runtimes: '/a.sock' and '/b.sock'"),
        ("/a.sock,unix:///b.sock", "two primary runtimes: '/a.sock' and '/b.sock'"),
        ("/a.sock,b.c:/b,b.c:/c", "two runtimes have the id 'b.c': '/b' and '/c'"),
        ("/a.sock,b/c:/b", "'b/c:/b': the id of a runtime cannot have '/' in it"),
        ("/a.sock,b__c:/b", "'b__c:/b': the id of a runtime cannot have '__' in it"),
        ("/a.sock,b:c:/b", "'b:c:/b': the id of a runtime cannot have ':' in it"),
        ("/a.sock,b:c:unix:///b", "'b:c:unix:///b': the id of a runtime cannot have ':' in it"),
        ("/a.sock,b c:/b", "'b c:/b': the id of a runtime cannot have white space"),
        ("/a.sock, b.c:/b", "' b.c:/b': the id of a runtime cannot have white space"),
        ("/a.sock,b\tc:/b", "'b\\tc:/b': the id of a runtime cannot have white space"),
        ("/a.sock,b\nc:/b", "'b\\nc:/b': the id of a runtime cannot have white space"),
        ("/a.sock,b\u00a0c:/b", "'b\\xa0c:/b': the id of a runtime cannot have white space"),
        ("/a.sock,b\x1bc:/b", "'b\\x1bc:/b': the id of a runtime cannot have white space or control characters"),
        ("/a.sock,:/b", "':/b': the id of the runtime is empty"),
        ("/a.sock,b_:/b,b:/c", "'b' and 'b_' cannot be told apart"),
        ("", "'': the path is empty"),
        ("unix://", "'unix://': the path is empty"),
        ("/a.sock,", "'': the path is empty"),
        ("/a.sock,b.c:", "'b.c:': the path is empty"),
        ("/a.sock,b.c:unix://", "'b.c:unix://': the path is empty"),
        ("/a.sock,tcp://10.0.0.1:80", "'tcp://10.0.0.1:80' is no unix socket"),
        ("/" + "a" * 107, "has 108 bytes, a unix socket's path can have 107"),
        ("/\u00e9" * 36, "has 108 bytes, a unix socket's path can have 107"),
        ("/a.sock,b.c:/" + "a" * 107, "has 108 bytes, a unix socket's path can have 107"),
        ("/a\0b", "'/a\\x00b' has a zero in it"),
    ],
)
def test_runtimes_that_cannot_be_are_refused(text: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["-connect", text], capsys)
    assert line.startswith("criproxy: connect: ")
    assert named in line


def test_a_path_may_have_as_many_bytes_as_a_unix_socket_takes() -> None:
    path = "/" + "a" * 106
    assert connected(f"unix://{path}").runtimes[0].path == path
    assert connected(f"/a,b.c:{path}").runtimes[1].path == path


def test_an_id_without_a_dot_gets_a_warning_about_image_names() -> None:
    (warning,) = connected("/a.sock,virtlet:/b.sock").warnings
    assert "'virtlet'" in warning
    assert "docker.io/" in warning


def test_an_id_with_a_dash_gets_a_warning_about_log_links() -> None:
    (warning,) = connected("/a.sock,my-virtlet.cloud:/b.sock").warnings
    assert "'my-virtlet.cloud'" in warning
    assert "log links" in warning


def test_an_id_with_a_dot_and_without_a_dash_gets_no_warning() -> None:
    assert connected("/a.sock,virtlet.cloud:/b.sock").warnings == ()


def test_two_runtimes_on_one_socket_get_a_warning() -> None:
    (warning,) = connected("/a.sock,virtlet.cloud:/x/../a.sock").warnings
    assert "'/x/../a.sock'" in warning


def test_a_proxy_in_front_of_itself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-connect", "/a.sock,alt.test:/run/../c.sock", "-listen", "/c.sock"]
    assert "listen: '/c.sock'" in refused(words, capsys)


# Runtime handlers.

TWO = ["-connect", "/a.sock,alt.test:/b.sock,kata:/c.sock"]


def test_a_handler_has_a_name_a_runtime_and_perhaps_one_of_that_ones_handlers() -> None:
    handlers = parse([*TWO, "--handler", "vm=alt.test,big=alt.test:large"], {}).handlers
    assert handlers == (Handler("vm", "alt.test", ""), Handler("big", "alt.test", "large"))


def test_handlers_given_several_times_are_all_there() -> None:
    words = [*TWO, "--handler", "vm=alt.test", "-handler=fc=kata:fc,kata=kata:qemu", "--handler="]
    handlers = (Handler("vm", "alt.test", ""), Handler("fc", "kata", "fc"), Handler("kata", "kata", "qemu"))
    assert parse(words, {}).handlers == handlers
    assert parse(TWO, {"CRIPROXY_HANDLER": "vm=alt.test,fc=kata:fc,kata=kata:qemu"}).handlers == handlers


def test_handlers_of_the_command_line_take_the_place_of_those_in_criproxy_opts() -> None:
    environ = {"CRIPROXY_OPTS": "--handler a=kata --handler b=kata"}
    assert [handler.name for handler in parse(TWO, environ).handlers] == ["a", "b"]
    assert [handler.name for handler in parse([*TWO, "--handler", "c=kata"], environ).handlers] == ["c"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vm", "'vm' is not NAME=ID"),
        ("vm=", "'vm=' is not NAME=ID"),
        ("vm=kata:", "'vm=kata:' is not NAME=ID"),
        ("vm=kata:a b", "'vm=kata:a b' is not NAME=ID"),
        ("=kata", "'' is no handler of a RuntimeClass"),
        ("v.m=kata", "'v.m' is no handler of a RuntimeClass"),
        ("VM=kata", "'VM' is no handler of a RuntimeClass"),
        ("vm=kata,vm=alt.test", "two handlers 'vm'"),
        ("vm=virtlet", "'vm' is for the runtime 'virtlet', which there is not"),
        ("kata=alt.test", "'kata' is the id of a runtime, and would ask for another one"),
    ],
)
def test_handlers_that_cannot_be_are_refused(text: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused([*TWO, f"--handler={text}"], capsys)
    assert line.startswith("criproxy: handler: ")
    assert named in line


# Other values.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4194304", 4194304),
        ("16k", 16000),
        ("16M", 16000000),
        ("4G", 4000000000),
        ("16Ki", 16384),
        ("16Mi", 16777216),
        ("2Gi", 2147483648),
    ],
)
def test_a_size_is_in_bytes_or_has_a_suffix(text: str, size: int) -> None:
    assert parse(["--max-message-size", text], {}).max_message_size == size


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0.25", 0.25), ("7s", 7), ("250ms", 0.25), ("1.5m", 90)])
def test_a_time_is_in_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert parse(["--connection-timeout", text], {}).connection_timeout == seconds
    assert parse(["--fan-out-timeout", text], {}).fan_out_timeout == seconds
    assert parse(["--absence-grace", text], {}).absence_grace == seconds


@pytest.mark.parametrize("text", ["0", "0s", "0ms", "0.0m"])
def test_there_may_be_no_absence_grace(text: str) -> None:
    assert parse(["--absence-grace", text], {}).absence_grace == 0


def test_the_socket_may_be_written_as_grpc_does() -> None:
    assert parse(["-listen", "unix:///run/c.sock"], {}).listen == "/run/c.sock"


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("listen", ["", "unix://", "/" + "a" * 107]),
        ("stream-port", ["", "0", "65536", "70000", "-1", "x", "1.5", " 1", "1_0", "\u0661", "9" * 5000]),
        ("stream-url", ["localhost:10010", "10.0.0.1:10010", "/cri", "http://", "http://a b", "ftp://a", "http://a\n"]),
        ("connection-timeout", ["", "0", "0.0", "-1", "x", "nan", "inf", "1e3", "5h", "86401", "5 s", "."]),
        ("fan-out-timeout", ["", "0", "0ms", "-1", "x", "nan", "inf"]),
        ("absence-grace", ["", "-1", "x", "nan", "inf", "86401"]),
        ("max-message-size", ["", "0", "0Mi", "-1", "x", "1.5Mi", "4Gi", "5G", "1m", "1KiB", "9" * 5000]),
        ("verbosity", ["", "-1", "x", "3.0", "0x3", "2147483648"]),
        ("log-to-stderr", ["yes", "2", "tRue"]),
        ("image-prefix", ["", "true", "none"]),
        ("digests", ["", "none", "ALL"]),
        ("status", ["", "none", "ALL"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(
    option: str, values: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        line = refused([f"--{option}={value}"], capsys)
        assert line.startswith(f"criproxy: {option}: {value!r}"), value


# The environment and the file.


@pytest.mark.parametrize("option", OPTIONS)
def test_the_command_line_goes_before_the_environment_and_that_before_the_file(option: str, tmp_path: Path) -> None:
    first, second, third = OPTIONS[option]
    file = tmp_path / "criproxy.conf"
    file.write_text(f"{option} = {third}\n")
    from_file = [f"--config={file}"]
    environ = {variable(option): second}
    assert value_of(parse([*from_file, f"--{option}={first}"], environ), option) == first
    assert value_of(parse([f"-{option}={first}", *from_file], environ), option) == first
    assert value_of(parse(from_file, environ), option) == second
    assert value_of(parse(from_file, {}), option) == third
    if option not in ("log-to-stderr", "image-prefix", "digests", "status"):  # which have but two values
        assert value_of(parse([], {}), option) not in (first, second, third)


@pytest.mark.parametrize(("name", "option"), [("v", "verbosity"), ("streamPort", "stream-port")])
def test_gos_names_go_before_the_environment_and_the_file_too(name: str, option: str, tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text(f"{option} = 3\n")
    assert value_of(parse([f"-{name}", "1", "-config", str(file)], {variable(option): "2"}), option) == "1"


def test_an_empty_variable_counts_as_not_set() -> None:
    environ = {variable(option): "" for option in [*OPTIONS, "config"]}
    assert parse([], {**environ, "CRI_PRIMARY": "", "CRI_OTHER": ""}) == parse([], {})


def test_a_variable_that_is_none_of_an_option_gets_a_warning() -> None:
    (warning,) = parse([], {"CRIPROXY_STREAMPORT": "1", "CRIPROXY_LISTEN": "/c", "HOME": "/"}).warnings
    assert "'CRIPROXY_STREAMPORT'" in warning


@pytest.mark.parametrize("option", ["stream-port", "verbosity"])
def test_a_value_from_the_environment_is_refused_alike(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable(option), "-1")
    assert f"{option}: '-1'" in refused([], capsys)


@pytest.mark.parametrize(
    ("environ", "runtimes"),
    [
        ({"CRI_PRIMARY": "/a.sock"}, [PRIMARY]),
        ({"CRI_PRIMARY": "/a.sock", "CRI_OTHER": ""}, [PRIMARY]),
        ({"CRI_PRIMARY": "unix:///a.sock", "CRI_OTHER": "alt.test:/b.sock"}, [PRIMARY, ALTERNATIVE]),
        (
            {"CRI_PRIMARY": "/a.sock", "CRI_OTHER": "alt.test:/b.sock,c.d:/c.sock"},
            [PRIMARY, ALTERNATIVE, Runtime("c.d", "/c.sock")],
        ),
    ],
)
def test_the_variables_of_etc_default_are_the_parts_of_connect(environ: Any, runtimes: List[Runtime]) -> None:
    assert list(parse([], environ).runtimes) == runtimes


def test_other_runtimes_without_a_primary_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"connect: 'alt\.test:/b\.sock' has no primary runtime"):
        parse([], {"CRI_OTHER": "alt.test:/b.sock", "CRI_PRIMARY": ""})


def test_the_variables_of_etc_default_come_after_their_own_options_and_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text("connect = /file.sock\n")
    environ = {"CRI_PRIMARY": "/a.sock", "CRIPROXY_CONFIG": str(file)}
    assert parse([], environ).runtimes == (PRIMARY,)
    assert parse([], {**environ, "CRIPROXY_CONNECT": "/own.sock"}).runtimes == (Runtime("", "/own.sock"),)
    assert parse(["-connect", "/c.sock"], environ).runtimes == (Runtime("", "/c.sock"),)
    assert parse([], {**environ, "CRI_PRIMARY": ""}).runtimes == (Runtime("", "/file.sock"),)


def test_the_default_file_is_read_if_it_is_there() -> None:
    assert parse([], {}).verbosity == 0
    Path(config.DEFAULT_FILE).write_text("verbosity = 4\n")
    assert parse([], {}).verbosity == 4


def test_the_default_file_is_not_read_beside_another(tmp_path: Path) -> None:
    Path(config.DEFAULT_FILE).write_text("verbosity = 4\n")
    file = tmp_path / "other.conf"
    file.write_text("stream-port = 1\n")
    for configured in (parse(["--config", str(file)], {}), parse([], {"CRIPROXY_CONFIG": str(file)})):
        assert configured.verbosity == 0
        assert configured.stream_port == 1


def test_the_file_may_have_comments_and_quotes_and_colons(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text(
        "# runtimes\n"
        "\n"
        "connect = /a.sock,alt.test:/b.sock  # the second for virtual machines\n"
        "listen: '/run/c#1.sock'\n"
        'stream-url="http://[::1]:10010"\n'
        "  verbosity=3\n"
    )
    configured = parse(["-config", str(file)], {})
    assert configured.runtimes == (PRIMARY, ALTERNATIVE)
    assert configured.listen == "/run/c#1.sock"
    assert configured.stream_url == "http://[::1]:10010"
    assert configured.verbosity == 3


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("streamPort = 1", "line 2: unknown key: 'streamPort'"),
        ("version = true", "line 2: unknown key: 'version'"),
        ("help = true", "line 2: unknown key: 'help'"),
        ("config = /x", "line 2: unknown key: 'config'"),
        ("logtostderr = true", "line 2: unknown key: 'logtostderr'"),
        ("--verbosity = 3", "line 2: unknown key: '--verbosity'"),
        ("verbosity", "line 2: not understood: 'verbosity'"),
        ("[criproxy]", "line 2: not understood: '[criproxy]'"),
        ("verbosity = x", "verbosity: 'x'"),
        ("listen =", "listen: '': the path is empty"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(
    line: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text(f"stream-port = 1\n{line}\n")
    assert named in refused(["--config", str(file)], capsys)


def test_a_file_that_is_asked_for_and_cannot_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "binary.conf"
    binary.write_bytes(b"connect = \xff\xfe\n")
    for path in (tmp_path / "missing.conf", tmp_path, binary):
        assert str(path) in refused(["--config", str(path)], capsys)
    assert "config: " in refused(["--config="], capsys)
    assert "missing\\n.conf" in refused(["--config", "missing\n.conf"], capsys)


def test_a_default_file_that_cannot_be_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path(config.DEFAULT_FILE).mkdir()
    assert config.DEFAULT_FILE in refused([], capsys)


# The environment file.


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / "default"


def from_file(file: Path, text: str, *words: str, **environ: str) -> Config:
    """What an environment file with this text makes of a command line and an environment."""
    file.write_text(text)
    return parse([f"--environment-file={file}", *words], environ)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_environment_goes_before_the_environment_file_and_that_before_the_file(
    option: str, tmp_path: Path, env_file: Path
) -> None:
    first, second, third = OPTIONS[option]
    name = variable(option)
    (tmp_path / "c.conf").write_text(f"{option} = {third}\n")
    text = f"CRIPROXY_CONFIG={tmp_path}/c.conf\n{name}={second}\n"
    assert value_of(from_file(env_file, text, **{name: first}), option) == first
    assert value_of(from_file(env_file, text, **{name: ""}), option) == second
    assert value_of(from_file(env_file, text, f"--{option}={first}"), option) == first
    assert value_of(from_file(env_file, text), option) == second


def test_the_variables_of_etc_default_are_the_parts_of_connect_in_the_environment_file_too(env_file: Path) -> None:
    text = "CRI_PRIMARY=/a.sock\nCRI_OTHER=alt.test:/b.sock\n"
    assert from_file(env_file, text).runtimes == (PRIMARY, ALTERNATIVE)
    assert from_file(env_file, text, CRI_PRIMARY="/c.sock").runtimes == (Runtime("", "/c.sock"), ALTERNATIVE)
    assert from_file(env_file, text, "-connect", "/c.sock").runtimes == (Runtime("", "/c.sock"),)


@pytest.mark.parametrize("opts", ["-v 2 -listen '/x y.sock'", "--verbosity=2 --listen=/x\\ y.sock"])
def test_the_words_in_criproxy_opts_stand_before_those_of_the_command_line(opts: str, env_file: Path) -> None:
    text = f'CRIPROXY_VERBOSITY=1\nCRIPROXY_OPTS="{opts}"\n'.replace("\\", "\\\\")
    assert from_file(env_file, text).verbosity == 2
    assert from_file(env_file, text).listen == "/x y.sock"
    assert from_file(env_file, text, "-v", "3").verbosity == 3
    assert parse(["-streamPort", "1"], {"CRIPROXY_OPTS": "-v 2 -streamPort 2"}).stream_port == 1
    assert parse([], {"CRIPROXY_OPTS": "-v 2"}).verbosity == 2


def test_a_flag_without_effect_in_criproxy_opts_gets_its_warning(env_file: Path) -> None:
    assert from_file(env_file, "CRIPROXY_OPTS=-vmodule x").warnings == ("the option -vmodule has no effect",)


def test_an_environment_file_that_is_not_there_is_empty(env_file: Path) -> None:
    assert parse(["--environment-file", str(env_file)], {}) == parse([], {})
    assert parse(["--environment-file", "/etc/hosts/no", "--environment-file", str(env_file)], {}) == parse([], {})


def test_lines_that_mean_nothing_are_skipped_with_a_warning(env_file: Path) -> None:
    configured = from_file(env_file, "# GOGC=1\nGOGC=50\n\nexport CRI_PRIMARY=/x.sock\nnonsense\nCRIPROXY_X=1\n")
    assert configured.runtimes == parse([], {}).runtimes
    assert sorted(configured.warnings) == [
        f"{env_file}, line 2: 'GOGC' means nothing to criproxy",
        f"{env_file}, line 4: no NAME=value; it is skipped",
        f"{env_file}, line 5: no NAME=value; it is skipped",
        "the environment variable 'CRIPROXY_X' is none of an option",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\nCRIPROXY_VERBOSITY=x", "line 2: CRIPROXY_VERBOSITY: verbosity: 'x'"),
        ("CRI_PRIMARY=/a\nCRI_OTHER=/b", "line 1: CRI_PRIMARY and {0}, line 2: CRI_OTHER: connect: there are two"),
        ("CRIPROXY_CONNECT=a:/b", "line 1: CRIPROXY_CONNECT: connect: 'a:/b' has no primary"),
        ("# one\nCRIPROXY_OPTS=-v x", "line 2: CRIPROXY_OPTS: verbosity: 'x'"),
        ("CRIPROXY_OPTS=-nonsense", "line 1: CRIPROXY_OPTS: unknown option: '-nonsense'"),
        ("CRIPROXY_OPTS=word", "line 1: CRIPROXY_OPTS: unexpected argument: 'word'"),
        ("CRIPROXY_OPTS=-connect 'x", "line 1: CRIPROXY_OPTS: No closing quotation"),
        ("CRIPROXY_OPTS=--help", "line 1: CRIPROXY_OPTS: --help can only stand on the command line"),
        ("CRIPROXY_OPTS=-version", "line 1: CRIPROXY_OPTS: --version can only"),
        ("CRIPROXY_OPTS=--environment-file=/x", "line 1: CRIPROXY_OPTS: --environment-file can only"),
        ("\n\nCRI_OTHER='a:/b", "line 3: CRI_OTHER: the quote is not closed"),
    ],
)
def test_what_is_wrong_in_the_environment_file_is_named_with_its_line(
    text: str, named: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_text(text)
    line = refused(["--environment-file", str(env_file)], capsys)
    assert line.startswith(f"criproxy: {env_file}: {named}" if ": the quote" in named else f"criproxy: {env_file}, ")
    assert named.format(env_file) in line


def test_what_is_wrong_elsewhere_is_not_blamed_on_the_environment_file(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_text("CRIPROXY_VERBOSITY=1\nCRIPROXY_OPTS=-v 2\n")
    assert refused(["--environment-file", str(env_file), "-v", "x"], capsys).startswith("criproxy: verbosity: 'x'")


def test_an_environment_file_that_cannot_be_read_is_refused(
    tmp_path: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_bytes(b"CRI_PRIMARY=\xff\n")
    for path in (tmp_path, env_file):
        assert str(path) in refused(["--environment-file", str(path)], capsys)
    assert "environment-file: the file's name is empty" in refused(["--environment-file="], capsys)


# The program.


def test_help_has_the_options_their_defaults_the_commands_and_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for word in ("--help", "-help", "-h"):
        with pytest.raises(SystemExit) as exit:
            cli.main([word])
        assert exit.value.code == 0
    text = capsys.readouterr().out
    for option in (*OPTIONS, "environment-file"):
        assert f"--{option} " in text
    for default in ("/var/run/dockershim.sock", "/run/criproxy.sock", "11250", "5s", "64Mi", "0", "none"):
        assert f"(default: {default})" in " ".join(text.split())
    for word in ("-streamPort", "-streamUrl", "-v", "-apiserver", "--config", "CRI_PRIMARY", "CRIPROXY_NAME"):
        assert word in text
    for command in ("criproxy show ", "criproxy demo ", "criproxy demo-runtime "):
        assert command in text
    assert "exit status:\n  0 " in text
    assert "None" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_help_names_the_options_in_the_environment_and_the_file_whatever_they_hold(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit:
        parse(["--help", "--config", str(tmp_path / "missing.conf")], {"CRIPROXY_VERBOSITY": "x"})
    assert exit.value.code == 0


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--version", "-version"):
        with pytest.raises(SystemExit) as exit:
            cli.main([word])
        assert exit.value.code == 0
        assert capsys.readouterr().out == f"criproxy {__version__}\n"


def module(name: str, function: str, status: int, monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """Puts a module in the place of the program's; returns the list of what its function is called with."""
    calls: List[Any] = []
    made = ModuleType(name)

    def called(*arguments: Any) -> int:
        calls.append(arguments)
        return status

    setattr(made, function, called)
    monkeypatch.setitem(sys.modules, name, made)
    return calls


@pytest.mark.parametrize(
    ("command", "name"),
    [("show", "criproxy.show"), ("demo", "criproxy.demo.run"), ("demo-runtime", "criproxy.demo.server")],
)
def test_a_command_gets_the_words_after_its_name_and_gives_the_exit_status(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = module(name, "main", 7, monkeypatch)
    assert cli.main([command, "-v", "show", "--help"]) == 7
    assert calls == [(["-v", "show", "--help"],)]


def test_the_daemon_gets_its_configuration_and_a_way_to_read_it_again_and_gives_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = module("criproxy.daemon", "run", 1, monkeypatch)
    monkeypatch.setenv("CRI_PRIMARY", "/p.sock")
    assert cli.main(["-v", "3"]) == 1
    ((configured, read),) = calls
    assert configured == parse(["-v", "3"], {"CRI_PRIMARY": "/p.sock"})
    Path(config.DEFAULT_FILE).write_text("stream-port = 7\n")
    assert read() == parse(["-v", "3"], {"CRI_PRIMARY": "/p.sock", "CRIPROXY_STREAM_PORT": "7"})


def test_without_arguments_main_takes_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = module("criproxy.show", "main", 0, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["criproxy", "show", "--all"])
    assert cli.main() == 0
    assert calls == [(["--all"],)]


def test_the_process_ends_with_the_exit_status_and_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "criproxy", "-streamPort", "70000"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "criproxy: stream-port: '70000' is not a number from 1 to 65535\n"


def test_a_daemon_does_not_pay_for_the_commands_libraries() -> None:
    script = "import sys, criproxy.cli, criproxy.report.log; print(sorted({'grpc', 'yaml'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"
