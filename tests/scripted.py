"""A server for the page's tests: it serves web/ under the strict policy, and its replies are what a test sets."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serving.middleware import POLICY

WEB = Path(__file__).parents[1] / "web"
TYPES = {".svg": "image/svg+xml", ".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Scripted:
    """The server, in a thread. A test sets the first group of attributes and reads the second."""

    def __init__(self) -> None:
        self.say: str | Callable[[dict[str, Any]], str] = "Fine, thanks."  # the reply, or a function of the request
        self.delay = 0.0  # seconds before each piece of a reply
        self.finish_reason = "stop"
        self.usage: dict[str, Any] = {}  # more of it
        self.models: list[dict[str, Any]] = [
            {"id": "scripted", "object": "model", "context": 256, "talk": {"dry_multiplier": 2, "penalty_window": 400}}
        ]
        self.pause: threading.Event | None = None  # a reply waits for it after its first piece
        self.refuse: list[tuple[int, dict[str, str], str]] = []  # (status, headers, message) of the next answers
        self.breaks: int | None = None  # the connection is cut after so many pieces
        self.api_key: str | None = None
        self.personas: list[dict[str, str]] = []
        self.notes: list[str] = []  # what the memory of every chat holds
        self.requests: list[dict[str, Any]] = []  # the bodies of requests for a reply
        self.feedback: list[dict[str, Any]] = []  # the bodies of verdicts
        self.looks: list[dict[str, Any]] = []  # the bodies of requests for notes
        self.n_disconnects = 0  # clients that left during a reply
        self.port = 0  # any free one; after stop() and start() the same again
        self.server = self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> ThreadingHTTPServer:
        handler = type("Handler", (Handler,), {"script": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self.server

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    script: Scripted

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content_type: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        lengths = {"Content-Type": content_type, "Content-Length": str(len(data))}
        for name, value in {**lengths, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        content = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        self.answer(status, "application/json", json.dumps(content).encode(), headers)

    def lacks_key(self) -> bool:
        """Whether the request was answered with a 401."""
        key = self.script.api_key
        if key and self.headers["Authorization"] != f"Bearer {key}":
            self.error(401, "a key is needed")
            return True
        return False

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/health":
            return self.answer(200, "application/json", b'{"status": "ok"}')
        if path == "/v1/models":
            models = {"object": "list", "data": self.script.models}
            return None if self.lacks_key() else self.answer(200, "application/json", json.dumps(models).encode())
        if path == "/personas":
            listed = json.dumps({"data": self.script.personas}).encode()
            return None if self.lacks_key() else self.answer(200, "application/json", listed)
        file = WEB / (path.strip("/") or "index.html")
        if not file.is_file():
            return self.error(404, f"there is no {path}")
        self.answer(200, TYPES[file.suffix], file.read_bytes(), {"Content-Security-Policy": POLICY})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.lacks_key():
            return
        if self.path == "/feedback":
            self.script.feedback.append(body)
            return self.answer(200, "application/json", b"{}")
        if self.path == "/memory":
            return self.answer(200, "application/json", json.dumps(self.memory(body)).encode())
        self.script.requests.append(body)
        if self.script.refuse:
            status, headers, message = self.script.refuse.pop(0)
            return self.error(status, message, headers)
        say = self.script.say
        try:
            self.stream(say(body) if callable(say) else say)
        except (BrokenPipeError, ConnectionResetError):
            self.script.n_disconnects += 1

    def memory(self, body: dict[str, Any]) -> dict[str, Any]:
        """The notes after a change, for the page to bring along."""
        self.script.looks.append(body)
        lines = [note for note in self.script.notes if note != body.get("forget")]
        self.script.notes = lines + [body["add"] for _ in body.keys() & {"add"}]
        return {"notes": self.script.notes, "memory": {"notes": self.script.notes, "forgotten": []}}

    def stream(self, text: str) -> None:
        """The reply as server-sent events, in pieces of four letters."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
        for i, piece in enumerate(pieces):
            if self.script.breaks == i:
                return
            time.sleep(self.script.delay)
            if i == 1 and self.script.pause:
                self.script.pause.wait(20)
            self.event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": self.script.finish_reason}]})
        usage = {"prompt_tokens": 12, "completion_tokens": len(pieces), "total_tokens": 12 + len(pieces)}
        usage |= self.script.usage
        self.event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, content: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())
