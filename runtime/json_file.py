"""JSON files that may be damaged."""

import json
from pathlib import Path
from typing import Any

from runtime.errors import InputError


def read_json(path: str | Path) -> dict[str, Any]:
    """The dict in a JSON file, with or without a byte order mark. Raises InputError if it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); the file is damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; the file is damaged")
    return content


def read_json_if_there(path: str | Path) -> dict[str, Any]:
    """As read_json, and {} where there is no such file."""
    return read_json(path) if Path(path).is_file() else {}
