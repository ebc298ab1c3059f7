"""A tab of a real browser, for the tests of the page."""

from typing import TYPE_CHECKING, Any

from scripted import Scripted

if TYPE_CHECKING:  # installed where the page is tested in a browser only
    from playwright.sync_api import Browser, Locator, Page  # pyright: ignore[reportMissingImports]

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REFUSED = "Failed to load resource"  # what Chromium logs for any answer that is not 200


class Tab:
    """The page, and what a person does on it. problems: errors in the console; expected: parts of those that may be."""

    def __init__(self, chromium: "Browser", url: str, **options: Any) -> None:
        self.context = chromium.new_context(**{"viewport": DESKTOP, **options})
        self.context.set_default_timeout(8000)
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.page = self.opened(url)

    def opened(self, url: str) -> "Page":
        page = self.context.new_page()
        page.on("console", lambda line: line.type in ("error", "warning") and self.problems.append(line.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(url)
        return page

    def close(self) -> None:
        self.context.close()
        assert not [line for line in self.problems if not any(part in line for part in self.expected)], self.problems

    def say(self, text: str) -> None:
        self.page.fill("#input", text)
        self.page.press("#input", "Control+Enter")  # on a phone too, where Enter begins a line

    def until(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")  # a function: the policy allows no eval

    def replies(self, n: int, text: str | None = None) -> str:
        """Wait until n replies are shown and none is on its way; the words of the last, which are `text`."""
        self.until(f"document.querySelectorAll('.assistant').length === {n} && !document.querySelector('.live')")
        words = self.last.locator(".words").inner_text()
        assert text in (None, words)
        return words

    @property
    def last(self) -> "Locator":
        return self.page.locator("article.assistant").last

    def shown(self) -> list[str]:
        return self.page.locator("article .words").all_inner_texts()

    def chats(self) -> list[str]:
        return self.page.locator("#chats a").all_inner_texts()

    def press(self, label: str, within: "Locator | None" = None) -> None:
        (within or self.page).get_by_label(label, exact=True).click()


def asked(scripted: Scripted) -> list[tuple[str, str]]:
    """(role, content) of each message of the last request."""
    return [(message["role"], message["content"]) for message in scripted.requests[-1]["messages"]]
