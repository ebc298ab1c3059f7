"""
Models of the Hugging Face hub: which names mean one, and where its files are on this machine.

    local_folder("out-chat")                    # a path stays what it is
    local_folder("microsoft/DialoGPT-small")    # downloaded at the first use
"""

import re
from pathlib import Path

from runtime.errors import InputError

# the hub's names without an owner; any OWNER/NAME will do as well
HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")
TEXT_FILES = ["*.json", "merges.txt", "vocab.txt", "*.jinja"]
WEIGHTS = ["model*.safetensors", "adapter_model.safetensors"]
PICKLED_WEIGHTS = ["pytorch_model*.bin", "adapter_model.bin"]


def is_hub_name(name: str | Path) -> bool:
    """Whether `name` means a model of the hub: one of HUB_NAMES, or OWNER/NAME, and nothing of that name is here."""
    owner, slash, _ = str(name).partition("/")
    if Path(name).exists():
        return False
    if not slash:
        return owner in HUB_NAMES
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name))) and not Path(owner).is_dir()


def local_folder(name: str | Path) -> Path:
    """The folder, or file, that `name` means; a hub's model is downloaded. Raises InputError if it cannot be."""
    if not is_hub_name(name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(str(name), allow_patterns=[*TEXT_FILES, *WEIGHTS]))
        if not any(folder.glob("*.safetensors")):  # older repositories have the pickled form alone
            folder = Path(snapshot_download(str(name), allow_patterns=[*TEXT_FILES, *PICKLED_WEIGHTS]))
        return folder
    except RepositoryNotFoundError:
        raise InputError(f"{name}: no such folder here, and the hub has no model of this name") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        raise InputError(
            f"{name}: the hub cannot be reached and no download is cached ({reason}); a local GPT-2 folder would do: "
            f"--init_from=FOLDER with config.json and model.safetensors"
        ) from None
