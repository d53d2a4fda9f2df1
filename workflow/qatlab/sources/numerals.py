"""Numbers and dates in words, English and French: a translation that a small model learns in minutes, without network."""

import datetime
import hashlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import SOURCE_AND_TARGET
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd

# Generator of numbers and dates in English and French words: translation data that a small model learns in minutes.
#
# The mapping is a function and has irregularities: seventy-one is "soixante et onze", eighty "quatre-vingts", nineteen oh five
# "mille neuf cent cinq", and the first of a month "premier". There are about 1.5 million distinct texts. No network access is needed.

TEST_SHARE = 10  # One text in ten belongs to the test part.
DATES = (datetime.date(1000, 1, 1).toordinal(), datetime.date(2999, 12, 31).toordinal())

ENGLISH, TENS, ORDINALS, DAYS, MONTHS = map(str.split, (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    "- ten twenty thirty forty fifty sixty seventy eighty ninety",
    "th first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
))  # fmt: skip
FRENCH, DIZAINES, JOURS, MOIS = map(str.split, (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf",
    "- dix vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt",
    "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
))  # fmt: skip


def pairs(part: str, seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield distinct English texts and their French translations.

    With the same part and seed, the pairs of a smaller count are the first pairs of a larger one.

    Args:
        part: 'train' or 'test'; no text is in both, whatever the seeds.
        seed: random seed.
        count: number of pairs, at most 1,000,000.
    """
    generator = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        if generator.random() < 0.5:
            number = generator.randrange(10 ** generator.randint(1, 6))
            english, french = english_number(number), french_number(number)
        else:
            date = datetime.date.fromordinal(generator.randint(*DATES))
            english, french = english_date(date), french_date(date)
        is_test = hashlib.sha256(english.encode()).digest()[0] % TEST_SHARE == 0
        if is_test == (part == "test") and english not in seen:
            seen.add(english)
            yield english, french


def english_number(number: int) -> str:
    """Return a number from 0 to 999,999 in English words, as in 'two hundred and one thousand and five'."""
    if number < 20:
        return ENGLISH[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ENGLISH[number % 10]}" if number % 10 else "")
    size, word = (100, "hundred") if number < 1000 else (1000, "thousand")
    head, rest = f"{english_number(number // size)} {word}", number % size
    return head + (f" {'and ' if rest < 100 else ''}{english_number(rest)}" if rest else "")


def french_number(number: int, last: bool = True) -> str:
    """Return a number from 0 to 999,999 in French words, in the spelling before 1990.

    Args:
        number: the number.
        last: whether no further numeral follows, which decides the plural s of 'quatre-vingts'.
    """
    if number < 20:
        return FRENCH[number]
    if number < 100:
        ten = number // 10 - (number // 10 in (7, 9))
        unit, word = number - 10 * ten, DIZAINES[ten]
        if unit == 0:
            return word + ("s" if number == 80 and last else "")
        return f"{word}{' et ' if unit in (1, 11) and ten < 8 else '-'}{FRENCH[unit]}"
    size, word = (100, "cent") if number < 1000 else (1000, "mille")
    count, rest = divmod(number, size)
    head = word if count == 1 else f"{french_number(count, last=False)} {word}"
    return f"{head} {french_number(rest, last)}" if rest else head + "s" * (size == 100 and count > 1 and last)


def english_date(date: datetime.date) -> str:
    """Return a date in English words, as in 'Friday the twenty-first of June nineteen oh five'."""
    return f"{DAYS[date.weekday()]} the {_ordinal(date.day)} of {MONTHS[date.month - 1]} {_english_year(date.year)}"


def french_date(date: datetime.date) -> str:
    """Return a date in French words, as in 'vendredi vingt et un juin mille neuf cent cinq'."""
    day = "premier" if date.day == 1 else french_number(date.day)
    return f"{JOURS[date.weekday()]} {day} {MOIS[date.month - 1]} {french_number(date.year)}"


def _ordinal(day: int) -> str:
    if day >= 20:
        return english_number(day)[:-1] + "ieth" if day % 10 == 0 else f"{TENS[day // 10]}-{ORDINALS[day % 10]}"
    return ORDINALS[day] if day < len(ORDINALS) else f"{ENGLISH[day]}th"


def _english_year(year: int) -> str:
    century, rest = divmod(year, 100)
    if year % 1000 < 10:
        return english_number(year)
    return f"{english_number(century)} {'hundred' if not rest else f'oh {ENGLISH[rest]}' if rest < 10 else english_number(rest)}"


@SOURCES.register("numerals")
class Numerals(Source):
    """Numbers and dates in English and French words, generated without network access."""

    source: Literal["numerals"]
    rows: Annotated[int, Field(gt=0, le=1_000_000, description="Number of distinct texts to generate.")] = 20_000
    shuffle_seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Random seed that decides which texts are generated.")
    ] = 0

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns that `load` returns."""
        return SOURCE_AND_TARGET

    def origin(self) -> str:
        """Return a constant, because the fields alone determine the rows."""
        return "generated"

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with the columns source (English) and target (French), and None, since there is no hub commit."""
        import pandas as pd

        return pd.DataFrame(pairs("train", self.shuffle_seed, self.rows), columns=self.columns), None

    def describe(self, manifest: DataManifest) -> str:
        """Return what the texts are as the end of a sentence."""
        return ", numbers and dates in English words with their French, made by qatlab"
