"""Networks by name: what there is, and a visible download of what is not here yet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ...classify.bundled import BEST, DEFAULT, bundled_classifier, bundled_classifiers
from ...classify.card import read_card, read_model_card
from ...classify.known import KNOWN_JUDGES, KnownJudge
from ...classify.published import cached_judge, fetch_judge
from ...runtime.cache import cache_folder
from ...runtime.errors import UsageError
from ...stylegan.zoo import ZOO, Published, bundled_generators, cached, fetch
from ..progress import progress


def ensure_network(name: str | None) -> None:
    """Download the network of this name with a progress bar, if it is a published one that is not here yet.

    Whatever else the name may be is left to :func:`load_generator`.

    Raises:
        DataError: the download fails.
    """
    if name in ZOO and not (Path(name).exists() or cached(name)):
        _shown(name, fetch)


def ensure_judges(*names: str | None) -> None:
    """Download the published classifiers of these names as :func:`ensure_network` does; pass over all else."""
    for name in names:
        if name in KNOWN_JUDGES and not (Path(name).exists() or cached_judge(name)):
            _shown(name, fetch_judge)


def _shown(name: str, fetch: Callable[..., Path]) -> None:
    with progress(f"Downloading {name}", unit="MB") as show:
        fetch(name, progress=lambda done, total: show(done / 1e6, total / 1e6))


@dataclass(frozen=True)
class Listed:
    """A line of ``fergan models``."""

    name: str
    about: str
    resolution: int
    size: str
    licence: str
    place: str


def list_models() -> list[Listed]:
    """The bundled generators, the best first, the bundled classifiers, then the published ones of both kinds."""
    listed = []
    for name, path in bundled_generators().items():
        found, resolution = _header(path)
        about = f"generator, {found['architecture']}"
        licence = str(found["metadata"].get("licence") or "not stated")
        listed.append(Listed(name, about, resolution, megabytes(path.stat().st_size), licence, "bundled"))
    for name, path in bundled_classifiers().items():
        licence = str(read_card(path).get("licence") or "not stated")
        about = "classifier of expressions" + {DEFAULT: ", the default", BEST: ", also called best"}.get(name, "")
        listed.append(Listed(name, about, 48, megabytes(path.stat().st_size), licence, "bundled"))
    published: list[tuple[Published | KnownJudge, Path | None, str, int]] = [
        (judge, cached_judge(name), f"classifier, {judge.about.split(', ')[0]}", judge.input_shape[0])
        for name, judge in KNOWN_JUDGES.items()
    ]
    published += [(entry, cached(name), entry.about, entry.resolution) for name, entry in ZOO.items()]
    for one, file, about, pixels in published:
        size = megabytes(file.stat().st_size) if file else f"~{one.megabytes:g} MB" if one.megabytes else ""
        place = "downloaded" if file else "to download"
        listed.append(Listed(one.name, about, pixels, size, one.licence.partition(",")[0], place))
    return listed


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The metadata and the resolution of a generator that comes with fergan, read without torch."""
    with safe_open(path, "np") as file:
        found, names = dict(json.loads(file.metadata()["fergan"])), file.keys()
    blocks = [int(block[1]) for name in names if (block := re.match(r"synthesis\.b(\d+)\.", name))]
    return found, int(found["config"].get("img_resolution") or max(blocks))


def model_card(name: str) -> str:
    """Markdown about one model: the card beside a bundled one, or what is known of a published one.

    Raises:
        UsageError: nothing has this name.
        DataError: the card cannot be read.
    """
    if path := bundled_generators().get(name) or bundled_classifier(name):
        return read_model_card(path) or _bundled_without_card(name, path)
    if name in ZOO:
        return _published(ZOO[name])
    if name in KNOWN_JUDGES:
        return _published_judge(KNOWN_JUDGES[name])
    known = ", ".join([*bundled_generators(), "best", *bundled_classifiers(), *KNOWN_JUDGES, *ZOO])
    raise UsageError(f"no model is called {name!r}; known are: {known}")


def _published(entry: Published) -> str:
    facts = {
        "Draws": entry.about,
        "Resolution": f"{entry.resolution} pixels",
        "Classes": entry.classes or None,
        **_where(entry, cached(entry.name)),
    }
    return _card(entry.name, facts, f"Use it with `fergan generate --network {entry.name}`.")


def _published_judge(judge: KnownJudge) -> str:
    facts = {
        "Learned from": judge.about,
        "Labels": ", ".join(judge.labels),
        "Input range": judge.card()["input_range"],
        "Outputs": judge.outputs,
        "Shown": "48x48 gray faces, as FER2013's" if judge.view == "48" else "faces of its own size and colours",
        **_where(judge, cached_judge(judge.name)),
        "SHA-256": judge.sha256,
    }
    return _card(judge.name, facts, f"Use it with `fergan classify --model {judge.name}`.")


def _where(entry: Published | KnownJudge, path: Path | None) -> dict[str, Any]:
    """Publisher, size, licence and place of a published file."""
    return {
        "Published by": f"https://github.com/{entry.origin}",
        "File": entry.url,
        "Size": f"about {entry.megabytes:g} MB" if entry.megabytes else None,
        "Licence": entry.licence,
        "Here": str(path) if path else f"not yet; would go to {cache_folder() / entry.file}",
    }


def _card(name: str, facts: dict[str, Any], remark: str) -> str:
    lines = [f"- {key}: {value}" for key, value in facts.items() if value is not None]
    return "\n".join([f"# {name}", "", *lines, "", remark, ""])


def _bundled_without_card(name: str, path: Path) -> str:
    if path.suffix == ".keras":
        found = read_card(path)
    else:
        from ...stylegan.checkpoints import describe

        found = describe(path)
    keys = ("architecture", "resolution", "channels", "labels", "parameters", "size", "sha256", "licence_notice")
    return _card(name, {key.replace("_", " "): found.get(key) for key in keys}, "It has no model card.")


def megabytes(size: int) -> str:
    """The size of a file in bytes, for people."""
    return f"{size / 1e6:.1f} MB"
