"""
The report card of a chat model: fit, stops, repetition, impersonation, memory, safety, speed.

    $ python evaluate.py --init_from=out-chat --quick
    $ python evaluate.py --init_from=out-chat --baseline=gpt2 --samples=20
    $ python evaluate.py --endpoint=http://127.0.0.1:8080/v1 --out_dir=report-theirs      # another engine's model
    $ python evaluate.py --init_from=out-chat --fail_under=limits.txt                     # a gate: exit status 1

Writes report.md, report.json and report.png into the model's folder, and prints the table.
"""

import dataclasses
import itertools
import os
import platform
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

import configurator
from dataset.folder import open_meta, read_conversations
from dataset.recall.filler import Filler
from evaluation import behaviour, report
from evaluation.backends import EndpointBackend, LocalBackend
from evaluation.fit import fit_rows, hits_at_1, overlap_with_gold
from evaluation.gate import read_limits, shortfalls
from evaluation.prompting import LIMIT, LIMITS, ask, find_contexts, sampling_modes
from evaluation.recall import recall_rows, visible_messages
from evaluation.safety import forgery_rows
from evaluation.speed import throughput_rows
from inference.engine import Engine
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from runtime.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig(EngineConfig):
    """Measure a chat model, or a server's, on real conversations."""

    init_from: str = "out-chat"  # any GPT-2 folder, ours or Hugging Face's, or gpt2 ... gpt2-xl
    data: str | None = None  # whose val split is asked; default: what the model was trained on, or data/personachat
    baseline: str | None = None  # a second model to stand beside it; its report.json is used if it measured the same
    quick: bool = False  # a tenth of the questions
    n: int | None = None  # questions of each kind; default: 200, with --quick 20
    samples: int = 0  # transcripts to add, drawn by the seed
    fail_under: str | None = None  # a file of lines `name, limit`: exit status 1 if the model falls short of one
    seed: int = 1  # draws the questions; the same seed and folder give the same report
    out_dir: str | None = None  # where the report goes; default: the model's folder
    endpoint: str | None = None  # an OpenAI-compatible server in place of a folder: http://127.0.0.1:8080/v1
    endpoint_model: str | None = None  # which of its models; default: the first
    weights: Literal["full", "bfloat16", "int8", "int4"] = "full"  # how a CPU keeps them: what fewer bits cost

    def __post_init__(self):
        super().__post_init__()
        if self.max_new_tokens != LIMIT:
            raise ValueError(f"max_new_tokens ({self.max_new_tokens}) is {LIMIT} in every report")
        if self.n is not None and self.n < 2:
            raise ValueError(f"n ({self.n}) must be at least 2")
        if self.samples < 0:
            raise ValueError(f"samples ({self.samples}) must be at least 0")
        if self.endpoint and not self.out_dir:
            raise ValueError("--endpoint has no folder for the report; say --out_dir=FOLDER")

    @property
    def sampling(self):
        """The Sampling that the flags say."""
        return SamplingParams(**{field.name: getattr(self, field.name) for field in dataclasses.fields(SamplingParams)})

    @property
    def questions(self):
        return self.n or (20 if self.quick else 200)


def evaluate(config):
    limits = read_limits(config.fail_under) if config.fail_under else []
    baseline = None
    if config.baseline and Path(config.baseline, "report.json").exists():
        baseline = report.read_report(config.baseline)
    found, folder = measured(config, config.init_from)
    if config.baseline and (baseline is None or alike(baseline) != alike(found)):
        baseline, where = measured(config, config.baseline, data=found["data"]["folder"])
        report.write_report(where, baseline)
    report.write_report(folder, found, baseline)
    print(report.table(found, baseline))
    print(f"wrote {Path(folder) / 'report.md'}, report.json and report.png")
    short = shortfalls(found, limits, config.fail_under)
    for line in short:
        print(f"short: {line}", file=sys.stderr)
    if short:
        sys.exit(1)


def alike(content):
    """What two reports must share to stand side by side."""
    return content["format"], content["data"], content["settings"]


