"""Label statistics, figures, and the HTML report.

>>> from fergan.reports import label_shares, prevalence
"""

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .html.document import Report as Report
    from .html.document import write_report as write_report
    from .pages.report import build_report as build_report
    from .statistics.correction.fit import label_shift_test as label_shift_test
    from .statistics.correction.prevalence import Validation as Validation
    from .statistics.correction.prevalence import estimate_prevalence
    from .statistics.label_audit import prediction_powered as prediction_powered
    from .statistics.label_audit import stratified_sample as stratified_sample
    from .statistics.shares import label_shares as label_shares
    from .statistics.table import LabelTable as LabelTable

    prevalence = estimate_prevalence

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "LabelTable": "statistics.table",
        "Report": "html.document",
        "Validation": "statistics.correction.prevalence",
        "build_report": "pages.report",
        "label_shares": "statistics.shares",
        "label_shift_test": "statistics.correction.fit",
        "prediction_powered": "statistics.label_audit",
        "prevalence": "statistics.correction.prevalence:estimate_prevalence",
        "stratified_sample": "statistics.label_audit",
        "write_report": "html.document",
    },
)
