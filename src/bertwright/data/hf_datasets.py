"""Data sets of the Hugging Face Hub and in-memory ``datasets`` objects; the package is imported only when used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from bertwright.data.split_names import name_splits, parse_split_name
from bertwright.data.table_files import Table
from bertwright.errors import BertwrightError, DataError, HubError, MissingDependencyError, did_you_mean

# Data sets of the days before names had owners, with several configurations: in "glue/sst2" the second
# part is a configuration, in "cornell-movie-review-data/rotten_tomatoes" the name.
_WITHOUT_OWNER: Final = (
    *("amazon_reviews_multi", "anli", "clue", "financial_phrasebank", "glue", "go_emotions", "klue", "paws", "paws-x"),
    *("super_glue", "tweet_eval", "wikitext", "xglue", "xnli", "xtreme"),
)
# Asking for the whole data set when one of these is named finds out which of its spellings the data set has.
_SPELLED_DIFFERENTLY: Final = ("dev", "dev_matched", "dev_mismatched", "validation", "test")


def parse_name(name: str) -> tuple[str, str | None, str | None]:
    """Take ``hub:NAME[/CONFIG][:SPLIT]`` apart.

    ``hub:owner/name`` is a data set, ``hub:glue/sst2`` a configuration of one of the old data sets whose names
    have no owner, ``hub:owner/name/config`` all three. A directory that exists is a data set by its path.

    >>> parse_name("hub:glue/sst2:train"), parse_name("hub:stanfordnlp/imdb")
    (('glue', 'sst2', 'train'), ('stanfordnlp/imdb', None, None))

    Raises:
        DataError: there is no name, or one part too many.
    """
    rest = name.removeprefix("hub:")
    if rest and Path(rest).is_dir():
        return rest, None, None
    # A split may be a slice, train[:10%]; what follows the colon of a Windows drive is none.
    found = re.fullmatch(r"(?P<path>.+?)(?::(?P<split>\w[\w.+-]*(?:\[[^\]]*\])?))?", rest)
    path, split = (found["path"], found["split"]) if found else ("", None)
    if path and Path(path).is_dir():
        return path, None, split
    parts = path.split("/")
    if len(parts) > 3 or not all(parts) or ":" in path:
        raise DataError(f"{name}: is no hub:NAME[/CONFIG][:SPLIT], such as hub:glue/sst2:train or hub:imdb:test.")
    if len(parts) == 3 or (len(parts) == 2 and parts[0] in _WITHOUT_OWNER):
        return "/".join(parts[:-1]), parts[-1], split
    return path, None, split


def read_hub(name: str, split: str | None = None) -> tuple[Table, str | None]:
    """The table of a data set named ``hub:…``, and its split; ``split`` counts where the name gives none.

    Raises:
        MissingDependencyError: ``datasets`` is not installed.
        HubError: the data set cannot be reached or does not exist.
        DataError: the configuration or the split does not exist.
    """
    loaded, split = _load(name, split)
    return read_datasets(loaded, name, split)


def stream_hub(name: str, split: str | None = None) -> Any:
    """A split of a data set named ``hub:…`` whose rows are brought while they are read; from the cache where it must.

    Raises:
        BertwrightError: as :func:`read_hub`.
    """
    try:
        slices = "[" in name or "[" in (split or "")  # which streams have not
        loaded, split = _load(name, split, **({} if slices else {"streaming": True}))
    except HubError:  # its files cannot be reached: the cache of whole data sets may have it
        loaded, split = _load(name, split)
    return one_split(loaded, name, split)[0]


def _load(name: str, split: str | None, **settings: bool) -> tuple[Any, str | None]:
    """What ``datasets`` makes of a name, one split or all, and the split that is wanted of it."""
    path, config, named = parse_name(name)
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(
            f"{name}: Hub data sets need the package datasets; pip install 'bertwright[hub]'."
        ) from None
    wanted = named if named and named not in _SPELLED_DIFFERENTLY else None
    try:
        if config is None and _saved_to_disk(Path(path)):
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, config, split=wanted, **settings)
    except BertwrightError:
        raise
    except Exception as error:  # the library raises its own classes, those of fsspec, of httpx and plain ones
        raise _explained(name, path, config, error) from None
    return loaded, named or split


def _saved_to_disk(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _explained(name: str, path: str, config: str | None, error: Exception) -> BertwrightError:
    """What went wrong, told from the class names so that no version of the library is needed for it."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    wanted = f'"{path}"' + (f', "{config}"' if config else "")
    local = f"on a machine with network run load_dataset({wanted}).save_to_disk(DIR), bring DIR and name hub:DIR"
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return HubError(
            f"{name}: there is no data set {path} on the Hub, or it is private; check hub:OWNER/NAME[/CONFIG]."
        )
    if "config" in first.lower() and "ValueError" in kinds:
        known = re.findall(r"'([^']+)'", str(error).partition("[")[2])
        hint = (
            did_you_mean(config, known) if config and known else f"known: {', '.join(known[:20])}" if known else first
        )
        return DataError(
            f"{name}: expected a configuration of {path} (hub:{path}/CONFIG), found {config or 'none'}; {hint}"
        )
    if "ValueError" in kinds and "split" in first.lower():
        return DataError(f"{name}: {first}; name one of its splits.")
    if kinds & {"DataFilesNotFoundError", "EmptyDatasetError"}:
        return DataError(f"{name}: {path} holds no data files that can be read ({first}); check the directory.")
    if "RuntimeError" in kinds and "script" in first.lower():
        return HubError(f"{name}: {path} is a loading script, which is not run; name a copy in Parquet.")
    if kinds & {"ConnectionError", "OSError", "HTTPError", "TimeoutError", "RequestError"}:
        return HubError(f"{name}: {path} is not in the cache and the Hub cannot be reached ({first}); {local}.")
    return HubError(f"{name}: {path} cannot be loaded ({type(error).__name__}: {first}); {local}.")