def measured(config, init_from, data=None):
    """(report, folder to write it to) of one model."""
    n, seed = config.questions, config.seed
    if config.endpoint and data is None:
        speaker, chat, model = EndpointBackend(config.endpoint, config.endpoint_model), {}, None
        about = {"name": speaker.model, "folder": "a server", "parameters": None, "rendering": "the server's"}
        folder, visible = config.out_dir, None
    else:
        speaker, chat, about, folder = local(config, init_from)
        model, visible = speaker.engine.model, visible_messages(speaker.engine)
    data = data or config.data or trained_on(chat)
    conversations, hash = val_conversations(data, seed)
    found = find_contexts(conversations, n, seed)
    if len(found) < 2:
        raise InputError(
            f"{data}: its val split has {len(found)} replies to ask for; prepare it with a larger --val_share"
        )
    prompts, gold = [messages for messages, _ in found], [text for _, text in found]
    filler = Filler([data], "val")

    rows, curves = [], {}
    with tqdm(desc=about["name"], unit="reply", disable=not sys.stderr.isatty()) as bar:
        if model is not None:
            rows += fit_rows(model, speaker.engine.template, enough(conversations, 20 * n), seed, bar)
            rows.append(hits_at_1(model, speaker.engine.template, found[: max(2, n // 2)], conversations, seed, bar))
        answers = {
            mode: ask(speaker, prompts, sampling, seed, bar.update, LIMITS)
            for mode, sampling in sampling_modes(config.sampling).items()
        }
        rows += overlap_with_gold(answers, gold, seed)
        more, curves["lengths"] = behaviour.stop_rows(answers, gold, seed)
        rows += more + behaviour.single_reply_rows(answers, prompts, gold, seed)
        rows += behaviour.repetition_rows(answers, gold, seed, 5 * n)
        chats = behaviour.self_chats(speaker, conversations, max(2, n // 10), config.sampling, seed, bar.update)
        more, curves["overlap"] = behaviour.repeat_rows(chats, conversations, seed)
        rows += more
        more, curves["recall"] = recall_rows(speaker, filler, min(n, max(8, n // 4)), seed, bar.update, visible)
        rows += more
        rows.append(forgery_rows(speaker, found, seed))
        rows += throughput_rows(speaker, found)
    content = {
        "format": report.FORMAT,
        "model": about,
        "data": {"folder": str(data), "tokenizer": hash, "conversations": len(conversations)},
        "settings": {"n": n, "seed": seed, "sampled": sampled_as(config.sampling)},
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "rows": [dataclasses.asdict(row) for row in rows],
        "curves": curves,
        "samples": samples(config.samples, found, answers["sampled"], chats, seed),
    }
    return content, folder


def local(config, init_from):
    """(speaker, chat.json's content, about, folder for the report) of a model folder."""
    settings = dataclasses.replace(config, init_from=init_from)
    opened, chat = open_engine(settings)
    size = 4 * 2 * opened.model.config.n_layer * opened.model.config.n_embd * opened.block_size  # bytes a slot
    opened = Engine(opened.model, opened.tokenizer, opened.template, slots=max(4, min(32, 2**30 // size)))
    about = {
        "name": Path(init_from).name,
        "folder": str(init_from),
        "parameters": opened.model.num_params(),
        "rendering": opened.template.name,
        "weights": config.weights,
    }
    folder = config.out_dir or init_from
    if not config.out_dir and not Path(folder).is_dir():
        folder = f"report-{Path(init_from).name}"  # a hub name, or a nanoGPT file
    return LocalBackend(opened), chat, about, folder


def trained_on(chat):
    """The data folder that chat.json tells of, if it is here; else PersonaChat."""
    folder = chat.get("settings", {}).get("data_dir")
    return folder if folder and Path(folder, "meta.json").exists() else "data/personachat"


def val_conversations(folder, seed):
    """(the conversations of a data folder's val split in an order drawn by the seed, the data's tokenizer hash)."""
    meta, _ = open_meta(folder)
    conversations = list(read_conversations(folder, "val"))
    random.Random(f"{seed}/order").shuffle(conversations)
    return conversations, meta["tokenizer"]["hash"]


def enough(conversations, n):
    """The first conversations that hold n replies together."""
    spoken = itertools.accumulate(sum(m["role"] == "assistant" for m in messages) for messages in conversations)
    return conversations[: 1 + sum(1 for _ in itertools.takewhile(lambda total: total < n, spoken))]


def sampled_as(sampling):
    """How the sampled replies were drawn, as the report states it: what is usual, and what differs from it."""
    usual = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "penalty_window")
    values = {
        field.name: (getattr(sampling, field.name), field.default) for field in dataclasses.fields(SamplingParams)
    }
    return {
        name: value for name, (value, default) in values.items() if name in usual or value != default and name != "seed"
    }


def samples(n, found, answers, chats, seed):
    """n transcripts, whole, drawn by the seed: replies to real messages, and a self-chat for every four of them."""
    rng = random.Random(f"{seed}/samples")
    drawn = [
        {
            "title": f"a reply ({answer.reason}, {answer.n_tokens} tokens)",
            "messages": [*messages, {"role": "assistant", "content": answer.text}],
            "note": f"the real reply: {gold}",
        }
        for (messages, gold), answer in rng.sample(list(zip(found, answers, strict=True)), min(n, len(found)))
    ]
    talks = [{"title": "the model with itself", "messages": chat, "note": ""} for chat in chats]
    rng.shuffle(talks)
    drawn = drawn[: n - min(n // 5, len(talks))] + talks[: n // 5]
    return list(itertools.islice(drawn, n))


if __name__ == "__main__":
    configurator.main(evaluate, EvaluateConfig)
