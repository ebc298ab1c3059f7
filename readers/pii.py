"""
Private details in messages and names, masked: links, e-mail addresses, phone and card numbers, IBANs, passwords, keys.

They are known by their shape and the words beside them, so dates, times, sums and versions stay. Not masked: names of
people, postal addresses, phone numbers of up to 7 digits that nobody calls a phone. A name that is a number, an address
or an id becomes Person 1, Person 2, ...
"""

import functools
import re
import sys
import unicodedata

from readers.phone_numbers import mask_phones

# every private detail has one of these; an ordinary message has none and costs this search only
HINT = re.compile(r"[0-9@]")
DIGITLESS = str.maketrans("", "", "0123456789")
END = r"[^\s.,;:!?)\]}>'\"*_]"  # a link does not end with a sentence's punctuation
HOST = r"(?<![\w@.-])(?:[\w-]{1,63}\.){1,5}"
LINK = re.compile(
    rf"(?:\b[a-z][a-z0-9+.-]{{1,20}}://|\bwww\.)\S*{END}"
    rf"|{HOST}(?:com|org|net|io|co|me|gg|ly|be|tv|app|dev|edu|gov|ai|info|[a-z]{{2}})/[^\s/]\S+{END}"
    r"|(?<![\w@.-])(?!(?:asp|vb|ado|booking|amazon|ebay)\.)(?:[\w-]{1,63}\.){1,5}"
    r"(?:(?:com|org|net)(?:\.[a-z]{2})?|co\.(?:uk|jp|nz|za|in|kr)|com\.[a-z]{2})\b(?!\.?\w)/?"
    # the country's letters are a word in some language (hola.de nada): only where no word follows
    rf"|{HOST}(?<=[a-z0-9-]{{4}}\.)(?:de|uk|fr|nl|es|it|pl|ch|at|se|dk|fi|cz|ru|eu|br|jp|cn)(?=[,;:!?)]|\.?\s*$)/?",
    re.I,
)
IS_LINK = re.compile(r"\.[A-Za-z]{2}")
MIN_SECRET = 12  # characters
EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:[a-z]{2,24}(?![a-z0-9_-])|[^\W\d_]{2,24}\b)", re.I
)
SPELT_EMAIL = re.compile(  # ann [at] example [dot] com, ann at example dot com
    r"\b[\w.+-]{2,64} ?(?:[\[(]at[\])] ?[\w-]{2,63}(?: ?(?:[\[(]dot[\])]|dot|\.) ?[a-z]{2,24})+"
    r"|\bat [\w-]{2,63}(?: dot [a-z]{2,24})+)(?!\w)",
    re.I,
)
SECRET = re.compile(  # the keys of well-known services, and what somebody calls a password
    r"\b(?:sk-[\w-]{16,}|(?:gh[pousr]|github_pat)_\w{20,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}"
    r"|glpat-[\w-]{16,}|hf_\w{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
    r"|(?:(?<=password[:=])|(?<=passwort[:=])|(?<=passcode[:=])|(?<=Password[:=])|(?<=Passwort[:=])) ?\S{4,}"
)
SECRET_HINT = re.compile(
    r"sk-|gh[pousr]_|github_pat|AKIA|xox[abprs]-|AIza|glpat|hf_|eyJ|assw(?:ord|ort)[:=]|asscode[:=]"
)
PERSON_NUMBER = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")  # of the USA (SSN)
MENTIONED_ID = re.compile(r"(?<=<@)[!&]?\d{15,20}(?=>)|(?<=<@)[UW][A-Z0-9]{8,12}(?=[>|])")  # Discord, Slack
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", re.I | re.ASCII)
CARDS = [  # 4-4-4-4, American Express, in one piece (14 to 19 digits: ISO/IEC 7812)
    re.compile(r"(?<![A-Za-z0-9.,])\d{4}([ .-]?)\d{4}\1\d{4}\1\d{4}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9.,])\d{4}([ .-]?)\d{6}\1\d{5}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9.,])\d{14,19}(?![A-Za-z0-9])"),
]
ISSUER = re.compile(r"[3-6]|2[2-7]|8[12]|97")  # of cards: Visa, Mastercard, Mir, RuPay, Troy and the like
YEARS = re.compile(r"(?:20\d\d[ .-]?|\d\d00[ .-]?){4}")
# Ann (U0A1B2C3D), Ann (live:ann): the second Ann of an export
WITH_ID = re.compile(r"\((?:[UW](?=\w*\d)[A-Z0-9]{6,12}|\w*\d{3,}|[^()\s]*[@:][^()\s]*)\)$")
NAME_ID = re.compile(r"[UW](?=\w*\d)[A-Z0-9]{6,12}|(?:user|channel|chat)?[ _-]?\d{3,}|Person \d+", re.I)


