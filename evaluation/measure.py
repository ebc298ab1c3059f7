"""
One model, asked everything that the report card has.

    content = measure_folder(config, "out-chat", data=None)       # a Report
"""

import dataclasses
import functools
import itertools
import os
import platform
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset.folder import open_meta, read_conversations
from dataset.recall.filler import Filler
from evaluation.backends import Answer, Backend, EndpointBackend, LocalBackend
from evaluation.copying import copy_rows
from evaluation.fit import f1_rows, fit_rows, hits_at_1
from evaluation.impersonation import impersonation_rows
from evaluation.prompting import LIMITS, MODES, Context, ask, find_contexts, sampling_modes
from evaluation.recall import long_chat_row, noted_view_of, recall_rows, remembering_view_of, view_of
from evaluation.repetition import repeat_rows, repetition_rows, self_chats
from evaluation.report import FORMAT
from evaluation.rows import Report, Row, Sample
from evaluation.safety import forgery_rows
from evaluation.sense import sense_rows
from evaluation.settings import GROUPS, TURNS, EvaluateConfig
from evaluation.speed import speed_rows
from evaluation.stops import stop_rows
from inference.loading import open_engine
from inference.settings import SamplingParams
from model import GPTConfig
from runtime.errors import InputError
from tokenization.chat_format import Message

CACHE_BYTES = 2**30  # for the keys and values of all sequences that are generated at once
# how replies are usually drawn: in a report also where they are the defaults; others only where they differ
USUAL_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "penalty_window")


def measure_folder(config: EvaluateConfig, init_from: str, data: str | None = None) -> Report:
    """
    The Report of a model folder, or of a model of the hub. data: the data folder that it is asked with; None: that of
    the settings, else the one that it was trained on. Raises InputError.
    """
    settings = dataclasses.replace(config, init_from=init_from)
    engine, chat = open_engine(settings, slots=slots_of, wide=False)
    about = {
        "name": Path(init_from).name,
        "folder": str(init_from),
        "parameters": engine.model.num_params(),
        "rendering": engine.template.name,
        "weights": config.weights,
    }
    return measure(config, LocalBackend(engine), about, data or config.data or training_data(chat))


def measure_endpoint(config: EvaluateConfig) -> Report:
    """The Report of the model that the server at config.endpoint has. Raises InputError."""
    assert config.endpoint
    with EndpointBackend(config.endpoint, config.endpoint_model) as backend:
        about = {"name": backend.model, "folder": "a server", "parameters": None, "rendering": "the server's"}
        return measure(config, backend, about, config.data or training_data({}))


def measure(config: EvaluateConfig, backend: Backend, about: dict[str, Any], data: str) -> Report:
    """The Report of a backend, asked with a data folder's val split. about: Report["model"]."""
    n, seed, groups = config.n_questions, config.seed, config.groups or GROUPS
    asked: dict[str, Any] = {"folder": None, "tokenizer": None, "conversations": 0}
    rows: list[Row] = []
    curves: dict[str, dict[str, Any]] = {}
    samples: list[Sample] = []
    with tqdm(desc=about["name"], unit="reply", disable=not sys.stderr.isatty()) as bar:
        if set(groups) != {"sense"}:  # whose questions lie in a file of its own
            conversations, tokenizer_hash = val_conversations(data, seed)
            asked = {"folder": str(data), "tokenizer": tokenizer_hash, "conversations": len(conversations)}
            rows, curves, samples = measure_with_data(config, backend, data, conversations, bar.update)
        if "sense" in groups:
            group_rows, transcripts = sense_rows(backend, config.sampling, n, seed, bar.update)
            rows += group_rows
            samples = samples or random.Random(f"{seed}/samples").sample(
                transcripts, min(config.samples, len(transcripts))
            )
    return {
        "format": FORMAT,
        "model": about,
        "data": asked,
        "settings": {
            "n": n,
            "seed": seed,
            "sampled": sampling_settings(config.sampling),
            **({"groups": list(groups)} if config.groups else {}),
            **({"turns": config.turns} if config.turns != TURNS else {}),
        },
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "rows": [dataclasses.asdict(row) for row in rows],
        "curves": curves,
        "samples": samples,
    }


