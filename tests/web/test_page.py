"""
The page: a chat, in a real browser (Debian's Chromium) under the strict policy that serve.py sends.

Any violation of the policy, error in the console or exception in the page fails a test (see `tabs` in conftest.py).
What a reply must say is said by scripted.py; `bash runs/browser.sh` installs what is needed and runs these.
"""

import re

import pytest
from conftest import ROOT
from tab import asked

WEB = ROOT / "web"
browser_test = pytest.mark.browser


def test_the_page_is_small():
    """All of web/ together is under 250 kB, unzipped, and what is ours under 80 kB."""
    sizes = {path.name: path.stat().st_size for path in WEB.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 250_000 and len(sizes) >= 5, sizes
    assert sum(path.stat().st_size for path in WEB.iterdir() if path.is_file()) < 80_000


def test_the_page_is_whole_and_executes_no_text():
    """Nothing comes from elsewhere, no script or style is inline, and no code parses HTML."""
    html = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=\"\w+\.js\"></script>)", html)
    for path in (path for path in WEB.iterdir() if path.is_file()):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://\w|//\w+\.\w+/|innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write", text
        )


# a chat


@browser_test
def test_a_reply_is_streamed(tab, scripted):
    """Enter sends, Shift+Enter begins a line; words show before the last has come; then figures and context."""
    scripted.say, scripted.delay = "one two three four five six seven eight", 0.1
    tab.page.fill("#input", "hello")
    tab.page.press("#input", "Shift+Enter")
    tab.page.type("#input", "there")
    tab.page.press("#input", "Enter")
    tab.until("/one two/.test(document.querySelector('.live')?.innerText)")
    assert "eight" not in tab.last.inner_text() and tab.page.input_value("#input") == ""
    tab.replies(1, scripted.say)
    assert asked(scripted) == [("user", "hello\nthere")]
    (request,) = scripted.requests
    assert request["truncation"] == "auto" and request["stream_options"] == {"include_usage": True}
    assert request["dry_multiplier"] == 2 and request["penalty_window"] == 400  # what the server says of talk
    assert re.search(r"^10 tokens, (8|9|10)(\.\d)? tokens/s", tab.last.locator(".figures").inner_text())
    assert tab.page.inner_text("#context") == "22 of 256 tokens of context"
    assert tab.page.title() == "hello · nanoChatGPT" and tab.page.inner_text("#title") == "hello"


@browser_test
def test_a_starter_is_sent(tab, scripted):
    """The empty state offers three questions, and is gone once one is asked."""
    starters = tab.page.locator("#starters button")
    assert starters.count() == 3
    words = starters.nth(1).inner_text()
    starters.nth(1).click()
    tab.replies(1)
    assert asked(scripted) == [("user", words)] and not tab.page.is_visible("#empty")


@browser_test
@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop(tab, scripted, how):
    """The button and Esc stop a reply: its beginning stays, the server is let go, and the next is asked with it."""
    scripted.say, scripted.delay = "word " * 100, 0.05
    tab.say("talk")
    tab.until("document.querySelector('.live')?.innerText.length > 20")
    tab.press("Stop") if how == "button" else tab.page.keyboard.press("Escape")
    words = tab.replies(1)
    assert words.startswith("word word") and len(words) < 300 and "Stopped" in tab.last.inner_text()
    scripted.delay, scripted.say = 0, "yes"
    tab.say("go on")
    tab.replies(2, "yes")
    assert (
        asked(scripted) == [("user", "talk"), ("assistant", words), ("user", "go on")]
        or asked(scripted)[1][1].strip() == words
    )
    tab.page.wait_for_timeout(200)
    assert scripted.n_disconnects == 1


