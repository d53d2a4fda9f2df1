"""French forms: plurals, agreement, conjugation, numbers, and how words run together."""

from collections.abc import Sequence
from functools import cache

from qatlab.data.grammar.lexicon import INVARIABLE, Adjective, words

VOWELS = tuple("aàâeéèêëiîïoôœuùûyh")
# No elision before these, whatever their first letter: h aspiré, y as in yaourt, numbers.
ASPIRATED = ("héros", "haricot", "hibou", "hérisson", "hache", "hamac", "harpe", "hongrie", "huit", "onze", "yaourt")

# Articles are written LE, LA, LES among tokens: à and de run together with them, but not with the pronouns le and les.
ELIDED = ("le", "la", "LE", "LA", "je", "me", "te", "se", "ne", "de", "que")
CONTRACTED = {("à", "LE"): "au", ("à", "LES"): "aux", ("de", "LE"): "du", ("de", "LES"): "des"}

NOUN_PLURALS = {
    "pomme de terre": "pommes de terre",
    "carte postale": "cartes postales",
    "appareil photo": "appareils photo",
    "grand-mère": "grands-mères",
    "grand-père": "grands-pères",
    "jus de pomme": "jus de pomme",
}
PLURALS_IN_X = ("bijou", "caillou", "hibou")
BEFORE_VOWEL = {"beau": "bel", "nouveau": "nouvel", "vieux": "vieil"}

# Present (je, tu, il, nous, vous, ils), past participle, stem of the future.
IRREGULAR_VERBS = {
    "être": ("suis es est sommes êtes sont", "été", "ser"),
    "avoir": ("ai as a avons avez ont", "eu", "aur"),
    "aller": ("vais vas va allons allez vont", "allé", "ir"),
    "venir": ("viens viens vient venons venez viennent", "venu", "viendr"),
    "revenir": ("reviens reviens revient revenons revenez reviennent", "revenu", "reviendr"),
    "voir": ("vois vois voit voyons voyez voient", "vu", "verr"),
    "prendre": ("prends prends prend prenons prenez prennent", "pris", "prendr"),
    "apprendre": ("apprends apprends apprend apprenons apprenez apprennent", "appris", "apprendr"),
    "comprendre": ("comprends comprends comprend comprenons comprenez comprennent", "compris", "comprendr"),
    "lire": ("lis lis lit lisons lisez lisent", "lu", "lir"),
    "écrire": ("écris écris écrit écrivons écrivez écrivent", "écrit", "écrir"),
    "boire": ("bois bois boit buvons buvez boivent", "bu", "boir"),
    "vouloir": ("veux veux veut voulons voulez veulent", "voulu", "voudr"),
    "pouvoir": ("peux peux peut pouvons pouvez peuvent", "pu", "pourr"),
    "devoir": ("dois dois doit devons devez doivent", "dû", "devr"),
    "savoir": ("sais sais sait savons savez savent", "su", "saur"),
    "dire": ("dis dis dit disons dites disent", "dit", "dir"),
    "connaître": ("connais connais connaît connaissons connaissez connaissent", "connu", "connaîtr"),
    "reconnaître": ("reconnais reconnais reconnaît reconnaissons reconnaissez reconnaissent", "reconnu", "reconnaîtr"),
    "naître": ("nais nais naît naissons naissez naissent", "né", "naîtr"),
    "ouvrir": ("ouvre ouvres ouvre ouvrons ouvrez ouvrent", "ouvert", "ouvrir"),
    "offrir": ("offre offres offre offrons offrez offrent", "offert", "offrir"),
    "dormir": ("dors dors dort dormons dormez dorment", "dormi", "dormir"),
    "partir": ("pars pars part partons partez partent", "parti", "partir"),
    "courir": ("cours cours court courons courez courent", "couru", "courr"),
    "mourir": ("meurs meurs meurt mourons mourez meurent", "mort", "mourr"),
    "rire": ("ris ris rit rions riez rient", "ri", "rir"),
    "sourire": ("souris souris sourit sourions souriez sourient", "souri", "sourir"),
    "suivre": ("suis suis suit suivons suivez suivent", "suivi", "suivr"),
    "peindre": ("peins peins peint peignons peignez peignent", "peint", "peindr"),
    "construire": ("construis construis construit construisons construisez construisent", "construit", "construir"),
    "conduire": ("conduis conduis conduit conduisons conduisez conduisent", "conduit", "conduir"),
    "traduire": ("traduis traduis traduit traduisons traduisez traduisent", "traduit", "traduir"),
    "recevoir": ("reçois reçois reçoit recevons recevez reçoivent", "reçu", "recevr"),
    "appeler": ("appelle appelles appelle appelons appelez appellent", "appelé", "appeller"),
    "jeter": ("jette jettes jette jetons jetez jettent", "jeté", "jetter"),
}
IMPERFECT = ("ais", "ais", "ait", "ions", "iez", "aient")
FUTURE = ("ai", "as", "a", "ons", "ez", "ont")
REFLEXIVE = ("me", "te", "se", "nous", "vous", "se")

UNITS = words(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix-sept dix-huit dix-neuf"
)
TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante"}


