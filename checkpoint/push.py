"""
A model folder to the Hugging Face hub: the files that others need, and none that tell about the person. Nothing is sent
before the person has seen the list.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checkpoint import card, not_a_model
from runtime.errors import InputError
from runtime.json_file import read_json_if_there

# what is sent; all else stays here: the state of a run, reports (they quote held-out chats), feedback, earlier models
SENT = ("README.md", "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json")
SENT += ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json", "chat.json")
SENT += ("special_tokens_map.json", "chat_template.jinja", "*.gguf", "Modelfile", "*.onnx", "onnx/**/*", "ct2*/**/*")
SENT += ("mlx*/**/*",)


def push(folder: Path, name: str, really: bool) -> Iterator[str]:
    """
    Send the model in `folder` to the hub's repository `name`, OWNER/NAME, which is made, private, if it is not there;
    without `really` nothing is sent. Yields the lines that say what is, or would be. Raises InputError if it cannot be.
    """
    if not (folder / "config.json").is_file():
        raise not_a_model.error(folder)
    card.write(folder)
    files, kept = listed(folder)
    contents = {path: public_chat(path) if path == folder / "chat.json" else None for path in files}
    sizes = {path: path.stat().st_size if content is None else len(content) for path, content in contents.items()}
    for path, size in sizes.items():
        yield f"{size:>13,} bytes  {path.relative_to(folder).as_posix()}"
    if kept:
        yield f"stays here: {', '.join(kept)}"
    if any(source.get("licence") == "private" for source in read_json_if_there(folder / "chat.json").get("data") or []):
        yield "note: private chats are in its data; whoever has the model may get their words out"
    total = f"{len(files)} files, {sum(sizes.values()) / 1e6:,.1f} MB"
    if not really:
        yield f"nothing was sent; --push_really=true sends these {total} to {name}, private until you change that there"
        return
    operations = [(path.relative_to(folder).as_posix(), content or path) for path, content in contents.items()]
    yield f"sent {total}: {commit(name, operations)}"


def listed(folder: Path) -> tuple[list[Path], list[str]]:
    """(the files to send, the names of what else is in the folder)."""
    found = {path for pattern in SENT for path in folder.glob(pattern) if path.is_file()}
    hidden = {path for path in found if any(part.startswith(".") for part in path.relative_to(folder).parts)}
    files = sorted(found - hidden)
    sent_parts = {path.relative_to(folder).parts[0] for path in files}
    return files, sorted(path.name for path in folder.iterdir() if path.name not in sent_parts)


def public_chat(path: Path) -> bytes:
    """The content of chat.json without the names of the person's files and folders."""
    chat: dict[str, Any] = read_json_if_there(path)
    sources = [source for source in chat.get("data") or [] if isinstance(source, dict)]
    chat["data"] = [{key: value for key, value in source.items() if key != "files"} for source in sources]
    settings = chat.get("settings") or {}
    chat["settings"] = {key: value for key, value in settings.items() if isinstance(value, int | float | None)}
    return (json.dumps(chat, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def commit(name: str, files: list[tuple[str, Path | bytes]]) -> str:
    """Send (name in the repository, path or content) in one commit; the repository's address. Raises InputError."""
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        operations = [CommitOperationAdd(path, str(what) if isinstance(what, Path) else what) for path, what in files]
        api.create_commit(name, operations, commit_message="A model made with nanoChatGPT")
        return str(address)
    except LocalTokenNotFoundError:
        raise InputError(f"{name}: nobody is logged in to the hub; hf auth login, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        hint = "; hf auth login with a token that may write there" if status in (401, 403, 404) else ""
        raise InputError(f"{name}: the hub refused ({status}){hint}") from None
    except (OfflineModeIsEnabled, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        raise InputError(f"{name}: could not be sent ({reason})") from None
