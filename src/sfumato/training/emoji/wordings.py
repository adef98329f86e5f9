"""Wordings kept out of the training: other words for a concept, to ask for it by.

One for each of some 300 concepts, chosen by hand among its keywords: a synonym, a kind of the thing or what
it is for, by which a reader would know the picture. A keyword is kin to a wording when it has a word of the
same stem ("puppies", "puppy"); neither the wording nor its kin stands in any caption of any concept.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from sfumato.training.emoji.concepts import Concept

_STEM = 4  # letters, at least, that words of one stem begin with


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Words for a concept that no training caption contains, and every concept (rows) they are right for.

    synonym: a thesaurus has them for the label or for a keyword that captions contain.
    """

    text: str
    concept: int
    accepted: frozenset[int]
    synonym: bool


def held_out_wordings(concepts: Sequence[Concept]) -> tuple[Wording, ...]:
    """The wordings of a table of concepts, in its order.

    One is left in the training when a label has a word of its stem, or when its concept would have no other
    keyword left. Accepted is every concept that has the wording or kin of it among its keywords.
    """
    return tuple(_found(concepts))


def _found(concepts: Sequence[Concept]) -> Iterator[Wording]:
    in_labels = frozenset[str]().union(*(stems(concept.label) for concept in concepts))
    in_keywords = [tuple(stems(keyword) for keyword in usable(concept)) for concept in concepts]
    for row, concept in enumerate(concepts):
        text = HELD_OUT.get(concept.label)
        if text is None or text not in concept.keywords:
            continue
        own = stems(text)
        if own & in_labels or all(own & other for other in in_keywords[row]):
            continue
        accepted = frozenset(i for i, keywords in enumerate(in_keywords) if any(own & k for k in keywords))
        yield Wording(text=text, concept=row, accepted=accepted, synonym=text in SYNONYMS)


def usable(concept: Concept) -> tuple[str, ...]:
    """The keywords that are words: no numbers, no signs of the chat."""
    return tuple(word for word in concept.keywords if re.fullmatch(r"[A-Za-z][A-Za-z' -]{2,}", word))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a label, keyword or caption, in lower case."""
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


@cache
def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text: without the endings of plurals and of verbs."""
    return frozenset(_stem(word) for word in words_of(text))


def _stem(word: str) -> str:
    word = re.sub("(ies|ied|y)$", "i", word)
    return re.sub("(?<=...)(ing|ed|es|s|e)$", "", word)


