"""
Phone numbers in messages, of any country, with and without its code, and what only looks like one.

A number with a country code is checked by the phonenumbers library (Google's numbering plans). Without one it could be
anybody's order number: then the groups and first digits of the countries' plans decide, and the words beside it. Sums,
dates, versions and numbers that count things stay, and so do numbers of 7 digits or fewer that nobody calls a phone.
"""

import itertools
import re

import phonenumbers

# dates, times, sums and versions, which must stay; matched first, so that no phone number begins inside one of them
PLAIN = (
    r"[12]\d{3}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)|\d{1,2}(?P<mark>[-/.])\d{1,2}(?P=mark)(?:\d{4}|\d\d)(?!(?P=mark)?\d)"
    r"|\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d-])|\d{1,3}(?:\.\d{3})+,\d+"
    r"|\d+\.\d+\.\d+\.\d+(?!\.?\d)|\d+[.,]\d+(?![\d.-])|(?:19|20)\d\d(?:[ -](?:19|20)\d\d)+(?![ -]?\d)"
)
GAP = r"[ ().\-/\u2013]{0,3}"
# after + or the prefix 00 that most countries dial (ITU-T E.123, E.164)
INTERNATIONAL = rf"(?:\+ ?|00)[1-9](?:{GAP}\d){{6,14}}"
TRUNK = (  # the prefix 0 of most countries, or an area code in brackets
    rf"(?:0[1-9]|0 [1-9]\d)(?:{GAP}\d){{7,11}}"  # 0171 1234567, 06 12 34 56 78
    r"|\(\d{3}\)[ .\-]?\d{3}[ .\-]\d{4}|\(0?\d{2,5}\)[ .\-/]?\d{2,5}(?:[ .\-/]?\d{2,4}){1,3}"
)
GROUPED = (  # as a country without a prefix writes it
    r"(?:1[ .\-])?[2-9]\d\d[ .\-/]\d{3}[ .\-]\d{4}"  # 212-736-5001: North America, Italy, Colombia
    r"|[2-9]\d\d[ .\-]\d{3}[ .\-]\d{3}"  # 612 345 678: Spain, Portugal, Poland, Czechia, Peru
    r"|[6-9]\d\d[ .\-]\d\d[ .\-]\d\d[ .\-]\d\d"  # 612 34 56 78: Spain
    r"|[1-9]\d[ .\-]\d{3}[ .\-]\d\d[ .\-]\d\d"  # 22 123 45 67: landlines in Poland and Spain
    r"|[2-9]\d\d[ .\-]\d{3}[ .\-]\d\d[ .\-]\d\d"  # 532 123 45 69: Turkey; Russia and Ukraine without a prefix
    r"|[1-9]\d[ .\-]\d{3}[ .\-]\d{4}"  # 21 234 5678: Portugal
    r"|[1-9]\d[ .\-]9?\d{4}[ .\-]\d{4}"  # 11 91234-5678: Brazil, Argentina, Mexico
    r"|[2-9]\d\d[ \-/]\d{7}|3\d\d[ .\-/]\d{6}"  # 347 1234567: Italy, Greece
    r"|(?:86[ \-])?1[3-9]\d[ \-]\d{4}[ \-]\d{4}"  # 138 1234 5678: China
    r"|(?:91[ \-])?[6-9]\d{4}[ \-]\d{5}"  # 98765 43210: India
    r"|[78][ \-]?\(?[3489](?!00)\d\d\)?[ \-]?\d{3}[ \-]?\d\d[ \-]?\d\d"  # 8 912 345-67-89: Russia, Kazakhstan
    r"|9[ \-]\d{4}[ \-]\d{4}"  # 9 8765 4321: Chile
    r"|[49]\d\d[ ]\d\d[ ]\d{3}|[2-9]\d[ ]\d\d[ ]\d\d[ ]\d\d"  # 912 34 567, 22 12 34 56: Norway, Denmark
    r"|[5-9]\d{3}[ \-]\d{4}"  # 9123 4567: Hong Kong, Singapore
)
WHOLE = (  # in one piece
    r"[5-9]\d{8}|[2-9]\d{9}"  # 9 digits: Spain, Portugal, Poland, Czechia; 10: North America, India, Italy, Greece
    r"|1[3-9]\d{9}|[78][3489]\d{9}|[1-9]\d9\d{8}|1[2-9]\d\d[2-9]\d{6}"  # China, Russia, Brazil, North America
)
CODED = r"[1-9]\d{10,12}"  # a country code without its +, as WhatsApp writes who is mentioned
SHORT = r"\d{8}|\d{2,4}[ .\-]\d{2,4}(?:[ .\-]\d{2,3})?"  # only behind a word for a phone
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_$€£¥#^*])(?<!\d[.,])(?<![A-Za-z0-9]-)"
    rf"(?:(?P<plain>{PLAIN})|(?:(?P<international>{INTERNATIONAL})|(?P<trunk>{TRUNK})"
    rf"|(?<!\d[ \-/])(?:(?P<grouped>{GROUPED})|(?P<whole>{WHOLE})|(?P<coded>{CODED})|(?P<short>{SHORT}))"
    r"(?![ \-/]\d))(?![A-Za-z0-9_%€$£]| ?[€$£%]|[.,:*^]\d))"
)
CALLED = re.compile(  # what stands before a number that is a phone's, however short
    r"(?:\b(?:phone|tel|tlf|tfn|telephone|cell|mobile?|mobil|fax|whatsapp|handy|telefon|telefono|teléfono|móvil|movil"
    r"|celular|téléphone|portable|cellulare|sími|puh|gsm|(?:call|ring|text)(?: (?:me|him|her|us|them))?"
    r"|(?:my|his|her|their|your|new|old) (?:number|nr|no)|nummer|numéro|numero|número)|телефон|тел|电话|手机|電話|전화)"
    r"(?:\.|:|=| is| on| at| no\.?| nr\.?| number| ist){0,2}[ \t]*$",
    re.I,
)
COUNTED = re.compile(  # what stands before a number that is something else
    r"(?:\b(?:isbn|issn|ean|upc|sku|asin|id|ids|uid|user|order|ticket|invoice|receipt|booking|reservation|tracking|parcel"
    r"|shipment|serial|case|ref|reference|part|model|item|product|article|bug|issue|pr|commit|build|version|rev|epoch"
    r"|unix|timestamp|time|score|level|record|population|gdp|port|line|row|code|zip|isin|doi|steam|patent|flight"
    r"|bestellung|bestellnummer|rechnung|auftrag|sendung|artikel|vorgang|aktenzeichen|commande|facture|pedido|factura"
    r"|ordine|fattura|zamówienie|заказ)"
    r"(?:[ -]?(?:no|nr|num|number|nummer|id|code|key|#|n°|№))?\.?|=|\*|\^)[ \t]*[:=#]?[ \t]*$",
    re.I,
)
UNITS = re.compile(  # what stands behind a number that counts it
    r"[ -]?(?:users?|people|persons?|inhabitants|citizens|likes?|views?|followers?|subscribers?|points?|pts|steps?"
    r"|stars?|dollars?|euros?|pounds?|bucks|cents|usd|eur|gbp|yen|rupees|coins?|gold|xp|hp|mana|credits?|tokens?|words?|lines?"
    r"|rows?|files?|items?|pieces?|copies|times|downloads?|votes?|messages?|bytes|[kmgt]i?b|bits|pixels?|px|km|cm|mm"
    r"|miles|met(?:er|re)s?|m|kg|g|grams?|tons?|tonnes?|lit(?:er|re)s?|calories|k?cal|kwh|watts?|volts?|seconds?|secs?|ms"
    r"|minutes?|hours?|days?|weeks?|months?|years?"
    r"|million(?:en|s)?|billion|thousand|schritte|leute|menschen"
    r"|einwohner|aufrufe|punkte|personas|pasos|puntos|personnes|pas|vues|passi|punti|persone|m/s|bpm|rpm|fps)\b(?!\.\w)",
    re.I,
)
POWERS = {2**31 - 1, 2**31, 2**32 - 1, 2**32}  # the largest numbers of 32 bits


