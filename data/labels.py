"""The names of the expressions, and the orders in which published files number them.

The same names come in at least five orders in published data sets and models, so fergan passes names around and turns
them into indices only next to the file or network that uses them.
"""

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven classes in the numbering of fer2013.csv (Goodfellow et al. 2013, arXiv:1307.0414)."""

FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""The eight emotions in the column order of FER+'s fer2013new.csv (Barsoum et al. 2016, arXiv:1608.01041)."""

NAMED = {
    "fer2013": FER2013,
    "ferplus": FERPLUS,
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

KNOWN = frozenset((*FER2013, *FERPLUS, "embarrassed"))
"""The labels that have a house spelling."""


def canonical_label(name: str) -> str:
    """The house spelling of a label: lower case, without surrounding space, known aliases resolved.

    >>> canonical_label(" Suprise ")
    'surprise'
    """
    key = name.strip().lower()
    return _ALIASES.get(key, key)
