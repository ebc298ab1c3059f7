"""The ASGI app: its routes, and the page."""

import asyncio
import functools
import json
import mimetypes
import threading
import time
from pathlib import Path

import platformdirs
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from serving.completions import CompletionResponse, chat_prompt, text_prompts, usage_of
from serving.middleware import Gatekeeper
from serving.prometheus import prometheus_text
from serving.protocol import APIError, ChatRequest, CompletionRequest, Feedback, TokenizeRequest, validation_error
from serving.responses import ResponsesRequest, ResponsesResponse
from serving.scheduler import Generation, QueueFull
from tokenization.chat_format import without_lone_surrogates

DESCRIPTION = "Serve a model to programs and people: OpenAI's protocol under /v1, a page to chat on at /."
MAX_FEEDBACK_BYTES = 2**20  # bytes of feedback.jsonl's line at most
FAILURES = {  # what a generation that did not happen is told as
    "error": lambda: APIError(500, "the engine failed; its log has why", type="server_error"),
    "late": lambda: APIError(503, "it waited too long for a slot", type="server_error", headers={"Retry-After": "5"}),
}


def create_app(config, service, name, limits):
    """The ASGI app."""
    speaker = service.engine
    tokenizer, template, block_size = speaker.tokenizer, speaker.template, speaker.block_size
    app = FastAPI(title="nanoChatGPT", version="1", description=DESCRIPTION, redoc_url=None)
    started, counts, files = int(time.time()), {}, page_files()
    feedback_path = Path(config.feedback or Path(platformdirs.user_data_dir("nanochatgpt"), "feedback.jsonl"))
    feedback_lock = threading.Lock()

    @app.exception_handler(APIError)
    async def refused(request, error):
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request, error):
        return await refused(request, validation_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request, error):
        return await refused(request, APIError(error.status_code, str(error.detail), headers=error.headers))

    def check_model(asked):
        """Raise Refused unless this is the model that is served, or none is asked for."""
        if asked is not None and asked != name:
            raise APIError(
                404, f"the model {asked[:100]!r} is not served here; {name!r} is", "model", "model_not_found"
            )

    def sampling_of(body, wanted, index):
        try:
            return body.sampling(config, tokenizer.n_vocab, wanted, index)
        except ValueError as error:  # Sampling says what is out of its range
            raise APIError(400, str(error), str(error).partition(" ")[0], "invalid_value") from None

    def submitted(generations):
        try:
            service.submit(generations)
        except QueueFull as error:
            status = 503 if service.stopping or service.failure else 429
            about = dict(type="rate_limit_error", code="busy", headers={"Retry-After": "1"})
            raise APIError(status, f"busy: {error}", **about) from None
        return generations

    def client_of(request, body):
        return request.scope["client_key"], body.user

    def chatting(request, body):
        """The Generations that answer a ChatRequest, one for each of its n choices."""
        check_model(body.model)
        ids, wanted, spoken, continued = chat_prompt(body, speaker, config.max_new_tokens)
        generations, said = [], asyncio.Queue()
        for i in range(body.n or 1):
            sampling = sampling_of(body, wanted, i)
            recent = spoken[-sampling.penalty_window :] if sampling.penalty_window else []
            how = dict(
                suppress_tokens=template.suppress_tokens,
                stop_token_ids=template.stop_token_ids,
                recent=recent,
                begun=continued,
            )
            client, deadline = client_of(request, body), time.monotonic() + config.max_seconds
            generations.append(Generation(said, i, client, ids, sampling, tokenizer.decoder(), deadline, **how))
        log_text(body.messages[-1].plain()["content"])
        return submitted(generations)

    @app.post("/v1/chat/completions", tags=["OpenAI"])
    async def chat(body: ChatRequest, request: Request):
        shape = CompletionResponse("chat", name, tokenizer, body.with_usage)
        return await answer(request, body.stream, chatting(request, body), shape, body.n or 1)

    @app.post("/v1/responses", tags=["OpenAI"])
    async def respond(body: ResponsesRequest, request: Request):
        try:
            generations = chatting(request, body.chat())
        except APIError as error:
            raise body.renamed(error) from None
        return await answer(request, body.stream, generations, ResponsesResponse(body, name, generations[0].sampling))

    @app.post("/v1/completions", tags=["OpenAI"])
    async def complete(body: CompletionRequest, request: Request):
        check_model(body.model)
        shape, generations, said = CompletionResponse("text", name, tokenizer, body.with_usage), [], asyncio.Queue()
        n = len(body.prompts) * (body.n or 1)
        if not 1 <= n <= 128:
            raise APIError(400, f"prompt: from 1 to 128 choices, not {n}", "prompt", "invalid_value")
        for ids, wanted in text_prompts(body, speaker, config.max_new_tokens):
            for _ in range(body.n or 1):
                sampling = sampling_of(body, wanted, len(generations))
                how = dict(stop_token_ids=(tokenizer.endoftext,), recent=ids, strip=False)
                client, deadline = client_of(request, body), time.monotonic() + config.max_seconds
                about = client, ids, sampling, tokenizer.decoder(), deadline
                generations.append(Generation(said, len(generations), *about, **how))
        return await answer(request, body.stream, submitted(generations), shape, body.n or 1)

    async def answer(request, stream, generations, shape, n=1):
        """The HTTP response; n: the choices of each prompt."""
        usage = functools.partial(usage_of, generations, n)
        if stream:
            events = streamed(request, generations, shape, usage)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        texts, reasons, logs = (["" for _ in generations], [None] * len(generations), [[] for _ in generations])
        gone = asyncio.create_task(client_left(request, generations[0].said))
        try:
            async for i, said in merge_deltas(generations):
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
            async for i, said in merge_deltas(generations):
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
        request.scope["told"] = (
            f"{usage_of(generations, 1)['prompt_tokens']}+{sum(g.n_tokens for g in generations)} tokens"
        )
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
            raise APIError(400, "either prompt or messages", "prompt", "invalid_value")
        if body.prompt is not None:
            ids = tokenizer.encode(without_lone_surrogates(body.prompt))
        else:
            ids = template.prompt(
                [{**m.plain(), "content": without_lone_surrogates(m.plain()["content"])} for m in body.messages]
            )
        return {"tokens": ids, "count": len(ids), "max_model_len": block_size}

    @app.get("/health", tags=["more"])
    async def health():
        if service.failure or not service.thread.is_alive():
            raise APIError(500, "the engine has stopped; its log has why", type="server_error")
        return {"status": "ok"}

    @app.get("/metrics", tags=["more"])
    async def metrics():
        """Prometheus' text format."""
        return Response(prometheus_text(service, counts), media_type="text/plain; version=0.0.4")

    @app.post("/feedback", tags=["more"], status_code=204)
    def feedback(body: Feedback):
        """Keep what somebody thinks of a reply, a JSON line in feedback.jsonl."""
        row = {"time": int(time.time()), "model": name, **body.model_dump()}
        line = json.dumps(row, ensure_ascii=True) + "\n"
        if len(line) > MAX_FEEDBACK_BYTES:
            raise APIError(413, f"feedback of {len(line)} bytes; {MAX_FEEDBACK_BYTES} are kept", "conversation")
        with feedback_lock:
            feedback_path.parent.mkdir(parents=True, exist_ok=True)
            with open(feedback_path, "a", encoding="utf-8") as file:
                file.write(line)

    for path, (content, kind) in files.items():
        served = functools.partial(Response, content, media_type=kind)
        app.add_api_route(path, served_file(served), methods=["GET"], include_in_schema=False)
    if "/" not in files:
        app.add_api_route("/", lambda: {"message": f"{name} is served under /v1"}, include_in_schema=False)
    return Gatekeeper(app, limits, counts)


def served_file(served):
    async def file():
        return served()

    return file


def page_files():
    """{path: (content, media type)} of the files in web/: no request reads a file."""
    web, files = Path(__file__).parents[1] / "web", {}
    for path in sorted(web.iterdir()) if web.is_dir() else ():
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        files["/" if path.name == "index.html" else f"/{path.name}"] = (path.read_bytes(), kind)
    return files


async def client_left(request, said):
    """When the client has gone, let them know who wait for what is said."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    said.put_nowait((None, None))


async def merge_deltas(generations):
    """Yield (i, Said) of a request's generations as they come."""
    going = len(generations)
    while going:
        i, said = await generations[0].said.get()
        if said is None:
            raise APIError(499, "the client has left")
        going -= bool(said.reason)
        yield i, said
