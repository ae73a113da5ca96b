"""The contents of `report.json`: what the page says, as plain JSON values, by the schema in `schema/`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..data.run_record.run import RunRecord
from .correction import Correction, label_shift_sentence, shares_beside
from .edited import edited_data
from .findings import Findings
from .further import answers_data, plan_data, posterior_data
from .judges import judges_data
from .samples import Compared
from .selected import selected_data
from .settings import plain
from .statistics.correction.depth import DepthCheck
from .statistics.correction.prevalence import ASSUMPTION
from .statistics.differences.comparison import Comparison, PairedComparison
from .statistics.differences.preparation import PreparationSensitivity
from .statistics.shares import LabelShares
from .statistics.sweep import Sweep
from .values import by_name, estimates, interval, share_data

VERSION = 1


def schema(name: str = "report") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `report.json` or `evaluation.json`."""
    path = Path(__file__).parent / "pages" / "schema" / f"{name}.schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def report_data(
    findings: Findings,
    *,
    record: RunRecord,
    created: str,
    title: str,
    unreadable: int = 0,
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """All numbers of a report as plain JSON values; ``unreadable`` counts pictures that could not be shown."""
    table, shares = findings.table, findings.shares
    names = [str(plain(name)) for name in table.classes]
    return {
        "format": {"name": "fergan.report", "version": VERSION},
        "title": plain(title),
        "created": plain(created),
        "n": len(table),
        "labels": names,
        "counts": {name: int(shares.counts[k]) for k, name in enumerate(names)},
        "shares": share_data(names, shares),
        "interval": {"method": "modified wilson", "level": shares.level},
        "mean_probability": by_name(names, table.probabilities.mean(axis=0, dtype=np.float64)),
        "confidence": _confidence(names, findings),
        "corrected": _corrected(names, findings),
        "selected": selected_data(findings.selected),
        "posterior": posterior_data(names, findings.further),
        "plan": plan_data(names, findings.further),
        "audit": _audit(names, findings),
        "label_shift": _label_shift(names, findings.correction, findings.shares),
        "depth": None if findings.correction is None else _depth(findings.correction.depth),
        "references": _references(names, findings),
        "preparation": None if findings.preparation is None else _preparation(names, findings.preparation),
        "sweep": sweep_data(names, findings.sweep),
        "edited": edited_data(names, findings.edited),
        "faces_not_found": None if table.face_found is None else int((~table.face_found).sum()),
        "judges": judges_data(findings.judges, table.faces),
        "failed_judges": {str(plain(name)): plain(reason) for name, reason in findings.failed},
        "n_skipped": len(findings.skipped),
        "skipped": [{"face": plain(face), "reason": plain(reason)} for face, reason in findings.skipped],
        "unreadable_pictures": unreadable,
        "notes": [plain(note) for note in notes],
        "settings": plain(record.values),
        "versions": plain(record.values.get("versions") or {}),
    }


def mean_confidence(findings: Findings) -> list[float | None]:
    """The mean confidence among the faces of each label, None for a label that no face got."""
    table = findings.table
    sums = np.bincount(table.codes, weights=table.confidence, minlength=len(table.classes))
    counts = findings.shares.counts
    return [float(sums[k] / counts[k]) if counts[k] else None for k in range(len(counts))]


def comparison_data(comparison: Comparison | PairedComparison) -> dict[str, Any]:
    """A comparison of two label distributions as plain JSON values."""
    data: dict[str, Any] = {
        "test": plain(vars(comparison.test)),
        "total_variation": interval(comparison.total_variation),
        "differences": {str(plain(row.label)): _but(row, "label") for row in comparison.labels},
        "notes": list(comparison.notes),
    }
    if isinstance(comparison, PairedComparison):
        return {**data, "paired": True, "n": comparison.n, "changed": comparison.changed}
    return {**data, "paired": False, "cramers_v": plain(comparison.cramers_v)}


def _but(row: Any, name: str) -> dict[str, Any]:
    """The fields of a dataclass but for one."""
    return {key: value for key, value in vars(row).items() if key != name}


def _confidence(names: list[str], findings: Findings) -> dict[str, Any]:
    confidence = findings.confidence
    return {
        "mean": confidence.mean,
        "median": confidence.median,
        "mean_by_label": dict(zip(names, mean_confidence(findings), strict=True)),
        "threshold": confidence.threshold,
        "uncertain": confidence.uncertain,
        "mean_entropy_bits": confidence.mean_entropy_bits,
        "bin_edges": [round(float(edge), 6) for edge in confidence.bin_edges],
        "histogram": confidence.histogram.tolist(),
    }


def _references(names: list[str], findings: Findings) -> list[dict[str, Any]]:
    return [
        {
            "name": plain(against.name),
            "as_labelled": against.error is not None,
            "shares": by_name(names, against.shares),
            **comparison_data(comparison),
        }
        for against, comparison in findings.references
    ]