HELD_OUT = {
    "face vomiting": "puke",
    "loudly crying face": "sob",
    "hot face": "feverish",
    "cold face": "freezing",
    "nerd face": "geek",
    "lying face": "pinocchio",
    "pile of poo": "turd",
    "angry face with horns": "imp",
    "ghost": "haunting",
    "face with steam from nose": "furious",
    "zany face": "goofy",
    "face with rolling eyes": "eyeroll",
    "woozy face": "tipsy",
    "disguised face": "incognito",
    "face exhaling": "sigh",
    "neutral face": "deadpan",
    "face with symbols on mouth": "swearing",
    "sneezing face": "gesundheit",
    "grey heart": "slate",
    "light blue heart": "cyan",
    "fight cloud": "brawl",
    "sweat droplets": "squirt",
    "thought balloon": "daydream",
    "waving hand": "greetings",
    "clapping hands": "applause",
    "handshake": "deal",
    "nail polish": "manicure",
    "flexed biceps": "muscle",
    "leg": "limb",
    "foot": "ankle",
    "lungs": "respiration",
    "tongue": "lick",
    "baby": "infant",
    "boy": "grandson",
    "girl": "granddaughter",
    "old man": "gramps",
    "health worker": "nurse",
    "teacher": "professor",
    "farmer": "gardener",
    "mechanic": "electrician",
    "scientist": "physicist",
    "technologist": "coder",
    "police officer": "cop",
    "detective": "sleuth",
    "ninja": "assassin",
    "construction worker": "hardhat",
    "person with crown": "monarch",
    "woman with headscarf": "hijab",
    "supervillain": "criminal",
    "mage": "wizard",
    "fairy": "pixie",
    "vampire": "dracula",
    "zombie": "undead",
    "genie": "djinn",
    "hairy creature": "yeti",
    "person walking": "stroll",
    "person running": "marathon",
    "woman dancing": "flamenco",
    "people with bunny ears": "identical",
    "person in steamy room": "sauna",
    "horse racing": "jockey",
    "person golfing": "caddy",
    "person rowing boat": "oar",
    "person swimming": "freestyle",
    "person lifting weights": "barbell",
    "person cartwheeling": "gymnastics",
    "people wrestling": "grapple",
    "person in lotus position": "yoga",
    "people hugging": "embrace",
    "footprints": "barefoot",
    "person bouncing ball": "dribble",
    "person juggling": "multitask",
    "person getting haircut": "shears",
    "orangutan": "ape",
    "cat": "kitten",
    "black cat": "feline",
    "lion": "safari",
    "horse face": "equine",
    "moose": "elk",
    "donkey": "mule",
    "horse": "equestrian",
    "bison": "wisent",
    "pig": "sow",
    "pig nose": "snout",
    "ewe": "lamb",
    "camel": "dromedary",
    "two-hump camel": "bactrian",
    "llama": "alpaca",
    "mammoth": "tusk",
    "chipmunk": "squirrel",
    "beaver": "dam",
    "hedgehog": "spiny",
    "bear": "grizzly",
    "polar bear": "arctic",
    "koala": "marsupial",
    "panda": "bamboo",
    "turkey": "thanksgiving",
    "penguin": "antarctica",
    "swan": "cygnet",
    "feather": "plumage",
    "peacock": "peahen",
    "parrot": "pirate",
    "black bird": "raven",
    "goose": "gander",
    "phoenix": "firebird",
    "turtle": "tortoise",
    "lizard": "reptile",
    "snake": "serpent",
    "sauropod": "brontosaurus",
    "T-Rex": "tyrannosaurus",
    "spiral shell": "conch",
    "coral": "reef",
    "jellyfish": "tentacles",
    "lobster": "claws",
    "squid": "mollusk",
    "snail": "slug",
    "honeybee": "bumblebee",
    "cricket": "grasshopper",
    "cockroach": "roach",
    "mosquito": "malaria",
    "worm": "earthworm",
    "microbe": "bacteria",
    "lotus": "hinduism",
    "blossom": "dandelion",
    "hyacinth": "lavender",
    "seedling": "sapling",
    "shamrock": "irish",
    "mushroom": "toadstool",
    "leafless tree": "barren",
    "melon": "cantaloupe",
    "tangerine": "nectarine",
    "lime": "mojito",
    "banana": "potassium",
    "blueberries": "bilberry",
    "eggplant": "aubergine",
    "ear of corn": "maize",
    "bell pepper": "capsicum",
    "cucumber": "pickle",
    "leafy green": "lettuce",
    "chestnut": "almond",
    "ginger root": "spice",
    "pea pod": "edamame",
    "brown mushroom": "shiitake",
    "root vegetable": "turnip",
    "bread": "loaf",
    "flatbread": "pita",
    "bagel": "schmear",
    "pancakes": "hotcake",
    "poultry leg": "drumstick",
    "cut of meat": "steak",
    "hamburger": "burger",
    "hot dog": "sausage",
    "burrito": "wrap",
    "stuffed flatbread": "gyro",
    "falafel": "chickpea",
    "cooking": "frying",
    "shallow pan of food": "paella",
    "pot of food": "stew",
    "bowl with spoon": "porridge",
    "steaming bowl": "ramen",
    "spaghetti": "pasta",
    "fried shrimp": "prawn",
    "dumpling": "pierogi",
    "doughnut": "donut",
    "custard": "pudding",
    "hot beverage": "coffee",
    "teacup without handle": "oolong",
    "cocktail glass": "martini",
    "beer mug": "pint",
    "clinking beer mugs": "cheers",
    "tumbler glass": "liquor",
    "cup with straw": "soda",
    "bubble tea": "boba",
    "chopsticks": "hashi",
    "fork and knife": "cutlery",
    "spoon": "tableware",
    "jar": "container",
    "amphora": "jug",
    "globe with meridians": "internet",
    "compass": "navigation",
    "landslide": "avalanche",
    "volcano": "eruption",
    "building construction": "crane",
    "brick": "mortar",
    "rock": "boulder",
    "wood": "lumber",
    "hut": "yurt",
    "wedding": "nuptials",
    "church": "chapel",
    "mosque": "masjid",
    "kaaba": "hajj",
    "cityscape at dusk": "evening",
    "locomotive": "caboose",
    "bullet train": "shinkansen",
    "metro": "subway",
    "minibus": "van",
    "taxi": "cab",
    "bicycle": "ride",
    "motorway": "highway",
    "fuel pump": "gasoline",
    "ring buoy": "preserver",
    "sailboat": "yacht",
    "airplane": "jet",
    "parachute": "skydive",
    "helicopter": "copter",
    "mountain cableway": "gondola",
    "rocket": "launch",
    "luggage": "suitcase",
    "tornado": "whirlwind",
    "cyclone": "hurricane",
    "rainbow": "pride",
    "fire": "flame",
    "jack-o-lantern": "pumpkin",
    "firecracker": "dynamite",
    "wrapped gift": "present",
    "sports medal": "award",
    "basketball": "hoop",
    "ice hockey": "puck",
    "badminton": "shuttlecock",
    "martial arts uniform": "karate",
    "diving mask": "snorkeling",
    "sled": "toboggan",
    "bullseye": "target",
    "water pistol": "revolver",
    "pool 8 ball": "billiard",
    "crystal ball": "future",
    "game die": "dice",
    "puzzle piece": "jigsaw",
    "slot machine": "casino",
    "teddy bear": "plush",
    "mirror ball": "disco",
    "nesting dolls": "matryoshka",
    "performing arts": "thespian",
    "thread": "spool",
    "sewing needle": "embroidery",
    "yarn": "crochet",
    "knot": "rope",
    "sunglasses": "eyewear",
    "jeans": "denim",
    "coat": "jacket",
    "briefs": "underwear",
    "woman's clothes": "blouse",
    "clutch bag": "pouch",
    "backpack": "rucksack",
    "running shoe": "sneaker",
    "high-heeled shoe": "stiletto",
    "hair pick": "comb",
    "military helmet": "army",
    "prayer beads": "necklace",
    "gem stone": "jewel",
    "ring": "married",
    "microphone": "karaoke",
    "headphone": "earbud",
    "saxophone": "sax",
    "trombone": "brass",
    "accordion": "concertina",
    "musical keyboard": "piano",
    "long drum": "conga",
    "maracas": "rattle",
    "flute": "piccolo",
    "low battery": "drained",
    "desktop computer": "monitor",
    "video camera": "camcorder",
    "videocassette": "vhs",
    "light bulb": "idea",
    "flashlight": "torch",
    "credit card": "charge",
    "receipt": "invoice",
    "treasure chest": "loot",
    "package": "parcel",
    "card index": "rolodex",
    "scissors": "cutting",
    "wastebasket": "garbage",
    "axe": "hatchet",
    "pick": "mining",
    "wrench": "spanner",
    "bomb": "explosion",
    "gear": "cog",
    "clamp": "vice",
    "balance scale": "justice",
    "broken chain": "cuffs",
    "screwdriver": "flathead",
    "ladder": "rung",
    "shovel": "dig",
    "dna": "evolution",
    "syringe": "vaccination",
    "drop of blood": "bleed",
    "crutch": "injured",
    "x-ray": "skeleton",
    "elevator": "hoist",
    "chair": "sit",
    "plunger": "suction",
    "mouse trap": "snare",
    "lotion bottle": "shampoo",
    "safety pin": "diaper",
    "broom": "sweeping",
    "basket": "picnic",
    "bucket": "pail",
    "soap": "lather",
    "toothbrush": "dental",
    "sponge": "porous",
    "headstone": "cemetery",
    "funeral urn": "ashes",
    "nazar amulet": "talisman",
    "hamsa": "fatima",
    "moai": "stoneface",
    "placard": "picket",
    "identification card": "license",
    "yin yang": "tao",
    "menorah": "hanukkah",
    "trident emblem": "poseidon",
    "splatter": "stain",
}

# Those that share a synset of WordNet 3.1 with their concept's label or with a keyword that its captions
# contain; `bench/synonyms.py` finds them.
_SYNONYMS = """
goofy deadpan puke furious turd cyan daydream deal infant gramps nurse cop sleuth wizard djinn
stroll grapple embrace kitten elk arctic plumage serpent roach lavender barren aubergine maize
capsicum lettuce hotcake burger prawn donut lumber nuptials subway cab gasoline gondola suitcase
flame present shuttlecock toboggan target dice thespian denim rucksack jewel sax idea torch loot
parcel cutting spanner justice hoist sit snare pail lather cemetery talisman tao
"""
SYNONYMS = frozenset(_SYNONYMS.split())
