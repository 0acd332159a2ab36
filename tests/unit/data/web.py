"""A web server on this machine that misbehaves on purpose, for tests of downloading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Resource:
    """One address: its content, and what goes wrong with the first requests (one fault a request)."""

    body: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    faults: list[Callable[[BaseHTTPRequestHandler, Resource], bool]] = field(default_factory=list)
    """Each answers one request; False lets it be answered as usual."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of the requests that came."""
    length: int | None = None
    """Content-Length to claim instead of the true one; -1 claims none."""


class Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        resource = self.server.resources.get(self.path)
        if resource is None:
            self.send_error(404)
            return
        resource.requests.append(dict(self.headers))
        if resource.faults and resource.faults.pop(0)(self, resource):
            return
        self.answer(resource)

    def answer(self, resource: Resource, cut: int | None = None, pause: float = 0.0) -> None:
        body, start = resource.body, self.range_start(resource)
        if start >= len(body) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        length = len(body) - start if resource.length is None else resource.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        for name, value in (("ETag", resource.etag), ("Last-Modified", resource.modified)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        part = body[start:] if cut is None else body[start:cut]
        if pause:
            for byte in part:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(pause)
        else:
            self.wfile.write(part)

    def range_start(self, resource: Resource) -> int:
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not wanted or not resource.ranges or (condition and condition not in (resource.etag, resource.modified)):
            return 0
        return int(wanted.removeprefix("bytes=").partition("-")[0])


def cut(at: int) -> Callable[[Any, Resource], bool]:
    """The connection ends at this byte of the file."""

    def fault(handler: Any, resource: Resource) -> bool:
        handler.answer(resource, cut=at)
        handler.close_connection = True
        return True

    return fault


def status(code: int, **headers: str) -> Callable[[Any, Resource], bool]:
    """An HTTP error."""

    def fault(handler: Any, resource: Resource) -> bool:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault


def redirect(to: str) -> Callable[[Any, Resource], bool]:
    """Another address."""
    return status(302, Location=to)


def silent(seconds: float) -> Callable[[Any, Resource], bool]:
    """No answer for a while."""

    def fault(handler: Any, resource: Resource) -> bool:
        time.sleep(seconds)
        return False

    return fault


def trickle(pause: float) -> Callable[[Any, Resource], bool]:
    """A byte now and then."""

    def fault(handler: Any, resource: Resource) -> bool:
        try:
            handler.answer(resource, pause=pause)
        except OSError:
            handler.close_connection = True
        return True

    return fault


def changed(body: bytes, etag: str) -> Callable[[Any, Resource], bool]:
    """From now on the file is another one."""

    def fault(handler: Any, resource: Resource) -> bool:
        resource.body, resource.etag = body, etag
        return False

    return fault


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources: dict[str, Resource] = {}

    def add(self, path: str, body: bytes, *faults: Callable[[Any, Resource], bool], **options: Any) -> Resource:
        self.resources[path] = Resource(body, faults=list(faults), **options)
        return self.resources[path]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
