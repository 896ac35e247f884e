"""Data sets of the Hugging Face Hub and in-memory ``datasets`` objects; the package is imported only when needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from bertwright.data.split_names import name_splits, parse_split_name
from bertwright.data.table_files import Table
from bertwright.errors import BertwrightError, DataError, HubError, MissingDependencyError, did_you_mean

# Old data sets whose names have no owner and that have several configurations: in "glue/sst2" the second
# part is a configuration, in "cornell-movie-review-data/rotten_tomatoes" it is the name.
_WITHOUT_OWNER: Final = (
    *("amazon_reviews_multi", "anli", "clue", "financial_phrasebank", "glue", "go_emotions", "klue", "paws", "paws-x"),
    *("super_glue", "tweet_eval", "wikitext", "xglue", "xnli", "xtreme"),
)
# For these splits the whole data set is loaded to find out how it spells them.
_SPELLED_DIFFERENTLY: Final = ("dev", "dev_matched", "dev_mismatched", "validation", "test")


def parse_hub_name(name: str) -> tuple[str, str | None, str | None]:
    """Parse ``hub:NAME[/CONFIG][:SPLIT]`` into name, configuration and split.

    ``hub:owner/name`` is a data set, ``hub:glue/sst2`` a configuration of an old data set whose name has no owner,
    ``hub:owner/name/config`` has all three parts. The path of an existing directory is also a data set.

    >>> parse_hub_name("hub:glue/sst2:train"), parse_hub_name("hub:stanfordnlp/imdb")
    (('glue', 'sst2', 'train'), ('stanfordnlp/imdb', None, None))

    Raises:
        DataError: the name is empty or has too many parts.
    """
    rest = name.removeprefix("hub:")
    if rest and Path(rest).is_dir():
        return rest, None, None
    # A split may be a slice, train[:10%]; the text after the colon of a Windows drive is not a split.
    match = re.fullmatch(r"(?P<path>.+?)(?::(?P<split>\w[\w.+-]*(?:\[[^\]]*\])?))?", rest)
    path, split = (match["path"], match["split"]) if match else ("", None)
    if path and Path(path).is_dir():
        return path, None, split
    parts = path.split("/")
    if len(parts) > 3 or not all(parts) or ":" in path:
        raise DataError(f"{name}: expected hub:NAME[/CONFIG][:SPLIT], such as hub:glue/sst2:train or hub:imdb:test.")
    if len(parts) == 3 or (len(parts) == 2 and parts[0] in _WITHOUT_OWNER):
        return "/".join(parts[:-1]), parts[-1], split
    return path, None, split


def read_hub(name: str, split: str | None = None) -> tuple[Table, str | None]:
    """Read a data set named ``hub:…``; return its table and split. ``split`` applies if the name has none.

    Raises:
        MissingDependencyError: ``datasets`` is not installed.
        HubError: the data set is not reachable or does not exist.
        DataError: the configuration or the split does not exist.
    """
    loaded, split = _load(name, split)
    return read_datasets(loaded, name, split)


def stream_hub(name: str, split: str | None = None) -> Any:
    """Stream a split of a data set named ``hub:…``; without network, read it from the cache.

    Raises:
        BertwrightError: as for :func:`read_hub`.
    """
    try:
        slices = "[" in name or "[" in (split or "")  # streams do not support slices
        loaded, split = _load(name, split, **({} if slices else {"streaming": True}))
    except HubError:  # no network: the data set may be in the cache
        loaded, split = _load(name, split)
    return select_split(loaded, name, split)[0]


def _load(name: str, split: str | None, **settings: bool) -> tuple[Any, str | None]:
    """Load a data set with ``datasets``, one split or all; also return the requested split."""
    path, config, named_split = parse_hub_name(name)
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(
            f"{name}: Hub data sets need the package datasets; run `pip install 'bertwright[hub]'`."
        ) from None
    requested = named_split if named_split and named_split not in _SPELLED_DIFFERENTLY else None
    try:
        if config is None and _load_saved_dataset(Path(path)):
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, config, split=requested, **settings)
    except BertwrightError:
        raise
    except Exception as error:  # the library raises its own classes, those of fsspec, of httpx and plain ones
        raise _explain_error(name, path, config, error) from None
    return loaded, named_split or split


def _load_saved_dataset(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _explain_error(name: str, path: str, config: str | None, error: Exception) -> BertwrightError:
    """Build the error for an exception of ``datasets``, recognized by class names so that any version works."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    arguments = f'"{path}"' + (f', "{config}"' if config else "")
    local = (
        f"on a machine with network access run load_dataset({arguments}).save_to_disk(DIR), copy DIR and use hub:DIR"
    )
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return HubError(f"{name}: the Hub has no data set {path}, or it is private; check hub:OWNER/NAME[/CONFIG].")
    if "config" in first.lower() and "ValueError" in kinds:
        configs = re.findall(r"'([^']+)'", str(error).partition("[")[2])
        hint = f"known: {', '.join(configs[:20])}" if configs else first
        if config and configs:
            hint = did_you_mean(config, configs)
        return DataError(
            f"{name}: expected a configuration of {path} (hub:{path}/CONFIG), found {config or 'none'}; {hint}"
        )
    if "ValueError" in kinds and "split" in first.lower():
        return DataError(f"{name}: {first}; name one of its splits.")
    if kinds & {"DataFilesNotFoundError", "EmptyDatasetError"}:
        return DataError(f"{name}: {path} has no readable data files ({first}); check the directory.")
    if "RuntimeError" in kinds and "script" in first.lower():
        return HubError(f"{name}: {path} is a loading script, which bertwright does not run; use a copy in Parquet.")
    if kinds & {"ConnectionError", "OSError", "HTTPError", "TimeoutError", "RequestError"}:
        return HubError(f"{name}: {path} is not in the cache, and the Hub is not reachable ({first}); {local}.")
    return HubError(f"{name}: {path} cannot be loaded ({type(error).__name__}: {first}); {local}.")


