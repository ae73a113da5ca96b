"""Estimates beyond counting and correcting: the posterior of the shares, and how many faces would settle them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .settings import plain
from .statistics.answers import AnsweredConfusion
from .statistics.correction.bayes import BayesianShares, bayesian_shares
from .statistics.correction.confusion import answers_by_class
from .statistics.correction.prevalence import Validation
from .statistics.label_audit import AuditEstimate
from .statistics.planning import Plan, plan
from .statistics.table import LabelTable
from .values import by_name, estimates

_MIXED = 1.2  # Gelman and Rubin's factor above this: the draws are not to be trusted


@dataclass(frozen=True)
class Further:
    """Needs validation faces; `plan` is None where the classifier cannot tell some classes apart."""

    posterior: BayesianShares
    plan: Plan | None

    @property
    def mixed(self) -> bool:
        """Whether the chains of the sampler agree."""
        return self.posterior.mixing <= _MIXED


def further(table: LabelTable, validation: Validation) -> Further:
    """The posterior of the shares of a table of labels, and a plan at its means."""
    k = len(table.classes)
    confusion = answers_by_class(validation.probabilities, validation.labels)
    posterior = bayesian_shares(np.bincount(table.codes, minlength=k), confusion)
    try:
        planned = plan(table.classes, confusion, posterior.shares, n=len(table))
    except ValueError:
        planned = None
    return Further(posterior, planned)


def posterior_data(names: list[str], found: Further | None) -> dict[str, Any] | None:
    """The posterior as plain JSON values."""
    if found is None:
        return None
    posterior = found.posterior
    return {
        "level": posterior.level,
        "interval": "credible",
        "shares": estimates(names, posterior.shares, posterior.low, posterior.high),
        "first": by_name(names, posterior.first),
        "rankings": [
            {"order": [names[k] for k in ranking.order], "probability": ranking.probability}
            for ranking in posterior.rankings
        ],
        "mixing": plain(posterior.mixing),
    }


def plan_data(names: list[str], found: Further | None) -> dict[str, Any] | None:
    """The plan as plain JSON values; faces are null where validation faces alone leave more than the target."""
    planned = None if found is None else found.plan
    if planned is None:
        return None
    return {
        "target": planned.target,
        "level": planned.level,
        "labels": {
            name: {
                "half_width": float(planned.half_width[k]),
                "floor": float(planned.floor[k]),
                "faces": int(planned.faces[k]) if np.isfinite(planned.faces[k]) else None,
                "validation_factor": float(planned.validation_factor[k]),
                "faces_then": int(planned.faces_then[k]),
                "answers": int(planned.answers[k]),
            }
            for k, name in enumerate(names)
        },
    }


def answers_data(names: list[str], audit: AuditEstimate) -> dict[str, Any]:
    """Data on what people could not tell, how far they agreed, and the shares corrected by their answers."""
    found: AnsweredConfusion = audit.confusion
    return {
        "raters": audit.raters,
        "kappa": audit.kappa,
        "cannot_tell": {"share": audit.cannot_tell, "low": audit.cannot_tell_low, "high": audit.cannot_tell_high},
        "worst_case": estimates(names, audit.shares, audit.worst_low, audit.worst_high),
        "effective_n": by_name(names, audit.effective_n),
        "corrected": estimates(names, found.shares, found.low, found.high),
        "confusion": {
            seen: None if found.answers[y] == 0 else by_name(names, found.matrix[:, y]) for y, seen in enumerate(names)
        },
        "answers": by_name(names, found.answers),
    }


def refuted(data: Mapping[str, Any]) -> bool:
    """Whether a report's own test refutes what its corrections rest on."""
    return (data.get("label_shift") or {}).get("verdict") == "refuted"
