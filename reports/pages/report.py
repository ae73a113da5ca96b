"""The report: a table of labels in, one HTML file and one JSON file out.

The page needs no network and no other file: its pictures are sprite sheets inside the style sheet, its figures are
inline SVG, and everything but the gallery's filters works without its script.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from ...data.faces import SIZE
from ...data.run_record.run import RunRecord
from ..conclusions import conclude
from ..correction import BLIND_SPOT, REFUTED_REFERENCE, label_shift_sentence, shares_beside
from ..figures import bars as figures
from ..findings import Findings, evaluate, quality_notes
from ..formatting import count, moment, percent, plural, printable
from ..html.document import Report, render_document
from ..html.gallery import gallery_data
from ..html.selection import Selection
from ..html.sprites import Face, Sprites, as_picture, make_sprites
from ..html.tiles import Tile, confidence_only, first_and_second, label_and_confidence, label_only, make_tiles
from ..judges import MOST, JudgeLabels, Judges, judges_sentence
from ..report_json import mean_confidence, report_data
from ..settings import licences, run_facts, settings_tables
from ..statistics.correction.prevalence import ASSUMPTION, Validation
from ..statistics.differences.comparison import Comparison, LabelDifference
from ..statistics.differences.preparation import PreparationSensitivity
from ..statistics.label_audit import AuditEstimate
from ..statistics.shares import LabelShares
from ..statistics.sweep import Sweep
from ..statistics.table import LabelTable, read_labels

_OPEN = 24  # faces of a label that are shown before the reader asks for the rest
_MAX_SKIPPED_ROWS = 100
_SERIES = 6  # marks that are told apart in a figure
_INPUT_BYTES = 500_000  # of all 48x48 inputs together

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


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
    labels: pd.DataFrame | LabelTable,
    *,
    settings: Mapping[str, Any],
    load_face: Callable[[str], Face] | None,
    prepare: Prepare | None = None,
    skipped: pd.DataFrame | None = None,
    created: str,
    title: str | None = None,
    thumbnail: int = 124,
    validation: Validation | None = None,
    audit: AuditEstimate | None = None,
    preparation: PreparationSensitivity | None = None,
    among: ArrayLike | None = None,
    others: Sequence[JudgeLabels] = (),
    judge: str = "",
    failed: Mapping[str, str] | None = None,
) -> Report:
    """Evaluate a table of labels and write the page (about 2.5 MB for 500 faces) in memory.

    Args:
        labels: a checked table, or one row a face: `face` (file name, str), `seed` (nullable int), `label`,
            `confidence` (0..1), then one column of probabilities (0..1, rows sum to 1) a class, in class order. A
            column `psi` of more than one value gives a section on truncation.
        settings: what was run, as nested dicts (`run`, `generate`, `classify`, `versions`, `hardware`, `timings`, …);
            shown as they are, and believed in nothing but `classify.labels`, the class names, where that is a list.
        load_face: file name -> PIL image or uint8 [H, W, 3] or [H, W]; called once for each face that is shown, at most
            about 600 times, from several threads. None makes a page without pictures.
        prepare: uint8 [H, W, 3] or [H, W] -> what the classifier saw of it, mostly uint8 [48, 48]; shown beside it.
        skipped: the files that could not be judged, with columns `face` and `reason`.
        created: when, as text (ISO 8601, with the zone).
        title: the heading; by default it says how many faces.
        thumbnail: the largest edge of a face in the page, in pixels.
        validation: the same classifier's outputs on labelled faces; with it the page shows, beside the raw shares,
            those corrected for the classifier's confusion.
        audit: what people said about a sample of these faces.
        preparation: how the labels depend on crop and filter.
        among: rows of the faces that have a picture, where not all pictures were kept; None for all.
        others, judge, failed: of a run with several judges what further ones said of the same faces, the name of the
            one whose labels these are, and by their names why others have none.

    Raises:
        DataError: an empty table, or one that is not as described; the message names the first wrong face.
    """
    record = RunRecord.of(settings)
    classes = record.classify.labels if record.classify else None
    table = labels if isinstance(labels, LabelTable) else read_labels(labels, classes)
    found = evaluate(
        table,
        validation=validation,
        audit=audit,
        preparation=preparation,
        skipped=skipped,
        record=record,
        others=others,
        judge=judge,
        failed=failed,
    )
    pictures = partial(_pictures, table, load_face=load_face, prepare=prepare, size=thumbnail)
    return _report(found, record, pictures, among, created, title or _heading(found))


def _heading(found: Findings) -> str:
    truncations = "" if found.sweep is None else f" at {len(found.sweep.psi)} truncations"
    if found.edited is not None:
        truncations = f" at {len(found.edited.parts)} strengths"
    selected = "" if found.selected is None else "selected "
    return f"Facial expressions in {plural(len(found.table), f'{selected}face')}{truncations}"


class _Pictures(NamedTuple):
    """The faces of `rows` and what the classifier saw of them; `available` is whether the page has any."""

    rows: list[int]
    sprites: Sprites
    inputs: Sprites
    available: bool

    @property
    def places(self) -> dict[int, int]:
        """The place of each row among those shown."""
        return {row: place for place, row in enumerate(self.rows)}


def _report(
    found: Findings,
    record: RunRecord,
    pictures: Callable[[list[int]], _Pictures],
    among: ArrayLike | None,
    created: str,
    heading: str,
) -> Report:
    """The page and its numbers; ``pictures`` reads those of some rows."""
    chosen = Selection.of(found.table, among)
    disputed = [] if found.judges is None else found.judges.found.most(among, MOST)
    further = [] if found.judges is None else found.judges.found.faces[disputed].tolist()
    shown = pictures(chosen.rows(found.table, further))
    notes = quality_notes(found, list(shown.sprites.unreadable.items()))
    if among is not None:
        kept = plural(np.size(among), "face")
        notes.append(f"Pictures of {kept}, spread evenly over the run, were kept; the faces on this page are of these.")
    html = _page(found, chosen, shown, record, disputed, heading=heading, created=created, notes=notes)
    unreadable = len(shown.sprites.unreadable)
    data = report_data(found, record=record, created=created, title=heading, unreadable=unreadable, notes=notes)
    return Report(html, data)


def _page(
    found: Findings,
    chosen: Selection,
    shown: _Pictures,
    record: RunRecord,
    disputed: list[int],
    *,
    heading: str,
    created: str,
    notes: list[str],
) -> str:
    table = found.table
    return render_document(
        "report.html.j2",
        *("page.css", "page.js"),
        *(["gallery.js"] if shown.available else []),
        css=shown.sprites.css + "\n" + shown.inputs.css,  # sprites: numbers and base64 only
        data=gallery_data(table, shown.rows, shown.sprites, shown.inputs, record) if shown.available else None,
        title=printable(heading, 200),
        created=moment(created),
        facts=run_facts(record, table),
        n=len(table),
        order="by seed" if table.seeds is not None else "in the order of the table",
        skipped=[(printable(face, 200), printable(reason, 300)) for face, reason in found.skipped[:_MAX_SKIPPED_ROWS]],
        n_skipped=len(found.skipped),
        notes=notes,
        licences=licences(record),
        tables=settings_tables(record.values),
        **_numbers(found),
        seen=_size_seen(record),
        **_gallery(found, chosen, shown),
        judges=None if found.judges is None else _judges(found, found.judges, disputed, shown),
    )


def _size_seen(record: RunRecord) -> str:
    """Height and width of what the classifier saw, as a run records them: ``48 × 48``."""
    size = (record.classify.size if record.classify else None) or SIZE
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    return f"{printable(height, 8)} × {printable(width, 8)}"


def _numbers(found: Findings) -> dict[str, Any]:
    """The template's values on the shares, the confidences and what corrects them."""
    table, shares, correction = found.table, found.shares, found.correction
    return {
        "conclusions": conclude(found),
        "found": found,
        "references": [(against, result, _largest(result)) for against, result in found.references],
        "shares": shares,
        "confidence": found.confidence,
        "correction": correction,
        "sweep": found.sweep,
        "ranking": shares.ranking(),
        "label_chart": _label_chart(found),
        "estimates": _estimates(found),
        "shift": None
        if correction is None
        else label_shift_sentence(correction.label_shift, shares.classes, shares.counts),
        "validation_name": "" if correction is None else printable(correction.name, 120),
        "assumption": ASSUMPTION,
        "blind_spot": BLIND_SPOT,
        "refuted_reference": REFUTED_REFERENCE,
        "beside": None if correction is None else shares_beside(correction, shares.classes),
        "confidence_chart": figures.confidence_chart(
            found.confidence, ident="confidence", title="Confidences of the given labels"
        ),
        "mean_probability": table.probabilities.mean(axis=0, dtype=np.float64),
        "mean_confidence": mean_confidence(found),
        "max_entropy": float(np.log2(len(table.classes))),
        "sweep_charts": [] if found.sweep is None else _sweep_charts(found.sweep, shares),
    }


