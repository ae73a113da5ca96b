"""Several runs on one page: aligned distributions, how far they are apart, and their faces side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ..conclusions import Conclusion
from ..correction import BLIND_SPOT, label_shift_sentence, shares_beside
from ..figures import bars as figures
from ..formatting import NBSP, count, listed, moment, percent, percent_range, plural, printable
from ..html.document import Report, render_document
from ..html.selection import Selection
from ..html.sprites import Sprites, make_sprites
from ..html.tiles import Tile, confidence_only, label_only, make_tiles
from ..report_json import comparison_json
from ..samples import Compared, Sample, compare_samples
from ..settings import Table, run_facts, settings_tables
from ..statistics.differences.comparison import PairedComparison

_SAMPLE = 30
_PER_LABEL = 12
_FACES_BYTES = 2_600_000  # of all runs together


def build_comparison(samples: Sequence[Sample], *, created: str) -> Report:
    """The page of a comparison and its numbers, in memory.

    Raises:
        DataError: as for :func:`compare_samples`.
    """
    compared = compare_samples(samples)
    names = [printable(sample.name, 60) for sample in compared.samples]
    heading = f"Facial expressions: {' / '.join(names)}"
    order = compared.ranking()
    pictures = [_pictures(sample, number, len(samples)) for number, sample in enumerate(compared.samples)]
    standing = {number: one.prevalence["ACC"] for number, one in enumerate(compared.corrected or ()) if not one.refuted}
    html = render_document(
        "compare.html.j2",
        *("page.css", "page.js"),
        css="\n".join(sprites.css for sprites, _ in pictures),
        title=printable(heading, 200),
        created=moment(created),
        conclusions=_conclude(compared, names),
        compared=compared,
        names=names,
        ranking=order,
        legend=[(figures.legend_mark(i), name) for i, name in enumerate(names)],
        chart=_chart(compared, names, order, dict(enumerate(compared.shares)), "given"),
        standing=standing,
        blind_spot=BLIND_SPOT,
        beside=[shares_beside(one, compared.classes) for one in compared.corrected or ()],
        shifts=[
            label_shift_sentence(one.label_shift, compared.classes, shares.counts)
            for one, shares in zip(compared.corrected or (), compared.shares, strict=False)
        ],
        corrected_chart=_chart(compared, names, order, standing, "corrected") if standing else None,
        facts=[run_facts(sample.record, sample.table) for sample in compared.samples],
        grids=_grids(compared, pictures),
        by_label=_by_label(compared, pictures, order),
        tables=[_settings(sample, name) for sample, name in zip(compared.samples, names, strict=True)],
    )
    return Report(html, comparison_json(compared, created, heading))


def _conclude(compared: Compared, names: Sequence[str]) -> tuple[Conclusion, ...]:
    farthest = max(compared.pairs, key=lambda pair: pair.result.total_variation.value)
    nearest = min(compared.pairs, key=lambda pair: pair.result.total_variation.value)
    a, b = names[farthest.first], names[farthest.second]
    distance = farthest.result.total_variation
    row = max(farthest.result.labels, key=lambda row: abs(row.difference))
    text = (
        f"{percent(distance.value)} of the labels ({percent_range(distance.low, distance.high)}) would have to change "
        f"to turn {a} into {b}. The largest difference is {printable(row.label, 60)}: {percent(row.a)} against "
        f"{percent(row.b)}."
    )
    if len(compared.pairs) > 1 and nearest is not farthest:
        text = "Farthest apart: " + text[0].lower() + text[1:]
        text += (
            f" Nearest are {names[nearest.first]} and {names[nearest.second]}, with "
            f"{percent(nearest.result.total_variation.value)}."
        )
    different = [pair for pair in compared.pairs if pair.adjusted_p < 0.05]
    if not different:
        chance = "No difference between these label distributions is beyond chance"
    elif len(different) == len(compared.pairs):
        several = len(different) > 1
        chance = "These label distributions differ beyond chance" if several else "The difference is beyond chance"
    else:
        chance = "Beyond chance are the differences between " + listed(
            [f"{names[pair.first]} and {names[pair.second]}" for pair in different]
        )
    if any(isinstance(pair.result, PairedComparison) for pair in compared.pairs):
        chance += "; sets of the same faces were compared face by face"
    caveat = (
        "Labels are what a classifier said. If it mistakes expressions in one set more often than in another, that "
        "alone makes a difference; look at the faces side by side."
    )
    if compared.warnings:
        caveat = f"{' '.join(compared.warnings)} {caveat}"
    small = [
        f"{name} has only {plural(shares.n, 'face')}"
        for name, shares in zip(names, compared.shares, strict=True)
        if shares.n < 100
    ]
    if small:
        chance += f" ({listed(small)}, so even large differences may go unnoticed)"
    smallest = _p_value(min(pair.adjusted_p for pair in compared.pairs))
    tested = ", the smallest, by Holm over all pairs" if len(compared.pairs) > 1 else ""
    return (
        Conclusion("How far apart", text),
        Conclusion("Chance or not", f"{chance} (p {smallest}{tested})."),
        Conclusion("What to keep in mind", caveat),
    )


def _p_value(p: float) -> str:
    return f"below{NBSP}0.001" if p < 0.001 else f"{p:.3f}"


def _chart(compared: Compared, names: Sequence[str], order: list[int], values: Mapping[int, Any], ident: str) -> Markup:
    """Estimates by the number of their sample, each with the mark that its sample has in every chart."""
    series = [figures.Series.of(names[number], one, order) for number, one in values.items()]
    classes, title = [compared.classes[k] for k in order], f"Shares of the labels, {ident}"
    return figures.interval_chart(classes, series, ident=ident, title=title, marks=list(values))


def _pictures(sample: Sample, number: int, samples: int) -> tuple[Sprites, Selection]:
    chosen = Selection.of(sample.table)
    if sample.load_face is None:
        return Sprites(), chosen
    rows = dict.fromkeys(chosen.sample[:_SAMPLE])
    for part in chosen.by_label:
        rows.update(dict.fromkeys(part[:_PER_LABEL]))
    prefix = "abcdefghijklmnopqrstuvwxyz"[number] + "s"
    names = (sample.table.faces[row] for row in rows)
    return make_sprites(names, sample.load_face, budget=_FACES_BYTES // samples, prefix=prefix), chosen


def _grids(compared: Compared, pictures: Sequence[tuple[Sprites, Selection]]) -> list[list[Tile]]:
    return [
        make_tiles(sample.table, chosen.sample[:_SAMPLE], sprites, label_only) if sample.load_face else []
        for sample, (sprites, chosen) in zip(compared.samples, pictures, strict=True)
    ]


@dataclass(frozen=True)
class _Row:
    """One label in every sample: how often, and its first faces."""

    label: str
    cells: list[tuple[str, list[Tile]]]


def _by_label(compared: Compared, pictures: Sequence[tuple[Sprites, Selection]], order: list[int]) -> list[_Row]:
    rows = []
    for k in order:
        cells = []
        for sample, shares, (sprites, chosen) in zip(compared.samples, compared.shares, pictures, strict=True):
            own = sample.table.classes.index(compared.classes[k])
            tiles = make_tiles(sample.table, chosen.by_label[own][:_PER_LABEL], sprites, confidence_only)
            cells.append((f"{count(int(shares.counts[k]))} · {percent(shares.shares[k])}", tiles))
        rows.append(_Row(printable(compared.classes[k], 60), cells))
    return rows


def _settings(sample: Sample, name: str) -> Table:
    rows = [
        (f"{table.heading.lower()}: {key}" if table.heading != "Run" else key, value)
        for table in settings_tables(sample.record.values)
        for key, value in table.rows
    ]
    return Table(name, tuple(rows))
