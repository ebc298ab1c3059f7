"""
Days of the calendars in which phones write dates: Gregorian, Buddhist (Thailand), Persian, Islamic. The year tells
which.

No message is older than 2009, so a year of 1388 to 1429 is Persian (1400 is 2021), one of 1430 to 1500 Islamic (1443 is
2021) and one above 2500 Buddhist (2564 is 2021).
"""

from datetime import date

EPOCH = date(1970, 1, 1).toordinal()
DAY = 86_400  # seconds
PERSIAN, ISLAMIC, BUDDHIST = range(1388, 1430), range(1430, 1501), range(2500, 2700)  # years
BUDDHIST_AHEAD = 543  # years of the Gregorian calendar


def seconds_at(year: int, month: int, day: int) -> int:
    """Seconds since 1970 at midnight of a date; a year of two digits is of this century. Raises ValueError."""
    if year < 100:
        year += 2500 if year >= 52 else 2000  # 64: 2564 of the Buddhist calendar, for 2064 is not yet
    if year in PERSIAN:
        return (persian_ordinal(year, month, day) - EPOCH) * DAY
    if year in ISLAMIC:
        return (islamic_ordinal(year, month, day) - EPOCH) * DAY
    if year in BUDDHIST:
        year -= BUDDHIST_AHEAD
    return (date(year, month, day).toordinal() - EPOCH) * DAY


def persian_ordinal(year: int, month: int, day: int) -> int:
    """The ordinal of a Persian date: six months of 31 days, five of 30, one of 29 (30 in 8 of 33 years). ValueError."""
    is_leap = (25 * year + 11) % 33 < 8
    days_of_month = 31 if month <= 6 else 30 if month <= 11 or is_leap else 29
    if not (1 <= month <= 12 and 1 <= day <= days_of_month):
        raise ValueError(f"no day {day} in month {month}")
    leaps = sum((25 * before + 11) % 33 < 8 for before in range(PERSIAN.start, year))
    new_year = date(2009, 3, 21).toordinal() + 365 * (year - PERSIAN.start) + leaps  # 1 Farvardin 1388
    return new_year + 31 * min(month - 1, 6) + 30 * max(month - 7, 0) + day - 1


def islamic_ordinal(year: int, month: int, day: int) -> int:
    """The ordinal of an Islamic date by the tabular calendar, at most a day from the one that is seen. ValueError."""
    if not (1 <= month <= 12 and 1 <= day <= 30):
        raise ValueError(f"no day {day} in month {month}")
    days = day + (59 * (month - 1) + 1) // 2 + (year - 1) * 354 + (3 + 11 * year) // 30
    return days + date(622, 7, 18).toordinal()  # 1 Muharram of the year 1 is 19 July 622, Gregorian
