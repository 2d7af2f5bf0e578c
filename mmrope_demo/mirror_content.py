"""What the demo mirror says about its photographs and videos: boxes, expressions, captions, times.

Boxes and times were read off the very files that mirror_sources.py pins by checksum, by eye, on a grid. Boxes are
(left, top, right, bottom) in pixels. RefCOCO's three flavours keep their rules: RefCOCO expressions may say where,
RefCOCO+ ones may not, RefCOCOg ones are whole descriptions.
People and their parts make up testA, other things testB, as in RefCOCO.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Referent:
    """An object in a photograph and the ways to call it."""

    photo: str
    box: tuple[int, int, int, int]
    refcoco: tuple[str, ...]
    plus: tuple[str, ...]
    described: str


@dataclass(frozen=True)
class Moment:
    """Something that happens in a video between two seconds."""

    video: str
    caption: str
    start: float
    end: float


PEOPLE = (
    Referent(
        "astronaut",
        (18, 15, 362, 512),
        ("woman in the middle", "astronaut"),
        ("smiling woman in orange", "woman in a space suit"),
        "a smiling woman in an orange space suit standing in front of a flag",
    ),
    Referent(
        "astronaut",
        (178, 75, 278, 180),
        ("woman's face", "face at the top"),
        ("smiling face", "the face"),
        "the smiling face of a woman with short blond hair",
    ),
    Referent(
        "camera",
        (0, 62, 332, 512),
        ("man on the left", "man bending left"),
        ("man in a black coat", "photographer"),
        "a man in a dark coat bending down to look through a camera",
    ),
    Referent(
        "camera",
        (161, 62, 271, 198),
        ("man's head at the top", "head"),
        ("dark haired head", "man's head"),
        "the head of a dark haired man seen from the side",
    ),
    Referent(
        "astronaut",
        (153, 15, 302, 137),
        ("hair at the top", "woman's hair"),
        ("blond hair", "short hair"),
        "the short blond hair of the woman in the space suit",
    ),
    Referent(
        "camera",
        (299, 167, 332, 225),
        ("hand right of the tripod", "glove on the right"),
        ("hand behind the camera", "hand in a black glove"),
        "a gloved hand that steadies the camera on its tripod",
    ),
    Referent(
        "astronaut",
        (202, 136, 246, 153),
        ("mouth in the middle of the face", "smile"),
        ("mouth with white teeth", "smile"),
        "the smiling mouth of the woman showing her upper teeth",
    ),
    Referent(
        "camera",
        (179, 126, 201, 156),
        ("ear left of the face", "ear"),
        ("man's ear", "the ear"),
        "the ear of the man who looks through the camera",
    ),
    Referent(
        "astronaut",
        (192, 94, 214, 108),
        ("eye on the left", "left eye in the picture"),
        ("eye nearer to the flag", "eye beside the flag"),
        "the one of the woman's two eyes that is nearer to the flag",
    ),
    Referent(
        "camera",
        (238, 150, 256, 175),
        ("nose right below the camera's eyepiece", "nose on the right of the face"),
        ("man's nose", "nose"),
        "the nose of the man, right behind the eyepiece of the camera",
    ),
)

THINGS = (
    Referent(
        "coffee",
        (173, 17, 409, 308),
        ("cup in the middle", "coffee cup"),
        ("red cup", "cup of espresso"),
        "a red cup of espresso with a white rim standing on a saucer",
    ),
    Referent(
        "chelsea",
        (134, 84, 206, 148),
        ("eye on the left", "left eye in the picture"),
        ("bigger eye", "eye farther from the pink ear"),
        "the green eye of the cat that is seen in full from the front",
    ),
    Referent(
        "rocket",
        (309, 126, 336, 408),
        ("rocket in the center", "white thing in the middle"),
        ("white rocket", "rocket"),
        "a white rocket standing upright on its launch pad at dusk",
    ),
    Referent(
        "astronaut",
        (277, 343, 509, 512),
        ("helmet bottom right", "black helmet in front"),
        ("black helmet", "helmet"),
        "a helmet with a shiny black visor that the astronaut holds in front of her",
    ),
    Referent(
        "motorcycle",
        (92, 16, 685, 450),
        ("motorcycle in the middle", "bike in front"),
        ("red motorcycle", "motorbike with a black seat"),
        "a red motorcycle with a black seat parked in a garage",
    ),
    Referent(
        "coins",
        (305, 15, 364, 72),
        ("top right coin", "last coin in the first row"),
        ("coin with a standing figure", "coin with a whole walking figure"),
        "a large coin that shows a whole standing figure, in the top right corner",
    ),
    Referent(
        "china",
        (62, 29, 373, 427),
        ("tower on the left", "pagoda left"),
        ("pagoda", "building with orange roofs"),
        "a pagoda with several orange and green roofs above the trees",
    ),
    Referent(
        "flower",
        (169, 84, 446, 360),
        ("flower in the middle", "top flower"),
        ("whole flower", "biggest blossom"),
        "a round orange flower in full bloom that can be seen as a whole",
    ),
    Referent(
        "camera",
        (230, 304, 408, 512),
        ("tripod in the middle", "thing below the camera"),
        ("tripod", "three metal legs"),
        "the metal tripod that stands on the grass and carries the camera",
    ),
    Referent(
        "astronaut",
        (354, 0, 473, 290),
        ("shuttle on the right", "model top right"),
        ("space shuttle", "white and brown shuttle model"),
        "a model of a space shuttle with its brown fuel tank",
    ),
    Referent(
        "coffee",
        (317, 66, 425, 326),
        ("spoon on the right", "spoon right of the cup"),
        ("spoon", "silver spoon"),
        "a shiny metal spoon that lies on the saucer next to the cup",
    ),
    Referent(
        "motorcycle",
        (505, 123, 563, 189),
        ("headlight on the right", "lamp right of the handlebar"),
        ("round headlight", "headlight"),
        "the round headlight of the motorcycle between two orange indicators",
    ),
    # The first dozen is val, the rest testB.
    Referent(
        "chelsea",
        (297, 108, 345, 164),
        ("eye on the right", "right eye in the picture"),
        ("smaller eye", "eye nearer to the pink ear"),
        "the cat's eye that is closer to the edge of its turned head",
    ),
    Referent(
        "chelsea",
        (230, 227, 292, 266),
        ("nose at the bottom", "cat nose"),
        ("pink nose", "reddish nose"),
        "the small reddish nose of the cat above its white chin",
    ),
    Referent(
        "astronaut",
        (133, 349, 208, 423),
        ("round patch on the left", "patch left of the white straps"),
        ("round blue patch", "patch with a shuttle"),
        "a round blue mission patch with names around its edge",
    ),
    Referent(
        "astronaut",
        (278, 340, 330, 378),
        ("name tag on the right", "tag right of the white straps"),
        ("name tag", "blue tag with wings"),
        "a blue name tag with a pair of wings on the orange suit",
    ),
    Referent(
        "astronaut",
        (0, 0, 102, 512),
        ("flag on the left", "flag behind her left"),
        ("flag", "stars and stripes"),
        "an American flag hanging behind the woman in the space suit",
    ),
    Referent(
        "motorcycle",
        (121, 233, 279, 401),
        ("back wheel", "wheel on the left"),
        ("rear wheel", "wheel near the exhaust"),
        "the rear wheel of the motorcycle next to the exhaust pipe",
    ),
    Referent(
        "motorcycle",
        (505, 262, 685, 450),
        ("front wheel", "wheel on the right"),
        ("wheel under the red fender", "wheel with a brake disc"),
        "the front wheel of the motorcycle with its red fender and brake disc",
    ),
    Referent(
        "motorcycle",
        (516, 180, 622, 251),
        ("red tub behind the headlight", "red box on the right"),
        ("red plastic tub", "red tub"),
        "a red plastic tub on the lower shelf behind the motorcycle",
    ),
    Referent(
        "motorcycle",
        (401, 51, 419, 92),
        ("yellow bottle on the shelf", "bottle at the top"),
        ("yellow bottle", "yellow thing"),
        "a yellow bottle of car wash that stands on the upper shelf",
    ),
    Referent(
        "coffee",
        (203, 95, 370, 194),
        ("coffee inside the cup", "liquid in the middle"),
        ("coffee", "brown liquid"),
        "the brown espresso at the bottom of the cup",
    ),
    Referent(
        "china",
        (546, 135, 640, 427),
        ("tree on the right", "tall tree right"),
        ("tallest tree", "tall conifer"),
        "a tall conifer that rises above all other trees",
    ),
    Referent(
        "coins",
        (18, 232, 74, 289),
        ("bottom left coin", "first coin in the last row"),
        ("large coin with a head of wavy hair", "coin with wavy hair"),
        "the large coin with a head in profile in the bottom left corner",
    ),
    Referent(
        "rocket",
        (560, 0, 640, 427),
        ("tower on the far right", "big tower right"),
        ("large lattice tower cut off by the edge", "tower cut off at its outer side"),
        "the large steel lattice tower at the right edge of the picture",
    ),
    Referent(
        "flower",
        (287, 374, 470, 427),
        ("flower at the bottom", "lower flower"),
        ("flower cut off by the edge", "half hidden flower"),
        "an orange flower of which only the upper part can be seen, below the big one",
    ),
)

MOMENTS = (
    Moment("bikes.mp4", "a white bus is seen from above", 0.0, 1.2),
    Moment("bikes.mp4", "a man in a suit rides past a row of cars", 1.2, 2.0),
    Moment("bikes.mp4", "a taxi sign comes into view", 2.3, 3.0),
    Moment("bikes.mp4", "a van drives past and hides the cyclist", 3.1, 4.0),
    Moment("bikes.mp4", "a cyclist with a helmet waits behind a car and can be seen in full", 4.3, 5.5),
    Moment("bikes.mp4", "cars drive along behind a green railing", 5.5, 7.5),
    Moment("bikes.mp4", "a white car crosses behind the railing from the left", 6.1, 6.7),
    Moment("bikes.mp4", "a person in dark trousers walks past a parked bicycle", 7.5, 8.5),
    Moment("bikes.mp4", "a bicycle leans against a wall and nobody is there", 8.6, 10.0),
    Moment("bigbuckbunny.mp4", "a rabbit crawls out of its burrow", 0.0, 1.7),
    Moment("bigbuckbunny.mp4", "the rabbit stretches both arms", 1.7, 4.2),
    Moment("bigbuckbunny.mp4", "the rabbit holds a hand behind its head", 4.4, 5.3),
    Moment("carphone_pristine.mp4", "a man in a car opens his mouth wide for the first time", 1.9, 2.1),
    Moment("carphone_pristine.mp4", "the man leans his head to the side with a closed mouth", 2.6, 3.4),
    Moment("carphone_pristine.mp4", "the man opens his mouth wide for the second time", 3.5, 3.9),
)
