"""Label statistics, figures, and the HTML report.

>>> from fergan.reports import label_shares, prevalence
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .html.document import Report, write_report
    from .notebook import show
    from .pages.report import build_report
    from .statistics.agreement import agreement_test
    from .statistics.fit import label_shift_test
    from .statistics.label_audit import prediction_powered
    from .statistics.prevalence import Validation
    from .statistics.prevalence import estimate_prevalence as prevalence
    from .statistics.shares import label_shares

_PLACES = {
    "Report": ("html.document", "Report"),
    "Validation": ("statistics.prevalence", "Validation"),
    "agreement_test": ("statistics.agreement", "agreement_test"),
    "build_report": ("pages.report", "build_report"),
    "label_shares": ("statistics.shares", "label_shares"),
    "label_shift_test": ("statistics.fit", "label_shift_test"),
    "prediction_powered": ("statistics.label_audit", "prediction_powered"),
    "prevalence": ("statistics.prevalence", "estimate_prevalence"),
    "show": ("notebook", "show"),
    "write_report": ("html.document", "write_report"),
}

__all__ = [
    "Report",
    "Validation",
    "agreement_test",
    "build_report",
    "label_shares",
    "label_shift_test",
    "prediction_powered",
    "prevalence",
    "show",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Import a name of the face when it is first asked for (PEP 562): the package itself loads nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return list(__all__)
