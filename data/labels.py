"""The names of the expressions, and the orders in which published files number them.

The same names come in at least five orders in published data sets and models, so fergan passes names around and turns
them into indices only next to the file or network that uses them.
"""

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven classes in the numbering of fer2013.csv (Goodfellow et al. 2013, arXiv:1307.0414)."""

FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""The eight emotions in the column order of FER+'s fer2013new.csv (Barsoum et al. 2016, arXiv:1608.01041)."""

_ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "suprise": "surprise",  # the spelling of a widely copied Kaggle set
    "embarassed": "embarrassed",
    "embarrassment": "embarrassed",
}


def canonical_label(name: str) -> str:
    """The house spelling of a label: lower case, without surrounding space, known aliases resolved.

    >>> canonical_label(" Suprise ")
    'surprise'
    """
    key = name.strip().lower()
    return _ALIASES.get(key, key)
