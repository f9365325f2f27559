"""configargparse, set up with the options, for --help and --version.

What is given it would read, too; `criproxy.config.sources` does the same without, and the tests compare the two: to
import and set it up takes longer than all else that is done with options.
"""

from __future__ import annotations

import argparse
import textwrap
from importlib.util import find_spec
from typing import Sequence

import configargparse  # type: ignore[import-untyped]

from criproxy import __version__
from criproxy.config.names import variable
from criproxy.config.options import DEFAULT_FILE, OPTIONS, WITHOUT_EFFECT

_EPILOG = f"""\
Each option NAME can also be given by the environment variable CRIPROXY_NAME, in capitals and with _ for -, and as a
line NAME = VALUE in the configuration file. The command line overrides the environment, and that overrides the file.
An empty variable counts as not set. CRIPROXY_OPTS holds words that stand before those of the command line. One dash
is as good as two. TIME: seconds, or with ms, s or m. BYTES: a number, or with k, M, G, Ki, Mi or Gi.

At SIGHUP the daemon reads all of it again, the files included.

Accepted without effect, for the Go program's command lines:
{textwrap.fill(", ".join("-" + name for name in WITHOUT_EFFECT), 118, break_on_hyphens=False)}

commands:
  criproxy status        show how kubelet, the daemon and each runtime are, and what to do about what is not well
  criproxy check         check whether this node is right; with --options-only what a reload checks first
  criproxy config        show what each option is set to, and by what: criproxy config [OPTION ...]
  criproxy route         show to which runtime a pod, an image or an id goes, and why: criproxy route --image NAME;
                         add, remove and list rules by which new pods go to another one: criproxy route add RULE=ID
  criproxy show          list what is behind a CRI socket: pods, containers, images and, on criproxy's, the runtimes
  criproxy trace         show kubelet's calls as they end
  criproxy runtime       add, remove and list alternative runtimes, without a restart
  criproxy drain         let an alternative runtime have no new pods
  criproxy undrain       let it have new pods again
  criproxy log-level     change how much the daemon logs, for a while
  criproxy node          put criproxy between this node's kubelet and its runtimes, or move the node to another runtime
  criproxy demo          run the proxy before two runtimes in memory, to see it work
  criproxy demo-runtime  run one such runtime on a socket

exit status:
  0  criproxy was stopped by a signal
  1  criproxy could not go on; the last lines of the log say why
  2  the options are refused; one line says which
"""


def show(words: Sequence[str]) -> None:
    """Prints what the --help or --version among these words asks for, and raises SystemExit."""
    make_parser().parse_args(words, config_file_contents="", env_vars={})


def make_parser() -> configargparse.ArgumentParser:
    """A parser of all options; an option that is not given is None."""
    parser = configargparse.ArgumentParser(
        prog="criproxy",
        usage="criproxy [OPTION ...]\n       criproxy COMMAND [ARGUMENT ...]",
        description="Stands between kubelet and several container runtimes on one CRI socket.",
        epilog=_EPILOG,
        formatter_class=configargparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
    )
    for option in OPTIONS:
        parser.add_argument(
            *([f"-{option.go_name}"] if option.go_name else []),
            f"--{option.name}",
            dest=option.name,
            metavar=option.metavar,
            env_var=variable(option.name),
            help=f"{option.help} (default: {option.default or 'none'})" if option.help else argparse.SUPPRESS,
        )
    parser.add_argument(
        "--config",
        metavar="FILE",
        env_var=variable("config"),
        help=f"the configuration file (default: {DEFAULT_FILE}, if it exists)",
    )
    parser.add_argument(
        "--environment-file",
        metavar="FILE",
        help="a file of variables in the format of systemd's EnvironmentFile=; the environment overrides it. A file"
        " that does not exist counts as empty, with a warning (default: none)",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    return parser


class _Version(argparse.Action):
    """Prints the version, and whether what moves calls is compiled (setup.py), which only who asks has to wait for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        found = find_spec("criproxy.relay.loop")
        is_source = found is None or str(found.origin).endswith(".py")
        print(f"criproxy {__version__}" if is_source else f"criproxy {__version__} (compiled)")
        parser.exit()