def _gallery(found: Findings, chosen: Selection, shown: _Pictures) -> dict[str, Any]:
    """The template's values on single faces."""
    table, sprites, index = found.table, shown.sprites, shown.places
    return {
        "pictures": shown.available,
        "shown": len(shown.rows),
        "sample": make_tiles(table, chosen.sample, sprites, label_only, index),
        "sections": _sections(found, chosen, sprites, index),
        "most": make_tiles(table, chosen.most, sprites, label_and_confidence, index),
        "least": make_tiles(table, chosen.least, sprites, first_and_second, index),
    }


def _judges(found: Findings, judges: Judges, disputed: list[int], shown: _Pictures) -> dict[str, Any]:
    """The template's values on several judges."""
    agreement, table = judges.found, found.table
    order = agreement.shares[0].ranking()
    series = [
        figures.Series.of(printable(name, 40), one, order)
        for name, one in zip(agreement.names, agreement.shares, strict=True)
    ][:_SERIES]
    chart = figures.interval_chart(
        [agreement.classes[k] for k in order], series, ident="judges-shares", title="Counted shares by judge"
    )
    said = {
        int(agreement.faces[place]): " / ".join(printable(agreement.classes[c], 24) for c in agreement.codes[:, place])
        for place in disputed
    }
    tiles = make_tiles(table, list(said), shown.sprites, lambda _, row: (said[row], ""), shown.places)
    corrected = [
        None if one is None else {"refuted": one.refuted, "shares": judges.corrected(number)}
        for number, one in enumerate(judges.corrections)
    ]
    return {
        "sentence": judges_sentence(judges),
        "legend": [(figures.legend_mark(i), one.name) for i, one in enumerate(series)],
        "chart": chart,
        "tiles": tiles if shown.available else [],
        "corrected": corrected,
    }


