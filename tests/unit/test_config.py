"""The command line, the environment and the file: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Dict, List, Mapping, Sequence

import pytest

from criproxy import __version__, cli
from criproxy.config import Config, ConfigError, RuntimeAddress, files, parse, sources
from criproxy.config.reload import changes
from criproxy.cri.identity import RuntimeHandler

PRIMARY = RuntimeAddress("", "/a.sock")
ALTERNATIVE = RuntimeAddress("alt.test", "/b.sock")
OPTIONS = {
    "connect": ("/one.sock", "/two.sock", "/three.sock"),
    "listen": ("one.sock", "two.sock", "three.sock"),
    "socket-group": ("daemon", "bin", "7"),
    "image-service": ("/one.sock", "/two.sock", "/three.sock"),
    "retiring": ("/four.sock", "/five.sock", "/six.sock"),
    "image-prefix": ("required", "optional", "required"),
    "digests": ("primary", "all", "primary"),
    "status": ("primary", "all", "primary"),
    "stream-port": ("1", "2", "3"),
    "stream-url": ("http://one", "http://two", "http://three"),
    "connection-timeout": ("1", "2", "3"),
    "fan-out-timeout": ("1", "2", "3"),
    "absence-grace": ("1", "2", "3"),
    "max-message-size": ("1", "2", "3"),
    "memory-limit": ("1", "2", "3"),
    "verbosity": ("1", "2", "3"),
    "log-to-stderr": ("True", "False", "True"),
}
"""Every option but `handler`, with a value for the command line, one for the environment and one for the file."""


@pytest.fixture(autouse=True)
def default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc/criproxy/criproxy.conf; nothing else is configured on this machine."""
    for name in [name for name in os.environ if name.startswith(("CRI_", "CRIPROXY_"))]:
        monkeypatch.delenv(name)
    file = tmp_path / "default.conf"
    monkeypatch.setattr(sources, "DEFAULT_FILE", str(file))
    return file


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
    assert parse([], {})._replace(fixed={}) == Config(
        runtimes=(RuntimeAddress("", "/var/run/dockershim.sock"),),
        listen="/run/criproxy.sock",
        socket_group="",
        control="/run/criproxy/control.sock",
        image_service="",
        handlers=(),
        drained=(),
        route=(),
        image_prefix="optional",
        digests="all",
        status="all",
        stream_url="",
        stream_port=11250,
        connection_timeout=5.0,
        fan_out_timeout=5.0,
        absence_grace=60.0,
        max_message_size=64 * 1024 * 1024,
        memory_limit=0,
        retiring="",
        verbosity=0,
        log_to_stderr=False,
        metrics_listen="",
        otlp_endpoint="",
        warnings=(),
        fixed={},
    )


def test_the_command_line_of_the_go_programs_unit_is_accepted() -> None:
    words = "-v 3 -logtostderr -connect /var/run/dockershim.sock,virtlet.cloud:/run/virtlet.sock -listen /run/c.sock"
    configured = parse(words.split(), {})
    assert configured.runtimes == (
        RuntimeAddress("", "/var/run/dockershim.sock"),
        RuntimeAddress("virtlet.cloud", "/run/virtlet.sock"),
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


@pytest.mark.parametrize(
    ("word", "meant"), [("--handlers", "--handler"), ("-listenn=/x", "--listen"), ("--stream_port", "--stream-port")]
)
def test_the_option_that_was_meant_is_named(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([word], capsys) == f"criproxy: unknown option: {word!r} (did you mean {meant}?)\n"


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
        ("run/a.sock", [RuntimeAddress("", "run/a.sock")]),
        ("unix://run/a.sock", [RuntimeAddress("", "run/a.sock")]),
        ("/a:b.sock", [RuntimeAddress("", "/a:b.sock")]),
        ("unix:///a:b.sock", [RuntimeAddress("", "/a:b.sock")]),
        ("/a.sock,alt.test:/b.sock", [PRIMARY, ALTERNATIVE]),
        ("alt.test:/b.sock,/a.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:unix:///b.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:unix:/b.sock", [PRIMARY, ALTERNATIVE]),
        ("/a.sock,alt.test:run/b.sock", [PRIMARY, RuntimeAddress("alt.test", "run/b.sock")]),
        ("/a.sock,alt.test:/b:c.sock", [PRIMARY, RuntimeAddress("alt.test", "/b:c.sock")]),
        ("z.z:/z,/a.sock,alt.test:/b.sock", [PRIMARY, RuntimeAddress("z.z", "/z"), ALTERNATIVE]),
    ],
)
def test_a_runtime_is_an_id_and_a_path_and_the_primary_comes_first(text: str, runtimes: List[RuntimeAddress]) -> None:
    assert list(connected(text).runtimes) == runtimes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("alt.test:/b.sock", "'alt.test:/b.sock' has no primary runtime"),
        ("/a.sock,/b.sock", "two primary runtimes: '/a.sock' and '/b.sock'"),
        ("/a.sock,unix:///b.sock", "two primary runtimes: '/a.sock' and '/b.sock'"),
        ("/a.sock,b.c:/b,b.c:/c", "two runtimes have the id 'b.c': '/b' and '/c'"),
        ("/a.sock,b/c:/b", "'b/c:/b': the id of a runtime cannot contain '/'"),
        ("/a.sock,b__c:/b", "'b__c:/b': the id of a runtime cannot contain '__'"),
        ("/a.sock,b:c:/b", "'b:c:/b': the id of a runtime cannot contain ':'"),
        ("/a.sock,b:c:unix:///b", "'b:c:unix:///b': the id of a runtime cannot contain ':'"),
        ("/a.sock,b c:/b", "'b c:/b': the id of a runtime cannot contain white space"),
        ("/a.sock, b.c:/b", "' b.c:/b': the id of a runtime cannot contain white space"),
        ("/a.sock,b\tc:/b", "'b\\tc:/b': the id of a runtime cannot contain white space"),
        ("/a.sock,b\nc:/b", "'b\\nc:/b': the id of a runtime cannot contain white space"),
        ("/a.sock,b\u00a0c:/b", "'b\\xa0c:/b': the id of a runtime cannot contain white space"),
        ("/a.sock,b\x1bc:/b", "'b\\x1bc:/b': the id of a runtime cannot contain white space or control characters"),
        ("/a.sock,:/b", "':/b': the id of the runtime is empty"),
        ("/a.sock,b_:/b,b:/c", "runtime ids 'b' and 'b_' are ambiguous: 'b___x' could be of either"),
        ("", "'': the path is empty"),
        ("unix://", "'unix://': the path is empty"),
        ("/a.sock,", "'/a.sock,' has an extra ','"),
        (",/a.sock,b.c:/b", "',/a.sock,b.c:/b' has an extra ','"),
        ("/a.sock,virtlet.cloud", "'virtlet.cloud' has no ':PATH'"),
        ("virtlet.cloud,/a.sock", "'virtlet.cloud' has no ':PATH'"),
        ("/a.sock,b.c:", "'b.c:': the path is empty"),
        ("/a.sock,b.c:unix://", "'b.c:unix://': the path is empty"),
        ("/a.sock,tcp://10.0.0.1:80", "'tcp://10.0.0.1:80' is not a unix socket"),
        ("/" + "a" * 107, "has 108 bytes; the path of a unix socket has at most 107"),
        ("/\u00e9" * 36, "has 108 bytes; the path of a unix socket has at most 107"),
        ("/a.sock,b.c:/" + "a" * 107, "has 108 bytes; the path of a unix socket has at most 107"),
        ("/a\0b", "'/a\\x00b': a path cannot contain a zero byte"),
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


