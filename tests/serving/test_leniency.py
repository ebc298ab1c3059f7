"""
The programs that people use already are answered: what they send beside OpenAI's parameters is taken where nothing is
lost by it, done where it can be done, and refused by name where it asks for what this model cannot do.
"""

import json
import logging
import time

import httpx
import openai
import pytest
from served import HI, error_of

from serving import delivery
from serving.leniency import lenient, logged_once
from tokenization import chat_format

BOT = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "you like cats."}
USUAL = {"messages": HI, "temperature": 0, "max_tokens": 3}
NULLS = (
    "functions function_call prediction audio suffix reasoning conversation previous_response_id prompt top_logprobs"
)
# what a popular program sends in addition, and what it would be to have said nothing
MOOT = [
    *({name: None} for name in [*NULLS.split(), *"reasoning_effort n seed stop user stream tools".split()]),
    {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}, {"verbosity": "low"}, {"thinking": {"type": "off"}},
    {"chat_template_kwargs": {"enable_thinking": False}}, {"prompt_cache_retention": "24h"}, {"web_search_options": {}},
    {"moderation": {}}, {"cache_prompt": True}, {"id_slot": 1}, {"keep_alive": "5m"}, {"timings_per_token": True},
    {"return_progress": True}, {"reasoning_format": "auto"}, {"num_ctx": 2048}, {"options": {}}, {"mode": "chat"},
    {"functions": []}, {"function_call": "none"}, {"function_call": "auto"}, {"tools": [], "tool_choice": "auto"},
    {"ignore_eos": False}, {"use_beam_search": False}, {"echo": False}, {"add_special_tokens": False}, {"best_of": 1},
    {"skip_special_tokens": True}, {"add_generation_prompt": True}, {"min_tokens": 0}, {"length_penalty": 1},
    {"top_k": 0}, {"top_k": -1}, {"stop": ""}, {"stop": [""]}, {"stop": [None, ""]}, {"typ_p": 1}, {"typical_p": 0},
    {"mirostat": 0}, {"dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 0, "dry_penalty_last_n": -1},
    {"xtc_probability": 0, "xtc_threshold": 0.1, "dynatemp_range": 0, "samplers": ["top_k"]}, {"n_probs": 0},
    {"stream_options": {"include_usage": True}}, {"modalities": ["text"]}, {"response_format": {"type": "text"}},
    {"model": ""}, {"max_completion_tokens": -1}, {"n_predict": 50}, {"max_new_tokens": 50}, {"presence_penalty": 0},
    {"include": ["reasoning.encrypted_content"]}, {"mascot": "cat"}, {"metadata": {"a": 1}, "store": True},
]  # fmt: skip


@pytest.mark.parametrize("more", MOOT, ids=json.dumps)
def test_what_changes_nothing_is_taken(server, more):
    """The reply is the one that is given without it."""
    wanted = server.post(USUAL).json()["choices"]
    found = server.post({**USUAL, **more})
    assert found.status_code == 200 and found.json()["choices"] == wanted, found.text


REFUSED = [
    ({"tools": [{}]}, "tools", "tools are not supported"),
    ({"functions": [{"name": "f"}]}, "functions", "functions are not supported"),
    ({"tool_choice": "required"}, "tool_choice", "auto and none"),
    ({"tool_choice": {"type": "function"}, "tools": [{}]}, "tools", "tools are not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format.type", "json_object is not supported"),
    ({"suffix": "none"}, "suffix", "suffix is not supported"),
    ({"n_probs": 5}, "n_probs", "n_probs is not supported"),
    ({"grammar": "root ::= x"}, "grammar", "grammar is not supported"),
    ({"guided_choice": ["a"]}, "guided_choice", "guided_choice is not supported"),
    ({"modalities": ["text", "audio"]}, "modalities", "but for text"),
    ({"use_beam_search": True}, "use_beam_search", "not supported"),
    ({"mirostat": 2}, "mirostat", "not supported"),
    ({"echo": True}, "echo", "not supported"),
    ({"temperature": 2.5}, "temperature", "less than or equal to 2"),
    ({"stop": ["ok", "x" * 300]}, "stop.1", "256"),
]
REFUSED_MESSAGES = [
    ([*HI, {"role": "tool", "content": "x", "tool_call_id": "c"}], "messages.1.role", "tool messages"),
    ([*HI, {**BOT, "tool_calls": [{"id": "c"}]}], "messages.1.tool_calls", "cannot be read"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages.0.content.0.type", "image_url is not supported"),
    ([{"role": "user", "content": ""}], "messages.0.content", "nothing to answer"),
    ([{"role": "user", "content": []}, {"role": "assistant", "content": None}], "messages.0.content", "nothing"),
    ([{"role": "wizard", "content": "x"}], "messages.0.role", "assistant"),
]


@pytest.mark.parametrize("more, param, words", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(shared, more, param, words):
    """In plain words, with --strict and without."""
    for strict in (False, True) if param not in ("echo",) else (False,):
        error = error_of(shared(strict=strict).post({**USUAL, **more}), 400)
        assert error["param"] == param and words in error["message"]


@pytest.mark.parametrize("messages, param, words", REFUSED_MESSAGES)
def test_messages_that_cannot_be_read_are_refused_by_name(server, messages, param, words):
    error = error_of(server.post({"messages": messages}), 400)
    assert error["param"] == param and words in error["message"]


def test_an_input_item_is_refused_by_its_kind(server):
    """Of a union the member is told that is meant, not the first; reasoning, which is empty here, is left out."""
    error = error_of(server.post({"input": [*HI, {"role": "wizard", "content": "x"}]}, "/v1/responses"), 400)
    assert error["param"] == "input.1.role"
    for kind in ("function_call", "function_call_output", "web_search_call"):
        assert kind in error_of(server.post({"input": [{"type": kind}]}, "/v1/responses"), 400)["message"]
    body = {"input": [*HI, {"type": "reasoning", "id": "r", "summary": []}], "max_output_tokens": 1}
    assert server.post(body, "/v1/responses").status_code == 200


# messages


@pytest.mark.parametrize(
    "more",
    [
        {"id": 1947269257, "opts": {"visible": False}}, {"type": "text"}, {"timestamp": 1}, {"metadata": {"a": 1}},
        {"message_id": "m"}, {"reasoning_content": "hm"}, {"provider_specific_fields": {"refusal": None}},
        {"tool_calls": []}, {"refusal": ""}, {"annotations": [], "audio": None, "function_call": None},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_a_message_holds_beside_its_text_is_ignored(server, more):
    talk = [*HI, BOT, {"role": "user", "content": "and?"}]
    wanted = server.post({**USUAL, "messages": talk}).json()["choices"]
    found = server.post({**USUAL, "messages": [{**message, **more} for message in talk]})
    assert found.json()["choices"] == wanted


@pytest.mark.parametrize(
    "part",
    ["hi", {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}, {"text": "hi"},
     {"type": "input_text", "text": "hi"}, {"type": "refusal", "refusal": "hi"}],
    ids=json.dumps,
)  # fmt: skip
def test_parts_of_text_are_text(server, part):
    ids = [
        server.post({"messages": [{"role": "user", "content": each}]}, "/tokenize").json() for each in ([part], "hi")
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("messages", "same"),
    [
        ([*HI, {"role": "assistant", "content": ""}], HI),
        ([*HI, {"role": "assistant", "content": None}, {"role": "user", "content": "and?"}], [*HI, ("user", "and?")]),
        ([{"role": "system", "content": ""}, *HI], HI),
        ([{"role": "user", "content": []}, *HI], HI),
        ([{"role": "assistant", "content": " \n"}, *HI], HI),
        ([SYSTEM, ("developer", "be brief."), *HI], [("system", "you like cats.\nbe brief."), *HI]),
        ([*HI, BOT, SYSTEM, ("user", "and?")], [SYSTEM, *HI, BOT, ("user", "and?")]),
        ([*HI, SYSTEM], [SYSTEM, *HI]),
    ],
)
def test_empty_turns_are_left_out_and_personas_joined(server, messages, same):
    """The server's own empty reply may come back; a system message may stand anywhere, and is the persona."""
    as_sent, wanted = (
        [m if isinstance(m, dict) else dict(role=m[0], content=m[1]) for m in ms] for ms in (messages, same)
    )
    found = server.post({**USUAL, "messages": as_sent}).json()
    ids = server.post({"messages": as_sent}, "/tokenize").json()["tokens"]
    assert ids == chat_format.prompt(wanted, server.engine.tokenizer)
    assert found["usage"]["prompt_tokens"] == len(ids)


def test_an_empty_reply_goes_back(server):
    """What is said to end the turn at once, and then goes on with it, is a chat."""
    end = str(server.engine.tokenizer.end_of_turn)
    empty = server.post({"messages": HI, "logit_bias": {end: 100}}).json()["choices"][0]["message"]
    assert empty["content"] == ""
    assert server.post({**USUAL, "messages": [*HI, empty, *HI]}).status_code == 200


def test_a_reply_is_continued_only_where_it_is_the_last_word(server):
    """An empty question after it is no reason to go on with it."""
    going_on = server.post({**USUAL, "messages": [*HI, BOT]}).json()["usage"]["prompt_tokens"]
    asked = server.post({**USUAL, "messages": [*HI, BOT, {"role": "user", "content": ""}]}).json()["usage"]
    assert asked["prompt_tokens"] == going_on + 2  # the end of its turn, and the tag of the next


# the context


def test_a_long_chat_goes_on_and_tells_what_it_dropped(server):
    """By default old turns go, which the usage and a header tell; max_tokens is cut to the room."""
    long = [{"role": role, "content": "well then " * 3} for role in ("user", "assistant")] * 8 + HI
    for more in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
        found = server.post({"messages": long, "max_tokens": 100_000, **more})
        text = found.text.split("data: ")[-2] if more else found.text
        usage = json.loads(text)["usage"]
        assert found.status_code == 200 and usage["total_tokens"] <= 65
        assert 0 < usage["dropped_turns"] == int(found.headers["X-Dropped-Turns"]) <= 16
    input = server.post({"input": long, "max_output_tokens": 5}, "/v1/responses").json()
    assert input["usage"]["dropped_turns"] and input["truncation"] == "auto"
    short = server.post(USUAL)
    assert "X-Dropped-Turns" not in short.headers and "dropped_turns" not in short.json()["usage"]
    assert error_of(server.post({"messages": long, "truncation": "disabled"}), 400)["code"] == "context_length_exceeded"


def test_a_chat_of_thousands_of_turns_is_cut_before_it_is_read(server):
    """The persona stays, and the last question."""
    long = [SYSTEM, *[{"role": role, "content": "a"} for role in ("user", "assistant")] * 3000, *HI]
    found = server.post({"messages": long, "max_tokens": 1})
    assert found.status_code == 200 and int(found.headers["X-Dropped-Turns"]) > 5900


def test_max_tokens_of_a_completion_is_cut_to_the_room(server, shared):
    body = {"prompt": "well", "max_tokens": 4096, "ignore_eos": True}
    assert server.post(body, "/v1/completions").json()["usage"]["total_tokens"] == 64
    assert error_of(shared(strict=True).post(body, "/v1/completions"), 400)["code"] == "context_length_exceeded"


# what can be done


def test_the_model_does_not_end_its_turn(server):
    """ignore_eos and min_tokens, as load generators ask for it: so many tokens come as are wanted."""
    ends = {str(server.engine.tokenizer.end_of_turn): 100}
    for more, n in (({}, 0), ({"ignore_eos": True}, 9), ({"min_tokens": 4}, 4)):
        usage = server.post({"messages": HI, "max_tokens": 9, "logit_bias": ends, **more}).json()["usage"]
        assert usage["completion_tokens"] == n


def test_each_chunk_has_the_usage_so_far(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    text = server.post({**USUAL, "ignore_eos": True, "stream": True, "stream_options": options}).text
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk["usage"]]
    assert counts == sorted(counts) and counts[-1] == 3 and len(counts) > 2


@pytest.mark.parametrize(
    ("more", "setting", "value"),
    [
        ({"repeat_penalty": 1.3}, "repetition_penalty", 1.3), ({"typ_p": 0.5}, "typical_p", 0.5),
        ({"repeat_last_n": -1}, "penalty_window", 1024), ({"no_repeat_ngram_size": 3}, "no_repeat_ngram", 3),
        ({"dry_multiplier": 0.8, "dry_base": 2}, "dry_base", 2.0), ({"stop_token_ids": [5]}, "stop_ids", (5,)),
        ({"top_p": 0}, "top_p", 1e-9), ({"top_k": -1}, "top_k", 10**9), ({"n_predict": 7}, "max_new_tokens", 7),
    ],
)  # fmt: skip
def test_other_programs_samplers(server, monkeypatch, more, setting, value):
    """The engine has them, some under another name."""
    seen, add_request = [], server.engine.add_request

    def add(ids, sampling, **how):
        seen.append(sampling)
        return add_request(ids, sampling, **how)

    monkeypatch.setattr(server.engine, "add_request", add)
    limit = {} if "n_predict" in more else {"max_tokens": 2}
    assert server.post({"messages": HI, **limit, **more}).status_code == 200
    assert getattr(seen[0], setting) == value


def test_texts_and_ids_in_one_list(server):
    found = server.post({"prompt": ["a", [65]], "max_tokens": 1}, "/v1/completions")
    assert len(found.json()["choices"]) == 2


# names, logs, headers


def test_ignored_names_are_logged_once():
    lines = []
    note = logged_once(lines.append, most=2)
    for _ in range(2):
        lenient({"a\nb": 1, "c": 2, "d": 3, "e": None}, {"messages"}, note)
    assert len(lines) == 2 and "\n" not in "".join(lines)


def test_the_log_names_what_a_program_sends_in_vain(running, caplog):
    server = running()
    with caplog.at_level(logging.INFO, "serving"):
        for _ in range(3):
            server.post({**USUAL, "verbosity": "low"})
    assert sum("'verbosity'" in record.getMessage() for record in caplog.records) == 1


def test_an_alias_is_a_name_of_the_model(running):
    """It is listed, and what was asked by it is answered by it; another name is still a 404."""
    server = running(alias=("gpt-4o-mini", "meta/other"))
    client = server.client()
    assert [model.id for model in client.models.list()] == ["tiny", "gpt-4o-mini", "meta/other"]
    assert client.models.retrieve("meta/other").id == "meta/other"
    found = client.chat.completions.create(model="gpt-4o-mini", messages=HI, max_tokens=1)
    assert found.model == "gpt-4o-mini" and server.chat(max_tokens=1).model == "tiny"
    with pytest.raises(openai.NotFoundError, match="--alias"):
        client.chat.completions.create(model="gpt-4", messages=HI)


def test_a_request_has_a_name(server, caplog):
    """The client's own where it sends one, in the answer, in errors, and in the log."""
    with caplog.at_level(logging.INFO, "serving"):
        own = server.post(USUAL, headers={"X-Request-Id": "mine-1"})
        bad = server.post({}, headers={"X-Request-Id": "a b"})
    assert own.headers["X-Request-Id"] == "mine-1" and bad.headers["X-Request-Id"].startswith("req_")
    assert any(record.getMessage().endswith("mine-1") for record in caplog.records)
    assert server.chat(max_tokens=1)._request_id.startswith("req_")


def test_a_waiting_stream_is_not_silent(running, monkeypatch):
    """Proxies cut a stream after a minute of nothing: a comment comes meanwhile, which clients skip."""
    server = running(slots=1)
    monkeypatch.setattr(delivery, "PING_SECONDS", 0.05)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.2), step())[1])
    response = server.post({**USUAL, "stream": True})
    assert ": waiting\n\n" in response.text and response.headers["X-Accel-Buffering"] == "no"
    assert [chunk for chunk in server.chat(max_tokens=2, stream=True)]


def test_head_is_get_without_its_body(server):
    for path in ("/", "/health", "/v1/models", "/app.js"):
        get, head = (httpx.request(method, server.url + path) for method in ("GET", "HEAD"))
        assert head.status_code == 200 and not head.content
        assert head.headers["Content-Length"] == str(len(get.content))


def test_letters_case_does_not_matter(running):
    """Of the content's type and the key's scheme; a key may have letters beyond ASCII, or come as X-Api-Key."""
    server = running(api_key="schlüssel")
    body = json.dumps(USUAL)
    spelled = (
        (b"authorization", "bearer schlüssel".encode()),
        (b"Authorization", "BEARER schlüssel".encode("latin-1")),
        (b"x-api-key", "schlüssel".encode()),
    )
    for name, key in spelled:
        headers = {b"Content-Type": b"Application/JSON; Charset=UTF-8", name: key}
        found = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=headers)
        assert found.status_code == 200, key
    wrong = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers={"Authorization": "Basic schl"})
    assert wrong.status_code == 401


def test_a_compressed_body_is_refused_in_words(server):
    error = error_of(server.post(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), 415)
    assert "gzip" in error["message"]
