"""The model card of a bundle: a README.md with metadata for the Hub and the results of the run."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertwright.output.escaping import escape_markdown, to_code_span
from bertwright.output.plurals import pluralize
from bertwright.run.report import DATA_WORDS, Report, duration, show, show_loss
from bertwright.run.settings_in_words import is_hub_name, last_part, list_settings
from bertwright.tasks.spec import Task
from bertwright.tasks.usage_scripts import encoder_script

_HUB_METRICS = {
    "token_accuracy": "accuracy",
    "answer_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
"""The Hub's names of metrics, where they differ; its f1, precision and recall have no ending either."""

_GLUE = {"sst2", "cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli", "ax"}

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)

_HUB_WORD = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
"""How the Hub spells licenses and languages."""

_MOST_FRONT_MATTER = 100_000
"""Characters; published cards have at most some thousand."""

MOST_LABELS_SHOWN = 50


def model_card(
    report: Report | Mapping[str, Any],
    recipe: Mapping[str, Any],
    *,
    name: str,
    base: str,
    task: Task,
    pair: bool = False,
    license_: str | None = None,
    language: str | Sequence[str] | None = None,
    pictures: Sequence[str] = (),
) -> str:
    """The text of a bundle's README.md: YAML front matter for the Hub, then sections with tables.

    Paths are shortened to their last part, so that the card does not reveal directories of the machine. License and
    language are never inferred.

    Args:
        report: of the run, as a Report or as its dictionary.
        recipe: the resolved recipe as nested dictionaries.
        name: of the model, for the heading.
        base: the encoder it was fine-tuned from: a Hub name or a path.
        task: of the model.
        pair: whether the model takes two texts.
        license_: the license of the fine-tuned weights, as the Hub spells it ("apache-2.0").
        language: the language or languages of the texts ("en").
        pictures: names of the pictures in the same directory.
    """
    model_report = report if isinstance(report, Report) else Report.model_validate(report)
    title = last_part(name)
    sections = [
        _front_matter(model_report, recipe, title, base, license_, language, task.wording.hub_task),
        f"# {escape_markdown(title)}",
        _introduction(base, task),
        "## Evaluation\n\n" + _results(model_report, task.wording.baseline.removeprefix("the ")),
        "## Usage\n\n" + _usage(recipe, title, task, pair),
        "## Training data\n\n" + _data(model_report, recipe),
        "## Training\n\n" + _training(model_report, recipe),
        *(f"![{name.partition('.')[0].replace('_', ' ')}]({name})" for name in pictures),
        "## Limitations\n\n" + _limits(model_report, recipe, task.wording.baseline),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(
    report: Report,
    recipe: Mapping[str, Any],
    title: str,
    base: str,
    license_: str | None,
    language: str | Sequence[str] | None,
    hub_task: tuple[str, str],
) -> str:
    import yaml

    results = [
        {
            "task": dict(zip(("type", "name"), hub_task, strict=True)),
            "dataset": _hub_dataset(recipe.get("data") or {}, split),
            "metrics": [
                {"type": _hub_metric(metric), "value": round(value, 6), "name": metric}
                for metric, value in metrics.items()
                if not math.isnan(value)
            ],
        }
        for split, metrics in report.metrics.items()
    ]
    names = dict.fromkeys(_hub_metric(metric) for metrics in report.metrics.values() for metric in metrics)
    fields = {
        "license": license_,
        "language": language if language is None or isinstance(language, str) else list(language),
        "base_model": base if is_hub_name(base) else None,
        "library_name": "transformers" if _own_head(recipe) is None else "bertwright",
        "pipeline_tag": hub_task[0],
        "tags": ["bertwright", hub_task[0]],
        "metrics": list(names),
        "model-index": [{"name": title, "results": results}] if results else None,
    }
    chosen = {key: value for key, value in fields.items() if value}
    return "---\n" + yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True) + "---"


def _introduction(base: str, task: Task) -> str:
    origin = f"[{base}](https://huggingface.co/{base})" if is_hub_name(base) else to_code_span(last_part(base))
    labels, wording = task.label_names, task.wording
    text = (
        f"This model {wording.summary.format(n=len(labels))}. It was {wording.trained} from {origin} with bertwright."
    )
    if labels and len(labels) <= MOST_LABELS_SHOWN:
        text += "\n\nLabels: " + ", ".join(map(to_code_span, labels)) + "."
    return text


