"""The page of a classifier's evaluation: a view of ``evaluation.json``, with the faces behind the numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ..conclusions import Conclusion
from ..figures.curves import learning_chart, reliability_chart, roc_chart
from ..formatting import NBSP, count, moment, percent, percent_range, plural, points, printable
from ..html.document import render_document
from ..html.sprites import Cell, Face, Sprites, make_sprites
from ..html.tiles import Tile
from ..settings import Table, settings_tables

_EDGE = 92  # pixels of a face in the page
_MISTAKES_BYTES, _MAPS_BYTES = 700_000, 1_600_000


@dataclass(frozen=True)
class Look:
    """A face with what speaks for a class in it.

    Attributes:
        row: of the face in the data.
        name: of the face.
        label, given: the true class and the one that was given.
        confidence: of the given one, 0..1.
        maps: float32 [H, W] in 0..1 each: for the given class, and after a mistake for the true one.
    """

    row: int
    name: str
    label: str
    given: str
    confidence: float
    maps: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Filters:
    """The first layer: kernels float32 [O, h, w] and their answers to the face of a row, float32 [O, H, W]."""

    layer: str
    kernels: NDArray[np.float32]
    responses: NDArray[np.float32]
    face: str


@dataclass(frozen=True)
class Pictures:
    """The pictures of the page.

    Attributes:
        face: row -> uint8 [H, W].
        looks: heat maps, grouped by true class in the page.
        filters: the first layer, or None.
        notes: why something is missing.
    """

    face: Callable[[int], NDArray[np.uint8]]
    looks: Sequence[Look] = ()
    filters: Filters | None = None
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class _Shown:
    name: str
    label: str
    given: str
    right: bool
    cells: list[Cell]
    alts: list[str]


def build_evaluation_page(data: Mapping[str, Any], pictures: Pictures) -> str:
    """One HTML file with styles and pictures inside; it loads nothing. ``data`` is an ``evaluation.json``."""
    mistakes = make_sprites(
        [str(row["row"]) for row in data["mistakes"]],
        lambda name: pictures.face(int(name)),
        size=_EDGE,
        budget=_MISTAKES_BYTES,
        prefix="m",
    )
    looks, look_css = _looks(pictures)
    filters, filter_css = _filters(pictures.filters)
    model, calibration = printable(data["model"]["name"], 60), data["calibration"]
    return render_document(
        "evaluation.html.j2",
        *("page.css", "evaluation.css", "page.js"),
        css="\n".join([mistakes.css, look_css, filter_css]),
        title=f"{model} on {_data_name(data)}",
        created=moment(data["created"]),
        facts=_facts(data),
        conclusions=_conclude(data),
        scores=_scores(data),
        made=" of synthetic faces" if data["data"].get("synthetic") else "",
        notes=[printable(note, 400) for note in data["notes"]],
        classes=data["classes"],
        macro=data["macro"],
        confusion=_confusion(data["confusion"]),
        roc=[
            (
                f"{printable(row['label'], 40)}, AUC {row['auc']:.3f}",
                roc_chart(
                    row["false_positive_rate"],
                    row["true_positive_rate"],
                    auc=row["auc"],
                    ident=f"roc{i}",
                    title=f"ROC of {printable(row['label'], 40)}",
                ),
            )
            for i, row in enumerate(data["roc"])
            if row["auc"] is not None
        ],
        reliability=_reliability(calibration),
        reliability_bins=len(calibration["as_given"]["bins"]["counts"]),
        calibrations=[("as given", calibration["as_given"]), ("after temperature scaling", calibration["scaled"])],
        temperature_note=_temperature_note(calibration),
        learning=_learning(data["learning"]),
        learning_note=_learning_note(data),
        mistakes=_mistakes(data, mistakes),
        looks=looks,
        filters=filters,
        filters_note=_filters_note(pictures.filters),
        look_notes=[printable(note, 400) for note in pictures.notes],
        tables=_tables(data),
    )


def overlay(face: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A gray face uint8 [H, W] with a heat map [H, W] in 0..1 over it: uint8 [H, W, 3], from dark to yellow."""
    stops = np.linspace(0, 1, 4)
    colours = np.array([(20, 10, 60), (150, 40, 110), (235, 110, 40), (255, 235, 120)], np.float64)
    colour = np.stack([np.interp(heat, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    mixed = 0.5 * face[..., None].astype(np.float64) + 0.5 * colour
    return mixed.round().astype(np.uint8)


def _data_name(data: Mapping[str, Any]) -> str:
    return printable(data["data"]["name"], 100)


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, speed = data["model"], data["speed"]
    facts = [("Model", printable(model["name"], 60)), ("Faces", f"{count(data['data']['n'])} of {_data_name(data)}")]
    if model["parameters"] is not None:
        facts.append(("Parameters", count(model["parameters"])))
    if model["macs"] is not None:
        facts.append(("Multiply-adds a face", f"{model['macs'] / 1e6:.1f}{NBSP}M"))
    facts.append(("Speed", f"{speed['faces_per_second']:.0f} faces/s ({speed['device']}, {speed['engine']})"))
    facts.append(("sha256", model["sha256"][:12]))
    return facts


def _accuracy(row: Mapping[str, Any]) -> str:
    one = row["accuracy"]
    return f"{percent(one['value'])} ({percent_range(one['low'], one['high'])})"


def _conclude(data: Mapping[str, Any]) -> list[Conclusion]:
    single, (views, most) = data["views"]["single"], list(data["views"].items())[-1]
    text = (
        f"It names {count(single['correct'])} of {plural(single['n'], 'face')} as their labels do: "
        f"{_accuracy(single)} from a single view"
    )
    if views != "single":
        text += f", {_accuracy(most)} from the mean of {'the face and its mirror image' if views == 'flip' else views}"
    leaks = data["leaks"]
    if leaks["without"]:
        text += (
            f". Without the {plural(leaks['rows'], 'face')} that the training rows hold too: "
            f"{_accuracy(leaks['without']['single'])}"
        )
    return [
        Conclusion("How often it is right", text + "."),
        Conclusion("Where it errs", _errs(data)),
        Conclusion("What its confidence is worth", _worth(data["calibration"])),
    ]


def _errs(data: Mapping[str, Any]) -> str:
    judged = [row for row in data["classes"] if row["support"]]
    if not judged:
        return "No class has a face."
    ranked = sorted(judged, key=lambda row: -row["recall"]["value"])
    best, worst = ranked[0], ranked[-1]
    text = f"It finds {printable(best['label'], 40)} best ({percent(best['recall']['value'])} of its faces)"
    if worst is not best:
        text += f" and {printable(worst['label'], 40)} least ({percent(worst['recall']['value'])})"
    confusion = np.array(data["confusion"])
    np.fill_diagonal(confusion, 0)
    if confusion.any():
        true, given = np.unravel_index(confusion.argmax(), confusion.shape)
        names = [printable(row["label"], 40) for row in data["classes"]]
        often = plural(int(confusion.max()), "face")
        text += f"; its commonest mistake is to take {names[true]} for {names[given]} ({often})"
    return text + "."


def _worth(calibration: Mapping[str, Any]) -> str:
    before, after = calibration["as_given"], calibration["scaled"]
    gap = before["mean_confidence"] - before["mean_accuracy"]
    how = "surer than it is right" if gap > 0 else "less sure than it is right"
    text = (
        f"On average it is {points(abs(gap)).lstrip('+')} {how}; the expected calibration error is "
        f"{percent(before['ece'])}"
    )
    if after["ece"] < before["ece"]:
        return f"{text}, and {percent(after['ece'])} after temperature scaling."
    return f"{text}; temperature scaling does not lower it ({percent(after['ece'])})."


def _scores(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = list(data["views"].items())
    without = data["leaks"]["without"] or {}
    made = "synthetic, " if data["data"].get("synthetic") else ""
    return [(f"{made}all, {name}", row) for name, row in rows] + [
        (f"{made}without leaks, {name}", row) for name, row in without.items()
    ]


@dataclass(frozen=True)
class _Cell:
    share: str
    count: int
    shade: int
    right: bool


def _confusion(matrix: Sequence[Sequence[int]]) -> list[list[_Cell]]:
    rows = []
    for i, row in enumerate(matrix):
        total = sum(row)
        shares = [n / total if total else 0.0 for n in row]
        rows.append(
            [
                _Cell(f"{100 * share:.0f}" if total else "–", n, int(np.ceil(10 * share)), i == k)
                for k, (n, share) in enumerate(zip(row, shares, strict=True))
            ]
        )
    return rows


def _reliability(calibration: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    charts = []
    for ident, heading, key in (("before", "As given", "as_given"), ("after", "After temperature scaling", "scaled")):
        bins, title = calibration[key]["bins"], f"Reliability, {heading.lower()}"
        charts.append((heading, reliability_chart(bins["accuracy"], bins["counts"], ident=ident, title=title)))
    return charts


def _temperature_note(calibration: Mapping[str, Any]) -> str:
    temperature = calibration["temperature"]
    text = f"Temperature {temperature['value']:.3f}, fitted on {printable(temperature['fitted_on'], 100)}"
    if temperature["cross_fitted"]:
        low, high = sorted(temperature["halves"])
        return (
            f"{text}. What is shown after scaling is cross-fitted: each half of these faces was scaled by the "
            f"temperature of the other ({low:.3f} and {high:.3f}), so no face is judged by a temperature that it "
            "helped to fit."
        )
    return f"{text}, and judged on these faces."


def _learning(learning: Mapping[str, Any] | None) -> list[tuple[str, Markup]]:
    if learning is None:
        return []
    charts = []
    for key, heading in (("accuracy", "Accuracy by epoch"), ("loss", "Loss by epoch")):
        pair = learning[key]
        if pair is not None:
            chart = learning_chart(
                pair["training"], pair["validation"], shares=key == "accuracy", ident=f"learning{key}", title=heading
            )
            charts.append((heading, chart))
    return charts


def _learning_note(data: Mapping[str, Any]) -> str:
    learning, sample = data["learning"], data["training_sample"]
    parts = []
    if learning is not None and learning["best_epoch"] is not None:
        parts.append(
            f"Best validation accuracy in epoch {learning['best_epoch']}; training accuracy is "
            f"{_apart(learning['gap'])} then. While it trains, faces are altered and units "
            "dropped, so that training accuracy is lower than it would be."
        )
    if sample is not None:
        gap = sample["accuracy"]["value"] - data["views"]["single"]["accuracy"]["value"]
        parts.append(
            f"On {plural(sample['n'], 'training face')} as they are it is right on {_accuracy(sample)}, {_apart(gap)} "
            "than on the evaluated ones. That gap is the over-fitting."
        )
    return " ".join(parts)


def _apart(gap: float) -> str:
    return f"{points(abs(gap)).lstrip('+')} {'higher' if gap >= 0 else 'lower'}"


def _mistakes(data: Mapping[str, Any], sprites: Sprites) -> list[Tile]:
    tiles = []
    for row in data["mistakes"]:
        name, given, label = (printable(row[key], 60) for key in ("name", "given", "label"))
        caption = f"{given} {percent(row['confidence'], 0)}"
        alt = f"{name}: given {caption}, label {label}"
        tiles.append(Tile(sprites.cells.get(str(row["row"])), alt, caption, label))
    return tiles


def _looks(pictures: Pictures) -> tuple[list[tuple[str, list[_Shown]]], str]:
    """By true class, and the style sheet."""
    images: dict[str, Face] = {}
    for look in pictures.looks:
        face = pictures.face(look.row)
        images[f"{look.row}"] = face
        images |= {f"{look.row}:{i}": overlay(face, heat) for i, heat in enumerate(look.maps)}
    sprites = make_sprites(images, images.__getitem__, size=_EDGE, budget=_MAPS_BYTES, prefix="g")
    groups: dict[str, list[_Shown]] = {}
    for look in pictures.looks:
        name, label, given = printable(look.name, 60), printable(look.label, 40), printable(look.given, 40)
        alts = [name, f"{name}: what speaks for {given}", f"{name}: what speaks for {label}"]
        keys = [f"{look.row}", *(f"{look.row}:{i}" for i in range(len(look.maps)))]
        groups.setdefault(label, []).append(
            _Shown(
                name,
                label,
                f"{given} {percent(look.confidence, 0)}",
                look.given == look.label,
                [sprites.cells[key] for key in keys],
                alts,
            )
        )
    return list(groups.items()), sprites.css


def _filters(filters: Filters | None) -> tuple[list[tuple[Cell, Cell]], str]:
    if filters is None:
        return [], ""
    images: dict[str, Face] = {}
    for i, (kernel, response) in enumerate(zip(filters.kernels, filters.responses, strict=True)):
        largest = float(np.abs(kernel).max()) or 1.0
        scaled = (127.5 + 127.5 * kernel / largest).astype(np.uint8)
        repeat = -(-48 // max(kernel.shape))
        images[f"k{i}"] = scaled.repeat(repeat, axis=0).repeat(repeat, axis=1)
        low, high = float(response.min()), float(response.max())
        images[f"r{i}"] = (255 * (response - low) / ((high - low) or 1.0)).astype(np.uint8)
    sprites = make_sprites(images, images.__getitem__, size=60, budget=500_000, prefix="f")
    return [(sprites.cells[f"k{i}"], sprites.cells[f"r{i}"]) for i in range(len(filters.kernels))], sprites.css


def _filters_note(filters: Filters | None) -> str:
    if filters is None:
        return ""
    shape = " by ".join(str(side) for side in filters.kernels.shape[1:])
    return (
        f"The {len(filters.kernels)} filters of {printable(filters.layer, 60)}, {shape} pixels, and what each makes of "
        f"{printable(filters.face, 60)}. White adds, black subtracts: a filter of two halves answers to edges."
    )


def _tables(data: Mapping[str, Any]) -> list[Table]:
    return settings_tables(
        {
            "created": data["created"],
            "fergan": data["fergan"],
            "model": data["model"],
            "data": {key: value for key, value in data["data"].items() if key != "notes"},
            "leaks": {key: value for key, value in data["leaks"].items() if key != "without"},
            "speed": data["speed"],
        }
    )
