"""A server for the page's tests: serves web/ under the strict policy and says what a test wants said."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serving.middleware import POLICY

WEB = Path(__file__).parents[1] / "web"
TYPES = {".svg": "image/svg+xml", ".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Scripted:
    """
    say: the reply, or a function of the request's body; delay: seconds before each piece; refuse: (status, headers,
    message) for each of the next requests; breaks: the pieces after which the connection is cut. asked: the bodies.
    """

    def __init__(self):
        self.say, self.delay, self.refuse, self.breaks, self.api_key = "Fine, thanks.", 0.0, [], None, None
        self.asked, self.judged, self.left = [], [], 0
        self.server, self.port = None, 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        handler = type("Handler", (Handler,), {"script": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    script = None

    def log_message(self, *_):
        pass

    def answer(self, status, kind, data, headers=()):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def error(self, status, message, headers=()):
        content = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        self.answer(status, "application/json", json.dumps(content).encode(), headers)

    def refused(self):
        key = self.script.api_key
        if key and self.headers["Authorization"] != f"Bearer {key}":
            self.error(401, "a key is needed")
            return True
        return False

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/health":
            return self.answer(200, "application/json", b'{"status": "ok"}')
        if path == "/v1/models":
            models = {"object": "list", "data": [{"id": "scripted", "object": "model", "context": 256}]}
            return self.refused() or self.answer(200, "application/json", json.dumps(models).encode())
        file = WEB / (path.strip("/") or "index.html")
        if not file.is_file():
            return self.error(404, f"there is no {path}")
        self.answer(200, TYPES[file.suffix], file.read_bytes(), {"Content-Security-Policy": POLICY})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        if self.path == "/feedback":
            self.script.judged.append(body)
            return self.answer(200, "application/json", b"{}")
        self.script.asked.append(body)
        if self.script.refuse:
            status, headers, message = self.script.refuse.pop(0)
            return self.error(status, message, headers)
        say = self.script.say
        try:
            self.stream(say(body) if callable(say) else say)
        except (BrokenPipeError, ConnectionResetError):
            self.script.left += 1

    def stream(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
        for i, piece in enumerate(pieces):
            if self.script.breaks == i:
                return
            time.sleep(self.script.delay)
            self.event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 12, "completion_tokens": len(pieces), "total_tokens": 12 + len(pieces)}
        self.event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, content):
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())
