"""A tab of a real browser, for the tests of the page."""

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REFUSED = "Failed to load resource"  # what Chromium logs for any answer that is not 200


class Tab:
    """The page, and what a person does on it. problems: what the console said; expected: what it may say."""

    def __init__(self, chromium, url, **options):
        self.context = chromium.new_context(**{"viewport": DESKTOP, **options})
        self.context.set_default_timeout(8000)
        self.problems, self.expected = [], []
        self.page = self.opened(url)

    def opened(self, url):
        page = self.context.new_page()
        page.on("console", lambda line: line.type in ("error", "warning") and self.problems.append(line.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(url)
        return page

    def close(self):
        self.context.close()
        assert not [line for line in self.problems if not any(each in line for each in self.expected)]

    def say(self, text):
        self.page.fill("#input", text)
        self.page.press("#input", "Enter")

    def until(self, condition):
        self.page.wait_for_function(f"() => {condition}")  # a function: the policy allows no eval

    def replies(self, n, text=None):
        """Wait until n replies are shown and none is on its way; the words of the last, which are `text`."""
        self.until(f"document.querySelectorAll('.assistant').length === {n} && !document.querySelector('.live')")
        words = self.last.locator(".words").inner_text()
        assert text in (None, words)
        return words

    @property
    def last(self):
        return self.page.locator("article.assistant").last

    def shown(self):
        return self.page.locator("article .words").all_inner_texts()

    def chats(self):
        return self.page.locator("#chats a").all_inner_texts()

    def press(self, label, within=None):
        (within or self.page).get_by_label(label, exact=True).click()


def asked(scripted):
    """(role, content) of each message of the last request."""
    return [(message["role"], message["content"]) for message in scripted.asked[-1]["messages"]]
