"""The names of the expressions, and the orders in which published files number them.

The same names come in at least five orders in published data sets and models, so fergan passes names around and turns
them into indices only next to the file or network that uses them.
"""

from collections.abc import Iterable

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven classes in the numbering of fer2013.csv (Goodfellow et al. 2013, arXiv:1307.0414)."""

FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""The eight emotions in the column order of FER+'s fer2013new.csv (Barsoum et al. 2016, arXiv:1608.01041)."""

ALPHABETIC = tuple(sorted(FERPLUS))
"""The eight emotions in the order of folders; that of HSEmotion's networks too."""

FERPLUS_MODES = ("majority", "probability", "crossentropy", "multi_target")
"""FER+'s four ways from votes to training targets, see :func:`fergan.data.readers.ferplus.ferplus_targets`."""

AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
"""The eight expressions in AffectNet's numbering (Mollahosseini et al. 2017, arXiv:1708.03985)."""

RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""The seven basic expressions of RAF-DB (Li, Deng and Du 2017), which numbers them from 1."""

CKPLUS = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""The eight emotions in the numbering of CK+'s ``_emotion.txt`` files (Lucey et al. 2010)."""

CKPLUS_CSV = (*FER2013, "contempt")
"""The same in the numbering of ``ckextended.csv``."""

NAMED = {
    "fer2013": FER2013,
    "ferplus": FERPLUS,
    "affectnet": AFFECTNET,
    "rafdb": RAFDB,
    "embarrassed": (*FER2013, "embarrassed"),
}
"""Label sets that can be asked for by name; ``embarrassed`` is FER2013 with an eighth class."""

_ALIASES = {
    # nouns, as in FER+, CK+ and AffectNet
    "anger": "angry",
    "happiness": "happy",
    "sadness": "sad",
    "neutrality": "neutral",
    "embarrassment": "embarrassed",
    # participles and other adjectives
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "surprised": "surprise",
    "contemptuous": "contempt",
    "contemptous": "contempt",
    # spellings of widely copied sets
    "suprise": "surprise",
    "suprised": "surprise",
    "surpise": "surprise",
    "natural": "neutral",
    "happyness": "happy",
    "embarassed": "embarrassed",
    "embarassment": "embarrassed",
}

KNOWN = tuple(dict.fromkeys((*FER2013, *FERPLUS, "embarrassed")))
"""The labels that have a house spelling, in the order of the house: FER2013's, then FER+'s."""


def canonical_label(name: str) -> str:
    """The house spelling of a label: lower case, without surrounding space, known aliases resolved.

    >>> canonical_label(" Suprise ")
    'surprise'
    """
    key = name.strip().lower()
    return _ALIASES.get(key, key)


def house_order(names: Iterable[str]) -> tuple[str, ...]:
    """Labels, each once, in the order of :data:`KNOWN`, and others after those by the alphabet.

    >>> house_order(["wink", "happy", "angry"])
    ('angry', 'happy', 'wink')
    """
    place = {name: number for number, name in enumerate(KNOWN)}
    return tuple(sorted(set(names), key=lambda name: (place.get(name, len(place)), name)))


def parse_labels(text: str) -> tuple[str, ...]:
    """The labels of a known order by its name, or those of a list with commas; the caller checks that they make sense.

    >>> parse_labels("Anger, happy")
    ('angry', 'happy')
    """
    return NAMED.get(text.strip().lower()) or tuple(canonical_label(name) for name in text.split(","))
