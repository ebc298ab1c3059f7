"""A reply at fault is told from ordinary speech, and the better of two is found."""

import pytest

from evaluation.faults import better, fault

BAKERY = "i work in a bakery in town."


@pytest.mark.parametrize(
    "text, question, expected",
    [
        ("fine, thanks.", "how are you?", None),
        ("no no no", "really?", None),
        ("i like dogs i like dogs i like dogs", "hi", "loops"),
        ("fine. Human: and you?", "hi", "speaks for the human"),
        ("fine.\n[Human]: and you?", "hi", "speaks for the human"),
        ("do you like big dogs", "do you like big dogs", "copies"),
        ("hi", "hi", None),
        (" \n", "hi", "says nothing"),
    ],
)
def test_what_is_a_fault(text, question, expected):
    """Loops, speech for the human, copies and empty replies are faults; ordinary speech is none."""
    assert fault(text, [{"role": "user", "content": question}]) == expected


def test_the_same_reply_to_something_else_is_a_fault():
    """Whoever asks the same again gets the same answer; a short one may come again at any time."""
    short = "yes, i do."
    texts = ["what is your job?", BAKERY, "do you like it?", short]
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    for text, question, expected in [
        ("I work in a bakery in town!", "do you have a dog?", "says it again"),
        (BAKERY, "what is your job?", None),
        (short, "are you tired?", None),
        ("i work in a bakery by the sea.", "do you have a dog?", None),
    ]:
        assert fault(text, [*messages, {"role": "user", "content": question}]) == expected


def chat(*lines):
    """Messages by the human and the bot in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": line} for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("oh, i work in a bakery now.", "says it again"),
        ("i work at home, and you?", None),
        ("in town, by the sea, with my sister and her dog.", None),
    ],
)
def test_much_of_what_was_said_is_a_fault_beside_a_statement(text, expected):
    """However far back it was said; whoever asks a question may hear it once more."""
    between = [line for n in range(300) for line in (f"number {n}", "ok.")]
    messages = chat("what is your job?", BAKERY, *between, "i am tired today")
    assert fault(text, messages) == expected
    assert fault(text, [*messages[:-1], {"role": "user", "content": "what do you do?"}]) is None


def test_the_better_of_two():
    """A lesser fault is better than a worse one, none than any, and of two the reply that says less of it again."""
    messages = chat("what is your job?", BAKERY, "i am tired today")
    for first, second in [
        ("", BAKERY),
        ("no no no no no no", "i am tired today"),
        (BAKERY, "then go to bed."),
        (BAKERY, "i work in a bakery all night."),
    ]:
        assert better(first, second, messages) and not better(second, first, messages)
