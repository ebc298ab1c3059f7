"""The page shows Markdown, and nothing that a reply, a question or an error says is ever executed."""

import pytest
from tab import REFUSED

BOTH = "<p><strong>bold</strong> and <em>it</em> <em>it</em> <em><strong>both</strong></em></p>"
NESTED = "<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li><li>e</li></ul>"
TABLE = (
    '<div class="table" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th data-align="right">a</th>'
    '<th>b</th></tr></thead><tbody><tr><td data-align="right"><code>1</code></td><td>2</td></tr></tbody></table></div>'
)
TASKS = (
    '<ul><li class="task"><input type="checkbox" disabled="" aria-label="To do"> a</li>'
    '<li class="task"><input type="checkbox" disabled="" checked="" aria-label="Done"> b</li></ul>'
)
SAFE = 'target="_blank" rel="noopener noreferrer"'
LINKS = f'<p><a href="https://b.c/d_(e)" {SAFE}>a</a> <a href="https://b.c/x_y_z" {SAFE}>https://b.c/x_y_z</a>.</p>'
NO_LINKS = "[a](javascript:alert(1)) [b](data:text/html,x) [c](/x) [d](https://)"
HOSTILE = "<script>hacked=1</script><img src=x onerror=hacked=1> <svg onload=hacked=1><iframe src=//x></iframe>"

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    "text, html",
    [
        ("one\n\ntwo\nlines", "<p>one</p><p>two<br>lines</p>"),
        ("**bold** and *it* _it_ ***both***", BOTH),
        ("2 * 3 * 4, snake_case_name, **open, *", "<p>2 * 3 * 4, snake_case_name, **open, *</p>"),
        ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
        ("`a*b*` and ``x ` y``", "<p><code>a*b*</code> and <code>x ` y</code></p>"),
        ("a `open *x*", "<p>a `open <em>x</em></p>"),
        ("- a\n- b\n  1. c\n  2. d\n- e", NESTED),
        ("3. a\n\n4. b\n\nend", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol><p>end</p>'),
        ("> a\n> b\n\n---\n~~c~~", "<blockquote><p>a<br>b</p></blockquote><hr><p><del>c</del></p>"),
        ("|a|b|\n|-:|-|\n|`1`|2|", TABLE),
        ("- [ ] a\n- [x] b", TASKS),
        ("![a](https://b.c/d.png)", "<p>![a](https://b.c/d.png)</p>"),
        ("<div>\nx</div>", "<p>&lt;div&gt;<br>x&lt;/div&gt;</p>"),
        ("it was\n1986. yes", "<p>it was<br>1986. yes</p>"),
        ("## Title\ntext", "<h4>Title</h4><p>text</p>"),
        ("[a](https://b.c/d_(e)) https://b.c/x_y_z.", LINKS),
        (NO_LINKS, f"<p>{NO_LINKS}</p>"),
        ("\\*not\\* <b>x</b> &amp;", "<p>*not* &lt;b&gt;x&lt;/b&gt; &amp;amp;</p>"),
    ],
)  # fmt: skip
def test_markdown(tab, scripted, text, html):
    """What is written in Markdown becomes these elements, and no others."""
    scripted.say = text
    tab.say("hi")
    tab.replies(1)
    assert tab.last.locator(".words").inner_html() == html


def test_a_code_block_is_shown_as_it_is_written(tab, scripted):
    """Also while its fence is still open; nothing in it is Markdown."""
    scripted.say, scripted.delay = "see:\n```python\nif x:\n    *y* = '<b>'\n```\ndone", 0.05
    tab.say("hi")
    tab.page.wait_for_selector(".live pre")
    tab.replies(1)
    assert tab.last.locator("pre").text_content() == "if x:\n    *y* = '<b>'"
    assert (
        tab.last.locator(".code > div span").inner_text() == "python"
        and tab.last.locator("p").last.inner_text() == "done"
    )


def test_a_script_in_a_reply_stays_letters(tab, scripted):
    """Script, event handlers and frames of a reply, a question, a title or an error run nowhere and make no element."""
    scripted.say = HOSTILE
    tab.say(scripted.say)
    assert tab.replies(1) == scripted.say
    tab.expected = [REFUSED]
    scripted.refuse = [(400, {}, scripted.say)]
    tab.press("Try again")
    tab.page.wait_for_selector(".failed")
    made = tab.page.locator(":is(article, #chats) :is(script, img, iframe, svg[onload])")
    assert tab.page.evaluate("window.hacked") is None and made.count() == 0
    assert scripted.say in tab.last.inner_text() and tab.chats()[0].startswith("<script>")


def test_no_text_is_slow_to_show(tab):
    """Marks that open and never close, as many as a long reply could hold, take no more than a moment."""
    hard = [
        "*" * 20000,
        "**a " * 40000,
        "[" * 20000,
        "[a](" * 5000,
        "`" * 20000,
        "_a " * 40000,
        "- " * 10000,
        "> " * 10000,
    ]
    hard += [
        "".join(f"{'`' * n} " for n in range(200)),
        "- a\n" * 3000,
        "  - a\n" * 3000,
        "*a **b " * 3000,
        "h" * 20000,
    ]
    took = tab.page.evaluate(
        """async texts => {
            const { markdown } = await import("/markdown.js");
            return texts.map(text => {
                const begun = performance.now();
                if (!markdown(text).childNodes.length) throw new Error(text);
                return performance.now() - begun;
            });
        }""",
        hard,
    )
    assert max(took) < 1000, took
