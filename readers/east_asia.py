"""
LINE's and KakaoTalk's text exports, from a phone or a computer:

    [LINE] Chat history with Ann            Ann 님과 카카오톡 대화
    Fri, 12/31/2021                         --------------- 2021년 12월 31일 금요일 ---------------
    10:00<TAB>Ann<TAB>hi                    [Ann] [오전 10:00] hi

    2021년 12월 31일 오전 10:00, Ann : hi   December 31, 2021 at 10:00 AM, Ann : hi

A date stands on a line of its own, or before each message.
"""

import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import MONTHS, month_comes_first, parse_timestamp, seconds_since_1970

NAME = "LINE, KakaoTalk"
HALF = r"(?:(?P<half>오전|오후|午前|午後|上午|下午|AM|PM|am|pm)\s?)?"
CLOCK = rf"{HALF}(?P<hour>\d{{1,2}}):(?P<minute>\d\d)\s?(?P<half_after>AM|PM|am|pm)?"
TABBED = re.compile(rf"{CLOCK}\t(?P<name>[^\t]*)\t(?P<text>.*)")  # LINE
BRACKETS = re.compile(rf"\[(?P<name>[^\]]{{1,60}})\] \[{CLOCK}\] (?P<text>.*)")  # KakaoTalk on a computer
NUMERIC = r"(?P<date>\d{4}[년.]\s?\d{1,2}[월.]\s?\d{1,2}[일.]|[A-Z][a-z]+ \d{1,2}, \d{4}(?: at)?)"
INLINE = re.compile(rf"{NUMERIC},? {CLOCK}, (?P<name>.{{1,60}}?) : (?P<text>.*)")  # KakaoTalk on a phone
NOTICE = re.compile(rf"{NUMERIC},? {CLOCK}(?:,.*|:.*)?")
FORMS = (TABBED, BRACKETS, INLINE)
DATE_LINE = re.compile(
    r"-*\s*(?:\w{2,9}[,.]?\s)?(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}[년年]\s?\d{1,2}[월月]\s?\d{1,2}[일日]"
    r"|[A-Z][a-z]+ \d{1,2}, \d{4})(?:\s?[(（]?\w{1,12}[)）]?)?\s*-*"
)
PLACEHOLDER = re.compile(
    r"\[File\] .*|\[(?:Photo|Video|Stickers?|File|Voice message|Album|Contact|Location|写真|スタンプ|動画|ファイル"
    r"|ボイスメッセージ|アルバム|連絡先|位置情報|貼圖|照片|影片|檔案|語音訊息|사진|스티커|동영상)\]"
    r"|(?:사진|사진 \d+장|동영상|이모티콘|음성메시지|Photo|Video|Emoticons?)"
)
DELETED = re.compile(
    r"삭제된 메시지입니다\.?|Message deleted\.?|.* unsent a message\.?|.*メッセージの送信を取り消しました。?"
)
CALL = re.compile(r"☎.*|(?:보이스톡|페이스톡)(?: .*)?")


def recognises(head: str) -> bool:
    lines = [line.rstrip("\r") for line in head.split("\n") if line.strip()][:2000]
    form = form_of(lines)
    said = sum(bool(form.match(line)) for line in lines)
    dated = form is INLINE or any(DATE_LINE.fullmatch(line) for line in lines[:200])
    return said > 0 and dated and 3 * said >= len(lines)


def form_of(lines: list[str]) -> re.Pattern[str]:
    """The form of most lines."""
    return max(FORMS, key=lambda form: sum(bool(form.match(line)) for line in lines))


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    lines = [line.rstrip("\r") for line in source.head.split("\n")]
    form = form_of(lines)
    is_month_first = month_comes_first(match[1] for match in map(DATE_LINE.fullmatch, lines) if match)
    day: float | None = None
    current: tuple[str, list[str], float | None, int] | None = None  # name, lines, time, number
    for number, line in source.lines(skipped):
        match, dated = form.match(line), DATE_LINE.fullmatch(line)
        if match or dated or (form is INLINE and NOTICE.fullmatch(line)):
            if current:
                yield from spoken(current, source, skipped)
            current = None
        if match:
            if form is INLINE:
                day = day_of(match["date"].removesuffix(" at"))
            time = None if day is None else day + clock_of(match)
            if match["name"].strip():
                current = match["name"].strip(), [match["text"]], time, number
            else:
                skipped.note("system line", f"{source.name}:{number}")
        elif dated:
            day = day_of(dated[1], is_month_first)
        elif current:
            current[1].append(line)
        elif line.strip():
            skipped.note("system line", f"{source.name}:{number}")
    if current:
        yield from spoken(current, source, skipped)


def clock_of(match: re.Match[str]) -> int:
    """Seconds since midnight."""
    hour, half = int(match["hour"]), (match["half"] or match["half_after"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half in ("오후", "午後", "下午", "pm") else 0)
    return hour * 3600 + int(match["minute"]) * 60


def day_of(text: str, is_month_first: bool | None = None) -> float | None:
    """Seconds since 1970 at midnight of a date; None for what is none."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    try:
        if text[:1].isalpha() and text[:3] in MONTHS:
            return seconds_since_1970(numbers[1], MONTHS.index(text[:3]) + 1, numbers[0])
        if len(numbers) == 3 and numbers[0] > 99:
            return seconds_since_1970(*numbers)
    except ValueError:
        return None
    return parse_timestamp(text, is_month_first)


def spoken(message: tuple[str, list[str], float | None, int], source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the message, or none, noted, where the app wrote something in place of words."""
    name, lines, time, number = message
    text = "\n".join(lines).strip()
    if len(lines) > 1 and text.startswith('"') and text.endswith('"'):  # LINE quotes a message of several lines
        text = text[1:-1].strip()
    reason = "media" if PLACEHOLDER.fullmatch(text) else "deleted message" if DELETED.fullmatch(text) else None
    reason = reason or ("call" if CALL.fullmatch(text) else None if text else "empty message")
    if reason:
        skipped.note(reason, f"{source.name}:{number}")
    else:
        yield LogMessage(name, text, time, source.name, number)
