"""
The model card: the README.md of a model folder, which the hub shows as its page. What it was trained on with the
licences, the report card's figures where there are some, its limits, and how to talk to it in each engine.

A card that a person wrote or changed is never overwritten: ours carries a checksum of its own text.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import atomic
from runtime.json_file import read_json_if_there

NAME = "README.md"
MARK = re.compile(r"<!-- nanoChatGPT wrote this card, ([0-9a-f]{16}): [^\n]*-->\n")
# our words for licences -> the hub's identifiers
LICENCE_IDS = {
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "BSD-3-Clause": "bsd-3-clause",
    "CC0-1.0": "cc0-1.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-NC 4.0": "cc-by-nc-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
}
# what shows that a folder holds a model for another engine -> how it is talked to
EXPORTS = {
    "*.gguf": "llama-cli -m {path} --jinja",
    "Modelfile": "ollama create {name} -f {path} && ollama run {name}",
    "onnx/*.onnx": "# onnx/{path}: onnxruntime, Transformers.js and web pages (nanoChatGPT's docs/browser.md)",
    "ct2-*": "# {path}: ctranslate2.Generator in Python (docs/export.md)",
    "mlx-*": "mlx_lm.chat --model {path}",
}


def write(folder: str | Path, into: str | Path | None = None) -> Path | None:
    """
    Write the card of the model in `folder` there, or into another folder that holds exports of it. The path comes back,
    or None where a person's card stands, or the folder is not one that we wrote.
    """
    folder, into = Path(folder), Path(into or folder)
    path = into / NAME
    if not (folder / "chat.json").is_file() or not may_replace(path):
        return None
    config, chat = read_json_if_there(folder / "config.json"), read_json_if_there(folder / "chat.json")
    exports = [
        command.format(path=found.name, name=folder.resolve().name)
        for pattern, command in EXPORTS.items()
        for found in sorted(into.glob(pattern))
    ]
    content = text(folder.resolve().name, config, chat, figures(folder), exports)
    with atomic.file(path) as new:
        new.write_text(content, encoding="utf-8", errors="replace")
    return path


def may_replace(path: Path) -> bool:
    """Whether there is no card, or one of ours that nobody has changed since."""
    if not path.exists():
        return True
    found = path.read_text(encoding="utf-8", errors="replace")
    match = MARK.search(found)
    return bool(match) and match[1] == checksum(MARK.sub("", found, count=1))


def checksum(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]


def figures(folder: Path) -> str:
    """The first table of the report card, if evaluate.py wrote one of these very weights; else ""."""
    report, weights = folder / "report.md", folder / "model.safetensors"
    if not report.is_file() or not weights.is_file() or report.stat().st_mtime < weights.stat().st_mtime:
        return ""
    behind = report.read_text(encoding="utf-8", errors="replace").partition("## In short")[2]
    return "\n".join(line for line in behind.partition("\n## ")[0].splitlines() if line.startswith("|"))


def text(
    name: str, config: Mapping[str, Any], chat: Mapping[str, Any], table: str = "", exports: Sequence[str] = ()
) -> str:
    """
    The card. config, chat: the content of config.json and chat.json. table: of the report card, in Markdown. exports:
    commands that talk to the model in other engines.
    """
    sources = [source for source in chat.get("data") or [] if isinstance(source, dict)]
    licences = {str(source.get("licence")) for source in sources}
    licence = LICENCE_IDS.get(licences.copy().pop(), "other") if len(licences) == 1 else "other"
    head = ["---", f"license: {licence}", "library_name: transformers", "pipeline_tag: text-generation", "---", ""]
    shape = f"{config.get('n_layer')} layers, {config.get('n_embd')} wide, {config.get('n_head')} heads"
    made = f"made with nanoChatGPT {chat['version']}" if chat.get("version") else "made with nanoChatGPT"
    body = [
        f"# {name}",
        "",
        f"A GPT-2 that chats: {shape}, a context of {config.get('n_positions')} tokens, a vocabulary of "
        f"{config.get('vocab_size')}; {made}.",
        *("", "## How to talk to it", ""),
        *talk(name, exports),
        *("", "## What it was trained on", ""),
        *training(chat, sources),
        *("", "## How good it is", ""),
        table or "Not measured yet: `python evaluate.py` does, and writes the figures here.",
        *("", "## Limits", ""),
        f"It makes things up, and is no source of facts or advice. It sees the last {config.get('n_positions')} tokens "
        "of a chat and forgets what was before. It repeats what it was trained on, at times word for word, and nothing "
        "filters what it says.",
    ]
    content = "\n".join([*head, *body]) + "\n"
    mark = f"<!-- nanoChatGPT wrote this card, {checksum(content)}: once you change it, it stays as you leave it -->\n"
    return content.replace("---\n\n", f"---\n\n{mark}", 1)  # behind the head, which must come first


def talk(name: str, exports: Sequence[str]) -> list[str]:
    """The lines that say how to talk to the model in each engine."""
    return [
        "```sh",
        f"python chat.py --out_dir={name}      # nanoChatGPT",
        f"python serve.py --out_dir={name}     # a web page, and OpenAI's protocol",
        f"vllm serve {name}                    # the same protocol by vLLM",
        *(exports or [f"python export.py --out_dir={name}    # files for llama.cpp, Ollama, onnxruntime and others"]),
        "```",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        f'talk = pipeline("text-generation", model="{name}")',
        'print(talk([{"role": "user", "content": "hi"}])[0]["generated_text"][-1]["content"])',
        "```",
    ]


def training(chat: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines that say what the model learned from, and under which licences."""
    if not sources:
        return ["Its folder does not say."]
    lines = ["| source | licence | conversations |", "|---|---|--:|"]
    for source in sources:
        url, title = str(source.get("url", "")), cell(source.get("name"))
        title = f"[{title}]({url})" if url.startswith("https://") else title
        n = source.get("conversations")
        lines.append(f"| {title} | {cell(source.get('licence'))} | {f'{n:,}' if isinstance(n, int) else ''} |")
    base = (chat.get("settings") or {}).get("init_from")
    base = Path(base).name if isinstance(base, str) and Path(base).is_absolute() else base
    seen = chat.get("tokens_seen")
    told = [f"It began as {cell(base)}." if base not in (None, "scratch", "resume") else ""]
    told += [f"It saw {seen:,} tokens." if isinstance(seen, int) else ""]
    told += [f"Its loss on held-out conversations: {chat['val_loss']:.3f}." if chat.get("val_loss") else ""]
    if any(source.get("licence") == "private" for source in sources):
        told += [
            "**Private chats are among it**: whoever has the model may get their words out, so ask before you share."
        ]
    told = [sentence for sentence in told if sentence]
    return [*lines, "", " ".join(told)] if told else lines


def cell(value: object) -> str:
    """The value in one line, without what would end a cell of a table or begin a tag."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