def _pictures(
    table: LabelTable,
    rows: list[int],
    load_face: Callable[[str], Face] | None,
    prepare: Prepare | None,
    size: int,
) -> _Pictures:
    """The faces and, where they can be prepared, what the classifier saw of them; each face is loaded once."""
    if load_face is None:
        return _Pictures(rows, Sprites(), Sprites(), available=False)
    seen: dict[str, Face] = {}

    def load(name: str) -> Face:
        face = load_face(name)
        if prepare is not None:
            seen[name] = prepare(np.asarray(as_picture(face)))
        return face

    names = [table.faces[row] for row in rows]
    sprites = make_sprites(names, load, size=size)
    in_order = [name for name in names if name in seen]  # threads fill `seen` in the order in which they finish
    edge = max((max(np.asarray(face).shape[:2]) for face in seen.values()), default=0)
    inputs = make_sprites(in_order, seen.__getitem__, size=min(edge, size), budget=_INPUT_BYTES, prefix="i")
    return _Pictures(rows, sprites, inputs, available=True)


def _label_chart(found: Findings) -> Markup:
    marks = []
    if found.correction is not None and not found.correction.refuted:
        marks.append(("diamond", "corrected", found.correction.prevalence["ACC"].shares))
    if found.audit is not None:
        marks.append(("square", "by people", found.audit.shares))
    return figures.label_chart(found.shares, ident="distribution", title="Shares of the expression labels", marks=marks)


