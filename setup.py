"""The Python package. debian/ makes the Debian packages of it."""

import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path: str) -> str:
    with open(os.path.join(HERE, *path), encoding="utf-8") as file:
        return file.read()


VERSION = re.search(r'^__version__ = "(.+)"$', read("criproxy", "__init__.py"), re.M)
assert VERSION, "criproxy/__init__.py names no version"

setup(
    name="criproxy",
    version=VERSION[1],
    description="One CRI socket for several container runtimes",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["criproxy", "criproxy.*"]),
    package_data={"criproxy": ["py.typed"], "criproxy.cri": ["api.proto"]},
    # What `criproxy node apply` makes this node's unit of; debian/ ships them, too.
    data_files=[("lib/systemd/system", ["lib/systemd/system/criproxy.service", "lib/systemd/system/criproxy.socket"])],
    entry_points={"console_scripts": ["criproxy = criproxy.cli:main"]},
    python_requires=">=3.9",
    install_requires=["configargparse", "grpcio>=1.30", "hpack>=3.0", "protobuf>=3.12"],
    extras_require={
        # Built from source: it needs a compiler and libsystemd's headers. Without it the same is said to systemd.
        "systemd": ["systemd-python"],
        "test": [
            "container-runtime-interface-api==2.0.1; python_version >= '3.10'",
            "container-runtime-interface-api==1.0.0; python_version < '3.10'",
            "h2",
            "hypothesis",
            "mypy",
            "pytest",
            "pytest-timeout",
            "PyYAML",
            "ruff",
            "types-protobuf",
            "types-PyYAML",
            "grpc-stubs",
        ],
    },
)