def read_datasets(data: Any, source: str, split: str | None = None) -> tuple[Table, str | None]:
    """The table of a ``datasets.Dataset``, or of one split of a ``DatasetDict``, and the split.

    Raises:
        DataError: the split is missing, or the data set is empty or a stream.
    """
    several = isinstance(data, dict)
    data, split = one_split(data, source, split)
    if several and not source.endswith(f":{split}"):
        source = f"{source}:{split}"  # or messages would not tell which split a row is in
    if not hasattr(data, "__len__"):
        raise DataError(f"{source}: is a stream; load the data set without streaming=True.")
    if not len(data):
        raise DataError(f"{source}: holds no rows; is it the right split?")
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


def one_split(data: Any, source: str, split: str | None) -> tuple[Any, str | None]:
    """The one split of what ``datasets`` loaded that is named, or that there is, and its name.

    Raises:
        DataError: it is missing, or there are several to choose from.
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
        what = f"has no split {split}" if split else "has several splits"
        raise DataError(f"{source}: {what}; name one of them, as in {source}:{splits[0]} (known: {', '.join(splits)}).")
    return data[name], name


def is_datasets(source: Any) -> bool:
    """Whether this is an object of the library ``datasets``, which is not imported for that."""
    return type(source).__module__.partition(".")[0] == "datasets"


def list_hub_splits(name: str) -> list[str]:
    """The names of the splits of a data set named ``hub:…``; none if the name chooses a split, or there is only one.

    Raises:
        BertwrightError: as :func:`read_hub`.
    """
    if parse_name(name)[2] is not None:
        return []
    try:  # a stream knows its splits before any row is brought
        data, _ = _load(name, None, streaming=True)
    except HubError:
        data, _ = _load(name, None)
    return list(data) if isinstance(data, dict) else []
