"""The page and a server that is busy, wrong, gone, back, or wants a key."""

import json
import time

import pytest
from served import expected
from tab import REFUSED, Tab, asked

from inference.settings import SamplingParams, TalkConfig

pytestmark = pytest.mark.browser


def test_busy_is_told_and_tried_again(tab, scripted):
    """429 counts down and asks again by itself; Esc ends the waiting."""
    tab.expected = [REFUSED]
    scripted.refuse = [(429, {"Retry-After": "2"}, "full")]
    tab.say("hi")
    tab.page.get_by_text("busy, trying again in 2 s").wait_for()
    tab.page.get_by_text("busy, trying again in 1 s").wait_for()
    tab.replies(1, scripted.say)
    scripted.refuse = [(429, {"Retry-After": "30"}, "full")]
    tab.say("hi")
    tab.page.get_by_text("busy, trying again in 30 s").wait_for()
    tab.page.keyboard.press("Escape")
    tab.replies(2, "")
    assert len(scripted.requests) == 3


def test_an_error_is_told(tab, scripted):
    """The server's own words for what is wrong, and a way to try again."""
    tab.expected = [REFUSED]
    scripted.refuse = [(400, {}, "temperature must be at most 2")]
    tab.say("hi")
    tab.page.get_by_text("temperature must be at most 2").wait_for()
    tab.press("Try again")
    tab.replies(1, scripted.say)
    assert tab.last.locator(".count").inner_text() == "2/2"


def test_a_server_that_is_gone_and_comes_back(tab, scripted):
    """It is told, the question waits and is asked once it is back, and what is being written stays."""
    tab.expected = [REFUSED]
    tab.page.wait_for_load_state("networkidle")
    scripted.stop()
    tab.say("are you there?")
    tab.page.get_by_text("The server does not answer.").wait_for()
    tab.page.get_by_text("Waiting for the server.").wait_for()
    tab.page.fill("#input", "half a thought")
    scripted.start()
    tab.replies(1, scripted.say)
    assert not tab.page.is_visible("#trouble") and tab.page.input_value("#input") == "half a thought"
    assert asked(scripted) == [("user", "are you there?")] and len(scripted.requests) == 1


def test_a_server_that_dies_amid_a_reply(tab, scripted):
    """What has come of the reply stays, it is told, and the next try is another version."""
    tab.expected = [REFUSED]
    scripted.say, scripted.breaks = "one two three four", 2
    tab.say("count")
    tab.page.get_by_text("connection ended during").wait_for()
    assert tab.replies(1) == "one two"
    scripted.breaks = None
    tab.page.reload()
    assert tab.shown() == ["count", "one two"]
    tab.press("Try again")
    tab.replies(1, scripted.say)


def test_try_now(chromium, scripted):
    """While the server is gone the page asks on, and the button asks now."""
    tab = Tab(chromium, scripted.url)
    scripted.stop()
    tab.page.evaluate("import('/connection.js').then(({ connection }) => connection.look())")
    tab.page.get_by_role("button", name="Try now").wait_for()
    scripted.start()
    tab.page.get_by_role("button", name="Try now").click()
    tab.page.get_by_text("The server is back.").wait_for()
    tab.context.close()


def test_a_key_is_asked_for(tabs, scripted):
    """A server with --api_key: the page asks, once more after a wrong one, keeps it for the tab, and sends it."""
    scripted.api_key = "secret"
    tab = tabs(scripted)
    tab.expected = [REFUSED]
    for key in ("wrong", "secret"):
        tab.page.wait_for_selector("#key")
        tab.page.fill("#api-key", key)
        tab.page.press("#api-key", "Enter")
    tab.page.get_by_text("scripted").first.wait_for()
    tab.say("hi")
    tab.replies(1, scripted.say)
    tab.page.reload()
    tab.say("hi")
    tab.replies(2, scripted.say)
    assert "secret" not in tab.page.evaluate("JSON.stringify(localStorage)")


def test_the_real_server(chromium, running, tmp_path):
    """serve.py itself: its page under its policy, a streamed reply that is the engine's, figures, a verdict kept."""
    server, asked = running(temperature=0.0), [{"role": "user", "content": "hi, how are you?"}]
    step = server.engine.step
    server.engine.step = lambda: time.sleep(0.005) or step()  # a reply within 20 ms is shown without its speed
    tab = Tab(chromium, server.url)
    tab.say("hi, how are you?")
    talk = {name: getattr(TalkConfig(), name) for name in ("dry_multiplier", "dry_base", "penalty_window")}
    wanted, last = expected(server, asked, SamplingParams(temperature=0, max_new_tokens=20, **talk))
    assert tab.replies(1).split() == wanted.split()
    assert tab.last.locator(".figures").inner_text().startswith(f"{last.n_tokens} tokens, ")
    assert "of 64 tokens of context" in tab.page.inner_text("#context")
    tab.press("Good reply")
    tab.page.wait_for_selector("[aria-pressed=true]")
    tab.press("Good reply")
    tab.page.get_by_text("Taken back.").wait_for()
    lines = (tmp_path / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["good", None]
    assert json.loads(lines[0])["conversation"] == asked
    tab.close()
