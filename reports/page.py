"""The report: a table of labels in, one HTML file and one JSON file out.

The page needs no network, no script and no other file: its pictures are sprite sheets inside the style sheet, its
figures are inline SVG, and a content security policy allows nothing but those.
"""

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ..data.errors import DataError
from . import figures
from .conclusions import conclude
from .formatting import count, percent, plural, printable, ranges
from .prevalence import Prevalence, Validation, estimate_prevalence
from .provenance import plain, settings_tables
from .sprites import Cell, Face, Sprites, make_sprites
from .statistics import ConfidenceSummary, LabelShares, confidence_summary, label_shares
from .sweep import Sweep, sweep_data, sweep_of
from .table import LabelTable, read_labels
from .templating import FOLDER, render

SAMPLE = 60
"""Faces in the sample grid of the first screen (ten columns by six rows, or six by ten)."""

SHOW_ALL = 600
"""Up to this many faces each one is shown under its label; beyond, `PER_LABEL` of each label."""

PER_LABEL = 60
EXTREMES = 12
_OPEN = 48  # faces of a label that are shown before the reader asks for the rest
_MAX_SKIPPED_ROWS = 100


@dataclass(frozen=True)
class Report:
    """A finished report: the page as text, and the same numbers as plain JSON values."""

    html: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """One face as the templates show it; texts are not escaped yet."""

    cell: Cell | None
    alt: str
    caption: str
    detail: str = ""


@dataclass(frozen=True)
class LabelSection:
    """The faces that got one label: `tiles` are shown, `folded` on request; both in natural order."""

    name: str
    anchor: str
    count: int
    share: str
    interval: str
    tiles: list[Tile]
    folded: list[Tile]
    note: str
    chart: Markup
    mean_probability: str


def build_report(
    labels: pd.DataFrame,
    *,
    settings: Mapping[str, Any],
    load_face: Callable[[str], Face] | None,
    skipped: pd.DataFrame | None = None,
    created: str,
    title: str | None = None,
    thumbnail: int = 108,
    validation: Validation | None = None,
    replicates: int = 200,
) -> Report:
    """Evaluate a table of labels and write the page in memory.

    Args:
        labels: one row a face: `face` (file name, str), `seed` (nullable int), `label`, `confidence` (0..1), then one
            column of probabilities (0..1, rows sum to 1) a class, in class order. With a column `psi` of more than one
            value, the page has a section on what truncation does.
        settings: what was run, as nested dicts (`run`, `generate`, `classify`, `versions`, `hardware`, `timings`, …);
            shown as they are, and believed in nothing but `classify.labels`, the class names, where that is a list.
        load_face: file name -> PIL image or uint8 [H, W, 3] or [H, W]; called once for each face that is shown, at most
            about 600 times. None makes a page without pictures.
        skipped: the files that could not be judged, with columns `face` and `reason`.
        created: when, as text (ISO 8601, with the zone).
        title: the heading; by default it says how many faces.
        thumbnail: the largest edge of a face in the page, in pixels.
        validation: the same classifier's outputs on labelled faces; with it the page shows, beside the raw shares,
            those corrected for the classifier's confusion.
        replicates: bootstrap draws for the intervals of the corrected shares.

    Returns:
        The page (about 2.5 MB for 500 faces) and its numbers.

    Raises:
        DataError: an empty table, or one that is not as described; the message names the first wrong face.

    Example:
        >>> report = build_report(table, settings=run, load_face=open_face, created="2025-01-31T12:00:00+00:00")
        ... # doctest: +SKIP
        >>> write_report(report, "runs/default")  # doctest: +SKIP
    """
    table = read_labels(labels, settings)
    shares = label_shares(table.codes, table.classes)
    confidence = confidence_summary(table.confidence, table.probabilities)
    corrected = None if validation is None else _corrected(table, validation, replicates)
    lost = _skipped_rows(skipped)
    sweep = sweep_of(table)
    heading = title or f"Facial expressions in {plural(len(table), 'face')}" + (
        "" if sweep is None else f" at {len(sweep.psi)} truncations"
    )

    shown = _Choice.of(table, shares)
    sprites = (
        Sprites()
        if load_face is None
        else make_sprites((table.faces[row] for row in shown.rows()), load_face, size=thumbnail)
    )
    css = Markup((FOLDER / "report.css").read_text(encoding="utf-8"))
    sprite_css = Markup(sprites.css)  # made of numbers and base64 only
    html = render(
        "report.html.j2",
        title=printable(heading, 200),
        css=css,
        sprite_css=sprite_css,
        policy=_policy([css, sprite_css]),
        created=printable(created, 80),
        facts=_facts(settings, table),
        conclusions=conclude(shares, confidence, len(lost), corrected, 1 if sweep is None else len(sweep.psi)),
        label_chart=figures.label_chart(
            shares,
            ident="distribution",
            title="Shares of the expression labels",
            corrected=None if corrected is None else corrected["ACC"].shares,
        ),
        corrected=corrected,
        validation_name=None if validation is None else printable(validation.name, 120),
        confidence_chart=figures.confidence_chart(
            confidence, ident="confidence", title="Confidences of the given labels"
        ),
        order="by seed" if table.seeds is not None else "in the order of the table",
        pictures=load_face is not None,
        sample=_tiles(table, shown.sample, sprites, _caption_label),
        sections=_sections(table, shares, shown, sprites),
        most=_tiles(table, shown.most, sprites, _caption_label_confidence),
        least=_tiles(table, shown.least, sprites, _caption_runner_up),
        shares=shares,
        ranking=shares.ranking(),
        mean_probability=table.probabilities.mean(axis=0),
        mean_confidence=_mean_confidence(table),
        confidence=confidence,
        max_entropy=float(np.log2(len(table.classes))),
        n=len(table),
        sweep=sweep,
        sweep_charts=[] if sweep is None else _sweep_charts(sweep, shares),
        skipped=[(printable(face, 200), printable(reason, 300)) for face, reason in lost[:_MAX_SKIPPED_ROWS]],
        n_skipped=len(lost),
        notes=_quality_notes(table, sprites, sweep),
        tables=settings_tables(settings),
    )
    data = _data(table, shares, confidence, lost, settings, created, heading, sprites, corrected, sweep)
    return Report(str(html), data)