def _corrected(names: list[str], findings: Findings) -> dict[str, Any] | None:
    correction = findings.correction
    if correction is None:
        return None
    corrected, band = correction.prevalence, correction.band
    return {
        "assumption": ASSUMPTION,
        "validation": plain(correction.name),
        "condition_number": plain(corrected.condition_number),
        "validation_counts": dict(zip(names, corrected.validation_counts.tolist(), strict=True)),
        "interval": corrected.interval,
        "replicates": corrected.replicates,
        "level": corrected.level,
        "methods": {row.method: estimates(names, row.shares, row.low, row.high) for row in corrected.estimates},
        "all_labels": {
            row.method: {
                name: {"low": float(low), "high": float(high)}
                for name, low, high in zip(names, row.joint_low, row.joint_high, strict=True)
            }
            for row in corrected.estimates
        },
        "doubts": correction.doubts,
        "beside": shares_beside(correction, findings.table.classes),
        "agreement": {"statistic": plain(correction.agreement.statistic), "p_value": correction.agreement.p_value},
        "sensitivity": {
            "low": by_name(names, band.low),
            "high": by_name(names, band.high),
            "rows": [
                {"errors": row.errors, "shares": estimates(names, row.shares, row.low, row.high)} for row in band.rows
            ],
        },
    }


def _label_shift(names: list[str], correction: Correction | None, shares: LabelShares) -> dict[str, Any] | None:
    if correction is None:
        return None
    test = correction.label_shift
    return {
        "statistic": test.statistic,
        "p_value": test.p_value,
        "power": test.power,
        "verdict": test.verdict,
        "expected_counts": by_name(names, test.expected_counts),
        "sentence": label_shift_sentence(test, shares.classes, shares.counts),
    }


def _audit(names: list[str], findings: Findings) -> dict[str, Any] | None:
    audit = findings.audit
    if audit is None:
        return None
    return {
        "answered": audit.answered,
        "agreement": plain(audit.agreement),
        "power": by_name(names, audit.power),
        "level": audit.level,
        "shares": estimates(names, audit.shares, audit.low, audit.high),
        "human": by_name(names, audit.human),
        **answers_data(names, audit),
    }


def _depth(depth: DepthCheck) -> dict[str, Any]:
    return {
        "verdict": depth.verdict,
        "sentence": depth.sentence,
        "effective_validation": plain(depth.effective_validation),
        "scores": {score.name: _but(score, "name") for score in depth.scores},
    }


def _preparation(names: list[str], preparation: PreparationSensitivity) -> dict[str, Any]:
    return {
        "n": preparation.n,
        "variants": [
            {
                "crop": plain(variant.crop),
                "filter": plain(variant.filter),
                "missed": variant.missed,
                "shares": share_data(names, variant.shares),
                "change": None if variant.change is None else comparison_data(variant.change),
            }
            for variant in preparation.variants
        ],
    }


def sweep_data(names: list[str], sweep: Sweep | None) -> dict[str, Any] | None:
    """The sweep as plain JSON values, with labels called `names`."""
    if sweep is None:
        return None
    return {
        "interval": {"method": "modified wilson", "level": sweep.shares[0].level},
        "by_psi": [
            {
                "psi": float(psi),
                "n": shares.n,
                "counts": {name: int(shares.counts[k]) for k, name in enumerate(names)},
                "shares": share_data(names, shares),
            }
            for psi, shares in zip(sweep.psi, sweep.shares, strict=True)
        ],
    }


def comparison_json(compared: Compared, created: str, title: str) -> dict[str, Any]:
    """The numbers of a comparison as plain JSON values."""
    names = [str(plain(name)) for name in compared.classes]
    corrected = compared.corrected or (None,) * len(compared.samples)
    return {
        "format": {"name": "fergan.comparison", "version": 1},
        "title": plain(title),
        "created": plain(created),
        "labels": names,
        "samples": [
            {
                "name": plain(sample.name),
                "n": shares.n,
                "counts": dict(zip(names, shares.counts.tolist(), strict=True)),
                "shares": share_data(names, shares),
                "corrected": None
                if by is None
                else {row.method: estimates(names, row.shares, row.low, row.high) for row in by.prevalence.estimates},
                "doubts": None if by is None else by.doubts,
                "label_shift": _label_shift(names, by, shares),
                "settings": plain(sample.record.values),
            }
            for sample, shares, by in zip(compared.samples, compared.shares, corrected, strict=True)
        ],
        "pairs": [
            {
                "a": plain(compared.samples[pair.first].name),
                "b": plain(compared.samples[pair.second].name),
                "adjusted_p": pair.adjusted_p,
                **comparison_data(pair.result),
            }
            for pair in compared.pairs
        ],
        "warnings": list(compared.warnings),
    }