def measure_with_data(
    config: EvaluateConfig,
    backend: Backend,
    data: str,
    conversations: list[list[Message]],
    progress: Callable[[int], object],
) -> tuple[list[Row], dict[str, dict[str, Any]], list[Sample]]:
    """
    (rows, curves, samples) of the groups that are asked with a data folder's conversations.
    progress: called with the number of replies that were made. Raises InputError if the data have too few.
    """
    n, seed, sampling, groups = config.n_questions, config.seed, config.sampling, set(config.groups or GROUPS)
    contexts = find_contexts(conversations, n, seed)
    if len(contexts) < 2:
        raise InputError(
            f"{data}: its val split has {len(contexts)} replies to ask for; prepare it with a larger --val_share"
        )
    prompts, gold = [context.messages for context in contexts], [context.reply for context in contexts]
    rows: list[Row] = []
    curves: dict[str, dict[str, Any]] = {}
    answers: dict[str, list[Answer]] = {mode: [] for mode in MODES}
    chats: list[list[Message]] = []
    in_view = noted = None
    if isinstance(backend, LocalBackend):
        model, template, in_view = backend.engine.model, backend.engine.template, view_of(backend.engine)
        if "fit" in groups:
            rows += fit_rows(model, template, first_with_replies(conversations, 20 * n), seed, progress)
            rows.append(hits_at_1(model, template, contexts[: max(2, n // 2)], conversations, seed, progress))
    if groups & {"fit", "stops", "itself", "repetition"}:
        for mode, params in sampling_modes(sampling).items():
            answers[mode] = ask(backend, prompts, params, seed, progress, LIMITS)
    if "fit" in groups:
        rows += f1_rows(answers, gold, seed)
    if "stops" in groups:
        group_rows, curves["lengths"] = stop_rows(answers, gold, seed)
        rows += group_rows
    if "itself" in groups:
        rows += impersonation_rows(answers, prompts, gold, seed)
    if "repetition" in groups:
        rows += repetition_rows(answers, gold, seed, n_words=5 * n)
        n_chats = max(2, n // 10)
        chats = self_chats(backend, conversations, n_chats, sampling, seed, progress, turns=config.turns)
        group_rows, curves["overlap"] = repeat_rows(chats, conversations, seed)
        if config.memory and isinstance(backend, LocalBackend):
            remember = functools.partial(remembering_view_of, backend.engine)
            noted_chats = self_chats(
                backend, conversations, n_chats, sampling, seed, progress, remember, turns=config.turns
            )
            values = [row.value for row in repeat_rows(noted_chats, conversations, seed)[0]]
            group_rows = [dataclasses.replace(r, with_memory=v) for r, v in zip(group_rows, values, strict=True)]
        rows += group_rows
    if "memory" in groups:
        if isinstance(backend, LocalBackend):
            rows += copy_rows(backend.engine.model, backend.engine.template, conversations, seed)
            noted = noted_view_of(backend.engine) if config.memory else None
        n_probes, filler = min(n, max(8, n // 4)), Filler([data], "val")
        group_rows, curves["recall"] = recall_rows(backend, filler, n_probes, seed, progress, in_view, noted)
        rows += group_rows
        if noted and isinstance(backend, LocalBackend):
            rows.append(long_chat_row(backend.engine, filler, seed))
    if "safety" in groups:
        rows.append(forgery_rows(backend, contexts, seed))
    if "speed" in groups:
        rows += speed_rows(backend, contexts)
    replies = list(zip(contexts, answers["sampled"], strict=False))
    return rows, curves, draw_samples(config.samples, replies, chats, seed)


def slots_of(model: GPTConfig) -> int:
    """How many sequences are generated at once: 4 to 32, whose keys and values fill CACHE_BYTES at most."""
    slot_bytes = 4 * 2 * model.n_layer * model.n_embd * model.block_size  # float32 keys and values
    return max(4, min(32, CACHE_BYTES // slot_bytes))


def training_data(chat: dict[str, Any]) -> str:
    """The data folder that a model was trained on, by its chat.json's content, if it is here; else PersonaChat's."""
    folder = chat.get("settings", {}).get("data_dir")
    return folder if folder and Path(folder, "meta.json").exists() else "data/personachat"


def val_conversations(folder: str | Path, seed: int) -> tuple[list[list[Message]], str]:
    """(the conversations of a data folder's val split in an order drawn by the seed, the data's tokenizer hash)."""
    meta, _ = open_meta(folder)
    conversations = list(read_conversations(folder, "val"))
    random.Random(f"{seed}/order").shuffle(conversations)
    return conversations, meta["tokenizer"]["hash"]


def first_with_replies(conversations: list[list[Message]], n: int) -> list[list[Message]]:
    """The first conversations that hold n replies together; all, if they hold fewer."""
    n_replies = itertools.accumulate(sum(m["role"] == "assistant" for m in messages) for messages in conversations)
    return conversations[: 1 + sum(1 for _ in itertools.takewhile(lambda total: total < n, n_replies))]


def sampling_settings(sampling: SamplingParams) -> dict[str, Any]:
    """How the sampled replies were drawn, as the report states it: USUAL_SETTINGS, and what is not the default."""
    defaults = dataclasses.asdict(SamplingParams())
    values = {name: getattr(sampling, name) for name in defaults}
    return {
        name: value
        for name, value in values.items()
        if name in USUAL_SETTINGS or value != defaults[name] and name != "seed"
    }


def draw_samples(
    n: int, replies: Sequence[tuple[Context, Answer]], chats: Sequence[list[Message]], seed: int
) -> list[Sample]:
    """n whole transcripts, drawn by the seed: replies to real messages, and a self-chat for every four of them."""
    rng = random.Random(f"{seed}/samples")
    pairs = rng.sample(list(replies), min(n, len(replies)))
    answered: list[Sample] = [
        {
            "title": f"a reply ({answer.reason}, {answer.n_tokens} tokens)",
            "messages": [*messages, {"role": "assistant", "content": answer.text}],
            "note": f"the real reply: {gold}",
        }
        for (messages, gold), answer in pairs
    ]
    talks: list[Sample] = [{"title": "the model with itself", "messages": chat, "note": ""} for chat in chats]
    rng.shuffle(talks)
    n_talks = n // 5
    return (answered[: n - min(n_talks, len(talks))] + talks[:n_talks])[:n]
