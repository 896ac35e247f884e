"""How good predictions are: a table of metrics, their values and their intervals.

Letters: B examples, L labels, R resamples or other weightings of the examples.
"""

from bertwright.metrics.measure import Judged, bootstrap, collapsed, compute, confusion, majority, per_class
from bertwright.metrics.outcome import CLASSIFICATION, MULTILABEL, QA, REGRESSION, TAGGING, Kind, Outcome
from bertwright.metrics.spans import Scheme, Span, Tagged
from bertwright.metrics.squad import Answered, squad_scores
from bertwright.metrics.table import DEFAULT_METRICS, METRICS, Metric, check_metrics, fitting

__all__ = [
    "CLASSIFICATION",
    "DEFAULT_METRICS",
    "METRICS",
    "MULTILABEL",
    "QA",
    "REGRESSION",
    "TAGGING",
    "Answered",
    "Judged",
    "Kind",
    "Metric",
    "Outcome",
    "Scheme",
    "Span",
    "Tagged",
    "bootstrap",
    "check_metrics",
    "collapsed",
    "compute",
    "confusion",
    "fitting",
    "majority",
    "per_class",
    "squad_scores",
]
