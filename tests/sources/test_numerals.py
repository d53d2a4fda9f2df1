"""Numbers and dates in words: grammatical, distinct, and split into training and test."""

from datetime import date
from itertools import islice

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.job import JobDescription
from qatlab.sources.numerals import Numerals, english_date, english_number, french_date, french_number, pairs
from qatlab.stages import data

# As num2words 0.5.14 and grammars have them: every irregularity once.
NUMBERS = {
    0: ("zero", "zéro"),
    16: ("sixteen", "seize"),
    17: ("seventeen", "dix-sept"),
    21: ("twenty-one", "vingt et un"),
    22: ("twenty-two", "vingt-deux"),
    70: ("seventy", "soixante-dix"),
    71: ("seventy-one", "soixante et onze"),
    72: ("seventy-two", "soixante-douze"),
    80: ("eighty", "quatre-vingts"),
    81: ("eighty-one", "quatre-vingt-un"),
    91: ("ninety-one", "quatre-vingt-onze"),
    99: ("ninety-nine", "quatre-vingt-dix-neuf"),
    100: ("one hundred", "cent"),
    101: ("one hundred and one", "cent un"),
    200: ("two hundred", "deux cents"),
    280: ("two hundred and eighty", "deux cent quatre-vingts"),
    1000: ("one thousand", "mille"),
    1001: ("one thousand and one", "mille un"),
    1100: ("one thousand one hundred", "mille cent"),
    80000: ("eighty thousand", "quatre-vingt mille"),
    200000: ("two hundred thousand", "deux cent mille"),
    180080: ("one hundred and eighty thousand and eighty", "cent quatre-vingt mille quatre-vingts"),
}
DATES = {
    date(1900, 1, 1): ("Monday the first of January nineteen hundred", "lundi premier janvier mille neuf cents"),
    date(1905, 2, 3): ("Friday the third of February nineteen oh five", "vendredi trois février mille neuf cent cinq"),
    date(2005, 3, 21): ("Monday the twenty-first of March two thousand and five", "lundi vingt et un mars deux mille cinq"),
    date(2000, 8, 30): ("Wednesday the thirtieth of August two thousand", "mercredi trente août deux mille"),
    date(2026, 12, 12): ("Saturday the twelfth of December twenty twenty-six", "samedi douze décembre deux mille vingt-six"),
    date(1071, 5, 8): ("Monday the eighth of May ten seventy-one", "lundi huit mai mille soixante et onze"),
}  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_words(number):
    assert (english_number(number), french_number(number)) == NUMBERS[number]


@given(st.integers(0, 999_999), st.integers(0, 999_999))
@settings(deadline=None)
def test_different_numbers_are_different_words(one, other):
    for words in (english_number, french_number):
        assert (words(one) == words(other)) == (one == other)


@pytest.mark.parametrize("day", DATES)
def test_dates_are_words(day):
    assert (english_date(day), french_date(day)) == DATES[day]


@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)), st.dates(date(1000, 1, 1), date(2999, 12, 31)))
@settings(deadline=None)
def test_different_dates_are_different_words(one, other):
    for words in (english_date, french_date):
        assert (words(one) == words(other)) == (one == other)


def test_half_of_them_are_dates():
    english = [text for text, _ in pairs("train", 0, 10_000)]
    assert (
        0.4 < sum(" of " in text for text in english) / len(english) < 0.8
    )  # few numbers are short, and each occurs once


def test_the_same_seed_gives_the_same_and_more_of_it():
    first = list(pairs("train", 3, 200))
    assert list(islice(pairs("train", 3, 1000), 200)) == first
    assert list(pairs("train", 4, 200)) != first


def test_all_are_different_and_none_is_in_both_parts():
    train, test = list(pairs("train", 0, 20_000)), list(pairs("test", 1, 2000))
    assert len(dict(train)) == len(train) == 20_000
    assert not dict(train).keys() & dict(test).keys()


def test_they_are_training_rows(tmp_path):
    config = Numerals(source="numerals", name="numerals_enfr", rows=50)
    data.run(JobDescription(config=config.model_dump(), origin="generated"), {}, tmp_path, None)
    rows = pd.read_parquet(tmp_path / "train.parquet")
    assert sorted(rows.itertuples(index=False, name=None)) == sorted(pairs("train", 0, 50))
