"""An image service that is no runtime's, as of a snapshotter that loads lazily, or of one that knows passwords."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List, Optional

import grpc
from cri_api.v1 import api_pb2 as api
from cri_api.v1 import api_pb2_grpc


class ImageService(api_pb2_grpc.ImageServiceServicer):  # type: ignore[misc]
    """Serves the CRI's ImageService, and nothing of its RuntimeService, on a socket of a node's."""

    def __init__(self) -> None:
        self.pulled: List[str] = []
        """The names of the images that it has been asked for, which are those that it has."""
        self._server: Optional[grpc.Server] = None

    def serve(self, socket: Path) -> None:
        """Serves until `stop`."""
        socket.parent.mkdir(parents=True, exist_ok=True)
        self._server = grpc.server(ThreadPoolExecutor(4))
        api_pb2_grpc.add_ImageServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def stop(self) -> None:
        """Serves no longer; nothing happens if it has not."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def PullImage(self, request: Any, context: object) -> Any:
        self.pulled.append(request.image.image)
        return api.PullImageResponse(image_ref=_id(request.image.image))

    def ListImages(self, request: object, context: object) -> Any:
        images = [api.Image(id=_id(name), repo_tags=[name], size=1) for name in self.pulled]
        return api.ListImagesResponse(images=images)

    def ImageStatus(self, request: Any, context: object) -> Any:
        name = request.image.image
        return api.ImageStatusResponse(image=api.Image(id=_id(name), size=1) if name in self.pulled else None)

    def ImageFsInfo(self, request: object, context: object) -> Any:
        return api.ImageFsInfoResponse()


def _id(name: str) -> str:
    return f"sha256:{name.encode().hex():0<64.64}"
