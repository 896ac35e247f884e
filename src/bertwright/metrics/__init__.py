"""Metrics of predictions with confidence intervals, significance tests, calibration and threshold tuning.

Letters: B examples, L labels, R resamples or other weightings of the examples.
"""

from bertwright.metrics.calibration import Calibration, calibrate, expected_calibration_error, reliability_bins
from bertwright.metrics.evaluation import (
    MAX_MATRIX_LABELS,
    AnyOutcome,
    bootstrap_intervals,
    compute_metrics,
    confused_pairs,
    confusion_matrix,
    describe_collapse,
    per_class_metrics,
    predict_majority,
)
from bertwright.metrics.outcome import (
    CLASSIFICATION,
    MULTILABEL,
    MULTIPLE_CHOICE,
    PRETRAINING,
    QA,
    REGRESSION,
    TAGGING,
    Outcome,
    OutcomeKind,
)
from bertwright.metrics.pretraining import MaskedLMOutcome
from bertwright.metrics.registry import DEFAULT_METRICS, METRICS, Metric, check_metrics, list_metrics
from bertwright.metrics.significance import MetricComparison, compare_metrics, mcnemar
from bertwright.metrics.spans import Scheme, TaggingOutcome, WordSpan
from bertwright.metrics.squad import AnswerOutcome, squad_scores
from bertwright.metrics.thresholds import Thresholds, tune_thresholds

__all__ = [
    "CLASSIFICATION",
    "DEFAULT_METRICS",
    "MAX_MATRIX_LABELS",
    "METRICS",
    "MULTILABEL",
    "MULTIPLE_CHOICE",
    "PRETRAINING",
    "QA",
    "REGRESSION",
    "TAGGING",
    "AnswerOutcome",
    "AnyOutcome",
    "Calibration",
    "MaskedLMOutcome",
    "Metric",
    "MetricComparison",
    "Outcome",
    "OutcomeKind",
    "Scheme",
    "TaggingOutcome",
    "Thresholds",
    "WordSpan",
    "bootstrap_intervals",
    "calibrate",
    "check_metrics",
    "compare_metrics",
    "compute_metrics",
    "confused_pairs",
    "confusion_matrix",
    "describe_collapse",
    "expected_calibration_error",
    "list_metrics",
    "mcnemar",
    "per_class_metrics",
    "predict_majority",
    "reliability_bins",
    "squad_scores",
    "tune_thresholds",
]
