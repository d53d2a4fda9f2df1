"""The words of the grammar, English = French. In every section the frequent words come first.

A noun's line says its gender, and after it in which sections it stands too, or how it is special: nobody says of `nobodys` that
they are his. An adjective's line says what it can be said of; `<` before the French marks the ones that stand before the noun. A
verb's line says what it takes (after the first colon) and how it behaves (after the second).
"""

from dataclasses import dataclass, field
from functools import cache

NOUNS = """
[person]
man = homme m nobodys
woman = femme f nobodys
child = enfant m young
girl = fille f nobodys young
boy = garçon m nobodys young
friend = ami m close
teacher = professeur m
mother = mère f family
father = père m family
doctor = médecin m
student = étudiant m
brother = frère m family
sister = sœur f family
neighbour = voisin m
queen = reine f
king = roi m
baker = boulanger m
farmer = fermier m
grandmother = grand-mère f family
grandfather = grand-père m family
uncle = oncle m family
aunt = tante f family
son = fils m family
daughter = fille f family
nurse = infirmière f
pupil = élève m young
waiter = serveur m
waitress = serveuse f
actor = acteur m
actress = actrice f
tourist = touriste m
writer = écrivain m
engineer = ingénieur m
singer = chanteuse f
lawyer = avocat m
guest = invité m
hero = héros m nobodys
gardener = jardinier m
soldier = soldat m
thief = voleur m nobodys
princess = princesse f
painter = peintre m
sailor = marin m
witness = témoin m nobodys

[animal]
dog = chien m
cat = chat m
bird = oiseau m
horse = cheval m
cow = vache f
mouse = souris f
rabbit = lapin m
hen = poule f
wolf = loup m
bear = ours m
duck = canard m
goat = chèvre f
monkey = singe m
donkey = âne m
frog = grenouille f
elephant = éléphant m
owl = hibou m
squirrel = écureuil m
bee = abeille f
spider = araignée f
turtle = tortue f
swan = cygne m
hedgehog = hérisson m
snail = escargot m

[food]
apple = pomme f fruit
egg = œuf m
cake = gâteau m
orange = orange f fruit
pear = poire f fruit
potato = pomme de terre f
tomato = tomate f fruit
banana = banane f fruit
carrot = carotte f
strawberry = fraise f fruit
lemon = citron m fruit
onion = oignon m
bean = haricot m
cherry = cerise f fruit
mushroom = champignon m
peach = pêche f fruit
pancake = crêpe f
apricot = abricot m fruit
pineapple = ananas m fruit
yoghurt = yaourt m
oyster = huître f

[solid]
bread = pain m
cheese = fromage m
meat = viande f
soup = soupe f
rice = riz m
chocolate = chocolat m
butter = beurre m
honey = miel m
jam = confiture f

[drink]
water = eau f
coffee = café m
milk = lait m
tea = thé m
wine = vin m
beer = bière f
apple juice = jus de pomme m

[text]
book = livre m
letter = lettre f openable
story = histoire f
newspaper = journal m
poem = poème m
novel = roman m
report = rapport m
article = article m
recipe = recette f
magazine = magazine m
postcard = carte postale f

[thing]
key = clé f
table = table f surface
chair = chaise f surface
bag = sac m container openable
bottle = bouteille f container openable
box = boîte f container openable
glass = verre m container
flower = fleur f
cup = tasse f container
telephone = téléphone m
lamp = lampe f
knife = couteau m
gift = cadeau m openable
computer = ordinateur m
watch = montre f
umbrella = parapluie m openable
picture = tableau m
mirror = miroir m
pen = stylo m
plate = assiette f container
clock = horloge f
basket = panier m container
ball = ballon m
toy = jouet m
suitcase = valise f container openable
ring = bague f
candle = bougie f
ladder = échelle f
map = carte f
spoon = cuillère f
fork = fourchette f
tool = outil m
blanket = couverture f
pillow = oreiller m
camera = appareil photo m
pebble = caillou m
jewel = bijou m
axe = hache f
hammock = hamac m

[door]
door = porte f openable landmark
window = fenêtre f openable landmark
cupboard = placard m openable landmark
drawer = tiroir m openable

[clothing]
coat = manteau m
shirt = chemise f
dress = robe f
hat = chapeau m
shoe = chaussure f
jacket = veste f
skirt = jupe f
jumper = pull m
scarf = écharpe f
glove = gant m
tie = cravate f
boot = botte f

[vehicle]
car = voiture f landmark
bicycle = vélo m
boat = bateau m
train = train m
bus = bus m
plane = avion m
lorry = camion m landmark
motorcycle = moto f

[place]
house = maison f inside landmark building
garden = jardin m inside landmark
school = école f inside goal landmark building
market = marché m goal landmark
kitchen = cuisine f inside
park = parc m inside goal landmark
station = gare f inside goal landmark building
shop = magasin m inside landmark building
beach = plage f goal surface
restaurant = restaurant m inside goal landmark
hotel = hôtel m inside goal landmark building
church = église f inside goal landmark building
hospital = hôpital m inside goal landmark building
village = village m inside goal
street = rue f inside
office = bureau m inside goal
bedroom = chambre f inside
library = bibliothèque f inside goal landmark building
museum = musée m inside goal landmark building
bakery = boulangerie f inside goal landmark
forest = forêt f inside
bridge = pont m surface building
castle = château m inside goal landmark building
bank = banque f inside goal landmark
farm = ferme f goal landmark building
airport = aéroport m inside goal
university = université f goal landmark
theatre = théâtre m goal landmark building
cinema = cinéma m inside goal landmark
factory = usine f inside goal landmark building
stable = écurie f inside landmark building
island = île f surface
harbour = port m goal

[landmark]
tree = arbre m
wall = mur m
river = rivière f
fountain = fontaine f
statue = statue f

[surface]
bed = lit m
sofa = canapé m
armchair = fauteuil m
shelf = étagère f
roof = toit m

[instrument]
piano = piano m
guitar = guitare f
violin = violon m
flute = flûte f
harp = harpe f

[song]
song = chanson f
"""

