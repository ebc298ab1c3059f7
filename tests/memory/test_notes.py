"""
What leaves the context is not lost: the newest of what was told stands behind the system message, and turns that bear
on a question come back before it. While everything is in view, nothing is added, and a view never exceeds its tokens.
"""

import random

import pytest
from conftest import talk

from memory.notes import ABOUT, NOTED, NOTES_SHARE, RECALLED_SHARE, Memory
from memory.recall import TurnIndex, topics
from memory.view import View
from runtime.errors import InputError

PERSONA = {"role": "system", "content": "i am a robot."}


def prompt(messages):
    """A token a word, and two for each message."""
    return [0] * sum(len(message["content"].split()) + 2 for message in messages)


def chat(*lines):
    """Messages by the human and the bot in turn, after the persona."""
    return [PERSONA, *({"role": ("user", "assistant")[i % 2], "content": line} for i, line in enumerate(lines))]


def walked(memory, messages, max_tokens=240):
    """The view of each of the human's turns, as a chat asks for them; the last one."""
    view = []
    for end in range(2, len(messages) + 1):
        if messages[end - 1]["role"] == "user":
            view = memory.in_view(messages[:end], prompt, max_tokens)
            assert len(prompt(view)) <= max_tokens and view[-1] == messages[end - 1]
    return view


def long_chat(*told, n=40):
    """Told at first, then n exchanges about nothing."""
    lines = [line for text in told for line in (text, "i see.")]
    return [*chat(*lines), *talk(n, seed=1)]


def test_nothing_is_added_while_all_is_in_view():
    """A short chat is seen as it is, to the letter."""
    messages = chat("i live in oslo", "nice.", "where do i live?")
    assert Memory().in_view(messages, prompt, 120) == messages


def test_what_was_told_stays_in_view():
    """A fact from beyond the context is told once more behind the persona; without memory it is gone."""
    messages = [*long_chat("i live in oslo. my dog is called rex."), {"role": "user", "content": "hm?"}]
    system, told, noted, *_ = walked(Memory(), messages)
    assert system == PERSONA and "i live in oslo. my dog is called rex." in told["content"]
    assert (told["role"], noted["role"]) == ("user", "assistant") and noted["content"].startswith(NOTED)
    assert "oslo" not in str(View().of(messages, prompt, 240))


def test_what_the_bot_said_of_itself_stays_in_view():
    """In its own words, the newest of a kind, as far as people ask for such things."""
    lines = ["who are you?", "my name is bo. i like rain.", "where do you live?", "i live in rome.", "still?"]
    lines += ["no, i moved to oslo.", "i live in bergen.", "nice."]
    messages = [*chat(*lines), *talk(40, seed=1), {"role": "user", "content": "hm?"}]
    memory = Memory()
    system, told, noted, *_ = walked(memory, messages)
    assert told["content"] == "i live in bergen." and [note.text for note in memory.notes] == ["i live in bergen"]
    assert noted["content"].startswith(f"{NOTED} my name is bo. i moved to oslo.") and "rome" not in noted["content"]
    taken_back = [*messages[:2], {"role": "assistant", "content": "guess."}, *messages[3:]]
    assert "my name is bo" not in str(walked(memory, taken_back)[:3])


def test_the_newest_wins():
    """A correction takes the older one's place, also when it is still in view itself."""
    messages = [*long_chat("i live in oslo", "i moved to bergen"), {"role": "user", "content": "hm?"}]
    told = walked(Memory(), messages)[1]["content"]
    assert "bergen" in told and "oslo" not in told
    late = [*long_chat("i live in oslo"), *chat("i moved to bergen", "oh.", "hm?")[1:]]
    assert "oslo" not in str(walked(Memory(), late))


def test_turns_that_bear_on_the_message_come_back():
    """An exchange that is no fact of the human is brought back beside the question about it, and only then."""
    told = ("the volcano on the poster erupted in 1902", "poor people.")
    messages = [*chat(*told), *talk(40, seed=1), {"role": "user", "content": "when did that volcano erupt?"}]
    assert walked(Memory(), messages)[-3:] == [*chat(*told)[1:], messages[-1]]
    messages[1:3] = chat("my favorite volcano is etna", "ok", "my favorite volcano is fuji", "i see")[1:]
    messages[-1] = {"role": "user", "content": "what is my favorite volcano?"}
    assert "fuji" in (now := str(walked(Memory(), messages))) and "etna" not in now  # what was corrected stays away
    messages[-1] = {"role": "user", "content": "and now?"}
    assert walked(Memory(), messages)[-2:] == messages[-2:]