def _results(report: Report, without: str) -> str:
    if not report.metrics:
        return "The model was not evaluated."
    parts = []
    for split, metrics in report.metrics.items():
        baseline = report.baseline.get(split, {})
        rows = []
        for metric, value in metrics.items():
            low, high = report.intervals.get(split, {}).get(metric, (math.nan, math.nan))
            interval = "–" if math.isnan(low) else f"{show(metric, low)} … {show(metric, high)}"
            rows.append([metric, show(metric, value), interval, show(metric, baseline.get(metric))])
        count = report.data.get(split, {}).get("rows")
        parts.append(
            f"On the {escape_markdown(split)} split" + (f" ({pluralize(count, 'example')}):" if count else ":")
        )
        parts.append(_table(["metric", "value", "95 % interval", without], rows))
        labels = report.per_class.get(split, {})
        if 0 < len(labels) <= MOST_LABELS_SHOWN:
            scores = ("precision", "recall", "f1")
            body = [
                [escape_markdown(label), *(f"{row[key]:.3f}" for key in scores), f"{row['support']:,.0f}"]
                for label, row in labels.items()
            ]
            parts.append(_table(["label", *scores, "examples"], body))
    if report.intervals:
        parts.append(
            "The intervals are bootstrap intervals over the examples; they do not include run-to-run variance."
        )
    return "\n\n".join(parts)


def _usage(recipe: Mapping[str, Any], title: str, task: Task, pair: bool) -> str:
    arguments = task.predict_arguments(pair)
    script = task.usage_script(title, (recipe.get("tokens") or {}).get("max_length"), pair)
    command = f"bertwright predict {shlex.quote(title)} {arguments}"
    needs, alone = "", ""
    if (head := _own_head(recipe)) is not None:
        script, alone = encoder_script(title), " (encoder only, because transformers does not have the head)"
        if isinstance(head, str):
            module = f"the module {to_code_span(head.partition(':')[0])}, which defines its head and is not included"
            needs = f"\n\nLoading needs {module if ':' in head else 'its head, a Python object that is not included'}."
    if lora := (recipe.get("model") or {}).get("lora"):
        script, alone = (
            (script, alone) if lora["merge"] else (encoder_script(title), " (encoder without the LoRA adapters)")
        )
    return f"""{_directory_heading(title)}{needs}

```
{command}
```

With transformers{alone}:

```python
{script}
```"""


def _directory_heading(title: str) -> str:
    return f"With bertwright, if {to_code_span(title)} is the path of this directory:"


def use_hub_name(card: str, title: str, name: str) -> str:
    """A model card whose usage examples open the model from the Hub instead of a directory.

    Args:
        card: from :func:`model_card`; other parts of it may have been edited.
        title: name of the model in the card.
        name: OWNER/NAME on the Hub.
    """
    card = card.replace(_directory_heading(title), "With bertwright:")
    card = card.replace(f"bertwright predict {shlex.quote(title)} ", f"bertwright predict {name} ")
    for before in ("from_pretrained(", "model="):
        card = card.replace(before + json.dumps(title), before + json.dumps(name))
    return card


def _own_head(recipe: Mapping[str, Any]) -> Any:
    return (recipe.get("model") or {}).get("head")


def _data(report: Report, recipe: Mapping[str, Any]) -> str:
    sources = [
        f"{key}: {to_code_span(last_part(str(value)))}"
        for key, value in (recipe.get("data") or {}).items()
        if key in ("path", "train", "dev", "test") and value
    ]
    parts = ["Data: " + ", ".join(sources) + "."] if sources else []
    if report.data:
        shown = {key: title for key, title in DATA_WORDS.items() if any(key in row for row in report.data.values())}
        body = [
            [
                escape_markdown(split),
                *(f"{row[key]:,}" if isinstance(row.get(key), int) else "–" for key in shown),
                _fingerprint(row),
            ]
            for split, row in report.data.items()
        ]
        parts.append(_table(["split", *shown.values(), "fingerprint"], body))
    return "\n\n".join(parts) or "The report does not describe the data."


