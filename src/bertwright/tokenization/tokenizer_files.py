"""The files a tokenizer lies in: read in every form the BERT family is published in, written in one.

Read are, in this order, tokenizer.json (any model), vocab.txt (WordPiece) and vocab.json with merges.txt
(byte-level BPE), with what tokenizer_config.json, special_tokens_map.json, added_tokens.json and
config.json say beside them. What stands around a text is what the tokenizer's own post-processor puts
there; where it has none, it follows from the model type and the special tokens' names.
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

WELL_KNOWN = {
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "mask": ("[MASK]", "<mask>"),
}
"""The special tokens' names by role: in BERT, DistilBERT and ELECTRA; in RoBERTa, XLM-R and CamemBERT."""

DOUBLED_SEPARATOR = {"roberta", "xlm-roberta", "camembert"}
"""Model types that write a pair as ``<s> A </s></s> B </s>``, all of it segment 0."""

NORMALIZER_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""The keys of tokenizer_config.json that set BERT's normalizer, and the normalizer's names for them."""

GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
"""The classes of transformers that take tokenizer.json as it is; the families' own put the config above it."""

CASED_SHARE = 0.01
"""A vocabulary is cased if more than this share of its tokens that could hold a capital do: bert-base-cased
has 0.31 of them, bert-base-uncased none, Google's Chinese BERT, which is lower-cased, 0.0005."""


def _check_ids(tokens: dict[str, Any]) -> dict[str, Any]:
    for key in tokens:
        if not re.fullmatch(r"[0-9]{1,9}", key):
            raise ValueError(f"must map token ids, which are whole numbers, to tokens; found the id {key!r}")
    return tokens