def write_report(report: Report, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into an existing folder; a reader never sees half a file.

    Returns:
        The two paths, page first.

    Raises:
        DataError: the folder is missing or cannot be written to, or the disk is full; what was there before stays.
    """
    place = Path(folder)
    text = json.dumps(report.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {place / "report.html": report.html, place / "report.json": text}
    written: dict[Path, Path] = {}
    try:
        # both are complete on disk before either gets its name, so a full disk leaves the old pair together
        for path, content in contents.items():
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
            written[path] = temporary
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write the report into {place}: {error.strerror or error}") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)
    page, numbers = contents
    return page, numbers


@dataclass(frozen=True)
class _Choice:
    """Which rows of the table the page shows, chosen by seed order or by confidence and by nothing else."""

    sample: list[int]
    by_label: list[list[int]]
    most: list[int]
    least: list[int]

    @classmethod
    def of(cls, table: LabelTable, shares: LabelShares) -> "_Choice":
        order = table.natural_order()
        limit = len(table) if len(table) <= SHOW_ALL else PER_LABEL
        codes = table.codes[order]
        by_label = [order[codes == k][:limit].tolist() for k in range(len(table.classes))]
        # ties go to the natural order, so the page is the same whatever the order of the table
        ascending = order[np.argsort(table.confidence[order], kind="stable")]
        descending = order[np.argsort(-table.confidence[order], kind="stable")]
        extremes = min(EXTREMES, len(table))
        return cls(order[:SAMPLE].tolist(), by_label, descending[:extremes].tolist(), ascending[:extremes].tolist())

    def rows(self) -> Iterable[int]:
        for part in (self.sample, *self.by_label, self.most, self.least):
            yield from part


def _tiles(
    table: LabelTable, rows: list[int], sprites: Sprites, caption: Callable[[LabelTable, int], tuple[str, str]]
) -> list[Tile]:
    tiles = []
    for row in rows:
        name = printable(table.faces[row], 120)
        label = printable(table.classes[table.codes[row]], 60)
        alt = f"{name}: {label}, {percent(table.confidence[row], 0)}"
        tiles.append(Tile(sprites.cells.get(table.faces[row]), alt, *caption(table, row)))
    return tiles


def _caption_label(table: LabelTable, row: int) -> tuple[str, str]:
    return printable(table.classes[table.codes[row]], 24), ""


def _caption_confidence(table: LabelTable, row: int) -> tuple[str, str]:
    return percent(table.confidence[row], 0), ""


def _caption_label_confidence(table: LabelTable, row: int) -> tuple[str, str]:
    return f"{printable(table.classes[table.codes[row]], 24)} {percent(table.confidence[row], 1)}", ""


def _caption_runner_up(table: LabelTable, row: int) -> tuple[str, str]:
    given = table.codes[row]
    rest = table.probabilities[row].copy()
    rest[given] = -1
    other = int(np.argmax(rest))
    first = f"{printable(table.classes[given], 24)} {percent(table.confidence[row], 0)}"
    return first, f"{printable(table.classes[other], 24)} {percent(max(rest[other], 0), 0)}" if len(rest) > 1 else ""


def _sections(table: LabelTable, shares: LabelShares, shown: _Choice, sprites: Sprites) -> list[LabelSection]:
    sections = []
    for k in shares.ranking():
        tiles = _tiles(table, shown.by_label[k], sprites, _caption_confidence)
        total = int(shares.counts[k])
        note = ""
        if total > len(tiles):
            note = f"A sample: the first {len(tiles)} of {count(total)}."
        name = printable(table.classes[k], 60)
        sections.append(
            LabelSection(
                name=name,
                anchor=f"label-{k}",
                count=total,
                share=percent(shares.shares[k]),
                interval=f"{percent(shares.low[k])} to {percent(shares.high[k])}",
                # a fold of three faces is no help
                tiles=tiles if len(tiles) <= _OPEN + 12 else tiles[:_OPEN],
                folded=[] if len(tiles) <= _OPEN + 12 else tiles[_OPEN:],
                note=note,
                chart=figures.probability_chart(
                    table.probabilities[:, k],
                    table.codes == k,
                    ident=f"probability-{k}",
                    title=f"Probability of {name}",
                ),
                mean_probability=percent(float(table.probabilities[:, k].mean())),
            )
        )
    return sections


def _mean_confidence(table: LabelTable) -> list[float | None]:
    """The mean confidence among the faces of each label, None for a label that no face got."""
    return [
        float(table.confidence[table.codes == k].mean()) if (table.codes == k).any() else None
        for k in range(len(table.classes))
    ]


def _facts(settings: Mapping[str, Any], table: LabelTable) -> list[tuple[str, str]]:
    """The four or five things to know at first sight; the full settings are at the end of the page."""
    generate = settings.get("generate")
    classify = settings.get("classify")
    generate = generate if isinstance(generate, Mapping) else {}
    classify = classify if isinstance(classify, Mapping) else {}
    facts: list[tuple[str, object]] = [("Run", settings.get("run"))]
    if generate:
        facts.append(("Generator", generate.get("network")))
        several = generate.get("psi_sweep")
        if isinstance(several, list | tuple):
            facts.append(("Truncation ψ", ", ".join(printable(value, 20) for value in several[:20])))
        else:
            facts.append(("Truncation ψ", generate.get("truncation_psi")))
        facts.append(("Truncated styles", generate.get("truncation_cutoff")))
        facts.append(("Projected styles", generate.get("projected_w")))
        facts.append(("Noise", generate.get("noise_mode")))
    else:
        facts.append(("Images", classify.get("images")))
    facts.append(("Classifier", classify.get("model")))
    crop = [str(classify[key]) for key in ("crop", "filter") if classify.get(key) is not None]
    facts.append(("Crop, filter", ", ".join(crop) or None))
    if table.seeds is not None:
        facts.append(("Seeds", ranges(table.seeds.tolist(), limit=3)))
    return [
        (name, printable(plain(value), 80))
        for name, value in facts
        if value is not None and not isinstance(value, Mapping)
    ]


def _sweep_charts(sweep: Sweep, shares: LabelShares) -> list[tuple[str, Markup]]:
    charts = []
    for k in shares.ranking():
        name = printable(shares.classes[k], 60)
        chart = figures.sweep_chart(sweep, k, ident=f"sweep-{k}", title=f"Share of {name} by truncation")
        charts.append((name, chart))
    return charts


def _quality_notes(table: LabelTable, sprites: Sprites, sweep: Sweep | None = None) -> list[str]:
    notes = []
    mismatched = int((table.probabilities.argmax(axis=1) != table.codes).sum())
    if mismatched:
        notes.append(
            f"{plural(mismatched, 'face')} carry a label that is not the class with the highest probability; "
            "the counts follow the label."
        )
    twice = len(table.faces) - len(set(table.faces))
    if twice:
        notes.append(f"{plural(twice, 'face name')} occur more than once; each row is counted.")
    if sweep is not None:
        notes.append(
            f"Every number outside the section on truncation pools the faces of {len(sweep.psi)} truncations. The same "
            "seeds recur in them, so these faces are not independent and the pooled intervals are too narrow."
        )
    elif table.seeds is not None and len(np.unique(table.seeds)) < len(table):
        notes.append(
            "Some seeds occur more than once, so these faces are not independent and the intervals are too narrow."
        )
    if sprites.unreadable:
        name, reason = next(iter(sprites.unreadable.items()))
        notes.append(
            f"{plural(len(sprites.unreadable), 'picture')} could not be shown although the face was judged; "
            f"the first is {printable(name, 120)} ({printable(reason, 200)})."
        )
    return notes


def _corrected(table: LabelTable, validation: Validation, replicates: int) -> Prevalence:
    try:
        return estimate_prevalence(
            table.probabilities,
            validation.labels,
            validation.probabilities,
            methods=("ACC", "PACC", "EM"),
            replicates=replicates,
        )
    except ValueError as error:
        raise DataError(f"the validation faces '{printable(validation.name, 120)}' do not serve: {error}") from error


def _corrected_data(names: list[str], corrected: Prevalence) -> dict[str, Any]:
    return {
        "condition_number": plain(corrected.condition_number),
        "validation_counts": dict(zip(names, corrected.validation_counts.tolist(), strict=True)),
        "replicates": corrected.replicates,
        "level": corrected.level,
        "methods": {
            estimate.method: {
                name: {
                    "share": float(estimate.shares[k]),
                    "low": float(estimate.low[k]),
                    "high": float(estimate.high[k]),
                }
                for k, name in enumerate(names)
            }
            for estimate in corrected.estimates
        },
    }


def _skipped_rows(skipped: pd.DataFrame | None) -> list[tuple[str, str]]:
    if skipped is None or len(skipped) == 0:
        return []
    missing = [column for column in ("face", "reason") if column not in skipped.columns]
    if missing:
        raise DataError(f"the table of skipped files has no column '{missing[0]}'")
    return [(str(face), str(reason)) for face, reason in zip(skipped["face"], skipped["reason"], strict=True)]


def _policy(styles: list[Markup]) -> str:
    digests = [hashlib.sha256(str(style).encode("utf-8")).digest() for style in styles]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    return f"default-src 'none'; img-src data:; style-src {allowed}; base-uri 'none'; form-action 'none'"


def _data(
    table: LabelTable,
    shares: LabelShares,
    confidence: ConfidenceSummary,
    skipped: list[tuple[str, str]],
    settings: Mapping[str, Any],
    created: str,
    title: str,
    sprites: Sprites,
    corrected: Prevalence | None,
    sweep: Sweep | None,
) -> dict[str, Any]:
    names = [str(plain(name)) for name in table.classes]
    per_label = _mean_confidence(table)
    return {
        "format": {"name": "fergan.report", "version": 1},
        "title": plain(title),
        "created": plain(created),
        "n": len(table),
        "labels": names,
        "counts": {name: int(shares.counts[k]) for k, name in enumerate(names)},
        "shares": {
            name: {"share": float(shares.shares[k]), "low": float(shares.low[k]), "high": float(shares.high[k])}
            for k, name in enumerate(names)
        },
        "interval": {"method": "wilson", "level": shares.level},
        "mean_probability": {name: float(table.probabilities[:, k].mean()) for k, name in enumerate(names)},
        "confidence": {
            "mean": confidence.mean,
            "median": confidence.median,
            "mean_by_label": dict(zip(names, per_label, strict=True)),
            "threshold": confidence.threshold,
            "uncertain": confidence.uncertain,
            "mean_entropy_bits": confidence.mean_entropy_bits,
            "bin_edges": [round(float(edge), 6) for edge in confidence.bin_edges],
            "histogram": confidence.histogram.tolist(),
        },
        "corrected": None if corrected is None else _corrected_data(names, corrected),
        "sweep": sweep_data(names, sweep),
        "n_skipped": len(skipped),
        "skipped": [{"face": plain(face), "reason": plain(reason)} for face, reason in skipped],
        "unreadable_pictures": len(sprites.unreadable),
        "settings": plain(settings),
        "versions": plain(settings.get("versions") or {}),
    }
