"""The page is for everybody: themes, the keyboard alone, a phone, a screen reader, and what axe finds."""

import pytest
from tab import DESKTOP, PHONE, REFUSED

pytestmark = pytest.mark.browser


def test_the_theme(tabs, scripted):
    """It follows the system; the button turns it, and it stays so over a reload."""
    tab = tabs(scripted, color_scheme="dark")
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    dark = tab.page.evaluate(colour)
    tab.page.click("#theme")
    light = tab.page.evaluate(colour)
    tab.page.reload()
    assert dark == "rgb(25, 26, 27)" and light == tab.page.evaluate(colour) == "rgb(251, 250, 248)"
    tab.page.click("#theme")
    assert tab.page.evaluate("[document.documentElement.dataset.theme ?? null]") == [None]


def test_the_keyboard_is_enough(tab, scripted):
    """All is reached by Tab with a visible focus, a dialog keeps it inside and gives it back, keys do what they say."""
    tab.say("hi")
    tab.replies(1)
    tab.page.evaluate("document.activeElement.blur()")
    seen = set()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        now = "document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.innerText"
        seen.add(tab.page.evaluate(now))
        unmarked = "!parseFloat(getComputedStyle(document.activeElement).outlineWidth) && document.activeElement.id"
        assert tab.page.evaluate(unmarked) in (False, "", "input")  # "": the body; the box around the input is marked
    assert {"new-chat", "search", "theme", "open-settings", "input", "send", "Copy", "Try again", "Good reply"} <= seen
    tab.page.focus("#open-settings")
    tab.page.keyboard.press("Enter")
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("document.activeElement.id") == "open-settings"
    tab.page.keyboard.press("Control+k")
    assert tab.page.evaluate("document.activeElement.id") == "search"
    tab.page.keyboard.press("Control+Shift+O")
    assert tab.page.evaluate("document.activeElement.id") == "input" and tab.shown() == []


def test_on_a_phone(tabs, scripted):
    """Nothing is wider than the screen, buttons are big enough for a thumb, the menu covers the chat and lets it go."""
    tab = tabs(scripted, viewport=PHONE, has_touch=True, is_mobile=True)
    scripted.say = "`" + "x" * 300 + "` and\n```\n" + "y" * 300 + "\n```"
    tab.say("w" * 200)
    tab.replies(1)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert tab.page.evaluate("document.querySelector('#scroll').scrollWidth") <= PHONE["width"]
    boxes = [button.bounding_box() for button in tab.last.get_by_role("button").all()]
    assert boxes and all(box["height"] >= 36 and box["width"] >= 36 for box in boxes)
    tab.page.click("#menu")
    assert tab.page.evaluate("[document.querySelector('main').inert, document.activeElement.id]") == [
        True,
        "close-menu",
    ]
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("document.querySelector('main').inert") is False and not tab.page.is_visible("#chats")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_accessible(tabs, scripted, size, scheme):
    """axe finds nothing serious or critical in any state of the page."""
    missing = "pip install -r runs/requirements-browser.txt"
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=missing)
    tab = tabs(scripted, viewport=size, color_scheme=scheme)
    tab.expected = [REFUSED]

    def check(state):
        tab.page.wait_for_timeout(150)
        found = axe.Axe().run(tab.page).response["violations"]
        grave = [
            (each["id"], [node["html"] for node in each["nodes"]])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not grave, (state, grave)

    check("empty")
    scripted.say = "## Title\n- **a** `b` [c](https://d.e)\n```\ncode\n```"
    tab.say("hi")
    tab.replies(1)
    tab.press("Good reply")
    tab.press("Try again")
    tab.replies(1)
    check("chat")
    tab.page.press("#input", "ArrowUp")
    check("edit")
    tab.page.keyboard.press("Escape")
    if size is PHONE:
        tab.page.click("#menu")
    check("menu")
    tab.page.click("#open-files")
    check("files")
    tab.page.keyboard.press("Escape")
    if size is PHONE:
        tab.press("Close the menu")
    tab.page.click("#open-settings")
    check("settings")
    tab.page.keyboard.press("Escape")
    scripted.refuse = [(400, {}, "no")]
    tab.press("Try again")
    tab.page.wait_for_selector(".failed")
    scripted.stop()
    tab.press("Try again")
    tab.page.get_by_text("Waiting for the server.").wait_for()
    check("gone")
    scripted.start()
    tab.replies(1)


def test_a_screen_reader_hears_a_reply_once(tab, scripted):
    """The log is polite and busy while a reply is written; an old conversation that is opened is not read out."""
    scripted.delay = 0.1
    tab.say("hi")
    tab.page.wait_for_selector("article.live[aria-busy=true]")
    assert tab.page.get_attribute("#log", "aria-live") == "polite"
    tab.replies(1)
    assert tab.last.get_attribute("aria-busy") == "false"
    tab.page.click("#new-chat")
    tab.page.click("#chats a")
    assert tab.shown() and tab.page.get_attribute("#log", "aria-live") == "off"
