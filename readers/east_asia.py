"""
LINE's and KakaoTalk's text exports, from a phone or a computer:

    [LINE] Chat history with Ann            Ann 님과 카카오톡 대화
    Fri, 12/31/2021                         --------------- 2021년 12월 31일 금요일 ---------------
    10:00<TAB>Ann<TAB>hi                    [Ann] [오전 10:00] hi

    2021년 12월 31일 오전 10:00, Ann : hi   December 31, 2021 at 10:00 AM, Ann : hi

    2021.12.31 Friday
    10:00 Ann hi

A date stands on a line of its own, or before each message. The last is LINE's on a computer, where only a space ends a
name: one of several words is known by them all standing at the beginning of each of its messages.
"""

import collections
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
SPACED = re.compile(rf"{CLOCK} (?P<said>[^<*\s-].*)")  # LINE on a computer
FORMS = (TABBED, BRACKETS, INLINE, SPACED)
# a line with a time, but nobody who speaks: Ann unsent a message
UNSPOKEN = {TABBED: re.compile(rf"{CLOCK}\t[^\t]*"), SPACED: re.compile(rf"{CLOCK} \S+"), INLINE: NOTICE}
JOINED = re.compile(  # what stands between messages without a time
    r".{1,60}님(?:이|을) .{0,60}(?:들어왔습니다|나갔습니다|초대했습니다|내보냈습니다)\.?"
    r"|채팅방 관리자가 메시지를 가렸습니다\.?|.{1,60} (?:joined|left) this chatroom\.?"
)
DATE_LINE = re.compile(
    r"-*\s*(?:\w{2,9}[,.]?\s)?(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}[년年]\s?\d{1,2}[월月]\s?\d{1,2}[일日]"
    r"|[A-Z][a-z]+ \d{1,2}, \d{4})(?:\s?[(（]?\w{1,12}[)）]?)?\s*-*"
)
PLACEHOLDER = re.compile(  # LINE's stand in brackets, in any language
    r"\[File\] .*|\[[^\[\]\d\n]{2,20}\]|파일: .*"
    r"|(?:사진|사진 \d+장|동영상|이모티콘|음성메시지|Photos?|Videos?|Stickers?|Emoticons?)"
)
OWN_WORDS = re.compile(
    r"アルバム(?:「.*」)?(?:を作成しました|に写真を追加しました|を削除しました)。?|ノートに投稿しました。?"
    r"|イベント「.*」が(?:作成|削除|変更)されました。?"
)
MIN_OFTEN = 3  # messages by which a name of several words is known
DELETED = re.compile(
    r"삭제된 메시지입니다\.?|Message deleted\.?|.* unsent a message\.?|.*メッセージの送信を取り消しました。?"
)
CALL = re.compile(r"☎.*|(?:보이스톡|페이스톡)(?: .*)?")


def recognises(head: str) -> bool:
    lines = [line.rstrip("\r") for line in head.split("\n") if line.strip()][:2000]
    form = form_of(lines)
    said = sum(bool(form.match(line)) for line in lines)
    dated = form is INLINE or any(DATE_LINE.fullmatch(line) for line in lines[:200])
    if form is SPACED:  # as diaries have it: the names must be few, and two of them say something twice
        names = names_of(lines)
        dated = dated and sum(n > 1 for n in names.values()) > 1 and len(names) <= 2 + said // 5
    return said > 0 and dated and 3 * said >= len(lines)


def form_of(lines: list[str]) -> re.Pattern[str]:
    """The form of most lines."""
    return max(FORMS, key=lambda form: sum(bool(form.match(line)) for line in lines))


def names_of(lines: list[str]) -> collections.Counter[str]:
    """The names of a file whose form is SPACED, with their numbers of messages."""
    rests = [match["said"].split(" ") for match in map(SPACED.match, lines) if match and " " in match["said"]]
    names: collections.Counter[str] = collections.Counter()
    for first in {rest[0] for rest in rests}:
        own = [rest for rest in rests if rest[0] == first]
        length = 1
        while len(own) >= MIN_OFTEN and len({tuple(rest[: length + 1]) for rest in own}) == 1:
            length += 1
        names[" ".join(own[0][: min(length, min(map(len, own)) - 1)])] += len(own)
    return names


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    lines = [line.rstrip("\r") for line in source.head.split("\n")]
    form = form_of(lines)
    is_month_first = month_comes_first(match[1] for match in map(DATE_LINE.fullmatch, lines) if match)
    names = sorted(names_of(lines), key=len, reverse=True) if form is SPACED else []
    day: float | None = None
    current: tuple[str, list[str], float | None, int] | None = None  # name, lines, time, number
    for number, line in source.lines(skipped):
        match, dated = form.match(line), DATE_LINE.fullmatch(line)
        new_day = day_of(dated[1], is_month_first) if dated else None
        if dated and day is not None and new_day is not None and new_day < day:
            dated = None  # somebody wrote a date
        is_unspoken = form in UNSPOKEN and UNSPOKEN[form].fullmatch(line) and not (match and form is not SPACED)
        if current and (match or dated or is_unspoken):
            yield from spoken(current, source, skipped)
            current = None
        if dated:
            day = new_day
        elif is_unspoken or (not match and JOINED.fullmatch(line)):
            skipped.note("system line", f"{source.name}:{number}")
        elif match:
            if form is INLINE:
                day = day_of(match["date"].removesuffix(" at"))
            time = None if day is None else day + clock_of(match)
            name, text = split(match["said"], names) if form is SPACED else (match["name"].strip(), match["text"])
            if name:
                current = name, [text], time, number
            else:
                skipped.note("system line", f"{source.name}:{number}")
        elif current:
            current[1].append(line)
        elif line.strip():
            skipped.note("system line", f"{source.name}:{number}")
    if current:
        yield from spoken(current, source, skipped)


def split(said: str, names: list[str]) -> tuple[str, str]:
    """(name, text) of what stands behind a time: "Ann Lee hi". names: the longest first."""
    name = next((name for name in names if said.startswith(f"{name} ")), said.partition(" ")[0])
    return name, said[len(name) + 1 :]


def clock_of(match: re.Match[str]) -> int:
    """Seconds since midnight."""
    hour, half = int(match["hour"]), (match["half"] or match["half_after"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half in ("오후", "午後", "下午", "pm") else 0)
    return hour % 24 * 3600 + int(match["minute"]) * 60


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
    reason = reason or ("system line" if OWN_WORDS.fullmatch(text) else None)
    reason = reason or ("call" if CALL.fullmatch(text) else None if text else "empty message")
    if reason:
        skipped.note(reason, f"{source.name}:{number}")
    else:
        yield LogMessage(name, text, time, source.name, number)
