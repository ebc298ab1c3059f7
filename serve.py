"""
Serve a model to programs and people: OpenAI's protocol under /v1, a page to chat on at /.

    $ python serve.py --out_dir=out-chat --port=8000
    $ curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "hi"}]}'

Many are served at once (--slots), more wait in a queue that is fair between clients. protocol.py has what a request may
hold, service.py the queue and the thread that generates, guard.py who may ask.
"""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn

import configurator
from inference.loading import open_engine
from inference.settings import EngineConfig
from runtime.errors import InputError
from runtime.humanize import millions
from serving.app import create_app
from serving.middleware import Limits
from serving.scheduler import Scheduler


@dataclass(frozen=True)
class ServeConfig(EngineConfig):
    """Serve a model over HTTP: OpenAI's protocol, and a page to chat on."""

    host: str = "127.0.0.1"  # 0.0.0.0 is reachable from other machines, and needs an api_key
    port: int = 8000
    slots: int = 8  # replies at once; more wait
    queue: int = 64  # requests that may wait; further ones get 429
    api_key: str | None = None  # what clients must send; the variable NANOCHATGPT_API_KEY keeps it out of `ps`
    max_rps: float | None = None  # requests a second for each key or address
    max_seconds: float = 300.0  # for a reply, its wait included
    max_body: int = 2**20  # bytes of a request
    grace: float = 30.0  # seconds that replies have to end after SIGTERM or Ctrl-C
    cors: tuple[str, ...] = ()  # origins of other pages that may ask; once for each: --cors=https://example.org
    feedback: str | None = None  # where the page's good and bad go; default: feedback.jsonl in your data folder
    log_text: bool = False  # show what is said, not only how long it was

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port ({self.port}) must be from 0 to 65535")
        for name in ("slots", "max_seconds", "max_body"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0")
        for name in ("queue", "grace"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 0")
        if self.max_rps is not None and self.max_rps <= 0:
            raise ValueError(f"max_rps ({self.max_rps}) must be above 0, or none")


def serve(config):
    key = config.api_key or os.environ.get("NANOCHATGPT_API_KEY") or None
    loopback = config.host in ("127.0.0.1", "::1", "localhost")
    if not loopback and not key:
        raise InputError(f"--host={config.host} is reachable by others: give an --api_key, or stay on 127.0.0.1")
    listening = opened_socket(config.host, config.port)
    port = listening.getsockname()[1]
    service = Scheduler(lambda: open_engine(config, config.slots)[0], config.queue)
    name = Path(config.init_from or config.out_dir).name
    sys.setswitchinterval(0.0005)  # the engine's thread lets the one that answers go on ten times as soon
    app = create_app(config, service, name, Limits(key, config.max_rps, config.max_body, loopback, config.cors))
    how = dict(log_level="warning", access_log=False, timeout_graceful_shutdown=max(1, round(config.grace)))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", timeout_keep_alive=30, **how))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises it again when all is done: that is a good end
    at = f"[{config.host}]" if ":" in config.host else config.host
    params = millions(service.engine.model.num_params())
    print(f"serving {name} ({params} parameters) on http://{at}:{port}; stop: Ctrl-C", flush=True)
    server.run(sockets=[listening])
    service.stop()
    service.thread.join(timeout=5)
    print("stopped", flush=True)


def opened_socket(host, port):
    """A socket that listens there. Raises InputError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family)
        if sys.platform != "win32":  # there it would let a second server in
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise InputError(f"--host={host} is no address of this machine ({error.strerror})") from None
        raise InputError(f"port {port} on {host}: {error.strerror}; another one: --port={port + 1}") from None
    return listening


if __name__ == "__main__":
    configurator.main(serve, ServeConfig)
