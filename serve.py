"""
Serve a model to programs and people: OpenAI's protocol under /v1, a page to chat on at /.

    $ python serve.py --out_dir=out-chat --port=8000
    $ curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "hi"}]}'

Many are served at once (--slots), more wait in a queue that is fair between clients. protocol.py has what a request may
hold, service.py the queue and the thread that generates, guard.py who may ask.
"""

import asyncio
import functools
import json
import mimetypes
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

import configurator
import engine
import prompts
from answers import Shape, exposition, used
from configurator import InputError
from conversation import unicode
from guard import Guard, Limits
from protocol import ChatRequest, CompletionRequest, Feedback, Refused, TokenizeRequest, validation_error
from responses import Answer, ResponsesRequest
from schedule import millions
from service import Busy, Generation, Service

FEEDBACK = 2**20  # bytes of feedback.jsonl's line at most
FAILURES = {  # what a generation that did not happen is told as
    "error": lambda: Refused(500, "the engine failed; its log has why", type="server_error"),
    "late": lambda: Refused(503, "it waited too long for a slot", type="server_error", headers={"Retry-After": "5"}),
}


@dataclass(frozen=True)
class ServeConfig(engine.EngineConfig):
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
    service = Service(lambda: engine.opened(config, config.slots)[0], config.queue)
    name = Path(config.init_from or config.out_dir).name
    sys.setswitchinterval(0.0005)  # the engine's thread lets the one that answers go on ten times as soon
    app = application(config, service, name, Limits(key, config.max_rps, config.max_body, loopback, config.cors))
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


