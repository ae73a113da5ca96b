"""Label statistics, figures, and the HTML report.

>>> from fergan.reports import label_shares, prevalence
"""

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .html.document import Report as Report
    from .html.document import write_report as write_report
    from .notebook import show as show
    from .pages.report import build_report as build_report
    from .statistics.agreement import agreement_test as agreement_test
    from .statistics.fit import label_shift_test as label_shift_test
    from .statistics.label_audit import prediction_powered as prediction_powered
    from .statistics.prevalence import Validation as Validation
    from .statistics.prevalence import estimate_prevalence
    from .statistics.shares import label_shares as label_shares

    prevalence = estimate_prevalence

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Report": "html.document",
        "Validation": "statistics.prevalence",
        "agreement_test": "statistics.agreement",
        "build_report": "pages.report",
        "label_shares": "statistics.shares",
        "label_shift_test": "statistics.fit",
        "prediction_powered": "statistics.label_audit",
        "prevalence": "statistics.prevalence:estimate_prevalence",
        "show": "notebook",
        "write_report": "html.document",
    },
)