ADJECTIVES = """
small = < petit : person animal thing clothing vehicle place food door instrument
big = < grand : thing vehicle place door
old = < vieux/vieille : person animal thing clothing vehicle place text door instrument
new = < nouveau/nouvelle : thing clothing vehicle text song door instrument
good = < bon/bonne : food solid drink text song
red = rouge : thing clothing vehicle door
beautiful = < beau/belle : person animal thing clothing vehicle place instrument song
young = < jeune : person animal
black = noir : thing clothing vehicle animal
tired = fatigué : person animal
white = blanc/blanche : thing clothing vehicle animal door
happy = heureux/heureuse : person
blue = bleu : thing clothing vehicle door
pretty = < joli : thing clothing place song
tall = < grand : person
expensive = cher/chère : thing clothing vehicle food solid drink instrument
green = vert : thing clothing vehicle door
long = < long/longue : text song clothing
cold = froid : solid drink
hot = chaud : solid drink
rich = riche : person
heavy = lourd : thing instrument
intelligent = intelligent : person animal
interesting = intéressant : text place
kind = gentil/gentille : person animal
sad = triste : person song text
bad = < mauvais : food solid drink text song
delicious = délicieux/délicieuse : food solid drink
dirty = sale : thing clothing vehicle door place
empty = vide : container place
yellow = jaune : thing clothing vehicle
fat = < gros/grosse : animal
French = français : person text vehicle solid drink song
poor = pauvre : person
sick = malade : person animal
wooden = en bois : thing door instrument
full = plein : container
dangerous = dangereux/dangereuse : animal place
famous = célèbre : person text place song
difficult = difficile : text
English = anglais : person text song
light = léger/légère : thing clothing
clean = propre : thing clothing vehicle door place
funny = drôle : person animal text song
curious = curieux/curieuse : person animal
grey = gris : animal clothing vehicle
brave = courageux/courageuse : person animal
polite = poli : person
Italian = italien/italienne : person text vehicle solid drink song
lazy = paresseux/paresseuse : person animal
proud = fier/fière : person
boring = ennuyeux/ennuyeuse : text place
fresh = frais/fraîche : food solid
brown = marron : thing clothing animal
broken = cassé : thing vehicle door
quiet = calme : person animal place
modern = moderne : place text vehicle
noisy = bruyant : place vehicle animal
ripe = mûr : fruit
wet = mouillé : clothing animal
Spanish = espagnol : person text song
secret = secret/secrète : text place
jealous = jaloux/jalouse : person
sweet = sucré : fruit drink
public = public/publique : place
strange = étrange : person animal thing place text
elegant = élégant : person clothing
honest = honnête : person
foreign = étranger/étrangère : person text vehicle
nervous = nerveux/nerveuse : person animal
shy = timide : person animal
round = rond : thing
orange = orange : thing clothing
cruel = cruel/cruelle : person
active = actif/active : person animal
Japanese = japonais : person text vehicle
square = carré : thing
"""

