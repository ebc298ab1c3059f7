"""Whether a reply speaks for the human, gives the human's words back, or says nothing: the group "Itself"."""

from collections.abc import Mapping, Sequence

from evaluation import metrics
from evaluation.backends import Answer
from evaluation.rows import Row, mean_percent, percent_row
from evaluation.settings import MAX_NEW_TOKENS
from tokenization.chat_format import Message


def impersonation_rows(
    answers: Mapping[str, Sequence[Answer]], prompts: Sequence[list[Message]], gold: Sequence[str], seed: int
) -> list[Row]:
    """Rows on the faults of single replies, greedy and sampled together. gold: the people's replies to `prompts`."""
    last_messages = [messages[-1]["content"] for messages in prompts]
    replies = [
        (answer.text, last) for mode in answers.values() for answer, last in zip(mode, last_messages, strict=True)
    ]
    checks = (
        (
            "impersonates",
            "speaks for the human",
            lambda text, last: metrics.impersonates(text),
            "A tag, or another speaker's turn, inside the reply.",
        ),
        (
            "copies",
            "copies the last message",
            metrics.copies,
            "The reply gives the human's last message back (at least 80% of it one run of that message).",
        ),
        ("empty", "says nothing", lambda text, last: not text.strip(), "The reply has no letter."),
    )
    return [
        percent_row(
            "Itself",
            name,
            label,
            [check(text, last) for text, last in replies],
            seed=seed,
            better="lower",
            human=mean_percent(check(text, last) for text, last in zip(gold, last_messages, strict=True)),
            definition=f"{definition} Greedy and sampled replies of up to {MAX_NEW_TOKENS} tokens.",
        )
        for name, label, check, definition in checks
    ]
