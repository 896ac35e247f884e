"""How good predictions are: a table of metrics, their values and their intervals.

Letters: B examples, L labels, R resamples or other weightings of the examples.
"""

from bertwright.metrics.calibration import Calibration, calibrate, expected_calibration_error, reliability
from bertwright.metrics.evaluation import (
    MOST_CONFUSED_LABELS,
    Judged,
    bootstrap,
    collapsed,
    compute,
    confused_pairs,
    confusion,
    majority,
    per_class,
)
from bertwright.metrics.outcome import (
    CLASSIFICATION,
    MULTILABEL,
    MULTIPLE_CHOICE,
    PRETRAINING,
    QA,
    REGRESSION,
    TAGGING,
    Kind,
    Outcome,
)
from bertwright.metrics.pretraining import Guessed
from bertwright.metrics.registry import DEFAULT_METRICS, METRICS, Metric, check_metrics, fitting
from bertwright.metrics.significance import Comparison, compare, mcnemar
from bertwright.metrics.spans import Scheme, Span, Tagged
from bertwright.metrics.squad import Answered, squad_scores
from bertwright.metrics.thresholds import Thresholds, tune_thresholds

__all__ = [
    "CLASSIFICATION",
    "DEFAULT_METRICS",
    "METRICS",
    "MOST_CONFUSED_LABELS",
    "MULTILABEL",
    "MULTIPLE_CHOICE",
    "PRETRAINING",
    "QA",
    "REGRESSION",
    "TAGGING",
    "Answered",
    "Calibration",
    "Comparison",
    "Guessed",
    "Judged",
    "Kind",
    "Metric",
    "Outcome",
    "Scheme",
    "Span",
    "Tagged",
    "Thresholds",
    "bootstrap",
    "calibrate",
    "check_metrics",
    "collapsed",
    "compare",
    "compute",
    "confused_pairs",
    "confusion",
    "expected_calibration_error",
    "fitting",
    "majority",
    "mcnemar",
    "per_class",
    "reliability",
    "squad_scores",
    "tune_thresholds",
]