class AddedTokenEntry(ForeignFile):
    """A token in full, as tokenizer_config.json and special_tokens_map.json write it."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


Entry = Annotated[AddedTokenEntry, WithJsonSchema({"description": "an object whose content is text"})]
Token = str | Entry | None


class SpecialTokensFile(ForeignFile):
    """What bertwright uses of special_tokens_map.json."""

    cls_token: Token = None
    sep_token: Token = None
    pad_token: Token = None
    unk_token: Token = None
    mask_token: Token = None


class TokenizerConfigFile(SpecialTokensFile):
    """What bertwright uses of tokenizer_config.json."""

    tokenizer_class: str | None = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    add_prefix_space: bool | None = None
    model_input_names: tuple[str, ...] | None = None
    added_tokens_decoder: Annotated[dict[str, Entry], AfterValidator(_check_ids)] | None = None


class ModelConfigFile(ForeignFile):
    """What the tokenizer needs of config.json."""

    model_type: str | None = None
    do_lower_case: bool | None = None


class AddedTokensFile(ForeignFile):
    """added_tokens.json, as the value of one key."""

    tokens: dict[str, Annotated[int, Field(ge=0)]]


@dataclass
class Opened:
    """A tokenizer as it was found; the fields are those of :class:`bertwright.tokenization.tokenizer.Tokenizer`."""

    backend: Tokenizer
    roles: dict[str, int] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def token(self, role: str) -> str:
        """The special token with this role."""
        return str(self.backend.id_to_token(self.roles[role]))


def open_tokenizer(directory: Path) -> Opened:
    """The tokenizer in a directory, ready to split texts.

    Raises:
        TokenizerError: there is none, it is damaged, or no special tokens begin and end a text.
    """
    config = _read_json(directory / "tokenizer_config.json", TokenizerConfigFile)
    named = _read_json(directory / "special_tokens_map.json", SpecialTokensFile) | config
    model = _read_json(directory / "config.json", ModelConfigFile) or _read_json(
        directory / "bert_config.json", ModelConfigFile
    )
    if (directory / "tokenizer.json").is_file():
        opened = _from_tokenizer_json(directory / "tokenizer.json", config)
    elif (directory / "vocab.txt").is_file():
        opened = _from_vocab_txt(directory / "vocab.txt", config, model, _content(named.get("unk_token") or "[UNK]"))
        _add_tokens(opened.backend, directory, config)
    elif (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        opened = _from_merges(directory, config)
        _add_tokens(opened.backend, directory, config)
    else:
        raise TokenizerError(_nothing_found(directory))
    # A tokenizer.json may be saved ready to pad and to cut; here that happens elsewhere and is counted.
    opened.backend.no_padding()
    opened.backend.no_truncation()
    _find_roles(opened, directory, named, model.get("model_type") or "")
    probe = opened.backend.encode(opened.token("cls"), add_special_tokens=False)
    has_types = 1 in opened.backend.post_process(probe, probe).type_ids
    # DistilBERT of transformers refuses segment ids, though its pairs are written with them.
    distilbert = "distilbert" in f"{config.get('tokenizer_class')} {model.get('model_type')}".lower()
    types = ("token_type_ids",) if has_types and not distilbert else ()
    opened.input_names = tuple(config.get("model_input_names") or ("input_ids", *types, "attention_mask"))
    return opened


def save_tokenizer(
    directory: Path, backend: Tokenizer, roles: Mapping[str, int], input_names: tuple[str, ...], max_length: int | None
) -> None:
    """Write a tokenizer so that transformers' AutoTokenizer, of version 4 or 5, gives the same ids.

    Raises:
        OutputError: the directory cannot be written to.
    """
    added = backend.get_added_tokens_decoder()
    special = {f"{role}_token": _described(added[id_]) for role, id_ in roles.items()}
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
    # A line's number is its token's id: a vocabulary with gaps cannot be written so.
    if isinstance(backend.model, models.WordPiece) and [id_ for _, id_ in vocabulary] == list(range(len(vocabulary))):
        write_atomically(directory / "vocab.txt", "".join(f"{token}\n" for token, _ in vocabulary))


def _from_tokenizer_json(path: Path, config: dict[str, Any]) -> Opened:
    try:
        backend = Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exceptions, and where its Rust code panics, not even those
        raise TokenizerError(f"{path}: cannot be read ({error}); bring the file once more.") from error
    notes = [] if config.get("tokenizer_class") in GENERIC_CLASSES else _follow_config(backend, config)
    return Opened(backend, notes=notes)


def _follow_config(backend: Tokenizer, config: dict[str, Any]) -> list[str]:
    """Put what tokenizer_config.json says above tokenizer.json, as transformers does; tell where they differ."""
    normalizer, splitter, notes = backend.normalizer, backend.pre_tokenizer, []
    keys = [(key, normalizer, name) for key, name in NORMALIZER_KEYS.items()]
    for key, part, name in [*keys, ("add_prefix_space", splitter, "add_prefix_space")]:
        if key not in config or not isinstance(part, normalizers.BertNormalizer | pre_tokenizers.ByteLevel):
            continue
        if config[key] is None and key != "strip_accents":  # its null means: as lowercase
            continue
        said, built = config[key], getattr(part, name)
        if said != built:
            notes.append(
                f"{key} is {said}, as tokenizer_config.json says and transformers does; tokenizer.json: {built}"
            )
            setattr(part, name, said)
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    return notes


def _from_vocab_txt(path: Path, config: dict[str, Any], model: dict[str, Any], unk: str) -> Opened:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read ({error}); bring the file once more.") from error
    vocabulary = {token: id_ for id_, token in enumerate(lines[:-1] if not lines[-1] else lines)}
    if unk not in vocabulary:
        raise TokenizerError(
            f"{path}: the unknown token {unk} is not among its {len(vocabulary)} lines; it must be a WordPiece "
            "vocabulary, one token a line, or tokenizer.json must lie beside it."
        )
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=100))
    lower, notes = _lower_case(vocabulary, config.get("do_lower_case", model.get("do_lower_case")))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
        strip_accents=config.get("strip_accents"),
        lowercase=lower,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return Opened(backend, notes=notes)


def _lower_case(vocabulary: Mapping[str, int], told: bool | None) -> tuple[bool, list[str]]:
    """Whether texts are to be lower-cased: as told, else as the vocabulary shows; and what to tell the user."""
    words = [token for token in vocabulary if not (token.startswith("[") and token.endswith("]"))]
    with_case = [token for token in words if token.lower() != token.upper()]
    capitals = sum(token != token.lower() for token in with_case)
    cased = capitals > CASED_SHARE * len(with_case)
    found = f"{capitals} of the vocabulary's {len(with_case)} tokens with letters hold a capital"
    if told is None:
        decided = "case is kept" if cased else "texts are lower-cased"
        return not cased, [f"{decided}: tokenizer_config.json does not say do_lower_case, and {found}"]
    if told == cased:
        decided = "texts are lower-cased" if told else "case is kept"
        return told, [f"{decided}, as do_lower_case is {str(told).lower()}, although {found}: is that meant?"]
    return told, []


def _from_merges(directory: Path, config: dict[str, Any]) -> Opened:
    vocab, merges = directory / "vocab.json", directory / "merges.txt"
    try:
        model = models.BPE.from_file(
            str(vocab), str(merges), continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False
        )
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(
            f"{vocab} and {merges.name}: cannot be read ({error}); bring both files once more."
        ) from error
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space")))
    backend.decoder = decoders.ByteLevel()
    return Opened(backend)


def _add_tokens(backend: Tokenizer, directory: Path, config: dict[str, Any]) -> None:
    """Add the tokens that were added to a vocabulary after it was made, under the ids they had then."""
    described = config.get("added_tokens_decoder") or {}
    added = {int(id_): _added_token(token) for id_, token in described.items()}
    path = directory / "added_tokens.json"
    more = read_json_object(path, TokenizerError) if path.is_file() else {}
    check_types({"tokens": more}, AddedTokensFile, str(path), TokenizerError)
    for content, id_ in more.items():
        added.setdefault(id_, AddedToken(content))
    for id_, token in sorted(added.items(), key=lambda item: item[0]):
        backend.add_tokens([token])
        if backend.token_to_id(token.content) != id_:
            raise TokenizerError(
                f"{directory}: the added token {token.content!r} should have id {id_}, but the vocabulary gives it "
                f"{backend.token_to_id(token.content)}; vocabulary and added tokens are of different models."
            )


def _find_roles(opened: Opened, directory: Path, named: dict[str, Any], model_type: str) -> None:
    """Fill in the special tokens' ids, and make the tokenizer put them around texts."""
    backend, roles = opened.backend, opened.roles
    front, back = _ends(backend)
    roles |= {role: id_ for role, id_ in (("cls", front), ("sep", back)) if id_ is not None}
    for role, known in WELL_KNOWN.items():
        given = named.get(f"{role}_token")
        names = (_content(given),) if given else () if role in roles else known
        ids = [id_ for name in names if (id_ := backend.token_to_id(name)) is not None]
        if ids:
            roles[role] = ids[0]
        elif given:
            opened.notes.append(f"the {role} token {_content(given)} is named but not in the vocabulary")
            roles.pop(role, None)
    missing = [role for role in ("cls", "sep") if role not in roles]
    if missing:
        wanted = " or ".join(" / ".join(WELL_KNOWN[role]) for role in missing)
        raise TokenizerError(
            f"{directory}: the vocabulary of {backend.get_vocab_size()} tokens has no special token {wanted} to "
            f"{'begin' if 'cls' in missing else 'end'} a text with; name it as {missing[0]}_token in "
            "tokenizer_config.json, or take an encoder of the BERT family."
        )
    for role, id_ in roles.items():
        if id_ not in backend.get_added_tokens_decoder():
            given = named.get(f"{role}_token")
            backend.add_special_tokens([_added_token(given if isinstance(given, dict) else opened.token(role))])
    if front is None and back is None:
        _set_template(opened, model_type)
    elif (front, back) != (roles["cls"], roles["sep"]):
        around = [backend.id_to_token(id_) if id_ is not None else "nothing" for id_ in (front, back)]
        raise TokenizerError(
            f"{directory}: the tokenizer puts {around[0]} before a text and {around[1]} after it, but cls and sep "
            f"are {opened.token('cls')} and {opened.token('sep')}; mend cls_token and sep_token in "
            "tokenizer_config.json, or take an encoder of the BERT family."
        )