def _largest(result: Comparison) -> list[LabelDifference]:
    return sorted(result.labels, key=lambda row: -abs(row.difference))[:2]


@dataclass(frozen=True)
class Estimates:
    """All estimates of the same shares, for one table and one figure.

    `doubts` say by the name of a series why it does not stand; such a series is struck in the table and not drawn.
    `chart` is None where only the raw shares are left to draw.
    """

    series: list[figures.Series]
    doubts: dict[str, str]
    legend: list[tuple[Markup, str]]
    chart: Markup | None


def _estimates(found: Findings) -> Estimates | None:
    """The raw shares beside the corrected ones and those by people; None where there are only raw ones."""
    series = [figures.Series.of("Counted", found.shares)]
    doubts: dict[str, str] = {}
    if found.correction is not None:
        rows = found.correction.prevalence.estimates
        series += [figures.Series.of(f"Corrected ({row.method})", row) for row in rows]
        doubts = {f"Corrected ({method})": why for method, why in found.correction.doubts.items()}
    if found.audit is not None:
        series.append(figures.Series.of("By people", found.audit))
    if len(series) == 1:
        return None
    order = found.shares.ranking()
    drawn = [figures.Series.of(one.name, one, order) for one in series if one.name not in doubts]
    if len(drawn) == 1:
        return Estimates(series, doubts, [], None)
    chart = figures.interval_chart(
        [found.shares.classes[k] for k in order], drawn, ident="estimates", title="Estimates of the shares"
    )
    return Estimates(series, doubts, [(figures.legend_mark(i), one.name) for i, one in enumerate(drawn)], chart)


def _sections(found: Findings, chosen: Selection, sprites: Sprites, index: Mapping[int, int]) -> list[LabelSection]:
    table, shares = found.table, found.shares
    sections = []
    for k in shares.ranking():
        tiles = make_tiles(table, chosen.by_label[k], sprites, confidence_only, index)
        total = int(shares.counts[k])
        note = ""
        if total > len(tiles):
            note = f"A sample: the first {len(tiles)} of {count(total)}."
        name = printable(table.classes[k], 60)
        few = len(tiles) <= _OPEN + 12  # a fold of three faces is no help
        sections.append(
            LabelSection(
                name=name,
                anchor=f"label-{k}",
                count=total,
                share=percent(shares.shares[k]),
                interval=f"{percent(shares.low[k])} to {percent(shares.high[k])}",
                tiles=tiles if few else tiles[:_OPEN],
                folded=[] if few else tiles[_OPEN:],
                note=note,
                chart=figures.probability_chart(
                    table.probabilities[:, k],
                    table.codes == k,
                    ident=f"probability-{k}",
                    title=f"Probability of {name}",
                ),
                mean_probability=percent(float(table.probabilities[:, k].mean(dtype=np.float64))),
            )
        )
    return sections


def _sweep_charts(sweep: Sweep, shares: LabelShares) -> list[tuple[str, Markup]]:
    names = {k: printable(shares.classes[k], 60) for k in shares.ranking()}
    return [
        (name, figures.sweep_chart(sweep, k, ident=f"sweep-{k}", title=f"Share of {name} by truncation"))
        for k, name in names.items()
    ]
