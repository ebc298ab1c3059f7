"""The page keeps conversations: in the browser, in files, in two tabs, and where nothing can be kept."""

import json

import pytest
from tab import Tab

pytestmark = pytest.mark.browser


def test_conversations(tab, scripted):
    """Several are kept, the latest first; search looks into the words; rename, delete, undo, and the browser's Back."""
    for question, reply in (("about dogs", "woof"), ("about cats", "meow")):
        scripted.say = reply
        tab.page.click("#new-chat")
        tab.say(question)
        tab.replies(1)
    assert tab.chats() == ["about cats", "about dogs"]
    tab.page.fill("#search", "WOOF")
    assert tab.chats() == ["about dogs"]
    tab.page.fill("#search", "")
    tab.page.click("#chats a >> nth=1")
    assert tab.shown() == ["about dogs", "woof"]
    tab.press("Rename: about dogs")
    tab.page.keyboard.type("Pets")
    tab.page.keyboard.press("Enter")
    tab.page.go_back()
    assert tab.shown() == ["about cats", "meow"] and tab.chats() == ["about cats", "Pets"]
    tab.press("Delete: about cats")
    assert tab.chats() == ["Pets"] and tab.shown() == []
    tab.page.get_by_role("button", name="Undo").click()
    assert tab.chats() == ["about cats", "Pets"] and tab.shown() == ["about cats", "meow"]
    tab.page.reload()
    assert tab.chats() == ["about cats", "Pets"] and tab.shown() == ["about cats", "meow"]


def test_pinned_chats_stay_on_top(tab):
    """Under a heading of their own, after a reload too, until they are unpinned; the focus stays on the button."""
    for question in ("about dogs", "about cats"):
        tab.page.click("#new-chat")
        tab.say(question)
        tab.replies(1)
    tab.page.hover("#chats a >> nth=1")
    tab.press("Pin: about dogs")
    assert tab.page.evaluate("document.activeElement.ariaLabel") == "Unpin: about dogs"
    for _ in range(2):
        assert tab.chats() == ["about dogs", "about cats"]
        assert tab.page.locator("#chats .day").all_inner_texts() == ["Pinned", "Today"]
        tab.page.reload()
    tab.page.hover("#chats a >> nth=0")
    tab.press("Unpin: about dogs")
    assert tab.chats() == ["about cats", "about dogs"]


def test_a_chat_is_named_by_what_it_is_about(tab):
    """A greeting is no name where more is said."""
    tab.say("hi")
    tab.replies(1)
    assert tab.chats() == ["hi"]
    tab.say("hello there! what shall we cook?")
    tab.replies(2)
    assert tab.chats() == ["What shall we cook?"] and tab.page.title().startswith("What shall we cook?")


def test_the_persona_is_seen_in_the_chat(tab):
    """Above the messages, in its own words; a click changes it."""
    persona = tab.page.locator("#persona")
    assert persona.is_hidden()
    tab.page.click("#open-settings")
    tab.page.fill("#system", "i have <b>two</b> dogs.")
    tab.page.click("#settings .main")
    tab.say("hi")
    tab.replies(1)
    assert persona.inner_text().endswith("i have <b>two</b> dogs.")
    persona.click()
    tab.page.fill("#system", "")
    tab.page.click("#settings .main")
    assert persona.is_hidden()


def test_a_reply_goes_on_while_another_chat_is_read(tab, scripted):
    """Each conversation has its own reply on its way; one that is deleted meanwhile does not come back."""
    scripted.delay, scripted.say = 0.03, "a long reply " * 10
    tab.say("first")
    tab.page.wait_for_selector(".live")
    tab.page.click("#new-chat")
    assert tab.shown() == []
    tab.page.wait_for_timeout(1500)
    tab.page.click("#chats a")
    tab.replies(1, scripted.say.strip())
    tab.press("Try again")
    tab.page.wait_for_selector(".live")
    tab.press("Delete: first")
    tab.page.wait_for_timeout(300)
    tab.page.reload()
    assert tab.chats() == []


def test_what_was_begun_outlives_a_reload(tab, scripted):
    """A page closed amid a reply keeps its beginning; words that were not sent stay in the box of their chat."""
    scripted.delay, scripted.say = 0.05, "word " * 100
    tab.say("hi")
    tab.until("document.querySelector('.live')?.innerText.length > 20")
    tab.page.fill("#input", "not sent yet")
    tab.page.reload()
    assert tab.replies(1).startswith("word word") and "connection ended" in tab.last.inner_text()
    assert tab.page.input_value("#input") == "not sent yet"
    tab.page.click("#new-chat")
    assert tab.page.input_value("#input") == ""


