"""Files of a tokenizer: reads every format in which the BERT family is published, and writes one.

Formats, in order of precedence: tokenizer.json (any model), vocab.txt (WordPiece) and vocab.json with merges.txt
(byte-level BPE), each with tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json. The
tokenizer's own post-processor determines the special tokens around a text; without one they follow from the model type
and the names of the special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from bertwright.config.json_files import ForeignFile, check_types, read_json_object
from bertwright.errors import TokenizerError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json

SPECIAL_TOKEN_NAMES = {
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "mask": ("[MASK]", "<mask>"),
}
"""Names of the special tokens by role: in BERT, DistilBERT and ELECTRA; in RoBERTa, XLM-R and CamemBERT."""

DOUBLED_SEPARATOR = {"roberta", "xlm-roberta", "camembert", "data2vec-text"}
"""Model types that encode a pair as ``<s> A </s></s> B </s>`` with segment 0 throughout."""

NORMALIZER_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Keys of tokenizer_config.json that configure BERT's normalizer → the normalizer's attributes."""

GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
"""Classes of transformers that use tokenizer.json unchanged; the classes of families let the config override it."""

MIN_CASED_SHARE = 0.01
"""A vocabulary is cased if more than this share of its tokens with letters contain a capital: 0.31 for bert-base-cased,
0 for bert-base-uncased, 0.0005 for Google's Chinese BERT, which lower-cases."""


def _check_ids(tokens: dict[str, Any]) -> dict[str, Any]:
    for key in tokens:
        if not re.fullmatch(r"[0-9]{1,9}", key):
            raise ValueError(f"must map token ids, which are integers, to tokens; found the id {key!r}")
    return tokens


