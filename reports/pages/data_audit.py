"""The page of a data audit: counts, and the faces behind them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...data.audit.audit import Audit
from ...data.face_set import FaceSet
from ...runtime.errors import counted
from ...runtime.files import printable
from ..html.document import render_document
from ..html.sprites import Cell, Sprites, make_sprites

_SHOWN = 60
"""Findings shown of each kind; the table holds all."""


@dataclass(frozen=True)
class _Finding:
    faces: list[tuple[Cell, str]]
    """each with its alternative text"""
    strong: str
    text: str


@dataclass(frozen=True)
class _Section:
    title: str
    note: str
    shown: str
    single: bool
    findings: list[_Finding]


def build_page(faces: FaceSet, audit: Audit, title: str) -> str:
    """One HTML file with styles and pictures inside; it loads nothing."""
    chosen = [(heading, note, rows, len(all_rows)) for heading, note, all_rows, rows in _chosen(audit.findings)]
    names = [str(row) for _, _, rows, _ in chosen for pair in rows[["row", "other_row"]].to_numpy() for row in pair]
    sprites = make_sprites(
        [name for name in names if name != "<NA>"], lambda name: faces.images[int(name)], size=60, prefix="d"
    )
    sections = [
        _Section(
            heading,
            note,
            f"{len(rows)} of {total}; all are in findings.csv." if len(rows) < total else "",
            bool(rows["other_row"].isna().all()),
            [_finding(record, sprites) for record in rows.to_dict("records")],
        )
        for heading, note, rows, total in chosen
    ]
    return render_document(
        "data_audit.html.j2",
        *("page.css", "data_audit.css"),
        css=sprites.css,
        title=f"Audit of {printable(title)}",
        created=counted(len(faces), "face"),
        lines=summary_lines(audit.summary),
        classes=audit.classes.rename(columns={"": "no split"}),
        joint=audit.joint,
        sections=sections,
    )


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The counts of an audit as a person reads them."""
    lines = [
        f"{counted(summary['faces'], 'face')}, {summary['exact_copies']} of them exact copies of an earlier one",
    ]
    for kind, text in (("exact_duplicate", "same pixels"), ("near_duplicate", "same photograph")):
        lines.append(
            f"{counted(summary[kind], 'pair')} of the {text}: {summary[f'{kind}_leaks']} across splits, "
            f"{summary[f'{kind}_conflicts']} with different labels, {summary[f'{kind}_mirrored']} mirrored"
        )
    lines += [
        f"in another split too: {counted(count, name[len('rows_of_') : -len('_in_another_split')] + ' face')}"
        for name, count in summary.items()
        if name.startswith("rows_of_") and count
    ]
    for kind, text in (
        ("flat", "flat pictures"),
        ("few_grays", "pictures of few grays (drawings, placeholders?)"),
        ("not_a_face", "pictures that people call no face"),
        ("label_issue", "likely wrong labels"),
    ):
        if summary[kind]:
            lines.append(f"{summary[kind]} {text}")
    return lines


def _chosen(findings: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """(title, note, all findings, those shown) of each section that has any."""
    kind = findings["kind"]
    leak, conflict = findings["leak"].fillna(False), findings["conflict"].fillna(False)
    near, exact = kind.eq("near_duplicate"), kind.eq("exact_duplicate")
    parts = [
        ("Leaks: same pixels in two splits", "Scores on the later split count faces that were learnt.", exact & leak),
        (
            "Leaks: same photograph in two splits",
            "Cut, scaled, lit or mirrored differently; least alike first.",
            near & leak,
        ),
        ("Same pixels, different labels", "At most one of the two labels can be right.", exact & conflict),
        ("Same photograph, different labels", "The least alike first.", near & conflict),
        ("Other near duplicates", "In one split, with one label; the least alike first.", near & ~leak & ~conflict),
        ("Flat pictures", "Nearly one gray.", kind.eq("flat")),
        ("Few grays", "One gray covers half of the picture: a suspicion, not a verdict.", kind.eq("few_grays")),
        ("Not a face", "More than half of the people who saw it said so.", kind.eq("not_a_face")),
        ("Likely wrong labels", "Out-of-fold predictions are confident of another label.", kind.eq("label_issue")),
    ]
    result = []
    for title, note, rows in parts:
        these = findings[rows.astype(bool)]
        if these.empty:
            continue
        order = these.sort_values("similarity", kind="stable") if "least alike" in note else these
        result.append((title, note, these, order.head(_SHOWN)))
    return result


def _finding(record: Mapping[Hashable, Any], sprites: Sprites) -> _Finding:
    sides = ("",) if pd.isna(record["other_row"]) else ("", "other_")
    name = printable(record["name"])
    if len(sides) == 2:
        labels = record["label"] if not record["conflict"] else f"{record['label']} / {record['other_label']}"
        splits = record["split"] if not record["leak"] else f"{record['split']} / {record['other_split']}"
        alike = f"{record['similarity']:.2f}{', mirrored' if record['mirrored'] else ''}"
        text = " · ".join(
            part for part in (labels, splits, alike, f"{name}, {printable(record['other_name'])}") if part
        )
        strong = ""
    else:
        strong = "" if pd.isna(record["suggested_label"]) else f"{record['label']} → {record['suggested_label']}"
        rest = "" if strong else record["label"]
        text = " · ".join(part for part in (rest, record["split"], f"{record['score']:g}", name) if part)
    faces = [
        (sprites.cells[str(record[f"{side}row"])], f"{printable(record[f'{side}name'])}: {record[f'{side}label']}")
        for side in sides
    ]
    return _Finding(faces, strong, text)