def _ends(backend: Tokenizer) -> tuple[int | None, int | None]:
    """The ids that the tokenizer itself puts before and after a text, None where it puts nothing."""
    try:
        joined = backend.encode("a")
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(f"tokenizer: it cannot split a text ({error}); bring its files once more.") from error
    first, last = joined.special_tokens_mask[:1], joined.special_tokens_mask[-1:]
    return joined.ids[0] if first == [1] else None, joined.ids[-1] if last == [1] else None


def _set_template(opened: Opened, model_type: str) -> None:
    """Write texts as the family does where the tokenizer itself does not say."""
    cls, sep = ((opened.token(role), opened.roles[role]) for role in ("cls", "sep"))
    doubled = model_type in DOUBLED_SEPARATOR if model_type else cls[0] == "<s>"
    opened.backend.post_processor = (processors.RobertaProcessing if doubled else processors.BertProcessing)(sep, cls)


def _nothing_found(directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory}: there is no such directory to read a tokenizer from; give a model's directory."
    pieces = sorted(directory.glob("*.model"))
    if pieces:
        return (
            f"{directory}: there is {pieces[0].name} but no tokenizer.json; make it once with transformers and "
            f'sentencepiece installed: AutoTokenizer.from_pretrained("{directory}").save_pretrained("{directory}").'
        )
    alone = next((name for name in ("vocab.json", "merges.txt") if (directory / name).is_file()), None)
    return (
        f"{directory}: no tokenizer found, looked for tokenizer.json, vocab.txt, and vocab.json with merges.txt"
        f"{f' (only {alone} is there)' if alone else ''}; bring the files that the encoder was published with."
    )


def _read_json(path: Path, schema: type[ForeignFile]) -> dict[str, Any]:
    """The object in a JSON file, its types checked; empty where there is no file."""
    if not path.is_file():
        return {}
    values = read_json_object(path, TokenizerError)
    check_types(values, schema, str(path), TokenizerError)
    return values


def _content(token: str | dict[str, Any]) -> str:
    """What a special token says, however tokenizer_config.json writes it."""
    return str(token["content"]) if isinstance(token, dict) else token


def _added_token(token: str | dict[str, Any]) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=True, normalized=False)
    flags = {key: token[key] for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in token}
    return AddedToken(_content(token), **flags)


def _described(token: AddedToken) -> str | dict[str, Any]:
    """A special token as tokenizer_config.json writes it: in full only if it is more than its text."""
    flags = {key: getattr(token, key) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    if flags == {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}:
        return token.content
    return {"__type": "AddedToken", "content": token.content, **flags}
