"""English forms: plurals, conjugation, comparison, numbers, a and an."""

from qatlab.data.grammar.lexicon import words

NOUN_PLURALS = {
    "man": "men", "woman": "women", "child": "children", "mouse": "mice", "wolf": "wolves", "knife": "knives",
    "scarf": "scarves", "thief": "thieves", "shelf": "shelves", "hero": "heroes", "potato": "potatoes",
    "tomato": "tomatoes",
}  # fmt: skip

# Past and past participle.
IRREGULAR_VERBS = {
    "see": ("saw", "seen"), "eat": ("ate", "eaten"), "have": ("had", "had"), "buy": ("bought", "bought"),
    "take": ("took", "taken"), "read": ("read", "read"), "drink": ("drank", "drunk"), "write": ("wrote", "written"),
    "find": ("found", "found"), "know": ("knew", "known"), "lose": ("lost", "lost"), "sell": ("sold", "sold"),
    "meet": ("met", "met"), "hear": ("heard", "heard"), "choose": ("chose", "chosen"), "wear": ("wore", "worn"),
    "draw": ("drew", "drawn"), "drive": ("drove", "driven"), "forget": ("forgot", "forgotten"),
    "break": ("broke", "broken"), "hide": ("hid", "hidden"), "catch": ("caught", "caught"),
    "steal": ("stole", "stolen"), "build": ("built", "built"), "feed": ("fed", "fed"),
    "understand": ("understood", "understood"), "throw": ("threw", "thrown"), "speak": ("spoke", "spoken"),
    "sleep": ("slept", "slept"), "sing": ("sang", "sung"), "leave": ("left", "left"), "get": ("got", "got"),
    "run": ("ran", "run"), "swim": ("swam", "swum"), "fall": ("fell", "fallen"), "wake": ("woke", "woken"),
    "come": ("came", "come"), "begin": ("began", "begun"), "give": ("gave", "given"), "send": ("sent", "sent"),
    "lend": ("lent", "lent"), "go": ("went", "gone"), "say": ("said", "said"), "think": ("thought", "thought"),
}  # fmt: skip
THIRD_PERSON = {"have": "has", "go": "goes", "be": "is", "do": "does"}
DOUBLED = ("run", "swim", "forget", "get", "begin", "fat", "sad", "big", "hot", "wet", "travel", "prefer")
CONTRACTIONS = {
    "do": "don't", "does": "doesn't", "did": "didn't", "is": "isn't", "are": "aren't", "was": "wasn't",
    "were": "weren't", "has": "hasn't", "have": "haven't", "will": "won't", "can": "can't", "could": "couldn't",
    "must": "mustn't",
}  # fmt: skip
COMPARED_IN_ER = words(
    "small big old new tall young long cold hot rich heavy kind sad dirty fat poor light clean funny proud fresh quiet noisy "
    "ripe wet pretty happy lazy strange"
)
UNITS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = words("_ _ twenty thirty forty fifty sixty seventy eighty ninety")


def noun_plural(noun: str) -> str:
    """The plural of a noun."""
    if noun in NOUN_PLURALS:
        return NOUN_PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def with_article(said: str) -> str:
    """`a` or `an` by the sound that follows."""
    vowel = said[0].lower() in "aeiou" and not said.startswith("uni")
    return f"{'an' if vowel or said.startswith('honest') else 'a'} {said}"


def third_person(verb: str) -> str:
    """He, she or it does: of `look for`, looks for."""
    first, _, rest = verb.partition(" ")
    if first in THIRD_PERSON:
        form = THIRD_PERSON[first]
    elif first.endswith("y") and first[-2] not in "aeiou":
        form = f"{first[:-1]}ies"
    else:
        form = first + ("es" if first.endswith(("s", "x", "ch", "sh", "o")) else "s")
    return f"{form} {rest}".strip()


def past(verb: str) -> str:
    """What somebody did."""
    return _past(verb, 0)


def past_participle(verb: str) -> str:
    """What somebody has done."""
    return _past(verb, 1)


def _past(verb: str, which: int) -> str:
    first, _, rest = verb.partition(" ")
    return f"{IRREGULAR_VERBS[first][which] if first in IRREGULAR_VERBS else _with_ed(first)} {rest}".strip()


def _with_ed(verb: str) -> str:
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{_doubled(verb)}ed"


def gerund(verb: str) -> str:
    """What somebody is doing."""
    first, _, rest = verb.partition(" ")
    if first.endswith("ie"):
        form = f"{first[:-2]}ying"
    else:
        form = f"{first[:-1] if first.endswith('e') and not first.endswith('ee') else _doubled(first)}ing"
    return f"{form} {rest}".strip()


def comparative(adjective: str) -> str:
    """`bigger`, `more beautiful`."""
    if adjective == "good":
        return "better"
    if adjective not in COMPARED_IN_ER:
        return f"more {adjective}"
    if adjective.endswith("y"):
        return f"{adjective[:-1]}ier"
    return f"{_doubled(adjective).removesuffix('e')}er"


def _doubled(word: str) -> str:
    return word + word[-1] if word in DOUBLED else word


def number(value: int) -> str:
    """A number from 1 to 99 in words."""
    if value < len(UNITS):
        return UNITS[value]
    tens, units = divmod(value, 10)
    return f"{TENS[tens]}-{UNITS[units]}" if units else TENS[tens]
