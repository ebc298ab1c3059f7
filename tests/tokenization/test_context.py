"""
A chat longer than its context goes on: the system message stays, whole turns go, the prompt always fits, and its
beginning changes seldom, so that the KV cache of it lives.
"""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import InputError
from tokenization.chat_format import prompt
from tokenization.context import messages_in_view

SYSTEM = {"role": "system", "content": "you like cheetahs."}


def user(text, **more):
    return {"role": "user", "content": text, **more}


def bot(text):
    return {"role": "assistant", "content": text}


def chat(n, words=3):
    """n questions and replies, then a question."""
    talk = [message for i in range(n) for message in (user(f"question {i} " * words), bot(f"reply {i} " * words))]
    return [SYSTEM, *talk, user("and then?")]


def test_what_fits_stays_whole(tokens):
    """A chat whose prompt has exactly `room` tokens loses nothing; with one token less room it does."""
    messages = chat(5)
    n = len(prompt(messages, tokens))
    assert messages_in_view(messages, partial(prompt, tokenizer=tokens), n) == messages
    assert len(messages_in_view(messages, partial(prompt, tokenizer=tokens), n - 1)) < len(messages)


def test_old_turns_go_whole_and_the_system_message_stays(tokens):
    """In view are the system message and a tail of the chat, unchanged, which begins with the human."""
    messages = chat(50)
    kept = messages_in_view(messages, partial(prompt, tokenizer=tokens), 400)
    assert kept[0] == SYSTEM and kept[1]["role"] == "user"
    assert kept[1:] == messages[-len(kept) + 1 :]
    assert len(prompt(kept, tokens)) <= 400
    assert len(kept) > 3


def test_the_beginning_changes_seldom(tokens):
    """Over 60 turns that outgrow the room many times over, the first message in view changes once in several turns."""
    messages, begins = chat(60), []
    for n in range(2, len(messages) + 1, 2):
        kept = messages_in_view(messages[:n], partial(prompt, tokenizer=tokens), 600)
        begins.append(kept[1]["content"])
    changes = sum(a != b for a, b in zip(begins, begins[1:], strict=False))
    shown = len(messages_in_view(messages, partial(prompt, tokenizer=tokens), 600)) // 2
    assert 3 <= changes <= len(begins) / 3, (changes, len(begins), shown)


def test_a_last_message_that_does_not_fit_is_an_error(tokens):
    """A message, or a persona, longer than the room is one line with both numbers."""
    with pytest.raises(InputError, match="the prompt has [0-9]+ tokens and the context room for 100; shorten"):
        messages_in_view([*chat(3), bot("ok"), user("word " * 200)], partial(prompt, tokenizer=tokens), 100)
    with pytest.raises(InputError, match="persona"):
        messages_in_view(
            [{"role": "system", "content": "i like dogs. " * 100}, user("hi")], partial(prompt, tokenizer=tokens), 100
        )
    with pytest.raises(InputError):
        messages_in_view([user("word " * 200)], partial(prompt, tokenizer=tokens), 100)


TEXT = st.text(alphabet="ab \n🐆é", min_size=1, max_size=30).filter(str.strip)
MESSAGE = st.one_of(TEXT.map(user), TEXT.map(bot), st.builds(lambda t, n: user(t, name=n), TEXT, st.sampled_from("xy")))


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGE, max_size=30), TEXT, st.integers(30, 200), st.booleans())
def test_whatever_is_said_fits(tokens, talk, last, room, with_system):
    """For any chat (bursts, names, emoji) what is in view fits in the room and ends with the last message, or errs."""
    messages = [SYSTEM] * with_system + talk + [user(last)]
    try:
        kept = messages_in_view(messages, partial(prompt, tokenizer=tokens), room)
    except InputError:
        burst = next((i for i in range(len(messages) - 1, 0, -1) if messages[i - 1]["role"] != "user"), 0)
        alone = [SYSTEM] * with_system + messages[max(burst, with_system) :]
        assert len(prompt(alone, tokens)) > room
        return
    assert len(prompt(kept, tokens)) <= room
    assert kept[-1] == messages[-1] and (not with_system or kept[0] == SYSTEM)
    tail = kept[with_system:]
    assert tail == messages[len(messages) - len(tail) :]
    assert len(kept) == len(messages) or tail[0]["role"] == "user"