def mask_phones(text: str) -> str:
    """The text, whose digits are 0-9, with [phone] in place of each phone number."""
    return NUMBER.sub(checked, text)


def checked(match: re.Match[str]) -> str:
    """[phone] for a match that is a phone number, the text itself otherwise."""
    return "[phone]" if is_phone(match) else match[0]


def is_phone(match: re.Match[str]) -> bool:
    if match["plain"]:
        return False
    digits = "".join(filter(str.isdecimal, match[0]))
    if match["international"]:
        return is_international(digits)
    text, (start, end) = match.string, match.span()
    if CALLED.search(text, max(0, start - 40), start):
        return 5 < len(digits) < 16
    if match["short"] or is_round_or_row(match[0], digits):
        return False
    if COUNTED.search(text, max(0, start - 40), start) or UNITS.match(text, end):
        return False
    if match["trunk"]:
        return 7 <= len(digits) <= 12 and not (match[0].count(" ") > 4)  # six pairs are a lottery's
    if match["coded"]:
        return is_valid("+" + digits)
    return True


def is_international(digits: str) -> bool:
    """Whether a number with + or 00 is one of its country's plan, or has at least the length of one and is no sum."""
    number = "+" + digits.removeprefix("00")
    if digits.endswith("00000"):
        return False
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    if parsed.country_code == 1:  # 555-0100 is nobody's in fiction, and an area never begins with 0 or 1
        return bool(re.match(r"\+1[2-9]\d\d\d{7}$", number))
    if parsed.country_code == 52 and number[3] == "1":  # Mexico's mobile prefix until 2019, still in address books
        return len(number) == 14
    return phonenumbers.is_possible_number(parsed) or is_valid_without_trunk(number)


def is_valid_without_trunk(number: str) -> bool:
    """+49 (0)30 1234567: the 0 in brackets is not dialled."""
    return any(is_valid(number[:at] + number[at + 1 :]) for at in (2, 3, 4) if number[at : at + 1] == "0")


def is_valid(number: str) -> bool:
    """Whether a number, + and digits, is one of its country's plan."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def is_round_or_row(text: str, digits: str) -> bool:
    """1200000000, 250 500 750, 20 25 30 35, 123456789: a sum or digits in a row rather than a phone number."""
    groups = re.findall(r"\d+", text)
    if (
        digits.endswith("00000")
        or int(digits) in POWERS
        or (len(groups) > 2 and all(group.endswith("0") for group in groups))
    ):
        return True
    numbers = list(map(int, groups if len(groups) > 2 else digits if len(groups) == 1 else ()))
    wrap = 10 if len(groups) == 1 else 10**6  # 9 is followed by 0
    steps = {(later - number) % wrap for number, later in itertools.pairwise(numbers)}
    return len(steps) == 1 and steps.pop() < wrap // 2  # falling ones are more often a phone's
