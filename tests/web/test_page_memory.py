"""The page's memory and personas: off unless asked for, notes that are shown, changed and kept in this browser only."""

import pytest
from tab import PHONE, asked

pytestmark = pytest.mark.browser
GARDENER = {"name": "night_owl", "text": "i stay up late.", "first": "hi! still awake?"}


@pytest.fixture
def scripted(scripted):
    scripted.personas = [GARDENER, {"name": "cook", "text": "i cook.", "first": ""}]
    scripted.notes = ["i live in oslo", "my dog is rex"]
    return scripted


def settings(tab):
    tab.page.click("#open-settings")
    tab.page.wait_for_selector("#settings[open]")


def save(tab):
    tab.page.click("#settings button.main")
    tab.page.wait_for_selector("#settings", state="hidden")


def lines(tab, n):
    """The notes in their boxes, when there are n, and an empty one for the next."""
    tab.until(f"document.querySelectorAll('#notes input').length === {n + 1}")
    return tab.page.eval_on_selector_all("#notes input", "all => all.map(each => each.value)")[:-1]


def test_memory_is_off_unless_asked_for(tab, scripted):
    """Nothing is asked of memory; with the box ticked each request brings it along, a new chat's does not."""
    tab.say("hi")
    tab.replies(1)
    settings(tab)
    assert not tab.page.is_checked("#memory") and not tab.page.is_visible("#notes")
    assert "memory" not in scripted.requests[-1] and not scripted.looks
    tab.page.check("#memory")
    assert lines(tab, 2) == scripted.notes
    assert [each["content"] for each in scripted.looks[-1]["messages"]] == ["hi", "Fine, thanks."]
    save(tab)
    tab.say("and?")
    tab.replies(2)
    assert scripted.requests[-1]["memory"]["notes"] == scripted.notes
    tab.page.click("#new-chat")
    tab.say("hello")
    tab.replies(1)
    assert "memory" not in scripted.requests[-1]


def test_notes_are_changed_forgotten_and_added(tab, scripted):
    """In their boxes; Cancel leaves the chat as it was; Enter in a box does not close the dialog."""
    settings(tab)
    tab.page.check("#memory")
    lines(tab, 2)
    tab.press("Forget: my dog is rex")
    assert lines(tab, 1) == ["i live in oslo"]
    tab.page.fill("#notes input >> nth=0", "i live in rome")
    tab.page.press("#notes input >> nth=0", "Enter")
    tab.until("document.querySelector('#notes input').value === 'i live in rome'")
    assert {**scripted.looks[-1], "memory": 0, "messages": 0} == {
        "memory": 0, "messages": 0, "forget": "i live in oslo", "add": "i live in rome",
    }  # fmt: skip
    tab.page.fill("[aria-label='New note']", "i am ann")
    tab.page.press("[aria-label='New note']", "Enter")
    assert lines(tab, 2) == ["i live in rome", "i am ann"] and tab.page.is_visible("#settings")
    tab.page.keyboard.press("Escape")
    tab.say("hi")
    tab.replies(1)
    assert "memory" not in scripted.requests[-1]


def test_notes_are_taken_along_if_asked(tab, scripted):
    """With "Use these for new chats too" a new chat begins with them, in this browser."""
    settings(tab)
    tab.page.check("#memory")
    lines(tab, 2)
    tab.page.check("#as-default")
    save(tab)
    tab.page.reload()
    tab.say("hi")
    tab.replies(1)
    assert scripted.requests[-1]["memory"] == {"notes": scripted.notes}


def test_a_server_with_memory_is_told_where_it_is_off(tab, scripted):
    """Where the server has it by default the box is ticked, and clearing it asks for none."""
    scripted.models[0]["memory"] = True
    tab.page.reload()
    settings(tab)
    assert lines(tab, 2) and tab.page.is_checked("#memory")
    tab.page.uncheck("#memory")
    save(tab)
    tab.say("hi")
    tab.replies(1)
    assert scripted.requests[-1]["memory"] is False


@pytest.mark.parametrize("viewport", [None, PHONE])
def test_a_persona_is_taken_and_speaks_first(tabs, scripted, viewport):
    """The list fills the box; what the bot says first is shown and sent; it may be edited and deleted, not retried."""
    tab = tabs(scripted, **({"viewport": viewport} if viewport else {}))
    settings(tab)
    tab.page.select_option("#personas", label="night owl")
    assert tab.page.input_value("#system") == GARDENER["text"]
    save(tab)
    assert tab.shown() == [GARDENER["first"]] and tab.page.inner_text("#title") == "New chat"
    buttons = tab.last.locator("button").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert buttons == ["Copy", "Edit the bot's words", "Delete this message"] and not tab.chats()
    settings(tab)
    tab.page.select_option("#personas", label="cook")
    save(tab)
    assert tab.shown() == [] and tab.page.is_visible("#empty")
    settings(tab)
    tab.page.select_option("#personas", label="night owl")
    save(tab)
    tab.say("yes")
    tab.replies(2)
    assert asked(scripted) == [("system", GARDENER["text"]), ("assistant", GARDENER["first"]), ("user", "yes")]
    settings(tab)
    save(tab)
    assert tab.shown() == [GARDENER["first"], "yes", "Fine, thanks."] and "yes" in tab.page.inner_text("#title")
