"""Ids to ids, many at once, and ids to text; from inference import LLM, SamplingParams is for other programs."""

from typing import TYPE_CHECKING, Any

from inference.settings import SamplingParams

if TYPE_CHECKING:
    from inference.llm import LLM

__all__ = ["LLM", "SamplingParams"]


def __getattr__(name: str) -> Any:
    """LLM, imported when it is asked for: it needs torch, which takes seconds, and much of this package does not."""
    if name != "LLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inference.llm import LLM

    return LLM