def test_a_group_that_is_not_there_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["--socket-group", "nobodys"], capsys) == (
        "criproxy: socket-group: there is no group 'nobodys' on this node; create it (groupadd --system nobodys), or"
        " name another\n"
    )


@pytest.mark.parametrize("name", ["a b", "a\nb", "a:b", "a%n", "-1", "\u0661", "\udcff", "9" * 10, "x" * 300])
def test_what_cannot_be_a_group_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be the name of a group" in refused([f"--socket-group={name}"], capsys)


def test_a_proxy_in_front_of_itself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-connect", "/a.sock,alt.test:/run/../c.sock", "-listen", "/c.sock"]
    said = "listen: '/c.sock' is the socket of runtime 'alt.test'; criproxy needs one of its own"
    assert said in refused(words, capsys)


# The image service.


@pytest.mark.parametrize("text", ["/i.sock", "unix:///i.sock", "unix:/i.sock"])
def test_the_image_service_is_a_path_or_written_as_kubelets_endpoint(text: str) -> None:
    assert parse(["--image-service", text], {}).image_service == "/i.sock"
    assert parse([], {"CRI_IMAGE_SERVICE": text}).image_service == "/i.sock"


def test_an_image_service_at_the_primarys_own_socket_is_as_if_not_given() -> None:
    words = ["-connect", "/a.sock", "-image-service"]
    assert parse([*words, "unix:///x/../a.sock"], {}) == parse(["-connect", "/a.sock"], {})
    assert parse([*words, ""], {"CRI_IMAGE_SERVICE": "/i.sock"}).image_service == ""


def test_an_image_service_at_an_alternative_runtimes_socket_gets_a_warning() -> None:
    (warning,) = parse(["-connect", "/a.sock,alt.test:/b.sock", "-image-service", "/x/../b.sock"], {}).warnings
    assert warning == "the image service has the socket of runtime 'alt.test': kubelet will see its images twice"


def test_an_image_service_at_the_socket_to_listen_on_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-connect", "/a.sock", "-listen", "/c.sock", "-image-service", "/x/../c.sock"]
    assert "image-service: '/x/../c.sock' is the socket to listen on" in refused(words, capsys)


# The retiring runtime.


@pytest.mark.parametrize("text", ["/r.sock", "unix:///r.sock", "unix:/r.sock"])
def test_the_retiring_runtime_is_a_path_or_written_as_kubelets_endpoint(text: str) -> None:
    assert parse(["--retiring", text], {}).retiring == "/r.sock"
    assert parse([], {"CRI_RETIRING": text}).retiring == "/r.sock"


