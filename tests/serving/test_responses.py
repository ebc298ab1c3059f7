"""
/v1/responses through OpenAI's own client: it says what /v1/chat/completions says, whole and streamed, a reply can be
sent back as it came, and what is not supported is refused by its name.
"""

import asyncio
import json

import openai
import pytest
from served import error_of, expected

from inference.settings import SamplingParams
from serving import kept

PERSONA = "i have two dogs."
ASK = [{"role": "system", "content": PERSONA}, {"role": "user", "content": "hi"}]
GREEDY = dict(model="tiny", temperature=0)


def test_a_response_is_the_chats_reply(server):
    """instructions and a text, or the same as messages; its end, limit and counts are true."""
    wanted, _ = expected(server, ASK, SamplingParams(temperature=0, max_new_tokens=12))
    asked = dict(input=ASK), dict(input=[{**ASK[0], "type": "message"}, ASK[1]])
    for how in (dict(instructions=PERSONA, input="hi"), *asked):
        found = server.client().responses.create(**GREEDY, **how, max_output_tokens=12)
        assert found.output_text == wanted and found.output[0].role == "assistant"
        assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert found.usage.input_tokens == len(server.engine.template.prompt(ASK)) and found.usage.output_tokens == 12
        assert found.usage.total_tokens == found.usage.input_tokens + 12
    assert found.usage.input_tokens_details.cached_tokens == found.usage.input_tokens - 1
    assert found.temperature == 0 and found.max_output_tokens == 12 and found.store is True


def test_a_stream_ends_as_the_whole(server):
    """Each event has its number and its place; the last one holds what a whole answer is, cut or complete."""
    for seed in range(100):  # until one ends its turn
        asked = dict(model="tiny", input=ASK, max_output_tokens=25, temperature=2, extra_body={"seed": seed})
        whole = server.client().responses.create(**asked)
        with server.client().responses.stream(**asked) as stream:
            events = list(stream)
        last = events[-1].response
        assert last.output_text == whole.output_text and last.status == whole.status
        assert last.usage.output_tokens == whole.usage.output_tokens
        assert [event.sequence_number for event in events] == list(range(len(events)))
        kinds = [event.type.removeprefix("response.") for event in events]
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text
        assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
        assert (
            kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"] and kinds[-1] == last.status
        )
        if last.status == "completed":
            assert stream.get_final_response().output_text == whole.output_text and not last.incomplete_details
            return
    raise AssertionError("no reply ended its turn")


def test_a_reply_goes_back_as_it_came(server):
    """The next turn's input is the last one's and its output's items, as OpenAI's guide has it; async too."""
    asked = dict(input=[ASK[1]], max_output_tokens=5, **GREEDY)
    first = server.client().responses.create(**asked)
    more = [*asked["input"], *first.output, {"role": "user", "content": [{"type": "input_text", "text": "why?"}]}]
    talk = [ASK[1], {"role": "assistant", "content": first.output_text}, {"role": "user", "content": "why?"}]
    wanted, _ = expected(server, talk, SamplingParams(temperature=0, max_new_tokens=5))

    async def asked_again():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await client.responses.create(**{**asked, "input": more})

    assert asyncio.run(asked_again()).output_text == wanted


def test_a_reply_is_named_in_place_of_its_words(server):
    """item_reference and previous_response_id are the whole conversation, but for the persona."""
    client, more = server.client(), {"role": "user", "content": "why?"}
    asked = dict(max_output_tokens=5, **GREEDY)
    for stream in (False, True):
        first = client.responses.create(**asked, input=[ASK[1]], instructions=PERSONA, stream=stream)
        first = list(first)[-1].response if stream else first
        talk = [ASK[1], {"role": "assistant", "content": first.output_text}, more]
        wanted = client.responses.create(**asked, input=talk).output_text
        reference = {"type": "item_reference", "id": first.output[0].id}
        assert client.responses.create(**asked, input=[ASK[1], reference, more]).output_text == wanted
        named = client.responses.create(**asked, input="why?", previous_response_id=first.id)
        assert (named.output_text, named.previous_response_id) == (wanted, first.id)
        longer = [*talk, {"role": "assistant", "content": wanted}, more]
        again = client.responses.create(**asked, input=[more], previous_response_id=named.id)
        assert again.output_text == client.responses.create(**asked, input=longer).output_text


def test_a_reply_that_is_not_kept_is_told(server, monkeypatch):
    """store: false keeps none, and the oldest of many give way."""
    client, asked = server.client(), dict(input="hi", max_output_tokens=1, **GREEDY)
    unkept = client.responses.create(**asked, store=False)
    monkeypatch.setattr(kept, "MAX_KEPT", 2)
    first, *_, last = [client.responses.create(**asked) for _ in range(3)]
    assert unkept.store is False and last.store is True
    for old in (unkept, first):
        error = error_of(server.post({"input": "and?", "previous_response_id": old.id}, "/v1/responses"), 400)
        assert error["code"] == "previous_response_not_found"
        item = {"type": "item_reference", "id": old.output[0].id}
        assert error_of(server.post({"input": [item]}, "/v1/responses"), 404)["param"] == "input.0.id"
    assert client.responses.create(**asked, previous_response_id=last.id).output_text
    error = error_of(server.post({"messages": ASK, "previous_response_id": last.id}), 400)
    assert error["param"] == "previous_response_id"


def test_what_is_kept_has_a_bound(monkeypatch):
    """However long the conversations are."""
    monkeypatch.setattr(kept, "MAX_CHARACTERS", 1000)
    replies = kept.KeptReplies()
    for i in range(50):
        replies.keep(f"resp_{i}", [kept.Message(role="user", content="x" * 100)])
    assert 0 < len(replies.conversations) < 10 and replies.reply("msg_49", "input").text == "x" * 100
    assert replies.n_characters == kept.total_characters([m for each in replies.conversations.values() for m in each])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "hi", "tools": [{"type": "web_search"}]}, "tools"),
        ({"input": "hi", "text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"input": "hi", "background": True}, "background"),
        ({"input": "hi", "reasoning": {"effort": "low"}}, "reasoning"),
        ({"input": "hi", "include": ["message.output_text.logprobs"]}, "include"),
        ({"input": []}, "input"),
        ({"input": " "}, "input"),
        ({"input": "hi", "instructions": " "}, "instructions"),
        ({"input": ASK, "instructions": PERSONA}, "instructions"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": "hi " * 200}, "input"),
        ({"input": "hi", "max_output_tokens": 10**9}, "input"),
        ({"input": "hi", "model": "gpt-5"}, "model"),
        ({}, "input"),
    ],
)
def test_what_is_not_supported_is_named(shared, body, param):
    server = shared(strict=True)
    status = 404 if param == "model" else 400
    error = error_of(server.post(body, path="/v1/responses"), status)
    assert (error["param"] or "").startswith(param), error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_an_event(running):
    """The engine fails in the middle: the stream ends with response.failed, which the client shows."""
    server = running()
    server.scheduler.step = lambda: 1 / 0
    with server.client() as client, client.responses.create(**GREEDY, input="hi", stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.failed" and events[-1].response.error.code == "server_error"
    assert json.loads(server.post({"input": "hi"}, path="/v1/responses").text)["error"]["type"]
