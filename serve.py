"""
Serve a model to programs and people: OpenAI's protocol under /v1, a page to chat on at /.

    $ python serve.py --out_dir=out-chat --port=8000
    $ curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "hi"}]}'

Several replies are made at once (--slots); further requests wait in a queue that is fair between clients. In serving/,
protocol.py has what a request may hold, scheduler.py the queue and the thread that generates, checks.py who may
ask.
"""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import configurator
from inference.settings import EngineConfig
from runtime.errors import InputError
from runtime.humanize import millions
from serving.log import log_to_stdout

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from serving.scheduler import Scheduler


@dataclass(frozen=True)
class ServeConfig(EngineConfig):
    """Serve a model over HTTP: OpenAI's protocol, and a page to chat on."""

    host: str = "127.0.0.1"  # 0.0.0.0 is reachable from other machines, and needs an api_key
    port: int = 8000
    slots: int = 8  # replies that are made at once; further requests wait
    queue: int = 64  # requests that may wait; further ones get 429
    api_key: str | None = None  # what clients must send; the variable NANOCHATGPT_API_KEY keeps it out of `ps`
    max_rps: float | None = None  # requests a second from each address, the page's files aside; none: any number
    max_refusals: float = 20.0  # answers of 4xx a second to each address while replies are made; more of them wait
    max_seconds: float = 300.0  # for a reply, its wait for a slot included
    max_body: int = 2**20  # bytes of a request
    max_arrival: float = 20.0  # seconds that a request may take to arrive
    max_connections: int = 512  # open at once from each address; the oldest that is idle gives way
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed; once for each
    alias: tuple[str, ...] = ()  # further names of the model; once for each: --alias=gpt-4o-mini
    truncation: Literal["auto", "disabled"] = "auto"  # of chats longer than the context: drop old turns, or refuse
    memory: bool = False  # note what people tell, for when it leaves the context; a request may say otherwise
    strict: bool = False  # refuse every parameter that is not known, empty messages and long chats, as OpenAI does
    grace: float = 30.0  # seconds that replies have to end after SIGTERM or Ctrl-C
    allowed_hosts: tuple[str, ...] = ()  # further names of this server, a proxy's say; once for each: chat.example.org
    cors: tuple[str, ...] = ()  # origins of other pages that may ask; once for each: --cors=https://example.org
    feedback: str | None = None  # file for verdicts given on the page; default: feedback.jsonl in your data folder
    log_text: bool = False  # show what is said, not only how long it was
    log_level: Literal["debug", "info", "warning", "error"] = "info"  # info: a line for each request

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port ({self.port}) must be from 0 to 65535")
        for name in ("slots", "max_seconds", "max_body", "max_arrival", "max_connections"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0")
        for name in ("queue", "grace"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 0")
        if not self.max_refusals > 0:
            raise ValueError(f"max_refusals ({self.max_refusals}) must be above 0")
        if self.max_rps is not None and self.max_rps <= 0:
            raise ValueError(f"max_rps ({self.max_rps}) must be above 0, or none")
        if self.memory and (self.strict or self.truncation != "auto"):
            raise ValueError(f"memory ({self.memory}) needs truncation=auto, and strict disables it")


def serve(config: ServeConfig) -> None:
    if not only_this_machine(config.host) and not api_key(config):
        raise InputError(f"--host={config.host} is reachable by others: give an --api_key, or stay on 127.0.0.1")
    log = log_to_stdout(config.log_level)
    listening = opened_socket(config.host, config.port)

    from inference.loading import (
        open_engine,  # torch and FastAPI take seconds to import; --help and errors need neither
    )
    from serving.scheduler import Scheduler

    scheduler = Scheduler(lambda: open_engine(config, config.slots)[0], config.queue)
    sys.setswitchinterval(0.0005)  # seconds; by default the engine's thread holds up the one that answers for 5 ms
    name = model_name(config)
    server = http_server(config, app_for(config, scheduler, name))
    for number in (signal.SIGTERM, signal.SIGINT):
        # until uvicorn has its own handlers; when all is done it raises the signal again, and that is a good end
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    host = f"[{config.host}]" if ":" in config.host else config.host
    params, port = millions(scheduler.engine.model.num_params()), listening.getsockname()[1]
    print(f"serving {name} ({params} parameters) on http://{host}:{port}; stop: Ctrl-C", flush=True)
    server.run(sockets=[listening])
    scheduler.stop()
    scheduler.thread.join(timeout=5)
    log.flush()
    print("stopped", flush=True)


def model_name(config: ServeConfig) -> str:
    return Path(config.folder).resolve().name or "model"  # "." has a name as well


def only_this_machine(host: str) -> bool:
    """Whether nobody else reaches that address. Raises InputError where it is none."""
    from serving.hosts import is_loopback

    try:
        return is_loopback(host)
    except OSError as error:
        raise InputError(f"--host={host} is no address of this machine ({error.strerror})") from None


def api_key(config: ServeConfig) -> str | None:
    return config.api_key or os.environ.get("NANOCHATGPT_API_KEY") or None


def app_for(config: ServeConfig, scheduler: "Scheduler", name: str) -> "ASGIApp":
    """The ASGI app of these settings."""
    from serving.app import create_app
    from serving.checks import Limits
    from serving.feedback import FeedbackFile
    from serving.state import ServerState

    limits = Limits(
        key=api_key(config),
        max_rps=config.max_rps,
        max_refusals=config.max_refusals,
        max_body=config.max_body,
        loopback=only_this_machine(config.host),
        cors=config.cors,
        allowed_hosts=config.allowed_hosts,
    )
    server = ServerState(
        scheduler=scheduler,
        model_name=name,
        sampling=config,
        max_seconds=config.max_seconds,
        feedback=FeedbackFile(config.feedback),
        aliases=config.alias,
        memory=config.memory,
        strict=config.strict,
        truncation="disabled" if config.strict else config.truncation,
        shows_text=config.log_text,
    )
    return create_app(server, limits)


def http_server(config: ServeConfig, app: "ASGIApp") -> "uvicorn.Server":
    import uvicorn

    from serving.connections import Connections, protocol_class

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol_class(Connections(config.max_connections, config.max_arrival)),
            ws="none",
            proxy_headers=bool(config.trusted_proxies),  # anybody on this machine could send X-Forwarded-For
            forwarded_allow_ips=list(config.trusted_proxies),
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, round(config.grace)),
            access_log=False,  # AccessLog of serving/middleware.py has more
            log_level="warning" if config.log_level == "info" else config.log_level,
        )
    )


def opened_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is a free one. Raises InputError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family)
        if sys.platform != "win32":  # there it would let a second server in
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        raise InputError(f"port {port} on {host}: {error.strerror}; another one: --port={port + 1}") from None
    return listening


if __name__ == "__main__":
    configurator.main(serve, ServeConfig)