def test_the_notes_change_only_when_turns_leave():
    """Else each turn would compute the whole context anew."""
    memory, messages, changes, starts = Memory(), long_chat("i live in oslo", "my cat is called tom"), [], []
    for end in range(2, len(messages), 2):
        changes.append(str(memory.in_view(messages[:end], prompt, 240)[:3]))
        starts.append(memory.view.start)
    # a view that fits in what the notes leave moves on by half of it
    n_free = 240 - 240 // NOTES_SHARE - 240 // RECALLED_SHARE - len(prompt(messages[:1]))
    n_moves = len(prompt(messages)) / (n_free // 2)
    assert len(set(changes)) <= len(set(starts)) + 1 <= n_moves + 1 < len(changes) / 2


def test_many_notes_leave_room_for_the_talk():
    """Of more than fits the newest stay, and before others those that have a name: where one lives, what a dog is."""
    told = [f"i like the number {i}" for i in range(60)]
    messages = [*long_chat("i live in oslo", *told), {"role": "user", "content": "hm?"}]
    view = walked(Memory(), messages, 200)
    assert "oslo" in view[1]["content"] and "number 59" in view[1]["content"] and "number 0." not in view[1]["content"]
    assert len(prompt(view[:3])) <= 6 + 200 // NOTES_SHARE


def test_notes_are_edited_and_forgotten():
    """What is forgotten stays so until it is said again; what is added stands first, in the next chat too."""
    memory = Memory(["my name is ann"])
    memory.in_view(chat("i live in oslo. i like tea."), prompt, 120)
    assert [note.text for note in memory.notes] == ["my name is ann", "i live in oslo", "i like tea"]
    memory.forget(memory.notes[1])
    memory.add("i live in rome")
    messages = chat("i live in oslo. i like tea.", "ok", "fine")
    memory.in_view(messages, prompt, 120)
    assert [note.text for note in memory.notes] == ["my name is ann", "i live in rome", "i like tea"]
    memory.clear()
    told, noted = memory.in_view(chat("hi"), prompt, 120)[1:3]
    assert (told["content"], noted["content"]) == ("my name is ann. i live in rome. i like tea.", NOTED)


def test_what_is_taken_back_is_not_remembered():
    """/undo and /edit: the facts of the messages that are gone go as well, and the older ones hold again."""
    memory = Memory()
    memory.in_view(chat("i live in oslo", "ok", "i moved to bergen"), prompt, 120)
    memory.in_view(chat("i live in oslo", "ok", "i like fish"), prompt, 120)
    assert [note.text for note in memory.notes] == ["i live in oslo", "i like fish"]


def test_a_message_that_does_not_fit_is_refused():
    """As without memory."""
    for messages in (chat("word " * 200), [*long_chat("i live in oslo"), {"role": "user", "content": "word " * 200}]):
        with pytest.raises(InputError, match="shorten"):
            Memory().in_view(messages, prompt, 120)


def test_any_chat_fits():
    """Random chats, sizes and steps back: the view fits, begins with the persona, and ends with the last message."""
    for seed in range(30):
        rng = random.Random(seed)
        memory, messages = Memory(), [PERSONA]
        for _ in range(60):
            if rng.random() < 0.1:
                del messages[max(1, len(messages) - 2 * rng.randint(1, 5)) :]
            if messages[-1]["role"] == "user":
                messages.pop()
            words = rng.choices("i have live in my dog is oslo . , red and the".split(), k=rng.randint(1, 30))
            messages.append({"role": "user", "content": " ".join(words)})
            view = memory.in_view(messages, prompt, 100)
            assert len(prompt(view)) <= 100 and view[0]["content"].startswith(PERSONA["content"])
            assert view[-1] == messages[-1]
            messages.append({"role": "assistant", "content": "ok " * rng.randint(1, 20)})


def test_bm25_finds_what_shares_words():
    """By words whatever their endings; small words find nothing; nothing to look in is no error."""
    index = TurnIndex(["my dogs are asleep", "i baked bread today", "the weather is fine"])
    assert index.find("how is your dog?", 2) == [0] and index.find("bake me a bread", 2) == [1]
    assert index.find("what is it that you are?", 2) == [] == index.find("", 2)
    assert TurnIndex(["my cat's name is tom", "the name's ann"]).find("what are your names?", 2) == [0, 1]
    assert TurnIndex([]).find("dogs", 2) == [] == TurnIndex(["is it?"]).find("dogs", 2)


def test_topics_are_what_both_spoke_of():
    """Words that both sides said, in their order, most often said first to stay."""
    pairs = [
        ("i love dogs", "dogs are fun"),
        ("my dogs bark", "do your dogs bark a lot?"),
        ("soup tonight", "what soup?"),
    ]
    assert topics(pairs, 5) == ["dogs", "bark", "soup"] and topics(pairs, 1) == ["dogs"] and topics([], 3) == []
    messages = [
        *chat("i love soup", "soup is good", "fine", "yes"),
        *talk(40, seed=1),
        {"role": "user", "content": "hm?"},
    ]
    assert f"{ABOUT}soup" in walked(Memory(), messages)[2]["content"]