def application(config, service, name, limits):
    """The ASGI app."""
    speaker = service.engine
    tokenizer, rendering, block_size = speaker.tokenizer, speaker.rendering, speaker.block_size
    app = FastAPI(title="nanoChatGPT", version="1", description=__doc__.split("\n\n")[0], redoc_url=None)
    started, counts, files = int(time.time()), {}, page()
    feedback_path = Path(config.feedback or Path(platformdirs.user_data_dir("nanochatgpt"), "feedback.jsonl"))
    feedback_lock = threading.Lock()

    @app.exception_handler(Refused)
    async def refused(request, error):
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request, error):
        return await refused(request, validation_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request, error):
        return await refused(request, Refused(error.status_code, str(error.detail), headers=error.headers))

    def check_model(asked):
        """Raise Refused unless this is the model that is served, or none is asked for."""
        if asked is not None and asked != name:
            raise Refused(404, f"the model {asked[:100]!r} is not served here; {name!r} is", "model", "model_not_found")

    def sampling_of(body, wanted, index):
        try:
            return body.sampling(config, tokenizer.n_vocab, wanted, index)
        except ValueError as error:  # Sampling says what is out of its range
            raise Refused(400, str(error), str(error).partition(" ")[0], "invalid_value") from None

    def submitted(generations):
        try:
            service.submit(generations)
        except Busy as error:
            status = 503 if service.stopping or service.failure else 429
            about = dict(type="rate_limit_error", code="busy", headers={"Retry-After": "1"})
            raise Refused(status, f"busy: {error}", **about) from None
        return generations

    def client_of(request, body):
        return request.scope["client_key"], body.user

    def chatting(request, body):
        """The Generations that answer a ChatRequest, one for each of its n choices."""
        check_model(body.model)
        ids, wanted, spoken, continued = prompts.chat(body, speaker, config.max_new_tokens)
        generations, said = [], asyncio.Queue()
        for i in range(body.n or 1):
            sampling = sampling_of(body, wanted, i)
            recent = spoken[-sampling.penalty_window :] if sampling.penalty_window else []
            how = dict(banned=rendering.banned, ends=rendering.ends, recent=recent, begun=continued)
            client, deadline = client_of(request, body), time.monotonic() + config.max_seconds
            generations.append(Generation(said, i, client, ids, sampling, tokenizer.decoder(), deadline, **how))
        log_text(body.messages[-1].plain()["content"])
        return submitted(generations)

    @app.post("/v1/chat/completions", tags=["OpenAI"])
    async def chat(body: ChatRequest, request: Request):
        shape = Shape("chat", name, tokenizer, body.with_usage)
        return await answer(request, body.stream, chatting(request, body), shape, body.n or 1)

    @app.post("/v1/responses", tags=["OpenAI"])
    async def respond(body: ResponsesRequest, request: Request):
        try:
            generations = chatting(request, body.chat())
        except Refused as error:
            raise body.renamed(error) from None
        return await answer(request, body.stream, generations, Answer(body, name, generations[0].sampling))

    @app.post("/v1/completions", tags=["OpenAI"])
    async def complete(body: CompletionRequest, request: Request):
        check_model(body.model)
        shape, generations, said = Shape("text", name, tokenizer, body.with_usage), [], asyncio.Queue()
        n = len(body.prompts) * (body.n or 1)
        if not 1 <= n <= 128:
            raise Refused(400, f"prompt: from 1 to 128 choices, not {n}", "prompt", "invalid_value")
        for ids, wanted in prompts.texts(body, speaker, config.max_new_tokens):
            for _ in range(body.n or 1):
                sampling = sampling_of(body, wanted, len(generations))
                how = dict(ends=(tokenizer.endoftext,), recent=ids, strip=False)
                client, deadline = client_of(request, body), time.monotonic() + config.max_seconds
                about = client, ids, sampling, tokenizer.decoder(), deadline
                generations.append(Generation(said, len(generations), *about, **how))
        return await answer(request, body.stream, submitted(generations), shape, body.n or 1)

    async def answer(request, stream, generations, shape, n=1):
        """The HTTP response; n: the choices of each prompt."""
        usage = functools.partial(used, generations, n)
        if stream:
            events = streamed(request, generations, shape, usage)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        texts, reasons, logs = (["" for _ in generations], [None] * len(generations), [[] for _ in generations])
        gone = asyncio.create_task(left(request, generations[0].said))
        try:
            async for i, said in merged(generations):
                texts[i] += said.text
                logs[i] += said.tokens
                reasons[i] = said.reason or reasons[i]
        finally:
            gone.cancel()
            cancel(generations)
        for reason in FAILURES.keys() & set(reasons):
            raise FAILURES[reason]()
        count(request, generations, texts)
        return JSONResponse(shape.whole(list(zip(texts, reasons, logs, strict=True)), generations, usage()))

    async def streamed(request, generations, shape, usage):
        """Server-sent events."""
        texts = ["" for _ in generations]
        try:
            for each in shape.opening(len(generations)):
                yield each
            async for i, said in merged(generations):
                if said.reason in FAILURES:
                    for each in shape.failure(FAILURES[said.reason]()):
                        yield each
                    return
                texts[i] += said.text
                for each in shape.more(i, said, generations[i]):
                    yield each
            for each in shape.closing(usage()):
                yield each
        finally:
            cancel(generations)
            count(request, generations, texts)

    def cancel(generations):
        for generation in generations:
            service.cancel(generation)

    def count(request, generations, texts):
        request.scope["told"] = f"{used(generations, 1)['prompt_tokens']}+{sum(g.n_tokens for g in generations)} tokens"
        for text in texts:
            log_text(text)

    def log_text(text):
        if config.log_text:
            print("  " + text.replace("\n", "\n  "), flush=True)

    @app.get("/v1/models", tags=["OpenAI"])
    async def models():
        return {"object": "list", "data": [about()]}

    @app.get("/v1/models/{model}", tags=["OpenAI"])
    async def model(model: str):
        check_model(model)
        return about()

    def about():
        return {
            "id": name,
            "object": "model",
            "created": started,
            "owned_by": "nanochatgpt",
            "max_model_len": block_size,
        }

    @app.post("/tokenize", tags=["more"])
    async def tokenize(body: TokenizeRequest):
        """The ids of a text, or of the prompt that messages become."""
        check_model(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise Refused(400, "either prompt or messages", "prompt", "invalid_value")
        if body.prompt is not None:
            ids = tokenizer.encode(unicode(body.prompt))
        else:
            ids = rendering.prompt([{**m.plain(), "content": unicode(m.plain()["content"])} for m in body.messages])
        return {"tokens": ids, "count": len(ids), "max_model_len": block_size}

    @app.get("/health", tags=["more"])
    async def health():
        if service.failure or not service.thread.is_alive():
            raise Refused(500, "the engine has stopped; its log has why", type="server_error")
        return {"status": "ok"}

    @app.get("/metrics", tags=["more"])
    async def metrics():
        """Prometheus' text format."""
        return Response(exposition(service, counts), media_type="text/plain; version=0.0.4")

    @app.post("/feedback", tags=["more"], status_code=204)
    def feedback(body: Feedback):
        """Keep what somebody thinks of a reply, a JSON line in feedback.jsonl."""
        row = {"time": int(time.time()), "model": name, **body.model_dump()}
        line = json.dumps(row, ensure_ascii=True) + "\n"
        if len(line) > FEEDBACK:
            raise Refused(413, f"feedback of {len(line)} bytes; {FEEDBACK} are kept", "conversation")
        with feedback_lock:
            feedback_path.parent.mkdir(parents=True, exist_ok=True)
            with open(feedback_path, "a", encoding="utf-8") as file:
                file.write(line)

    for path, (content, kind) in files.items():
        served = functools.partial(Response, content, media_type=kind)
        app.add_api_route(path, served_file(served), methods=["GET"], include_in_schema=False)
    if "/" not in files:
        app.add_api_route("/", lambda: {"message": f"{name} is served under /v1"}, include_in_schema=False)
    return Guard(app, limits, counts)


def served_file(served):
    async def file():
        return served()

    return file


def page():
    """{path: (content, media type)} of the files in web/: no request reads a file."""
    web, files = Path(__file__).with_name("web"), {}
    for path in sorted(web.iterdir()) if web.is_dir() else ():
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        files["/" if path.name == "index.html" else f"/{path.name}"] = (path.read_bytes(), kind)
    return files


async def left(request, said):
    """When the client has gone, let them know who wait for what is said."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    said.put_nowait((None, None))


async def merged(generations):
    """Yield (i, Said) of a request's generations as they come."""
    going = len(generations)
    while going:
        i, said = await generations[0].said.get()
        if said is None:
            raise Refused(499, "the client has left")
        going -= bool(said.reason)
        yield i, said


if __name__ == "__main__":
    configurator.main(serve, ServeConfig)
