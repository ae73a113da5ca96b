"""The audit of a set of labelled faces: duplicates, leaks across splits, pictures of nothing, doubtful labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...runtime.errors import UsageError
from ..face_set import OWN_SPLITS, FaceSet, class_counts, role
from .duplicates import FLAT, THRESHOLD, exact_groups, near_duplicates, pixel_hashes
from .label_noise import find_label_noise

COLUMNS = (
    "kind",
    "row",
    "name",
    "split",
    "label",
    "other_row",
    "other_name",
    "other_split",
    "other_label",
    "similarity",
    "mirrored",
    "leak",
    "conflict",
    "suggested_label",
    "score",
    "sha256",
)
"""Columns of the findings, one row a finding; those that do not concern its kind are empty.

``row`` counts from 0 in the audited data, as ``other_row`` does for the second face of a pair. ``leak``: the pair
lies in two of training, validation and test. ``conflict``: its labels differ. ``similarity``: 1 for the same pixels,
else the correlation of fine detail. ``score``: for ``label_issue`` the probability of the suggested class less that
of the given one; for ``not_a_face`` the share of votes; for ``few_grays`` the share of its commonest gray; for
``flat`` the standard deviation. ``sha256``: 16 digits of the pixels' hash, by which lists made from this table know
their faces again.
"""

KINDS = ("exact_duplicate", "near_duplicate", "flat", "few_grays", "not_a_face", "label_issue")
"""``few_grays`` is a suspicion only: one of 64 grays covers half of the picture, as in drawings and placeholders."""

_FEW_GRAYS = 0.5


@dataclass(frozen=True)
class Audit:
    """Findings about a set of faces.

    Attributes:
        findings: columns :data:`COLUMNS`, in the order of :data:`KINDS`.
        summary: counts, as plain JSON values.
        classes: faces by label (index) and split (columns).
        joint: the confident joint, given label by confidently predicted one; None without predictions.
    """

    findings: pd.DataFrame
    summary: dict[str, Any]
    classes: pd.DataFrame
    joint: pd.DataFrame | None = None


def audit(
    faces: FaceSet,
    *,
    threshold: float = THRESHOLD,
    probabilities: np.ndarray | None = None,
    not_a_face: np.ndarray | None = None,
) -> Audit:
    """Look for what makes scores on a set doubtful.

    Args:
        faces: any set.
        threshold: of near duplicates (:func:`fergan.data.audit.duplicates.near_duplicates`).
        probabilities: [N, K] out-of-fold predictions in the order of ``label_names``; rows of NaN are not judged.
        not_a_face: [N], the share of people who said that a row shows no face, as FER+'s column NF does.

    Raises:
        UsageError: predictions or votes of another length or another number of classes.
    """
    for what, given in (("predictions", probabilities), ("votes", not_a_face)):
        if given is not None and len(given) != len(faces):
            raise UsageError(f"{len(given)} rows of {what} for {len(faces)} faces; give one for each, in order")
    if probabilities is not None and probabilities.shape[1:] != (len(faces.label_names),):
        raise UsageError(f"{probabilities.shape[1:]} predicted classes for {len(faces.label_names)} labels")
    table = _Table(faces)
    deviation = faces.images.reshape(len(faces), -1).std(axis=1)
    flat = deviation < FLAT
    groups = exact_groups(faces.images)
    pairs = near_duplicates(faces.images, threshold)
    # two pictures of the same pixels correlate by 1, so all exact pairs are among these, but for flat pictures
    exact = groups[pairs.first] == groups[pairs.second]
    for kind, chosen in (("exact_duplicate", exact), ("near_duplicate", ~exact)):
        similarity = np.where(exact, 1.0, pairs.similarity)[chosen].round(4)
        table.add(
            kind, pairs.first[chosen], pairs.second[chosen], similarity=similarity, mirrored=pairs.mirrored[chosen]
        )
    table.add("flat", np.flatnonzero(flat), score=deviation[flat].round(2))
    share = _commonest_gray(faces.images)
    few = np.flatnonzero((share >= _FEW_GRAYS) & ~flat)
    table.add("few_grays", few, score=share[few].round(4))
    if not_a_face is not None:
        rows = np.flatnonzero(not_a_face > 0.5)
        table.add("not_a_face", rows, score=not_a_face[rows].round(4))
    joint = None
    if probabilities is not None:
        judged = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
        noise = find_label_noise(faces.labels[judged], probabilities[judged])
        suggested = np.array(faces.label_names)[noise.suggested]
        table.add("label_issue", judged[noise.rows], suggested_label=suggested, score=noise.margin.round(4))
        joint = pd.DataFrame(noise.joint, index=list(faces.label_names), columns=list(faces.label_names))
    findings = table.frame()
    return Audit(findings, _summary(faces, findings, groups, flat), _class_table(faces), joint)


def _class_table(faces: FaceSet) -> pd.DataFrame:
    """Faces by label (index, in the order of ``label_names``) and split (columns, in order of first occurrence)."""
    counts = pd.DataFrame(class_counts(faces), index=list(faces.label_names)).rename(columns={"no split": ""})
    return counts[list(dict.fromkeys(faces.usage.tolist()))]


def leaks_to_drop(faces: FaceSet, findings: pd.DataFrame) -> pd.DataFrame:
    """The rows to leave out so that no face lies in two splits: of each leaking pair the one that is less of a test.

    Training rows give way to validation and test rows, validation rows to test rows: the sets that scores are measured
    on stay what they were.

    Returns:
        Columns ``row``, ``name``, ``sha256``, ``reason``, sorted by row.
    """
    rank = {name: number for number, name in enumerate(OWN_SPLITS)}
    roles, names, hashes = role(faces.usage), faces.row_names(), pixel_hashes(faces.images)
    reasons: dict[int, str] = {}
    leaks = findings[findings["leak"].eq(True)]
    for one, other in zip(leaks["row"].astype(int), leaks["other_row"].astype(int), strict=True):
        gone, stays = (one, other) if rank[roles[one]] < rank[roles[other]] else (other, one)
        reasons.setdefault(gone, f"also in {faces.usage[stays]}: {names[stays]}")
    rows = sorted(reasons)
    return pd.DataFrame(
        {
            "row": rows,
            "name": names[rows] if rows else [],
            "sha256": hashes[rows] if rows else [],
            "reason": [reasons[row] for row in rows],
        }
    )


class _Table:
    """Findings as they come in, with what is known of each row filled in."""

    def __init__(self, faces: FaceSet) -> None:
        self.names, self.usage, self.labels = faces.row_names(), faces.usage, faces.label_texts()
        self.roles, self.hashes = role(faces.usage), pixel_hashes(faces.images)
        self.parts: list[pd.DataFrame] = []

    def add(self, kind: str, rows: np.ndarray, other: np.ndarray | None = None, **values: np.ndarray) -> None:
        part: dict[str, Any] = {
            "kind": np.full(len(rows), kind),
            "row": rows,
            "name": self.names[rows],
            "split": self.usage[rows],
            "label": self.labels[rows],
            "sha256": self.hashes[rows],
            **values,
        }
        if other is not None:
            leak = (self.roles[rows] != self.roles[other]) & (self.roles[rows] != "") & (self.roles[other] != "")
            part |= {
                "other_row": other,
                "other_name": self.names[other],
                "other_split": self.usage[other],
                "other_label": self.labels[other],
                "leak": leak,
                "conflict": self.labels[rows] != self.labels[other],
            }
        self.parts.append(pd.DataFrame(part).reindex(columns=COLUMNS).astype(_TYPES))

    def frame(self) -> pd.DataFrame:
        return pd.concat(self.parts, ignore_index=True)


_TYPES: Any = {
    **dict.fromkeys(COLUMNS, "string"),
    **dict.fromkeys(("row", "other_row"), "Int64"),
    **dict.fromkeys(("similarity", "score"), "Float64"),
    **dict.fromkeys(("mirrored", "leak", "conflict"), "boolean"),
}


def _commonest_gray(images: np.ndarray) -> np.ndarray:
    """float64 [N]: the share of pixels in the fullest of 64 bins of gray."""
    if not len(images):
        return np.empty(0)
    bins = (images.reshape(len(images), -1) // 4).astype(np.int64)
    return np.array([np.bincount(row).max() for row in bins]) / bins.shape[1]


def _summary(faces: FaceSet, findings: pd.DataFrame, groups: np.ndarray, flat: np.ndarray) -> dict[str, Any]:
    sizes = np.bincount(groups, minlength=len(faces))
    copies = int(len(faces) - (sizes > 0).sum())
    summary: dict[str, Any] = {
        "faces": len(faces),
        "exact_copies": copies,
        "exact_copies_not_flat": int((~flat).sum() - len(np.unique(groups[~flat]))),
        "rows_with_an_exact_copy": int((sizes[groups] > 1).sum()),
    }
    for kind in KINDS:
        of_kind = findings[findings["kind"] == kind]
        summary[kind] = len(of_kind)
        if kind.endswith("duplicate"):
            summary[f"{kind}_leaks"] = int(of_kind["leak"].fillna(False).sum())
            summary[f"{kind}_conflicts"] = int(of_kind["conflict"].fillna(False).sum())
            summary[f"{kind}_mirrored"] = int(of_kind["mirrored"].fillna(False).sum())
    leaks = findings[findings["leak"].fillna(False)]
    for name in dict.fromkeys(faces.usage.tolist()):
        one, two = leaks["split"].eq(name), leaks["other_split"].eq(name)
        rows = pd.concat([leaks.loc[one, "row"], leaks.loc[two, "other_row"]])
        summary[f"rows_of_{name or 'no_split'}_in_another_split"] = int(rows.nunique())
    return summary