# What a verb takes: words of sections, "to" and "of" for à and de before its object, "back" for se.
# How it behaves: a (animals do it too), m (one does it in some manner), s (a state: no -ing, and imparfait for what was),
# p (no -ing), e (être in the passé composé).
VERBS = """
see = voir : person animal thing place vehicle : a p
eat = manger : food solid : a m
have = avoir : animal thing clothing vehicle text instrument : s
buy = acheter : thing food clothing vehicle solid drink text instrument :
love = aimer : person animal food solid drink text place song : s generic
take = prendre : thing vehicle clothing :
read = lire : text : m
look for = chercher : thing person animal clothing vehicle place : a
drink = boire : drink : a m
write = écrire : text : m
find = trouver : thing animal person clothing text : a p
want = vouloir : thing food clothing vehicle solid drink : s
open = ouvrir : openable : m
know = connaître : person place song : s
watch = regarder : person animal : a m
wait for = attendre : person vehicle :
close = fermer : openable : m
help = aider : person :
lose = perdre : thing clothing text : p
sell = vendre : thing food clothing vehicle instrument solid :
meet = rencontrer : person :
call = appeler : person animal :
hear = entendre : person animal song : a p
wash = laver : clothing vehicle container : m
visit = visiter : place :
choose = choisir : thing clothing vehicle text instrument : m
wear = porter : clothing :
repair = réparer : thing vehicle instrument door : m
prefer = préférer : food solid drink song clothing : s generic
draw = dessiner : animal thing place : m
drive = conduire : vehicle : m
sing = chanter : song : m
forget = oublier : thing clothing text : p
thank = remercier : person :
follow = suivre : person animal vehicle : a m
need = avoir besoin : thing food clothing vehicle solid drink instrument : s of
prepare = préparer : food solid drink : m
paint = peindre : animal thing door place : m
break = casser : thing container :
hate = détester : person animal food solid drink song : s generic
clean = nettoyer : building thing : m
fear = avoir peur : animal person : s of generic
hide = cacher : thing text : a
catch = attraper : animal : a
steal = voler : thing vehicle instrument :
build = construire : building :
feed = nourrir : animal :
understand = comprendre : person text : p
translate = traduire : text : m
throw = jeter : thing : p
fill = remplir : container : m
carry = transporter : thing container : m
admire = admirer : person place animal :
push = pousser : vehicle : m
photograph = photographier : animal place person :
receive = recevoir : text thing : p
protect = protéger : person animal : a
recognise = reconnaître : person animal place : p
study = étudier : text : m
rent = louer : building vehicle :
speak to = parler : person : to m
answer = répondre : person : to m
play = jouer : instrument : of m
obey = obéir : person : to p
phone = téléphoner : person : to
smile at = sourire : person : to
"""

INTRANSITIVE_VERBS = """
sleep = dormir : : a
work = travailler : : m
sing = chanter : : a m
arrive = arriver : : e a
dance = danser : : m
leave = partir : : e a
walk = marcher : : a m
cry = pleurer : :
get up = lever : back :
run = courir : : a
swim = nager : : a m
laugh = rire : :
fall = tomber : : e a p
wake up = réveiller : back : a
travel = voyager : :
come back = revenir : : e a
smile = sourire : :
stay = rester : : e a p
rest = reposer : back : a
hurry = dépêcher : back :
die = mourir : : e a
shout = crier : :
have fun = amuser : back :
cough = tousser : :
sneeze = éternuer : :
"""

# Verbs that take another verb: the word before it in French, after the second colon whether it is a state.
CONTROL_VERBS = """
want to = vouloir : : s
like to = aimer : : s
hope to = espérer : : s
try to = essayer : de :
begin to = commencer : à :
learn to = apprendre : à :
refuse to = refuser : de : p
forget to = oublier : de : p
decide to = décider : de : p
need to = avoir besoin : de : s
"""

# Somebody does it to something for somebody.
GIVING_VERBS = """
give = donner : thing food text clothing :
show = montrer : thing text clothing vehicle :
send = envoyer : text thing :
lend = prêter : thing vehicle text :
sell = vendre : thing vehicle clothing :
offer = offrir : thing food text clothing :
"""

