"""A proxy on the loopback between a client and an S3 server, that answers with the faults it is told to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOST = "lost"  # the server does what it is asked to, and the answer does not arrive
DAMAGED = "damaged"  # a byte of what is sent, by whose md5, if it comes with one, the server refuses it
FAULTS = ("500", "503", "reset", "cut", "short", "long", "garbled", "slow", "hung")
CODES = {
    "400": "BadDigest",
    "403": "AccessDenied",
    "412": "PreconditionFailed",
    "500": "InternalError",
    "503": "SlowDown",
}
SLOW, HUNG = 0.05, 3.0  # seconds


@dataclass
class Proxy:
    """`fault(method, path)` names one of FAULTS or of CODES, LOST or DAMAGED for a request, or '' for none."""

    upstream: tuple[str, int]
    fault: Callable[[str, str], str] = lambda method, path: ""
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def gets(self) -> list[str]:
        """The names of the objects that were asked for, each as often as it was."""
        return [path.rsplit("/", 1)[1] for method, path in self.seen if method == "GET" and "list-type" not in path]


def fault_at_random(seed: int, faults: tuple[str, ...], share: float) -> Callable[[str, str], str]:
    """One of `faults` for a share of the requests."""
    draw = random.Random(seed)
    return lambda method, path: draw.choice(faults) if draw.random() < share else ""


@contextlib.contextmanager
def faulty_proxy(upstream: tuple[str, int]) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy, "ending": _Ending()}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients that hang up are the point
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.RequestHandlerClass.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Ending(threading.Event):
    """Set when the proxy ends, so that nothing sleeps on."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    ending: _Ending

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.proxy.seen.append((self.command, self.path))
        fault = self.proxy.fault(self.command, self.path)
        if fault == DAMAGED:
            body = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            fault = "" if self.headers.get("Content-MD5") in (None, md5) else "400"
        if fault in ("slow", "hung"):
            self.ending.wait(SLOW if fault == "slow" else HUNG)
        if fault in ("reset", "hung"):
            self.close_connection = True
            return
        if code := CODES.get(fault):
            answer = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
            self._answer(int(fault), {"Content-Type": "application/xml"}, answer, len(answer))
            return
        connection = http.client.HTTPConnection(*self.proxy.upstream)
        connection.request(self.command, self.path, body, dict(self.headers))
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if fault == LOST:
            self.close_connection = True
            return
        length = int(reply.headers.get("Content-Length") or len(content)) if self.command == "HEAD" else len(content)
        if fault and content and reply.status < 300:
            sent = {
                "cut": content[: len(content) // 2],
                "short": content[:-1],
                "long": content + b"x",
                "garbled": bytes([content[0] ^ 1]) + content[1:],
            }.get(fault, content)
            self._answer(reply.status, dict(reply.headers), sent, len(content) if fault == "cut" else len(sent))
            self.close_connection = fault == "cut"
            return
        self._answer(reply.status, dict(reply.headers), content, length)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward

    def log_message(self, *_: object) -> None:
        """Quiet."""