@pytest.mark.parametrize(
    ("path", "whose"), [("/x/../a.sock", "the primary runtime"), ("/x/../b.sock", "runtime 'alt.test'")]
)
def test_a_retiring_runtime_that_is_another_too_is_refused(
    path: str, whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-connect", "/a.sock,alt.test:/b.sock", "--retiring", path]
    assert f"retiring: {path!r} is the socket of {whose}" in refused(words, capsys)


def test_a_retiring_runtime_at_the_socket_to_listen_on_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-connect", "/a.sock", "-listen", "/c.sock", "--retiring", "/x/../c.sock"]
    assert "retiring: '/x/../c.sock' is the socket to listen on" in refused(words, capsys)


def test_another_runtime_with_the_name_of_the_retiring_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-connect", "/a.sock,retiring:/b.sock"]
    assert parse(words, {}).runtimes[1].id == "retiring"
    assert "no other can have the id 'retiring'" in refused([*words, "--retiring", "/r.sock"], capsys)


# Rules for new pods.


def test_the_rules_for_new_pods_stand_in_the_order_in_which_they_were_given() -> None:
    words = [*TWO, "--route", "namespace in (a, b)=alt.test;app=web,tier!=db=kata", "-route=10%=kata", "--route="]
    texts = [("namespace in (a, b)", "alt.test"), ("app=web,tier!=db", "kata"), ("10%", "kata")]
    assert [(rule.text, rule.runtime) for rule in parse(words, {}).route] == texts
    variable = "namespace in (a, b)=alt.test; app=web,tier!=db=kata; 10%=kata"
    assert parse(TWO, {"CRIPROXY_ROUTE": variable}).route == parse(words, {}).route


def test_rules_in_the_file_are_as_they_stand_there(tmp_path: Path) -> None:
    conf = tmp_path / "criproxy.conf"
    conf.write_text(
        "connect = /a.sock,alt.test:/b.sock\nroute = namespace in (a, b)=alt.test; x.io/app==web=alt.test\n"
    )
    rules = parse(["--config", str(conf)], {}).route
    assert [rule.text for rule in rules] == ["namespace in (a, b)", "x.io/app=web"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--route=app"], "route: 'app' is not RULE=ID"),
        (["--route=a b=kata"], "route: 'a b': 'a b' is not understood"),
        (
            ["--route=app=gone.test"],
            "'app=gone.test' names runtime 'gone.test', which is not configured (configured: alt.test",
        ),
        (["--route=app=kata;app=kata"], "'app=kata' never decides"),
        (["--route=app=kata", "--image-prefix=required"], "image-prefix is required: set that to optional"),
        (["--route=app=kata", "--compatibility=go"], "image-prefix is required: set that to optional"),
    ],
)
def test_rules_that_cannot_be_are_refused(words: Sequence[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert why in refused([*TWO, *words], capsys)


def test_a_rule_for_a_drained_runtime_is_worth_a_warning() -> None:
    (warning,) = parse([*TWO, "--route=app=kata;0%=kata;b=alt.test", "--drained=kata"], {}).warnings[-1:]
    assert warning == "route: runtime 'kata' is drained: pods of the rule 'app' are refused"


def test_a_reload_tells_which_rules_have_changed() -> None:
    before, now = parse([*TWO, "--route=app=kata"], {}), parse([*TWO, "--route=10%=kata;app==web=alt.test"], {})
    assert changes(before, now) == "route 10%=kata;app=web=alt.test"
    assert changes(now, parse(TWO, {})) == "route none"


# Runtime handlers.

TWO = ["-connect", "/a.sock,alt.test:/b.sock,kata:/c.sock"]
BY_ID = (RuntimeHandler("alt.test", "alt.test", ""), RuntimeHandler("kata", "kata", ""))


def test_a_handler_has_a_name_a_runtime_and_perhaps_one_of_that_ones_handlers() -> None:
    handlers = parse([*TWO, "--handler", "vm=alt.test,big=alt.test:large"], {}).handlers
    assert handlers == (RuntimeHandler("vm", "alt.test", ""), RuntimeHandler("big", "alt.test", "large"), *BY_ID)


def test_the_id_of_a_runtime_is_a_handler_unless_it_is_given_as_one() -> None:
    assert parse(TWO, {}).handlers == BY_ID
    assert parse([*TWO, "--handler=kata=kata:qemu"], {}).handlers == (RuntimeHandler("kata", "kata", "qemu"), BY_ID[0])


def test_handlers_given_several_times_are_all_there() -> None:
    words = [*TWO, "--handler", "vm=alt.test", "-handler=fc=kata:fc,kata=kata:qemu", "--handler="]
    handlers = (
        RuntimeHandler("vm", "alt.test", ""),
        RuntimeHandler("fc", "kata", "fc"),
        RuntimeHandler("kata", "kata", "qemu"),
        BY_ID[0],
    )
    assert parse(words, {}).handlers == handlers
    assert parse(TWO, {"CRIPROXY_HANDLER": "vm=alt.test,fc=kata:fc,kata=kata:qemu"}).handlers == handlers


def test_handlers_of_the_command_line_take_the_place_of_those_in_criproxy_opts() -> None:
    environ = {"CRIPROXY_OPTS": "--handler a=kata --handler b=kata"}
    assert [handler.name for handler in parse(TWO, environ).handlers][:-2] == ["a", "b"]
    assert [handler.name for handler in parse([*TWO, "--handler", "c=kata"], environ).handlers][:-2] == ["c"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vm", "'vm' is not NAME=ID"),
        ("vm=", "'vm=' is not NAME=ID"),
        ("vm=kata:", "'vm=kata:' is not NAME=ID"),
        ("vm=kata:a b", "'vm=kata:a b' is not NAME=ID"),
        ("=kata", "'' cannot be the handler of a RuntimeClass"),
        ("v.m=kata", "'v.m' cannot be the handler of a RuntimeClass"),
        ("VM=kata", "'VM' cannot be the handler of a RuntimeClass"),
        ("vm=kata,vm=alt.test", "'vm' is given twice"),
        ("vm=virtlet", "'vm' names runtime 'virtlet', which is not configured (configured: alt.test, kata)"),
        ("kata=alt.test", "'kata' is the id of a runtime; it cannot ask for runtime 'alt.test'"),
    ],
)
def test_handlers_that_cannot_be_are_refused(text: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused([*TWO, f"--handler={text}"], capsys)
    assert line.startswith("criproxy: handler: ")
    assert named in line


# As the Go program did.

AS_GO: Dict[str, Any] = {
    "image_prefix": "required",
    "digests": "primary",
    "status": "primary",
    "absence_grace": 0.0,
}
COMPATIBILITY = ("--compatibility", "go")


def test_compatibility_with_the_go_program_sets_what_that_did_otherwise() -> None:
    assert parse([*TWO, *COMPATIBILITY], {}) == parse(TWO, {})._replace(handlers=(), **AS_GO)
    assert parse([*TWO, "--compatibility=none"], {}) == parse(TWO, {})


def test_compatibility_can_be_set_by_a_variable_and_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text("compatibility = go\n")
    wanted = parse(COMPATIBILITY, {})
    assert parse([], {"CRIPROXY_COMPATIBILITY": "go"}) == wanted
    assert parse([], {"CRIPROXY_OPTS": "--compatibility go"}) == wanted
    assert parse(["--config", str(file)], {}) == wanted


def test_an_option_that_is_given_wins_over_compatibility_wherever_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text("image-prefix = optional\n")
    words = [*COMPATIBILITY, "--digests", "all", "--config", str(file)]
    given = {"image_prefix": "optional", "digests": "all", "status": "all"}
    assert parse(words, {"CRIPROXY_STATUS": "all"}) == parse([], {})._replace(**{**AS_GO, **given})


def test_with_compatibility_only_handlers_that_are_given_ask_for_a_runtime() -> None:
    assert parse([*TWO, *COMPATIBILITY, "--handler", "vm=alt.test"], {}).handlers == (
        RuntimeHandler("vm", "alt.test", ""),
    )


# What a reload says.


def test_a_reload_tells_what_has_changed_as_the_options_write_it() -> None:
    now = [*TWO, "--handler", "vm=alt.test,big=alt.test:large", "--image-service", "/i.sock", "--retiring", "/r.sock"]
    there, away = changes(parse(TWO, {}), parse(now, {})), changes(parse(now, {}), parse(TWO, {}))
    assert there == "handler vm=alt.test,big=alt.test:large; image-service /i.sock; retiring /r.sock"
    assert away == "handler none; image-service none; retiring none"


def test_a_reload_tells_no_handlers_that_follow_from_the_runtimes() -> None:
    assert changes(connected("/a.sock"), connected("/a.sock,alt.test:/b.sock")) == "connect /a.sock, alt.test:/b.sock"
    assert changes(parse(TWO, {}), parse(TWO, {})) == ""


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
    assert parse(["--memory-limit", text], {}).memory_limit == size


def test_the_limit_of_the_memory_may_be_left_to_what_there_is() -> None:
    assert parse(["--memory-limit", "auto"], {}).memory_limit == 0


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
        ("image-service", ["unix://", "/" + "a" * 107]),
        ("stream-port", ["", "0", "65536", "70000", "-1", "x", "1.5", " 1", "1_0", "\u0661", "9" * 5000]),
        ("stream-url", ["localhost:10010", "10.0.0.1:10010", "/cri", "http://", "http://a b", "ftp://a", "http://a\n"]),
        ("connection-timeout", ["", "0", "0.0", "-1", "x", "nan", "inf", "1e3", "5h", "86401", "5 s", "."]),
        ("fan-out-timeout", ["", "0", "0ms", "-1", "x", "nan", "inf"]),
        ("absence-grace", ["", "-1", "x", "nan", "inf", "86401"]),
        ("max-message-size", ["", "0", "0Mi", "-1", "x", "1.5Mi", "4Gi", "5G", "1m", "1KiB", "9" * 5000]),
        ("memory-limit", ["", "0", "Auto", "-1", "5G"]),
        ("verbosity", ["", "-1", "x", "3.0", "0x3", "2147483648"]),
        ("log-to-stderr", ["yes", "2", "tRue"]),
        ("image-prefix", ["", "true", "none"]),
        ("digests", ["", "none", "ALL"]),
        ("status", ["", "none", "ALL"]),
        ("compatibility", ["", "GO", "true"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(
    option: str, values: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        line = refused([f"--{option}={value}"], capsys)
        assert line.startswith(f"criproxy: {option}: {value!r}"), value


@pytest.mark.parametrize("option", ["connection-timeout", "fan-out-timeout"])
def test_a_timeout_must_be_positive(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([f"--{option}", "0"], capsys) == f"criproxy: {option}: '0' must be a positive duration\n"


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
    assert parse([], {**environ, "CRI_PRIMARY": "", "CRI_OTHER": "", "CRI_IMAGE_SERVICE": ""}) == parse([], {})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CRIPROXY_STREAMPORT", "did you mean CRIPROXY_STREAM_PORT?"),
        ("CRIPROXY_HANDLERS", "did you mean CRIPROXY_HANDLER?"),
        ("CRIPROXY_PRIMARY", "did you mean CRI_PRIMARY?"),
        ("CRIPROXY_FROBNICATE", "no option has that name"),
        ("CRI_OTHERS", "did you mean CRI_OTHER?"),
        ("CRI_VERBOSITY", "did you mean CRIPROXY_VERBOSITY?"),
    ],
)
def test_a_variable_that_is_none_of_an_option_gets_a_warning_with_the_nearest_that_is(name: str, hint: str) -> None:
    environ = {name: "1", "CRIPROXY_LISTEN": "/c", "HOME": "/"}
    assert parse([], environ).warnings == (f"unknown environment variable {name}: {hint}",)


@pytest.mark.parametrize("name", ["CRI_SERVICE_HOST", "CRI_POD", "OTHER", "LISTEN_FDS", "CRIPROXYS"])
def test_a_variable_that_is_meant_for_others_gets_none(name: str) -> None:
    assert parse([], {name: "1"}).warnings == ()


@pytest.mark.parametrize("option", ["stream-port", "verbosity"])
def test_a_value_from_the_environment_is_refused_alike(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable(option), "-1")
    assert refused([], capsys).startswith(f"criproxy: {variable(option)}: '-1' is not")


@pytest.mark.parametrize(
    ("environ", "runtimes"),
    [
        ({"CRI_PRIMARY": "/a.sock"}, [PRIMARY]),
        ({"CRI_PRIMARY": "/a.sock", "CRI_OTHER": ""}, [PRIMARY]),
        ({"CRI_PRIMARY": "unix:///a.sock", "CRI_OTHER": "alt.test:/b.sock"}, [PRIMARY, ALTERNATIVE]),
        (
            {"CRI_PRIMARY": "/a.sock", "CRI_OTHER": "alt.test:/b.sock,c.d:/c.sock"},
            [PRIMARY, ALTERNATIVE, RuntimeAddress("c.d", "/c.sock")],
        ),
    ],
)
def test_the_variables_of_etc_default_are_the_parts_of_connect(environ: Any, runtimes: List[RuntimeAddress]) -> None:
    assert list(parse([], environ).runtimes) == runtimes


def test_other_runtimes_without_a_primary_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^CRI_OTHER: there is no primary runtime; set CRI_PRIMARY, too$"):
        parse([], {"CRI_OTHER": "alt.test:/b.sock", "CRI_PRIMARY": ""})


@pytest.mark.parametrize(
    ("primary", "other", "named"),
    [
        ("/a.sock", "virtlet.cloud", "CRI_OTHER: 'virtlet.cloud' has no ':PATH'"),
        ("/a.sock", "/b.sock", "CRI_OTHER: '/b.sock' has no 'ID:' before the path"),
        ("/a.sock", "alt.test:/b.sock,unix:///c", "CRI_OTHER: 'unix:///c' has no 'ID:' before the path"),
        ("/a.sock", "alt.test:/b.sock,", "CRI_OTHER: 'alt.test:/b.sock,' has an extra ','"),
        ("/a.sock", "b__c:/b", "CRI_OTHER: 'b__c:/b': the id of a runtime cannot contain '__'"),
        ("/a.sock", "b.c:/b,b.c:/c", "CRI_PRIMARY and CRI_OTHER: two runtimes have the id 'b.c': '/b' and '/c'"),
        ("/a.sock,/b.sock", "", "CRI_PRIMARY: there are two primary runtimes: '/a.sock' and '/b.sock'"),
        ("tcp://a:1", "alt.test:/b.sock", "CRI_PRIMARY: 'tcp://a:1' is not a unix socket"),
    ],
)
def test_what_is_wrong_is_said_of_the_variable_that_has_it(primary: str, other: str, named: str) -> None:
    environ = {"CRI_PRIMARY": primary, "CRI_OTHER": other}
    with pytest.raises(ConfigError) as caught:
        parse([], environ)
    assert str(caught.value) == named
    assert parse(["-connect", "/c.sock"], environ).runtimes == (RuntimeAddress("", "/c.sock"),)


def test_the_variables_of_etc_default_come_after_their_own_options_and_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text("connect = /file.sock\n")
    environ = {"CRI_PRIMARY": "/a.sock", "CRIPROXY_CONFIG": str(file)}
    assert parse([], environ).runtimes == (PRIMARY,)
    assert parse([], {**environ, "CRIPROXY_CONNECT": "/own.sock"}).runtimes == (RuntimeAddress("", "/own.sock"),)
    assert parse(["-connect", "/c.sock"], environ).runtimes == (RuntimeAddress("", "/c.sock"),)
    assert parse([], {**environ, "CRI_PRIMARY": ""}).runtimes == (RuntimeAddress("", "/file.sock"),)


def test_the_image_service_of_etc_default_comes_after_its_own_option_and_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "criproxy.conf"
    file.write_text("image-service = /file.sock\n")
    environ = {"CRI_IMAGE_SERVICE": "/i.sock", "CRIPROXY_CONFIG": str(file)}
    assert parse([], environ).image_service == "/i.sock"
    assert parse([], {**environ, "CRIPROXY_IMAGE_SERVICE": "/own.sock"}).image_service == "/own.sock"
    assert parse(["-image-service", "/c.sock"], environ).image_service == "/c.sock"
    assert parse([], {**environ, "CRI_IMAGE_SERVICE": ""}).image_service == "/file.sock"


def test_the_default_file_is_read_if_it_is_there(default_file: Path) -> None:
    assert parse([], {}).verbosity == 0
    default_file.write_text("verbosity = 4\n")
    assert parse([], {}).verbosity == 4


def test_the_default_file_is_not_read_beside_another(tmp_path: Path, default_file: Path) -> None:
    default_file.write_text("verbosity = 4\n")
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
        ("streamPort = 1", "line 2: unknown key: 'streamPort' (did you mean stream-port?)"),
        ("version = true", "line 2: unknown key: 'version'"),
        ("help = true", "line 2: unknown key: 'help'"),
        ("config = /x", "line 2: unknown key: 'config'"),
        ("logtostderr = true", "line 2: unknown key: 'logtostderr' (did you mean log-to-stderr?)"),
        ("--verbosity = 3", "line 2: unknown key: '--verbosity'"),
        ("verbosity", "line 2: 'verbosity' is not NAME = VALUE"),
        ("[criproxy]", "line 2: '[criproxy]' is not NAME = VALUE"),
        ("verbosity = x", "line 2: verbosity: 'x'"),
        ("listen =", "line 2: listen: '': the path is empty"),
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
    assert refused(["--config", str(binary)], capsys).endswith(f"{binary}: the file is not UTF-8 text (byte 0xff)\n")
    assert "config: " in refused(["--config="], capsys)
    assert "missing\\n.conf" in refused(["--config", "missing\n.conf"], capsys)


def test_a_default_file_that_cannot_be_read_is_refused(default_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default_file.mkdir()
    assert str(default_file) in refused([], capsys)


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
    assert from_file(env_file, text, CRI_PRIMARY="/c.sock").runtimes == (RuntimeAddress("", "/c.sock"), ALTERNATIVE)
    assert from_file(env_file, text, "-connect", "/c.sock").runtimes == (RuntimeAddress("", "/c.sock"),)


@pytest.mark.parametrize("opts", ["-v 2 -listen '/x y.sock'", "--verbosity=2 --listen=/x\\ y.sock"])
def test_the_words_in_criproxy_opts_stand_before_those_of_the_command_line(opts: str, env_file: Path) -> None:
    text = f'CRIPROXY_VERBOSITY=1\nCRIPROXY_OPTS="{opts}"\n'.replace("\\", "\\\\")
    assert from_file(env_file, text).verbosity == 2
    assert from_file(env_file, text).listen == "/x y.sock"
    assert from_file(env_file, text, "-v", "3").verbosity == 3
    assert parse(["-streamPort", "1"], {"CRIPROXY_OPTS": "-v 2 -streamPort 2"}).stream_port == 1
    assert parse([], {"CRIPROXY_OPTS": "-v 2"}).verbosity == 2


def test_a_flag_without_effect_in_criproxy_opts_gets_its_warning(env_file: Path) -> None:
    configured = from_file(env_file, "CRI_PRIMARY=/a.sock\nCRIPROXY_OPTS=-vmodule x")
    assert configured.warnings == ("the option -vmodule has no effect",)


def test_an_environment_file_that_does_not_exist_is_empty_with_a_warning_of_what_is_in_force(env_file: Path) -> None:
    warning = f"{env_file} does not exist: the primary runtime is"
    for words in ([], ["--environment-file", "/etc/hosts/no"]):
        configured = parse([*words, "--environment-file", str(env_file)], {})
        assert configured.warnings == (f"{warning} /var/run/dockershim.sock",)
        assert configured._replace(warnings=(), environment_file="", fixed={}) == parse([], {})._replace(fixed={})
    (said,) = parse(["--environment-file", str(env_file), "-connect", "/a.sock"], {}).warnings
    assert said == f"{warning} /a.sock"


@pytest.mark.parametrize("text", ["", "CRI_PRIMARY=\n", "CRIPROXY_VERBOSITY=2\n"])
def test_an_environment_file_that_leaves_the_primary_runtime_to_the_default_gets_a_warning(
    text: str, env_file: Path, tmp_path: Path
) -> None:
    (warning,) = from_file(env_file, text).warnings
    assert warning == f"{env_file} does not set CRI_PRIMARY: the primary runtime is /var/run/dockershim.sock"
    (tmp_path / "c.conf").write_text("connect = /a.sock\n")
    assert from_file(env_file, text, "--connect", "/a.sock").warnings == ()
    assert from_file(env_file, text, "--config", f"{tmp_path}/c.conf").warnings == ()
    assert from_file(env_file, text, CRI_PRIMARY="/a.sock").warnings == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CRI_OTHERS", "did you mean CRI_OTHER?"),
        ("PRIMARY", "did you mean CRI_PRIMARY?"),
        ("cri_primary", "did you mean CRI_PRIMARY?"),
        ("CRIPROXY_HANDLERS", "did you mean CRIPROXY_HANDLER?"),
        ("CRIPROXY_OPTIONS", "did you mean CRIPROXY_OPTS?"),
        ("GOGC", "no option has that name"),
    ],
)
@pytest.mark.parametrize("value", ["", "1"])
def test_a_name_that_is_misspelled_in_the_environment_file_gets_a_warning(
    name: str, hint: str, value: str, env_file: Path
) -> None:
    warning = f"{env_file}, line 2: unknown environment variable {name}: {hint}"
    assert from_file(env_file, f"CRI_PRIMARY=/a.sock\n{name}={value}\n").warnings == (warning,)


def test_lines_that_mean_nothing_are_skipped_with_a_warning(env_file: Path) -> None:
    text = "# GOGC=1\nGOGC=50\n\nexport CRI_PRIMARY=/x.sock\nnonsense\nCRIPROXY_X=1\n"
    configured = from_file(env_file, text, CRIPROXY_CONNECT="/var/run/dockershim.sock")
    assert configured.runtimes == parse([], {}).runtimes
    assert sorted(configured.warnings) == [
        f"{env_file}, line 2: unknown environment variable GOGC: no option has that name",
        f"{env_file}, line 4: the line is not NAME=value and is skipped",
        f"{env_file}, line 5: the line is not NAME=value and is skipped",
        f"{env_file}, line 6: unknown environment variable CRIPROXY_X: no option has that name",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\nCRIPROXY_VERBOSITY=x", "line 2: CRIPROXY_VERBOSITY: 'x'"),
        ("CRI_PRIMARY=/a\nCRI_OTHER=virtlet.cloud", "line 2: CRI_OTHER: 'virtlet.cloud' has no ':PATH'"),
        ("CRI_PRIMARY=/a\nCRI_OTHER=/b", "line 2: CRI_OTHER: '/b' has no 'ID:' before the path"),
        ("CRI_PRIMARY=/a\nCRI_OTHER=a:/b,a:/c", "line 1: CRI_PRIMARY and {0}, line 2: CRI_OTHER: two runtimes have"),
        ("CRIPROXY_CONNECT=a:/b", "line 1: CRIPROXY_CONNECT: 'a:/b' has no primary"),
        ("CRI_PRIMARY=/a\n\nCRIPROXY_HANDLER=x=y", "line 3: CRIPROXY_HANDLER: 'x' names runtime 'y', which is not"),
        ("# one\nCRIPROXY_OPTS=-v x", "line 2: CRIPROXY_OPTS: verbosity: 'x'"),
        ("CRIPROXY_OPTS=-nonsense", "line 1: CRIPROXY_OPTS: unknown option: '-nonsense'"),
        ("CRIPROXY_OPTS=word", "line 1: CRIPROXY_OPTS: unexpected argument: 'word'"),
        ("CRIPROXY_OPTS=-connect 'x", "line 1: CRIPROXY_OPTS: No closing quotation"),
        ("CRIPROXY_OPTS=--help", "line 1: CRIPROXY_OPTS: --help can only stand on the command line"),
        ("CRIPROXY_OPTS=-version", "line 1: CRIPROXY_OPTS: --version can only"),
        ("CRIPROXY_OPTS=--environment-file=/x", "line 1: CRIPROXY_OPTS: --environment-file can only"),
        ("\nCRI_IMAGE_SERVICE=unix://", "line 2: CRI_IMAGE_SERVICE: 'unix://': the path is empty"),
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
    assert "environment-file: the file name is empty" in refused(["--environment-file="], capsys)


@pytest.mark.parametrize("size", [files.LARGEST, files.LARGEST + 1])
def test_a_file_has_a_largest_size(size: int, tmp_path: Path, env_file: Path) -> None:
    begin = "#\nverbosity=1\n"
    env_file.write_text("CRI_PRIMARY=/a.sock\n#" + "x" * (size - 21))
    file = tmp_path / "conf"
    file.write_text(begin + "#" * (size - len(begin)))
    for words in (["--config", str(file)], ["--environment-file", str(env_file)]):
        if size <= files.LARGEST:
            assert parse(words, {}).warnings == ()
            continue
        with pytest.raises(ConfigError, match=f"{words[1]}: the file has more than 65536 bytes; shorten it"):
            parse(words, {})


@pytest.mark.parametrize(
    "text",
    [
        "listen = " + " " * 60_000 + "x",
        "listen = /x" + " " * 60_000 + "y",
        "listen = " + " #" * 30_000,
        'listen = "' + '" ' * 30_000 + "x",
        "x" + " " * 60_000 + "y",
        "y" * 60_000 + " = 1",
        ":" * 60_000,
    ],
)
def test_a_line_as_long_as_a_file_may_be_is_read_or_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text(text)
    with suppress(ConfigError):
        parse(["--config", str(file)], {})


@pytest.mark.parametrize(
    "text", ["C{0:x}=1\n", "CRI_{0:x}=1\n", "word {0}\n", 'CRIPROXY_OPTS="$CRIPROXY_OPTS -v={0}"\n', "A={0}\n"]
)
def test_a_file_full_of_what_means_nothing_has_few_warnings(text: str, env_file: Path) -> None:
    lines = "".join(text.format(number) for number in range(60_000 // len(text)))
    with suppress(ConfigError):
        assert len(from_file(env_file, f"CRI_PRIMARY=/a.sock\n{lines}").warnings) <= 21


def test_what_is_left_out_of_the_warnings_is_counted(env_file: Path) -> None:
    warnings = from_file(env_file, "CRI_PRIMARY=/a.sock\n" + "word\n" * 100).warnings
    assert warnings[-1] == f"{env_file}, line 22: the line is not NAME=value and is skipped; and 79 more like it"


def test_thousands_of_options_are_as_many_as_there_are_names(env_file: Path) -> None:
    words = " ".join(f"-v={number % 5} -stream-port={number + 1}" for number in range(2_000))
    configured = from_file(env_file, f'CRI_PRIMARY=/a.sock\nCRIPROXY_OPTS="{words}"\n')
    assert (configured.verbosity, configured.stream_port) == (4, 2_000)


@pytest.mark.parametrize("option", ["--config", "--environment-file"])
def test_a_pipe_is_read_to_its_end_and_not_waited_for(option: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"#verbosity=1\n")
    with pytest.raises(ConfigError, match=f"/dev/fd/{reading}: the pipe has no end after 1s; name a file"):
        parse([option, f"/dev/fd/{reading}"], {})
    os.close(writing)
    assert parse([option, f"/dev/fd/{reading}"], {}).verbosity == 0
    os.close(reading)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="the pipe has no end"):
        parse([option, str(fifo)], {})


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: the file has more than"):
        parse(["--config", "/dev/zero"], {})


@pytest.mark.parametrize(
    "text", ["CRIPROXY_CONFIG=\0", "CRIPROXY_OPTS=--config=a\0b", "CRIPROXY_STREAM_URL=http://a\0"]
)
def test_a_zero_byte_is_refused(text: str, env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env_file.write_text(f"CRI_PRIMARY=/a.sock\n{text}\n")
    assert "\\x00" in refused(["--environment-file", str(env_file)], capsys)


# The program.


def test_help_has_the_options_their_defaults_the_commands_and_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for word in ("--help", "-help", "-h"):
        with pytest.raises(SystemExit) as exit:
            cli.main([word])
        assert exit.value.code == 0
    text = capsys.readouterr().out
    for option in (*OPTIONS, "compatibility", "environment-file"):
        assert (f"--{option} " in text) == (option.replace("-", "_") not in AS_GO), option
    for default in ("/var/run/dockershim.sock", "/run/criproxy.sock", "11250", "5s", "64Mi", "0", "none"):
        assert f"(default: {default})" in " ".join(text.split())
    for word in ("-streamPort", "-streamUrl", "-v", "-apiserver", "--config", "CRI_PRIMARY", "CRIPROXY_NAME"):
        assert word in text
    for command in ("check", "config", "route", "show", "demo", "demo-runtime"):
        assert f"criproxy {command} " in text
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
        assert capsys.readouterr().out.split()[:2] == ["criproxy", __version__]


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
    [("show", "criproxy.show.command"), ("demo", "criproxy.demo.run"), ("demo-runtime", "criproxy.demo.server")],
)
def test_a_command_gets_the_words_after_its_name_and_gives_the_exit_status(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = module(name, "main", 7, monkeypatch)
    assert cli.main([command, "-v", "show", "--help"]) == 7
    assert calls == [(["-v", "show", "--help"],)]


def test_the_daemon_gets_its_configuration_and_a_way_to_read_it_again_and_gives_the_exit_status(
    default_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = module("criproxy.daemon", "run", 1, monkeypatch)
    monkeypatch.setenv("CRI_PRIMARY", "/p.sock")
    assert cli.main(["-v", "3"]) == 1
    ((configured, read),) = calls
    assert configured == parse(["-v", "3"], {"CRI_PRIMARY": "/p.sock"})
    default_file.write_text("stream-port = 7\n")
    assert read() == parse(["-v", "3"], {"CRI_PRIMARY": "/p.sock", "CRIPROXY_STREAM_PORT": "7"})


def test_without_arguments_main_takes_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = module("criproxy.show.command", "main", 0, monkeypatch)
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


# The check before a reload.


def check(
    *words: str, env: Mapping[str, str] = MappingProxyType({}), stderr: Any = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Runs ``criproxy check`` to its end: as systemd does, which sets $MAINPID, or a person who wants only this."""
    own = [] if "MAINPID" in env else ["--options-only"]
    return subprocess.run(
        [sys.executable, "-m", "criproxy", "check", *own, *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], **env},
        check=False,
    )


def test_check_takes_what_the_daemon_takes_and_says_its_warnings(env_file: Path) -> None:
    env_file.write_text("CRI_PRIMARY=/a.sock\nGOGC=50\nCRIPROXY_OPTS=-vmodule x\n")
    words = ["--environment-file", str(env_file), "-v", "3"]
    ended = check(*words)
    assert (ended.returncode, ended.stdout) == (0, "")
    warnings = parse(words, {}).warnings
    assert len(warnings) == 2
    assert ended.stderr.splitlines() == [f"criproxy: warning: {warning}" for warning in warnings]


def test_check_says_nothing_where_there_is_nothing_to_say() -> None:
    ended = check("-connect", "/a.sock", env={"CRIPROXY_VERBOSITY": "3"})
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (["-streamPort", "70000"], {}),
        (["-nonsense"], {}),
        (["show"], {}),
        (["--environment-file", "{0}"], {}),
        ([], {"CRIPROXY_VERBOSITY": "x"}),
        ([], {"CRIPROXY_CONFIG": "/nonexistent"}),
    ],
)
def test_check_refuses_what_the_daemon_refuses_in_its_words(
    words: List[str], environ: Mapping[str, str], env_file: Path
) -> None:
    env_file.write_text("CRI_PRIMARY=/a.sock\nCRI_OTHER=/b.sock\n")
    words = [word.format(env_file) for word in words]
    ended = check(*words, env=environ)
    with pytest.raises(ConfigError) as refusal:
        parse(words, environ)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"criproxy: {refusal.value}\n")


def test_check_leaves_warnings_to_the_daemon_that_systemd_is_about_to_signal(env_file: Path) -> None:
    env_file.write_text("CRI_PRIMARY=/a.sock\nGOGC=50\n")
    words = ["--environment-file", str(env_file)]
    ended = check(*words, env={"MAINPID": "1"})
    assert (ended.returncode, ended.stderr) == (0, "")
    refused = check(*words, "-v", "x", env={"MAINPID": "1"})
    assert (refused.returncode, refused.stderr) == (
        2,
        "criproxy: verbosity: 'x' is not a number from 0 to 2147483647\n",
    )


def test_check_tells_the_journal_how_serious_a_line_is(env_file: Path, tmp_path: Path) -> None:
    env_file.write_text("GOGC=50\n")
    for words, priority in (["--environment-file", str(env_file)], "<4>"), (["-v", "x"], "<3>"):
        with open(tmp_path / "journal", "w+") as journal:
            found = os.fstat(journal.fileno())
            check(*words, env={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, stderr=journal)
            journal.seek(0)
            assert journal.read().startswith(f"{priority}criproxy: ")


def test_check_needs_neither_grpc_nor_the_relay() -> None:
    script = (
        "import sys; from criproxy.cli import main; main(['check', '--options-only']);"
        " print(sorted({'grpc', 'google.protobuf', 'criproxy.daemon'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"


def test_a_daemon_does_not_pay_for_the_commands_libraries() -> None:
    script = "import sys, criproxy.cli, criproxy.report.log; print(sorted({'grpc', 'yaml'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"


# Where metrics are served.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/m.sock", "unix:/run/m.sock"),
        ("unix:///run/m.sock", "unix:/run/m.sock"),
        ("127.0.0.1:11251", "127.0.0.1:11251"),
        ("[::1]:11251", "[::1]:11251"),
        ("", ""),
    ],
)
def test_metrics_are_served_at_a_path_or_a_literal_address(text: str, address: str) -> None:
    assert parse([f"--metrics-listen={text}"], {}).metrics_listen == address


@pytest.mark.parametrize("text", ["/run/m.sock", "localhost:11251", ":11251", "unix:"])
def test_another_address_for_metrics_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([f"--metrics-listen={text}"], capsys).startswith(f"criproxy: metrics-listen: {text!r}")


def test_metrics_without_their_library_are_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    text = refused(["--metrics-listen=127.0.0.1:11251"], capsys)
    assert "apt install python3-prometheus-client" in text
    assert "pip install criproxy[metrics]" in text
    assert parse([], {}).metrics_listen == ""


# Traces.


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://[::1]:4318/", "http://[::1]:4318"),
        ("http://192.0.2.1:4318", "http://192.0.2.1:4318"),
        ("", ""),
    ],
)
def test_traces_go_to_a_literal_address(text: str, url: str) -> None:
    if url:
        pytest.importorskip("opentelemetry.sdk.trace")
    assert parse([f"--otlp-endpoint={text}"], {}).otlp_endpoint == url


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:4318", "https://127.0.0.1:4318", "http://localhost:4318", "http://127.0.0.1", "http://127.0.0.1:1/x"],
)
def test_another_address_for_traces_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([f"--otlp-endpoint={text}"], capsys).startswith(
        f"criproxy: otlp-endpoint: {text!r} is not a literal"
    )


@pytest.mark.parametrize("module", ["opentelemetry", "opentelemetry.exporter.otlp.proto.http"])
def test_traces_without_their_libraries_are_refused_with_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    text = refused(["--otlp-endpoint=http://127.0.0.1:4318"], capsys)
    assert "opentelemetry-exporter-otlp-proto-http" in text
    assert "pip install criproxy[traces]" in text


# What commands change in the environment file.


@pytest.mark.parametrize(
    ("others", "words", "environ", "wanted"),
    [
        ("x.y:/run/x.sock", (), {}, {}),
        ("", ("--connect=/run/a.sock",), {}, {"CRI_OTHER": "--connect is given on the command line"}),
        ("", (), {"CRIPROXY_CONNECT": "/run/a.sock"}, {"CRI_OTHER": "CRIPROXY_CONNECT is set, and has all runtimes"}),
        ("", (), {"CRI_OTHER": "x.y:/run/x.sock"}, {"CRI_OTHER": "CRI_OTHER is set in the environment"}),
        ("", (), {"CRI_PRIMARY": "/run/a.sock"}, {}),
        (
            "x.y:/run/x.sock",
            ("--handler=vm=x.y",),
            {},
            {"CRIPROXY_HANDLER": "--handler is given on the command line"},
        ),
        ("", (), {"CRIPROXY_OPTS": "--drained=x.y"}, {"CRIPROXY_DRAINED": "CRIPROXY_OPTS has --drained"}),
        ("", (), {"CRIPROXY_DRAINED": "x.y"}, {"CRIPROXY_DRAINED": "CRIPROXY_DRAINED is set in the environment"}),
        ("x.y:/x", ("--route=a=x.y",), {}, {"CRIPROXY_ROUTE": "--route is given on the command line"}),
    ],
)
def test_it_is_known_which_lines_of_the_environment_file_would_change_nothing(
    tmp_path: Path, others: str, words: Sequence[str], environ: Dict[str, str], wanted: Dict[str, str]
) -> None:
    file = tmp_path / "default"
    file.write_text(f"CRI_PRIMARY=/run/a.sock\nCRI_OTHER={others}\n")
    assert dict(parse([f"--environment-file={file}", *words], environ).fixed) == wanted


def test_what_the_configuration_file_has_is_changed_there(tmp_path: Path) -> None:
    file, conf = tmp_path / "default", tmp_path / "criproxy.conf"
    file.write_text("CRIPROXY_DRAINED=\n")
    conf.write_text("connect = /run/a.sock,x.y:/run/x.sock\ndrained = x.y\n")
    configured = parse([f"--environment-file={file}", f"--config={conf}"], {})
    assert configured.drained == ("x.y",)
    assert dict(configured.fixed) == {
        "CRI_OTHER": f"connect is set in {conf}, line 1",
        "CRIPROXY_DRAINED": f"drained is set in {conf}, line 2",
    }


def test_without_an_environment_file_no_line_of_it_counts() -> None:
    edited = {"CRI_OTHER", "CRIPROXY_HANDLER", "CRIPROXY_DRAINED", "CRIPROXY_ROUTE"}
    assert set(parse([], {}).fixed) == edited


def test_a_drained_runtime_that_is_not_configured_is_worth_a_warning() -> None:
    configured = parse(["--connect=/run/a.sock,x.y:/run/x.sock", "--drained=x.y,z.y"], {})
    assert configured.drained == ("x.y", "z.y")
    assert "drained: there is no runtime 'z.y' (configured: x.y)" in configured.warnings


def test_what_cannot_be_an_id_cannot_be_drained() -> None:
    with pytest.raises(ConfigError, match="cannot be the id of a runtime"):
        parse(["--drained=x.y:/run/x.sock"], {})