MANNERS = """
slowly = lentement
quickly = rapidement
carefully = prudemment
calmly = calmement
quietly = doucement
patiently = patiemment
happily = joyeusement
politely = poliment
"""

NAMES = """
Marie f
Paul m
Alice f
Pierre m
Anne f
Émile m
Claire f
Marc m
Emma f
Lucas m
Julie f
Antoine m
Élise f
Oscar m
Sophie f
Arthur m
Jeanne f
Éric m
Inès f
Victor m
Camille f
Nathan m
Olivia f
Gaspard m
"""

COUNTRIES = """
France = France f
Italy = Italie f
Spain = Espagne f
Canada = Canada m
Germany = Allemagne f
Japan = Japon m
England = Angleterre f
the United States = États-Unis p
Belgium = Belgique f
Portugal = Portugal m
China = Chine f
Brazil = Brésil m
Switzerland = Suisse f
India = Inde f
Morocco = Maroc m
Greece = Grèce f
Egypt = Égypte f
the Netherlands = Pays-Bas p
Mexico = Mexique m
Norway = Norvège f
Ireland = Irlande f
Iran = Iran m
Hungary = Hongrie f
Denmark = Danemark m
Ecuador = Équateur m
"""

CITIES = """
Paris = Paris
London = Londres
Rome = Rome
Lyon = Lyon
Berlin = Berlin
Brussels = Bruxelles
Geneva = Genève
Madrid = Madrid
Athens = Athènes
Vienna = Vienne
Lisbon = Lisbonne
Amsterdam = Amsterdam
Venice = Venise
Warsaw = Varsovie
Moscow = Moscou
Edinburgh = Édimbourg
Oslo = Oslo
Istanbul = Istanbul
"""

# Said without an article: il est médecin. The French of a man, and of a woman.
PROFESSIONS = """
doctor = médecin/médecin
teacher = professeur/professeure
baker = boulanger/boulangère
student = étudiant/étudiante
farmer = agriculteur/agricultrice
nurse = infirmier/infirmière
lawyer = avocat/avocate
engineer = ingénieur/ingénieure
journalist = journaliste/journaliste
actor = acteur/actrice
musician = musicien/musicienne
writer = écrivain/écrivaine
architect = architecte/architecte
hairdresser = coiffeur/coiffeuse
dentist = dentiste/dentiste
"""

# By what the verb says of time.
TIMES = """
[past]
yesterday = hier
last week = la semaine dernière
last year = l'année dernière
yesterday evening = hier soir
last month = le mois dernier
last Sunday = dimanche dernier
last summer = l'été dernier
last night = la nuit dernière
[future]
tomorrow = demain
next week = la semaine prochaine
next year = l'année prochaine
tomorrow morning = demain matin
next month = le mois prochain
next Friday = vendredi prochain
next summer = l'été prochain
soon = bientôt
[habit]
every day = tous les jours
every morning = tous les matins
on Mondays = le lundi
every evening = tous les soirs
every year = tous les ans
every week = toutes les semaines
on Saturdays = le samedi
in summer = en été
in winter = en hiver
in spring = au printemps
in August = en août
[now]
now = maintenant
today = aujourd'hui
this morning = ce matin
this evening = ce soir
"""

ANIMATE, MASS = ("person", "animal"), ("solid", "drink")


@dataclass(frozen=True)
class Noun:
    """A noun; `kinds` are the sections that it stands in."""

    english: str
    french: str
    gender: str
    kinds: frozenset[str]

    @property
    def mass(self) -> bool:
        """Whether it is measured, not counted."""
        return not self.kinds.isdisjoint(MASS)

    @property
    def animate(self) -> bool:
        """Whether it is a person or an animal."""
        return not self.kinds.isdisjoint(ANIMATE)


