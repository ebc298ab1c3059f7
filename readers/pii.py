"""
Private details in messages, masked: links, e-mail addresses, phone and card numbers, IBANs.

Numbers are known by their shape, so dates, times, sums and versions stay. Not masked: names, postal addresses, phone
numbers of up to 8 digits without a prefix, numbers in digits other than 0-9.
"""

import re

# every private detail has one of these; an ordinary message has none and costs this search only
HINT = re.compile(r"[0-9@]")
DIGITLESS = str.maketrans("", "", "0123456789")
LINK = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,20}://|\bwww\.)\S*[^\s.,;:!?)\]}>'\"*_]"
    r"|(?<![\w@.-])(?:[\w-]{1,63}\.){1,5}(?:com|org|net|io|co|me|gg|ly|be|tv|app|dev|edu|gov|de|uk|us|eu|fr|es|it|in|br)"
    r"/\S*[^\s.,;:!?)\]}>'\"*_]"
    r"|(?<![\w@.-])(?:[\w-]{1,63}\.){1,5}(?:com|org|net)(?:\.[a-z]{2})?\b(?!\.?\w)/?",
    re.I,
)
EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", re.I | re.ASCII)
CARDS = [  # 4-4-4-4, American Express, in one piece (13 to 19 digits: ISO/IEC 7812)
    re.compile(r"(?<![\d.,])\d{4}([ .-]?)\d{4}\1\d{4}\1\d{4}(?!\d)"),
    re.compile(r"(?<![\d.,])\d{4}([ .-]?)\d{6}\1\d{5}(?!\d)"),
    re.compile(r"(?<![\d.,])\d{13,19}(?!\d)"),
]
# dates, times, sums and versions, which must stay; matched first, so that no phone number begins inside one of them
PLAIN = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)|\d{1,2}(?P<mark>[-/.])\d{1,2}(?P=mark)(?:\d{4}|\d\d)(?!(?P=mark)?\d)"
    r"|\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d-])|\d{1,3}(?:\.\d{3})+,\d+"
    r"|\d+\.\d+\.\d+\.\d+(?!\.?\d)|\d+[.,]\d+(?![\d.-])"
)
# The lengths and groups of the numbering plans: with a country code at most 15 digits (ITU-T E.164), after + or the
# prefix 00 that most countries dial (ITU-T E.123, E.164); without one as its country writes it
PHONE = (
    r"(?:\+|\b00)[1-9](?:[ ().\-/]{0,2}\d){6,14}"  # +49 (0)30 1234567: E.164
    # (555) 123-4567: North American Numbering Plan (NANPA); (030) 123456: an area code in brackets, as E.123 has it
    r"|\(\d{3}\)[ .\-]?\d{3}[ .\-]\d{4}(?!\d)|\(0?\d{2,5}\)[ .\-/]?\d{2,4}(?:[ .\-/]?\d{2,4}){1,2}"
    r"|\b0[1-9](?:[ .\-/]{0,2}\d){7,11}"  # 0171 1234567, 06 12 34 56 78: trunk prefix 0, in most of Europe
    r"|\b(?:1[ .\-])?\d{3}[ .\-]\d{3}[ .\-]\d{4}"  # 555-123-4567, 1-555-123-4567: NANPA
    r"|\b[78][ \-]?\(?\d{3}\)?[ \-]?\d{3}[ \-]?\d{2}[ \-]?\d{2}"  # 8 912 345-67-89: Russia (code 7, prefix 8)
    r"|\b(?:\d{2} )?9\d{4}-\d{4}|\b\d{5}[ \-]\d{5}"  # 11 91234-5678: Brazil (Anatel); 98765 43210: India (TRAI)
    r"|\b(?!\d*00000\b)\d{10,13}"  # in one piece; a round sum is none
)
NUMBER = re.compile(rf"(?<![\d.,$€£¥#])(?:(?P<plain>{PLAIN})|(?P<phone>{PHONE})(?![\d%:€$£]|[.,]\d))")


def mask(text: str) -> str:
    """The text with [link], [email], [phone], [card] and [iban] in place of private details."""
    is_link = "/" in text or ("." in text and (".com" in text or ".org" in text or ".net" in text or "www." in text))
    if not is_link and not HINT.search(text):
        return text
    if is_link:
        text = LINK.sub("[link]", text)
    if "@" in text:
        text = EMAIL.sub("[email]", text)
    digits = len(text) - len(text.translate(DIGITLESS))  # the fastest way to count them
    if digits < 7:
        return text
    if digits >= 12:
        text = IBAN.sub(checked_iban, text)
        for card in CARDS:
            text = without_cards(text, card)
    return NUMBER.sub(checked_phone, text)


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
        if luhn(match[0]):
            text = text[: match.start()] + "[card]" + text[match.end() :]
    return text


def luhn(number: str) -> bool:
    """Whether the check digit of a card number is right."""
    digits = [int(sign) for sign in number if sign.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def checked_phone(match: re.Match[str]) -> str:
    """[phone] for a phone number of 7 to 15 digits (E.164's most), the text itself otherwise."""
    is_phone = bool(match["phone"]) and 7 <= sum(map(str.isdecimal, match[0])) <= 15
    return "[phone]" if is_phone else match[0]
