"""How good predictions are: a table of metrics, their values and their intervals.

Letters: B examples, L labels, R resamples.
"""

from bertwright.metrics.measure import bootstrap, collapsed, compute, confusion, majority, per_class
from bertwright.metrics.outcome import CLASSIFICATION, MULTILABEL, REGRESSION, Kind, Outcome
from bertwright.metrics.table import DEFAULT_METRICS, METRICS, Metric, check_metrics, fitting

__all__ = [
    "CLASSIFICATION",
    "DEFAULT_METRICS",
    "METRICS",
    "MULTILABEL",
    "REGRESSION",
    "Kind",
    "Metric",
    "Outcome",
    "bootstrap",
    "check_metrics",
    "collapsed",
    "compute",
    "confusion",
    "fitting",
    "majority",
    "per_class",
]