@dataclass(frozen=True)
class Adjective:
    """An adjective by its French masculine and feminine; `kinds` are what it can be said of."""

    english: str
    masculine: str
    feminine: str
    before: bool
    kinds: frozenset[str]


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        french: the infinitive, without se.
        tail: what follows the French verb: `besoin` of avoir besoin.
        objects: kinds of nouns that it takes.
        before_object: à or de; of verbs that take a verb, what stands before that.
        traits: letters of the table, and generic (French says les of all there are).
    """

    english: str
    french: str
    tail: str = ""
    objects: tuple[str, ...] = ()
    before_object: str = ""
    reflexive: bool = False
    traits: frozenset[str] = field(default_factory=frozenset)

    @property
    def state(self) -> bool:
        """Whether it lasts: imparfait for what was, and no -ing form."""
        return "s" in self.traits

    @property
    def progressive(self) -> bool:
        """Whether there is an -ing form of it."""
        return self.traits.isdisjoint("sp")

    @property
    def of_animals(self) -> bool:
        """Whether animals do it too."""
        return "a" in self.traits

    @property
    def mannered(self) -> bool:
        """Whether it is done in some manner."""
        return "m" in self.traits


def words(text: str) -> tuple[str, ...]:
    """What stands between spaces."""
    return tuple(text.split())


def _lines(table: str) -> list[str]:
    return [line for line in table.split("\n") if line.strip()]


def pairs(table: str) -> list[tuple[str, str]]:
    """The two sides of each line."""
    return [(english, french) for english, french in (line.split(" = ") for line in _lines(table))]


@cache
def nouns() -> tuple[Noun, ...]:
    """All nouns, in the order of the table."""
    found, section = [], ""
    for line in _lines(NOUNS):
        if line.startswith("["):
            section = line.strip("[]")
            continue
        english, rest = line.split(" = ")
        parts = words(rest)
        gender = next(index for index, part in enumerate(parts) if part in ("m", "f"))
        kinds = frozenset({section, *parts[gender + 1 :]})
        found.append(Noun(english, " ".join(parts[:gender]), parts[gender], kinds))
    return tuple(found)


@cache
def adjectives() -> tuple[Adjective, ...]:
    """All adjectives, in the order of the table."""
    found = []
    for line in _lines(ADJECTIVES):
        said, kinds = line.split(" : ")
        english, french = said.split(" = ")
        masculine, _, feminine = french.removeprefix("< ").partition("/")
        found.append(
            Adjective(
                english, masculine, feminine or _feminine(masculine), french.startswith("<"), frozenset(kinds.split())
            )
        )
    return tuple(found)


def _feminine(masculine: str) -> str:
    """Regular, or that of what never changes: a colour named after a fruit, or what something is made of."""
    unchanged = masculine.endswith("e") or masculine in INVARIABLE
    return masculine if unchanged else f"{masculine}e"


INVARIABLE = ("marron", "orange", "en bois")


def _verb(line: str) -> Verb:
    said, takes, behaves = (part.strip() for part in f"{line} ".split(" :"))
    english, french = said.split(" = ")
    infinitive, _, tail = french.partition(" ")
    traits = frozenset(behaves.split())
    preposition = "à" if "to" in traits else "de" if "of" in traits else ""
    return Verb(english, infinitive, tail, tuple(takes.split()), preposition, takes == "back", traits)


@cache
def verbs() -> tuple[Verb, ...]:
    """Verbs with an object."""
    return tuple(_verb(line) for line in _lines(VERBS))


@cache
def intransitive_verbs() -> tuple[Verb, ...]:
    """Verbs without an object, reflexive ones among them."""
    return tuple(_verb(line) for line in _lines(INTRANSITIVE_VERBS))


@cache
def giving_verbs() -> tuple[Verb, ...]:
    """Verbs with an object and somebody who gets it."""
    return tuple(_verb(line) for line in _lines(GIVING_VERBS))


@cache
def control_verbs() -> tuple[Verb, ...]:
    """Verbs with a verb, by its preposition."""
    found = []
    for line in _lines(CONTROL_VERBS):
        said, preposition, behaves = (part.strip() for part in f"{line} ".split(" :"))
        english, french = said.split(" = ")
        infinitive, _, tail = french.partition(" ")
        found.append(Verb(english, infinitive, tail, (), preposition, False, frozenset(behaves.split())))
    return tuple(found)


@cache
def names() -> tuple[tuple[str, str], ...]:
    """First names and their gender."""
    return tuple((name, gender) for name, gender in (line.split() for line in _lines(NAMES)))


@cache
def countries() -> tuple[tuple[str, str, str], ...]:
    """English, French, and gender: m, f, or p for a plural."""
    found = []
    for english, french in pairs(COUNTRIES):
        word, _, gender = french.rpartition(" ")
        found.append((english, word, gender))
    return tuple(found)


@cache
def times() -> dict[str, tuple[tuple[str, str], ...]]:
    """Adverbials of time, by when."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in _lines(TIMES):
        if line.startswith("["):
            found[line.strip("[]")] = rows = []
            continue
        english, french = line.split(" = ")
        rows.append((english, french))
    return {when: tuple(rows) for when, rows in found.items()}