def starts_with_vowel(word: str) -> bool:
    """Whether le, je, de … lose their vowel before a word."""
    lower = word.lower()
    if lower.startswith("y"):
        return lower == "y"
    return lower.startswith(VOWELS) and not lower.startswith(ASPIRATED)


def join(tokens: Sequence[str]) -> str:
    """Tokens as text: l', j', qu' …, and au, aux, du, des for à and de with an article."""
    written: list[str] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        after = tokens[index + 2] if index + 2 < len(tokens) else ""
        contracted = CONTRACTED.get((token, following))
        if contracted and not (following == "LE" and starts_with_vowel(after)):
            written.append(f"{contracted} ")
            index += 2
            continue
        if token in ELIDED and starts_with_vowel(following):
            written.append(f"{token[:-1].lower()}'")
        else:
            written.append(f"{token.lower() if token in ('LE', 'LA', 'LES') else token} ")
        index += 1
    return "".join(written).strip()


def noun_plural(noun: str) -> str:
    """The plural of a noun."""
    if noun in NOUN_PLURALS:
        return NOUN_PLURALS[noun]
    if noun.endswith(("s", "x", "z")):
        return noun
    if noun.endswith("al"):
        return f"{noun[:-2]}aux"
    return noun + ("x" if noun.endswith(("eau", "eu")) or noun in PLURALS_IN_X else "s")


def adjective_form(adjective: Adjective, gender: str, plural: bool, following: str = "") -> str:
    """An adjective's form; `following` is the word after it, where that matters: un bel homme."""
    form = adjective.feminine if gender == "f" else adjective.masculine
    if adjective.masculine in INVARIABLE:
        return form
    if gender == "m" and not plural and following and starts_with_vowel(following):
        return BEFORE_VOWEL.get(form, form)
    return _plural_of_agreeing(form) if plural else form


def participle(verb: str, gender: str = "m", plural: bool = False) -> str:
    """A verb's past participle in agreement."""
    form = _forms(verb)[1] + ("e" if gender == "f" else "")
    return _plural_of_agreeing(form) if plural else form


def _plural_of_agreeing(form: str) -> str:
    if form.endswith("eau"):
        return f"{form}x"
    return form if form.endswith(("s", "x")) else f"{form}s"


def present(verb: str, person: int) -> str:
    """The present; persons are 0 to 5: je, tu, il, nous, vous, ils."""
    return _forms(verb)[0][person]


def imperfect(verb: str, person: int) -> str:
    """The imparfait, made from the nous form of the present."""
    if verb == "être":
        return f"ét{IMPERFECT[person]}"
    stem, ending = present(verb, 3).removesuffix("ons"), IMPERFECT[person]
    if ending.startswith("i"):  # mangions, commencions: the spelling that keeps the sound before a is not needed
        stem = f"{stem[:-1]}c" if stem.endswith("ç") else stem.removesuffix("e") if stem.endswith("ge") else stem
    return stem + ending


def future(verb: str, person: int) -> str:
    """The future."""
    return _forms(verb)[2] + FUTURE[person]


@cache
def _forms(verb: str) -> tuple[tuple[str, ...], str, str]:
    """Present by person, past participle, and stem of the future."""
    if verb in IRREGULAR_VERBS:
        forms, past, stem = IRREGULAR_VERBS[verb]
        return tuple(forms.split()), past, stem
    root = verb[:-2]
    if verb.endswith("er"):
        return _first_group(verb, root)
    if verb.endswith("ir"):
        return tuple(root + ending for ending in words("is is it issons issez issent")), f"{root}i", verb
    return tuple(root + ending for ending in ("s", "s", "", "ons", "ez", "ent")), f"{root}u", verb[:-1]


def _first_group(verb: str, root: str) -> tuple[tuple[str, ...], str, str]:
    """Verbs in -er and their changes of spelling: achète, préfère, nettoie, mangeons, commençons."""
    stressed, stem = root, verb
    if root.endswith(("oy", "ay", "uy")):
        stressed = f"{root[:-1]}i"
        stem = "enverr" if verb == "envoyer" else f"{stressed}er"
    elif root[-2] == "e" and root[-1] in "tvnms":
        stressed = f"{root[:-2]}è{root[-1]}"
        stem = f"{stressed}er"
    elif root[-2] == "é":
        stressed = f"{root[:-2]}è{root[-1]}"
    soft = f"{root}e" if root.endswith("g") else f"{root[:-1]}ç" if root.endswith("c") else root
    forms = (
        f"{stressed}e", f"{stressed}es", f"{stressed}e", f"{soft}ons", f"{root}ez", f"{stressed}ent",
    )  # fmt: skip
    return forms, f"{root}é", stem


def number(value: int, gender: str = "m") -> str:
    """A number from 1 to 99 in words."""
    if value == 1:
        return "une" if gender == "f" else "un"
    if value < len(UNITS):
        return UNITS[value]
    tens, units = divmod(value, 10)
    if value >= 80:
        rest = value - 80
        return f"quatre-vingt-{number(rest, gender)}" if rest else "quatre-vingts"
    if tens == 7:
        return "soixante et onze" if units == 1 else f"soixante-{UNITS[10 + units]}"
    if units == 0:
        return TENS[tens]
    return f"{TENS[tens]} et {number(1, gender)}" if units == 1 else f"{TENS[tens]}-{UNITS[units]}"