def _training(report: Report, recipe: Mapping[str, Any]) -> str:
    body = list_settings(recipe, report.seed, escape_markdown, to_code_span)
    parts = [_table(["setting", "value"], body), "`recipe.yaml` lists all settings."] if body else []
    if "train_seconds" in report.speed:
        rate = report.speed.get("train_examples_per_second")
        speed = f" at {rate:,.0f} examples/s" if rate else ""
        parts.append(f"Training took {duration(report.speed['train_seconds'])}{speed}.")
    if (losses := report.losses()) is not None:
        training, validation = map(show_loss, losses)
        parts.append(f"Loss of the selected checkpoint: training {training}, validation {validation}.")
    machine = report.environment
    if machine:
        names = ("device", "precision", "cpu", "gpu", "threads", "python", "torch", "bertwright")
        facts = (f"{key} {escape_markdown(str(machine[key]))}" for key in names if machine.get(key))
        parts.append("Environment: " + ", ".join(facts) + ".")
    return "\n\n".join(parts) or "The report does not contain the settings."


def read_front_matter(directory: Path) -> tuple[str | None, list[str]]:
    """The license and the languages that a model directory's own card names; None and an empty list if it names none.

    Args:
        directory: of a model; its README.md may begin with YAML front matter, as on the Hub.
    """
    import yaml

    try:
        with (directory / "README.md").open(encoding="utf-8") as file:
            front_matter = _FRONT_MATTER.match(file.read(_MOST_FRONT_MATTER))
        # BaseLoader reads texts only: `language: no` is Norwegian
        values = yaml.load(front_matter[1], Loader=yaml.BaseLoader) if front_matter else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return None, []
    if not isinstance(values, dict):
        return None, []
    licenses, languages = _hub_words(values.get("license")), _hub_words(values.get("language"))
    return (licenses[0] if len(licenses) == 1 else None), languages


def _hub_words(value: Any) -> list[str]:
    """A word or a list of words; an empty list for anything else."""
    items = value if isinstance(value, list) else [value]
    return items if all(isinstance(item, str) and _HUB_WORD.fullmatch(item) for item in items) else []


def _limits(report: Report, recipe: Mapping[str, Any], without: str) -> str:
    """The limits of the results of this run."""
    points = []
    for split, metrics in report.metrics.items():
        name = escape_markdown(split)
        rows = report.data.get(split, {}).get("rows")
        size = f"{pluralize(rows, 'example')} of " if rows else ""
        points.append(
            f"The metrics were computed on {size}the {name} split; results on other kinds of texts may be worse."
        )
        metric = next(iter(metrics), None)
        low, high = report.intervals.get(split, {}).get(metric or "", (math.nan, math.nan))
        if metric and low <= report.baseline.get(split, {}).get(metric, math.nan) <= high:
            points.append(f"On {name}, {metric} is not clearly better than {without}.")
        labels = {label: row for label, row in report.per_class.get(split, {}).items() if row["support"]}
        if len(labels) > 1:
            worst = min(labels, key=lambda label: labels[label]["f1"])
            row = labels[worst]
            points.append(
                f"On {name}, {to_code_span(worst)} has the lowest F1 of all labels: {row['f1']:.3f} on "
                f"{pluralize(round(row['support']), 'example')}."
            )
    if length := (recipe.get("tokens") or {}).get("max_length"):
        windows = (recipe.get("tokens") or {}).get("truncation") == "windows"
        treatment = "split into overlapping windows" if windows else "truncated"
        points.append(f"Texts longer than {length} tokens are {treatment}.")
    points.append("Biases of the base model and of the training data were not evaluated.")
    points += map(escape_markdown, report.notes)
    return "\n".join(f"- {point}" for point in points)


def _hub_dataset(data: Mapping[str, Any], split: str) -> dict[str, str]:
    """The data set as a model-index names it; a file by its own name, never by its path."""
    layout = data.get("format")
    source = str(data.get(split) or data.get("path") or data.get("train") or layout or "unknown")
    if source.startswith("hub:"):
        named = source.removeprefix("hub:").split(":")[0]
        return {"name": named, "type": named, "split": split}
    if layout in _GLUE:
        return {"name": f"GLUE {layout}", "type": "glue", "config": str(layout), "split": split}
    return {"name": last_part(source), "type": Path(last_part(source)).stem, "split": split}


def _hub_metric(metric: str) -> str:
    return _HUB_METRICS.get(metric, metric.removeprefix("span_").removesuffix("_macro").removesuffix("_micro"))


def _fingerprint(row: Mapping[str, Any]) -> str:
    return f"`{str(row['fingerprint'])[:12]}`" if row.get("fingerprint") else "–"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