def read_datasets(data: Any, source: str, split: str | None = None) -> tuple[Table, str | None]:
    """Read a ``datasets.Dataset``, or one split of a ``DatasetDict``; return its table and split.

    Raises:
        DataError: the split does not exist, or the data set is empty or a stream.
    """
    several = isinstance(data, dict)
    data, split = select_split(data, source, split)
    if several and not source.endswith(f":{split}"):
        source = f"{source}:{split}"  # so that messages name the split of a row
    if not hasattr(data, "__len__"):
        raise DataError(f"{source}: is a stream; load the data set without streaming=True.")
    if not len(data):
        raise DataError(f"{source}: has no rows; check that it is the right split.")
    if data.format["type"] is not None:
        data = data.with_format(None)
    labels = {}
    for name, feature in data.features.items():
        classes = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if classes:
            labels[name] = tuple(map(str, classes))
    table = Table(
        source, list(data.column_names), len(data), lambda name: list(data[name]), lambda i: f"{source}[{i}]", labels
    )
    return table, split or str(data.split or "") or None


def select_split(data: Any, source: str, split: str | None) -> tuple[Any, str | None]:
    """Select the named split, or the only one, of a loaded data set; return it with its name.

    Raises:
        DataError: the split does not exist, or there are several and none is named.
    """
    if not isinstance(data, dict):
        return data, split
    splits = list(data)
    name = split if split in data else splits[0] if split is None and len(splits) == 1 else None
    if name is None and split is not None:
        split = parse_split_name(split) or split
        by_name = name_splits(splits)
        parts = [by_name[key] for key in by_name if key.startswith(f"{split}_")]  # MNLI has two dev splits
        name = by_name.get(split) or next(iter(parts), None)
    if name is None:
        problem = f"has no split {split}" if split else "has several splits"
        example = f"{source}:{splits[0]}"
        raise DataError(f"{source}: {problem}; name one of {', '.join(splits)}, as in {example}.")
    return data[name], name


def is_datasets(source: Any) -> bool:
    """Whether this is an object of the library ``datasets``; does not import the library."""
    return type(source).__module__.partition(".")[0] == "datasets"


def list_hub_splits(name: str) -> list[str]:
    """List the splits of a data set named ``hub:…``; empty if the name includes a split, or the data set has none.

    Raises:
        BertwrightError: as for :func:`read_hub`.
    """
    if parse_hub_name(name)[2] is not None:
        return []
    try:  # a stream lists its splits without downloading rows
        data, _ = _load(name, None, streaming=True)
    except HubError:
        data, _ = _load(name, None)
    return list(data) if isinstance(data, dict) else []
