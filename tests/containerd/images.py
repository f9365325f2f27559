"""Container images made by hand, since there is nowhere to pull them from, and a registry to pull them from."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Dict, Iterator, Mapping, Sequence

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DATE = "2020-01-01T00:00:00Z"


class Image:
    """An OCI image of one layer: a busybox, links to it, and ``more`` files and directories by their places there.

    ``blobs``: its parts by digest (``sha256:…``), ``manifest``, ``config`` and ``layer`` being the digests of them; a
    runtime knows an image by that of its config. Images of the same command are the same.
    """

    def __init__(
        self, busybox: Path, applets: Sequence[str], command: Sequence[str], more: Mapping[str, Path] = {}
    ) -> None:
        self.blobs: Dict[str, bytes] = {}
        layer = _layer(busybox, applets, more)
        config = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _DATE,
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": _DATE}],
        }
        descriptors = [self._add(_CONFIG, _json(config)), self._add(_LAYER, layer)]
        self.config, self.layer = (str(each["digest"]) for each in descriptors)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": descriptors[0],
            "layers": descriptors[1:],
        }
        self._manifest = self._add(_MANIFEST, _json(manifest))
        self.manifest = str(self._manifest["digest"])

    def _add(self, kind: str, blob: bytes) -> Dict[str, object]:
        digest = _digest(blob)
        self.blobs[digest] = blob
        return {"mediaType": kind, "digest": digest, "size": len(blob)}

    def save(self, archive: Path, names: Sequence[str]) -> None:
        """Writes an archive in which the image has these names, an OCI one that is one of Docker's, too."""
        config, layer = (f"blobs/{digest.replace(':', '/')}" for digest in (self.config, self.layer))
        manifests = [{**self._manifest, "annotations": {"io.containerd.image.name": name}} for name in names]
        with tarfile.open(archive, "w") as tar:
            _add_file(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add_file(tar, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
            _add_file(tar, "manifest.json", _json([{"Config": config, "RepoTags": list(names), "Layers": [layer]}]))
            for digest, blob in self.blobs.items():
                _add_file(tar, "blobs/" + digest.replace(":", "/"), blob)


class Registry(ThreadingTCPServer):
    """An image registry without TLS on a port of the loopback. ``images``: by ``name:tag``."""

    daemon_threads = True

    def __init__(self, images: Mapping[str, Image]) -> None:
        super().__init__(("127.0.0.1", 0), _RegistryHandler)
        self.images = images

    @contextmanager
    def serving(self) -> Iterator[Registry]:
        """Serves meanwhile."""
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        yield self
        self.shutdown()
        thread.join()
        self.server_close()

    @property
    def host(self) -> str:
        """What its images' names begin with: ``HOST:PORT``."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"


class _RegistryHandler(BaseHTTPRequestHandler):
    """The reading half of the OCI distribution specification."""

    server: Registry

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the runtimes' logs tell what they asked for."""

    def _answer(self, with_body: bool) -> None:
        name, _, rest = self.path[len("/v2/") :].partition("/")
        kind, _, reference = rest.partition("/")
        tagged = self.server.images.get(f"{name}:{reference}")
        digest = tagged.manifest if tagged and kind == "manifests" else reference
        blobs = {key: blob for image in self.server.images.values() for key, blob in image.blobs.items()}
        if digest not in blobs:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", _MANIFEST if kind == "manifests" else "application/octet-stream")
        self.send_header("Content-Length", str(len(blobs[digest])))
        self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if with_body:
            self.wfile.write(blobs[digest])


def _layer(busybox: Path, applets: Sequence[str], more: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        _add_file(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        _add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for name in applets:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for place, path in more.items():
            tar.add(path, place)
    return buffer.getvalue()


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(data), mode
    tar.addfile(file, io.BytesIO(data))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()
