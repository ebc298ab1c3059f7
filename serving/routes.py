"""The routes beside generation: the model, its tokenizer, the server's health and metrics, and people's feedback."""

import time

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from inference.settings import TalkConfig
from runtime.version import version
from serving import personas
from serving.errors import APIError
from serving.feedback import NoRoom
from serving.json_body import JSONRoute
from serving.off_the_loop import off_the_loop
from serving.openapi import ERRORS
from serving.prompts import plain_messages, read_memory
from serving.protocol import DetokenizeRequest, Feedback, MemoryRequest, TokenizeRequest
from serving.response_models import (
    DetokenizeResponse,
    HealthResponse,
    KnownNotes,
    MemoryResponse,
    ModelInfo,
    ModelList,
    PersonaInfo,
    PersonaList,
    SamplingDefaults,
    TalkDefaults,
    TokenizeResponse,
)
from serving.state import Server, ServerState

router = APIRouter(responses=ERRORS, route_class=JSONRoute)


@router.get("/v1/models", tags=["OpenAI"])
async def models(server: Server) -> ModelList:
    return ModelList(object="list", data=[model_info(server, name) for name in server.model_names])


@router.get("/v1/models/{model:path}", tags=["OpenAI"])  # an alias may hold a slash
async def model(model: str, server: Server) -> ModelInfo:
    server.check_model(model)
    return model_info(server, model)


def model_info(server: ServerState, name: str) -> ModelInfo:
    sampling = server.sampling
    talk = sampling if sampling.dry_multiplier else TalkConfig()  # whoever starts the server may have chosen
    return ModelInfo(
        id=name,
        object="model",
        created=server.started_at,
        owned_by="nanochatgpt",
        max_model_len=server.engine.block_size,
        sampling=SamplingDefaults(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_new_tokens,
            seed=sampling.seed,
        ),
        talk=TalkDefaults(
            dry_multiplier=talk.dry_multiplier, dry_base=talk.dry_base, penalty_window=talk.penalty_window
        ),
        memory=server.memory,
    )


@router.post("/tokenize", tags=["more"])
async def tokenize(body: TokenizeRequest, server: Server) -> TokenizeResponse:
    """The ids of a text, or of the prompt that messages become."""
    server.check_model(body.model)
    engine = server.engine
    if body.prompt is not None and body.messages is None:
        ids = await off_the_loop(len(body.prompt), engine.tokenizer.encode, body.prompt)
    elif body.messages is not None and body.prompt is None:
        messages = plain_messages(body.messages, server.strict)
        n_characters = sum(m.n_characters for m in body.messages)
        ids = await off_the_loop(n_characters, engine.template.prompt, messages)
    else:
        raise APIError(400, "either prompt or messages", "prompt", "invalid_value")
    return TokenizeResponse(tokens=ids, count=len(ids), max_model_len=engine.block_size)


@router.post("/detokenize", tags=["more"])
async def detokenize(body: DetokenizeRequest, server: Server) -> DetokenizeResponse:
    """The text of ids."""
    server.check_model(body.model)
    tokenizer = server.engine.tokenizer
    if not all(0 <= id < tokenizer.n_vocab for id in body.tokens):
        raise APIError(400, f"tokens: ids go from 0 to {tokenizer.n_vocab - 1}", "tokens", "invalid_value")
    return DetokenizeResponse(prompt=tokenizer.decode(body.tokens))


@router.get("/personas", tags=["more"])
async def offered_personas() -> PersonaList:
    """Who the bot may be: the files of personas/."""
    return PersonaList(data=[PersonaInfo(**persona._asdict()) for persona in personas.offered()])


@router.post("/memory", tags=["more"])
async def memory(body: MemoryRequest, server: Server) -> MemoryResponse:
    """What the memory of a chat holds, after a note is forgotten or added. The server keeps none of it."""
    n_characters = sum(m.n_characters for m in body.messages)
    return await off_the_loop(n_characters, changed_memory, body)


def changed_memory(body: MemoryRequest) -> MemoryResponse:
    memory = read_memory(body)
    if body.forget:
        known = [note for note in memory.notes if note.text == body.forget]
        if not known:
            raise APIError(400, "forget: there is no such note", "forget", "invalid_value")
        memory.forget(known[0])
    if body.add:
        memory.add(body.add)
    carried = KnownNotes(notes=[note.text for note in memory.earlier], forgotten=sorted(memory.forgotten))
    return MemoryResponse(notes=[note.text for note in memory.notes], memory=carried)


@router.get("/health", tags=["more"])
async def health(server: Server) -> HealthResponse:
    if server.scheduler.failure or not server.scheduler.thread.is_alive():
        raise APIError(500, "the engine has stopped; its log has why", type="server_error")
    return HealthResponse(status="ok", version=version())


@router.get("/metrics", tags=["more"], response_class=PlainTextResponse)
async def metrics(server: Server) -> PlainTextResponse:
    """Prometheus' text format."""
    text = server.metrics.text(server.scheduler, server.request_counts)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@router.post("/feedback", tags=["more"], status_code=204)
def feedback(body: Feedback, server: Server) -> None:
    """Keep what somebody thinks of a reply, or how it should have been, as a JSON line in feedback.jsonl."""
    row = {"time": int(time.time()), "model": server.model_name, **body.model_dump(exclude_unset=True)}
    try:
        server.feedback.append(row)
    except NoRoom as error:
        raise APIError(413, str(error), "conversation") from None
    except OSError as error:
        message = f"it cannot be kept: {error.strerror or error}"
        raise APIError(503, message, code="feedback", type="server_error") from None