def test_two_tabs_lose_nothing(tab, scripted):
    """What one tab adds to a conversation is seen in the other, which goes on from there."""
    tab.say("hi")
    tab.replies(1)
    other = tab.opened(tab.page.url)
    other.fill("#input", "from the other tab")
    other.press("#input", "Enter")
    other.wait_for_selector("article >> nth=3")
    other.wait_for_selector("#stop", state="hidden")
    tab.replies(2)
    assert tab.shown()[2] == "from the other tab"
    tab.say("from this tab")
    tab.replies(3)
    other.wait_for_selector("article >> nth=5")
    tab.page.reload()
    assert tab.shown()[2::2] == ["from the other tab", "from this tab"]


def test_export_and_import(tab, tabs, scripted, tmp_path):
    """A file holds all versions and settings, and another browser shows the same; a record is what training reads."""
    tab.page.click("#open-settings")
    tab.page.fill("#system", "you have two dogs.")
    tab.page.fill("#top_p", "0.5")
    tab.page.click("#settings button.main")
    tab.say("hi")
    tab.replies(1)
    scripted.say = "again"
    tab.press("Try again")
    tab.replies(1, "again")
    files = {}
    tab.page.click("#open-files")
    for which in ("one", "all", "record"):
        with tab.page.expect_download() as download:
            tab.page.click(f"#export-{which}")
        files[which] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[which])
    assert [path.name for path in files.values()] == ["hi.json", "nanochatgpt.json", "hi.jsonl"]
    messages = [("system", "you have two dogs."), ("user", "hi"), ("assistant", "again")]
    record = {"messages": [{"role": role, "content": content} for role, content in messages]}
    assert [json.loads(line) for line in files["record"].read_text(encoding="utf-8").splitlines()] == [record]
    for which, versions in (("one", 2), ("all", 2), ("record", 1)):
        other = tabs(scripted)
        for _ in range(2):  # the second time changes nothing
            other.page.set_input_files("#file", files[which])
            other.page.get_by_text("1 imported.").wait_for()
        assert other.shown() == ["hi", "again"] and other.page.locator(".count").count() == int(versions > 1)
        assert len(other.chats()) == (1 if versions > 1 else 2)  # a record has no name to know it by
        other.page.click("#open-settings")
        assert other.page.input_value("#system") == "you have two dogs."
        assert other.page.input_value("#top_p") == ("0.5" if versions > 1 else "")


@pytest.mark.parametrize(
    "text",
    [
        "", "no json", "[]", "{}", "null", '{"messages": []}', '{"messages": [{"role": "root", "content": "x"}]}',
        '{"messages": [{"role": "user", "content": 7}]}', '{"conversations": [{"messages": "x"}]}',
    ],
)  # fmt: skip
def test_a_file_of_something_else_imports_nothing(tab, tmp_path, text):
    """A file without conversations is told in a line, and nothing is taken over."""
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    tab.page.set_input_files("#file", path)
    tab.page.get_by_text("holds no conversations").wait_for()
    assert tab.chats() == []


def test_a_hostile_file_does_nothing(tab, tmp_path):
    """Names, ids and texts of a file are letters; an id that is none is replaced, a loop of parents cannot be made."""
    bad = "<img src=x onerror='window.hacked=1'>"
    messages = [
        {"id": "__proto__", "parent": None, "role": "user", "content": bad, "state": "writing", "note": bad},
        {"id": "b", "parent": "__proto__", "role": "assistant", "content": bad, "verdict": bad, "tokens": bad},
        {"id": "__proto__", "parent": "b", "role": "user", "content": "again"},
        {"id": "c", "parent": "c", "role": "user", "content": "its own parent"},
    ]
    chosen = {"__proto__": "b", "null": "__proto__"}
    file = {
        "conversations": [{"id": bad, "title": bad, "messages": messages, "chosen": chosen, "settings": {"top_p": bad}}]
    }
    (tmp_path / "file.json").write_text(json.dumps(file), encoding="utf-8")
    tab.page.set_input_files("#file", tmp_path / "file.json")
    tab.page.get_by_text("1 imported.").wait_for()
    assert tab.page.evaluate("[window.hacked, {}.b, document.querySelectorAll('#log img, #chats img').length]") == [
        None,
        None,
        0,
    ]
    assert tab.chats() == [bad] and tab.page.locator("article").count() >= 1


@pytest.mark.parametrize(
    "script",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, {get() { throw new DOMException('no', 'SecurityError') }})",
    ],
    ids=["full", "private"],
)
def test_a_browser_that_keeps_nothing(chromium, scripted, script):
    """Where storage is full or closed a line says so, once there is something to lose, and the chat goes on."""
    tab = Tab(chromium, "about:blank")
    tab.context.add_init_script(script)
    tab.page.goto(scripted.url)
    assert not tab.page.is_visible("#full")
    for n in (1, 2):
        tab.say(f"question {n}")
        tab.replies(n)
    assert "keeps nothing more" in tab.page.inner_text("#full")
    tab.page.click("#new-chat")
    tab.page.click("#chats a")
    assert len(tab.shown()) == 4 and not tab.problems
    tab.context.close()