@browser_test
def test_branches(tab, scripted):
    """Retry and edit make branches; going back and forth shows each with what followed; a reload changes nothing."""
    for question in ("a", "b"):
        scripted.say = f"to {question}"
        tab.say(question)
        tab.replies(1 if question == "a" else 2)
    scripted.say = "again"
    tab.press("Try again", tab.page.locator("article").nth(1))
    tab.replies(1, "again")
    assert tab.shown() == ["a", "again"] and asked(scripted) == [("user", "a")]
    assert tab.last.locator(".count").inner_text() == "2/2"
    tab.press("Previous version", tab.last)
    assert tab.shown() == ["a", "to a", "b", "to b"]
    tab.page.locator("article.user").nth(1).hover()
    tab.press("Edit and send again", tab.page.locator("article.user").nth(1))
    scripted.say = "to c"
    tab.page.fill(".editor textarea", "c")
    tab.page.press(".editor textarea", "Enter")
    tab.replies(2, "to c")
    assert asked(scripted) == [("user", "a"), ("assistant", "to a"), ("user", "c")]
    tab.page.reload()
    assert tab.shown() == ["a", "to a", "c", "to c"]
    tab.page.locator("article").nth(2).get_by_label("Previous version").click()
    assert tab.shown() == ["a", "to a", "b", "to b"]
    focused = tab.page.evaluate("document.activeElement.ariaLabel")
    assert focused == "Next version"  # the pressed one is disabled at the end; the focus is not lost


@browser_test
def test_an_edit_can_be_left(tab, scripted):
    """Arrow up in the empty box edits the last message; Esc leaves it as it was."""
    tab.say("hello")
    tab.replies(1)
    tab.page.press("#input", "ArrowUp")
    tab.page.keyboard.type("!!!")
    tab.page.keyboard.press("Escape")
    assert tab.shown() == ["hello", scripted.say] and len(scripted.requests) == 1


@browser_test
def test_copy(tabs, scripted):
    """The buttons copy the words as they were written, and the code alone."""
    tab = tabs(scripted, permissions=["clipboard-read", "clipboard-write"])
    scripted.say = "**so**:\n```py\nx = 1\n```"
    tab.say("hi")
    tab.replies(1)
    tab.press("Copy", tab.last)
    assert tab.page.evaluate("navigator.clipboard.readText()") == scripted.say
    tab.press("Copy the code")
    assert tab.page.evaluate("navigator.clipboard.readText()") == "x = 1"
    assert tab.page.get_by_text("Copied.").is_visible()


@browser_test
def test_feedback(tab, scripted):
    """Good and bad are sent with the conversation, marked, kept over a reload, and taken back by a second press."""
    tab.say("hi")
    tab.replies(1)
    tab.press("Good reply")
    tab.page.wait_for_selector("[aria-pressed=true]")
    assert tab.page.evaluate("document.activeElement.ariaLabel") == "Good reply"  # the focus stays
    asked = [{"role": "user", "content": "hi"}]
    assert scripted.feedback == [{"conversation": asked, "message": scripted.say, "verdict": "good"}]
    tab.page.reload()
    assert tab.page.get_by_label("Good reply").get_attribute("aria-pressed") == "true"
    tab.press("Bad reply")
    tab.until("document.querySelector('[data-act=bad]').ariaPressed === 'true'")
    assert tab.page.get_by_label("Good reply").get_attribute("aria-pressed") == "false"
    assert scripted.feedback[-1]["verdict"] == "bad"


@browser_test
def test_settings(tab, scripted):
    """Persona and sampling go with the request, of this chat alone or of new ones too; what is empty is not sent."""
    values = {"temperature": 0.5, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "max_tokens": 30, "seed": 7}
    tab.page.click("#open-settings")
    tab.page.fill("#system", "you have two dogs.")
    for name, value in values.items():
        tab.page.fill(f"#{name}", str(value))
    tab.page.check("#as-default")
    tab.page.press("#seed", "Enter")  # saves
    tab.say("hi")
    tab.replies(1)
    body = scripted.requests[-1]
    assert {name: body.get(name) for name in values} == {**values, "seed": 7 + 2} and "top_p" not in body
    assert asked(scripted) == [("system", "you have two dogs."), ("user", "hi")]
    tab.press("Try again")
    tab.replies(1)
    assert scripted.requests[-1]["seed"] != scripted.requests[-2]["seed"]
    tab.page.keyboard.press("Control+Shift+O")
    tab.page.click("#open-settings")
    assert tab.page.input_value("#system") == "you have two dogs."
    tab.page.click("#clear")
    tab.page.click("#settings button.main")
    tab.say("hi")
    tab.replies(1)
    assert asked(scripted) == [("user", "hi")] and "temperature" not in scripted.requests[-1]
    tab.page.locator("#chats a").last.click()
    tab.page.click("#open-settings")
    assert tab.page.input_value("#temperature") == "0.5"
    tab.page.fill("#temperature", "-1")
    tab.page.click("#settings button.main")
    assert tab.page.is_visible("#settings")  # the browser says what is wrong