def mask(text: str) -> str:
    """The text with [link], [email], [phone], [card], [iban], [id] and [secret] in place of private details."""
    if text.isascii():
        return mask_ascii_digits(text)
    plain = text.translate(plain_signs())
    masked = mask_ascii_digits(plain)
    return text if masked == plain else masked


def mask_ascii_digits(text: str) -> str:
    if "/" in text or ("." in text and IS_LINK.search(text)):
        text = LINK.sub("[link]", text)
    if "ass" in text and SECRET_HINT.search(text):
        text = SECRET.sub("[secret]", text)
    if " dot " in text or "[at]" in text or "(at)" in text:
        text = SPELT_EMAIL.sub("[email]", text)
    if not HINT.search(text):
        return text
    if len(text) >= MIN_SECRET and SECRET_HINT.search(text):
        text = SECRET.sub("[secret]", text)
    if "@" in text:
        text = MENTIONED_ID.sub("[id]", EMAIL.sub("[email]", text))
    digits = len(text) - len(text.translate(DIGITLESS))  # the fastest way to count them
    if digits < 6:
        return text
    if digits >= 9:
        text = PERSON_NUMBER.sub("[id]", text)
    if digits >= 12:
        text = IBAN.sub(checked_iban, text)
        for card in CARDS:
            text = without_cards(text, card)
    return mask_phones(text)


@functools.cache
def plain_signs() -> dict[int, str]:
    """The digits of all scripts, and the spaces, hyphens and pluses that phones put into numbers, as ASCII has them."""
    digits = {sign: str(unicodedata.decimal(chr(sign))) for sign in range(128, sys.maxunicode) if chr(sign).isdecimal()}
    return {
        **digits,
        **dict.fromkeys(map(ord, "\xa0\u2007\u2009\u202f"), " "),
        **dict.fromkeys(map(ord, "‐‑‒－"), "-"),
        ord("＋"): "+",
    }


class StandIns(dict[str, str]):
    """
    Name of a person -> what stands for it in what is trained on: the name, or Person 1, Person 2, ... where it is a
    phone number, an address or an id, so that people are kept apart without it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __missing__(self, name: str) -> str:
        bare = "".join(sign for sign in name if unicodedata.category(sign) != "Cf").strip(" ~\u202f\xa0")
        is_private = (
            NAME_ID.fullmatch(bare) or WITH_ID.search(bare) or mask(bare) != bare or sum(map(str.isdecimal, bare)) > 6
        )
        self.count += bool(is_private)
        self[name] = f"Person {self.count}" if is_private else name
        return self[name]


def checked_iban(match: re.Match[str]) -> str:
    """[iban] for the longest part, up to a space, whose check digits are right (ISO 7064, mod 97), then the rest."""
    text = match[0]
    end = len(text)
    while end >= 15:
        code = re.sub("[ -]", "", text[:end])
        if int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1:
            return "[iban]" + text[end:]
        end = max(text.rfind(" ", 0, end), text.rfind("-", 0, end))
    return text


def without_cards(text: str, card: re.Pattern[str]) -> str:
    """The text with [card] for each match of `card`, overlapping ones too, whose Luhn sum is right."""
    start = 0
    while match := card.search(text, start):
        start = match.start() + 1
        if ISSUER.match(match[0]) and not YEARS.fullmatch(match[0]) and luhn(match[0]):
            text = text[: match.start()] + "[card]" + text[match.end() :]
    return text


def luhn(number: str) -> bool:
    """Whether the check digit of a card number is right."""
    digits = [int(sign) for sign in number if sign.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