class AddedTokenEntry(ForeignFile):
    """An added token as an object, in tokenizer_config.json and special_tokens_map.json."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


Entry = Annotated[AddedTokenEntry, WithJsonSchema({"description": "an object whose content is text"})]
Token = str | Entry | None


class SpecialTokensFile(ForeignFile):
    """The keys of special_tokens_map.json that bertwright uses."""

    cls_token: Token = None
    sep_token: Token = None
    pad_token: Token = None
    unk_token: Token = None
    mask_token: Token = None


class TokenizerConfigFile(SpecialTokensFile):
    """The keys of tokenizer_config.json that bertwright uses."""

    tokenizer_class: str | None = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    add_prefix_space: bool | None = None
    model_input_names: tuple[str, ...] | None = None
    added_tokens_decoder: Annotated[dict[str, Entry], AfterValidator(_check_ids)] | None = None


class ModelConfigFile(ForeignFile):
    """The keys of config.json that a tokenizer needs."""

    model_type: str | None = None
    do_lower_case: bool | None = None


class AddedTokensFile(ForeignFile):
    """The contents of added_tokens.json, wrapped as one key."""

    tokens: dict[str, Annotated[int, Field(ge=0)]]


@dataclass
class LoadedTokenizer:
    """A tokenizer read from files; the fields are those of :class:`bertwright.tokenization.tokenizer.Tokenizer`."""

    backend: Tokenizer
    special_ids: dict[str, int] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def token(self, role: str) -> str:
        """Return the special token with this role."""
        return str(self.backend.id_to_token(self.special_ids[role]))


def load_tokenizer(directory: Path) -> LoadedTokenizer:
    """Load the tokenizer in a directory.

    Raises:
        TokenizerError: there is no tokenizer, it is damaged, or it has no special tokens for the ends of a text.
    """
    config = _read_json(directory / "tokenizer_config.json", TokenizerConfigFile)
    named = _read_json(directory / "special_tokens_map.json", SpecialTokensFile) | config
    model = _read_json(directory / "config.json", ModelConfigFile) or _read_json(
        directory / "bert_config.json", ModelConfigFile
    )
    if (directory / "tokenizer.json").is_file():
        loaded = _from_tokenizer_json(directory / "tokenizer.json", config)
    elif (directory / "vocab.txt").is_file():
        loaded = _from_vocab_txt(directory / "vocab.txt", config, model, _content(named.get("unk_token") or "[UNK]"))
        _add_tokens(loaded.backend, directory, config)
    elif (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        loaded = _from_merges(directory, config)
        _add_tokens(loaded.backend, directory, config)
    else:
        raise TokenizerError(_describe_missing_files(directory))
    # A saved tokenizer.json may pad and truncate; bertwright does both itself and counts truncated tokens.
    loaded.backend.no_padding()
    loaded.backend.no_truncation()
    _assign_special_tokens(loaded, directory, named, model.get("model_type") or "")
    probe = loaded.backend.encode(loaded.token("cls"), add_special_tokens=False)
    has_types = 1 in loaded.backend.post_process(probe, probe).type_ids
    # transformers' DistilBERT rejects segment ids, although its tokenizer produces them for pairs.
    distilbert = "distilbert" in f"{config.get('tokenizer_class')} {model.get('model_type')}".lower()
    types = ("token_type_ids",) if has_types and not distilbert else ()
    loaded.input_names = tuple(config.get("model_input_names") or ("input_ids", *types, "attention_mask"))
    return loaded


def save_tokenizer(
    directory: Path,
    backend: Tokenizer,
    special_ids: Mapping[str, int],
    input_names: tuple[str, ...],
    max_length: int | None,
) -> None:
    """Write a tokenizer so that transformers' AutoTokenizer, version 4 or 5, gives the same ids.

    Raises:
        OutputError: the directory is not writable.
    """
    added = backend.get_added_tokens_decoder()
    special = {f"{role}_token": _to_config_entry(added[id_]) for role, id_ in special_ids.items()}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": list(input_names),
        "clean_up_tokenization_spaces": True,
        **({} if max_length is None else {"model_max_length": max_length}),
        **special,
    }
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        config |= {key: getattr(backend.normalizer, name) for key, name in NORMALIZER_KEYS.items()}
    write_atomically(directory / "tokenizer.json", backend.to_str(pretty=True))
    write_atomically(directory / "tokenizer_config.json", to_json(config, indent=2) + "\n")
    write_atomically(directory / "special_tokens_map.json", to_json(special, indent=2) + "\n")
    vocabulary = sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    # In vocab.txt, the line number is the token's id, so a vocabulary with gaps cannot be written.
    if isinstance(backend.model, models.WordPiece) and [id_ for _, id_ in vocabulary] == list(range(len(vocabulary))):
        write_atomically(directory / "vocab.txt", "".join(f"{token}\n" for token, _ in vocabulary))


def _from_tokenizer_json(path: Path, config: dict[str, Any]) -> LoadedTokenizer:
    try:
        backend = Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exceptions, and BaseExceptions if its Rust code panics
        raise TokenizerError(f"{path}: cannot be read ({error}); copy or download the file again.") from error
    notes = [] if config.get("tokenizer_class") in GENERIC_CLASSES else _apply_config(backend, config)
    return LoadedTokenizer(backend, notes=notes)


def _apply_config(backend: Tokenizer, config: dict[str, Any]) -> list[str]:
    """Let tokenizer_config.json override tokenizer.json, as transformers does; return a note for each difference."""
    normalizer, splitter, notes = backend.normalizer, backend.pre_tokenizer, []
    keys = [(key, normalizer, name) for key, name in NORMALIZER_KEYS.items()]
    for key, part, name in [*keys, ("add_prefix_space", splitter, "add_prefix_space")]:
        if key not in config or not isinstance(part, normalizers.BertNormalizer | pre_tokenizers.ByteLevel):
            continue
        if config[key] is None and key != "strip_accents":  # null in strip_accents means: as lowercase
            continue
        configured, built = config[key], getattr(part, name)
        if configured != built:
            notes.append(
                f"{key}: tokenizer_config.json sets {configured} and tokenizer.json {built}; "
                f"the tokenizer uses {configured}, as transformers does"
            )
            setattr(part, name, configured)
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    return notes


def _from_vocab_txt(path: Path, config: dict[str, Any], model: dict[str, Any], unk: str) -> LoadedTokenizer:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read ({error}); copy or download the file again.") from error
    vocabulary = {token: id_ for id_, token in enumerate(lines[:-1] if not lines[-1] else lines)}
    if unk not in vocabulary:
        raise TokenizerError(
            f"{path}: does not contain the unknown token {unk} in {len(vocabulary)} lines; expected a WordPiece "
            "vocabulary with one token per line, or a tokenizer.json in the same directory."
        )
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=100))
    lower, notes = _decide_lower_case(vocabulary, config.get("do_lower_case", model.get("do_lower_case")))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
        strip_accents=config.get("strip_accents"),
        lowercase=lower,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return LoadedTokenizer(backend, notes=notes)


def _decide_lower_case(vocabulary: Mapping[str, int], do_lower_case: bool | None) -> tuple[bool, list[str]]:
    """Decide whether to lower-case texts, from the configuration or else from the vocabulary; also return notes."""
    words = [token for token in vocabulary if not (token.startswith("[") and token.endswith("]"))]
    with_case = [token for token in words if token.lower() != token.upper()]
    capitals = sum(token != token.lower() for token in with_case)
    cased = capitals > MIN_CASED_SHARE * len(with_case)
    evidence = f"{capitals} of the vocabulary's {len(with_case)} tokens with letters contain a capital"
    if do_lower_case is None:
        decision = "the tokenizer " + ("keeps case" if cased else "lower-cases texts")
        return not cased, [f"{decision}, because tokenizer_config.json has no do_lower_case and {evidence}"]
    if do_lower_case == cased:
        decision = "the tokenizer " + ("lower-cases texts" if do_lower_case else "keeps case")
        setting = f"do_lower_case is {str(do_lower_case).lower()}"
        return do_lower_case, [f"{decision} because {setting}, although {evidence}; check tokenizer_config.json"]
    return do_lower_case, []


def _from_merges(directory: Path, config: dict[str, Any]) -> LoadedTokenizer:
    vocab, merges = directory / "vocab.json", directory / "merges.txt"
    try:
        model = models.BPE.from_file(
            str(vocab), str(merges), continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False
        )
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(
            f"{vocab} and {merges.name}: cannot be read ({error}); copy or download both files again."
        ) from error
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space")))
    backend.decoder = decoders.ByteLevel()
    return LoadedTokenizer(backend)


def _add_tokens(backend: Tokenizer, directory: Path, config: dict[str, Any]) -> None:
    """Add the tokens that were added to the vocabulary after training, with their original ids."""
    described = config.get("added_tokens_decoder") or {}
    added = {int(id_): _to_added_token(token) for id_, token in described.items()}
    path = directory / "added_tokens.json"
    more = read_json_object(path, TokenizerError) if path.is_file() else {}
    check_types({"tokens": more}, AddedTokensFile, str(path), TokenizerError)
    for content, id_ in more.items():
        added.setdefault(id_, AddedToken(content))
    for id_, token in sorted(added.items(), key=lambda item: item[0]):
        backend.add_tokens([token])
        if backend.token_to_id(token.content) != id_:
            raise TokenizerError(
                f"{directory}: the added token {token.content!r} should have id {id_}, but the vocabulary assigns it "
                f"{backend.token_to_id(token.content)}; use the vocabulary and added tokens of the same model."
            )


def _assign_special_tokens(loaded: LoadedTokenizer, directory: Path, named: dict[str, Any], model_type: str) -> None:
    """Find the ids of the special tokens, and make the tokenizer add them around texts."""
    backend, special_ids = loaded.backend, loaded.special_ids
    front, back = _find_added_ends(backend)
    special_ids |= {role: id_ for role, id_ in (("cls", front), ("sep", back)) if id_ is not None}
    for role, usual_names in SPECIAL_TOKEN_NAMES.items():
        configured = named.get(f"{role}_token")
        names = (_content(configured),) if configured else () if role in special_ids else usual_names
        ids = [id_ for name in names if (id_ := backend.token_to_id(name)) is not None]
        if ids:
            special_ids[role] = ids[0]
        elif configured:
            loaded.notes.append(
                f"the tokenizer ignores {role}_token {_content(configured)}, which is not in the vocabulary"
            )
            special_ids.pop(role, None)
    missing = [role for role in ("cls", "sep") if role not in special_ids]
    if missing:
        expected = " or ".join(" / ".join(SPECIAL_TOKEN_NAMES[role]) for role in missing)
        raise TokenizerError(
            f"{directory}: the vocabulary of {backend.get_vocab_size()} tokens has no special token {expected} to "
            f"{'begin' if 'cls' in missing else 'end'} a text; set {missing[0]}_token in tokenizer_config.json, or "
            "use an encoder of the BERT family."
        )
    for role, id_ in special_ids.items():
        if id_ not in backend.get_added_tokens_decoder():
            configured = named.get(f"{role}_token")
            token = configured if isinstance(configured, dict) else loaded.token(role)
            backend.add_special_tokens([_to_added_token(token)])
    if front is None and back is None:
        _set_template(loaded, model_type)
    elif (front, back) != (special_ids["cls"], special_ids["sep"]):
        around = [backend.id_to_token(id_) if id_ is not None else "nothing" for id_ in (front, back)]
        raise TokenizerError(
            f"{directory}: the tokenizer adds {around[0]} before a text and {around[1]} after it, but cls and sep "
            f"are {loaded.token('cls')} and {loaded.token('sep')}; correct cls_token and sep_token in "
            "tokenizer_config.json, or use an encoder of the BERT family."
        )


def _find_added_ends(backend: Tokenizer) -> tuple[int | None, int | None]:
    """Return the ids that the tokenizer itself adds before and after a text; None if it adds nothing."""
    try:
        joined = backend.encode("a")
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(f"tokenizer: cannot split a text ({error}); copy or download its files again.") from error
    first, last = joined.special_tokens_mask[:1], joined.special_tokens_mask[-1:]
    return joined.ids[0] if first == [1] else None, joined.ids[-1] if last == [1] else None


def _set_template(loaded: LoadedTokenizer, model_type: str) -> None:
    """Set the special tokens around texts as the model family does, for a tokenizer without a post-processor."""
    cls, sep = ((loaded.token(role), loaded.special_ids[role]) for role in ("cls", "sep"))
    doubled = model_type in DOUBLED_SEPARATOR if model_type else cls[0] == "<s>"
    loaded.backend.post_processor = (processors.RobertaProcessing if doubled else processors.BertProcessing)(sep, cls)


def _describe_missing_files(directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory}: no such directory; expected the directory of a model with its tokenizer."
    pieces = sorted(directory.glob("*.model"))
    if pieces:
        return (
            f"{directory}: has {pieces[0].name} but no tokenizer.json; create it once with transformers and "
            f'sentencepiece installed: AutoTokenizer.from_pretrained("{directory}").save_pretrained("{directory}").'
        )
    single = next((name for name in ("vocab.json", "merges.txt") if (directory / name).is_file()), None)
    return (
        f"{directory}: no tokenizer found; expected tokenizer.json, vocab.txt, or vocab.json with merges.txt"
        f"{f' (only {single} exists)' if single else ''}; add the files that the encoder was published with."
    )


def _read_json(path: Path, schema: type[ForeignFile]) -> dict[str, Any]:
    """Read the object in a JSON file and check its types; {} if the file does not exist."""
    if not path.is_file():
        return {}
    values = read_json_object(path, TokenizerError)
    check_types(values, schema, str(path), TokenizerError)
    return values


def _content(token: str | dict[str, Any]) -> str:
    """The text of a special token, which tokenizer_config.json writes as a string or an object."""
    return str(token["content"]) if isinstance(token, dict) else token


def _to_added_token(token: str | dict[str, Any]) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=True, normalized=False)
    flags = {key: token[key] for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in token}
    return AddedToken(_content(token), **flags)


def _to_config_entry(token: AddedToken) -> str | dict[str, Any]:
    """A special token in the form of tokenizer_config.json: its text, or an object if it has unusual flags."""
    flags = {key: getattr(token, key) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    if flags == {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}:
        return token.content
    return {"__type": "AddedToken", "content": token.content, **flags}
