"""Changed copies of training rows: what may change, what never does, and that all is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.config.sections import build, list_settings
from bertwright.data.augment import AugmentationReport, AugmentationSettings, augment, load_synonyms
from bertwright.data.dataset import Dataset, ReadReport
from bertwright.data.example import Answer, Example, Span, Target
from bertwright.errors import DataError, RecipeError
from bertwright.recipe import Recipe, load_recipe

LONG = "one two three four five six seven eight nine ten"


def rows(*examples: Example) -> Dataset:
    return Dataset(examples, ReadReport("a.csv", len(examples), notes=("read",)), ("x", "y"))


def texts(*given: str, target: Target = "x") -> Dataset:
    return rows(*(Example(str(i), text, None, target, f"a.csv:{i + 2}") for i, text in enumerate(given)))


def tagged(text: str, tags: str) -> Example:
    spans, start = [], 0
    for word in text.split():
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return Example("t", text, None, tuple(tags.split()), words=tuple(spans))


def pairs_of(example: Example) -> list[tuple[str, str]]:
    assert example.words is not None
    assert isinstance(example.target, tuple)
    words = [example.text[a:b] for a, b in example.words]
    assert " ".join(words) == example.text
    return list(zip(words, map(str, example.target), strict=True))


def settings(**given: object) -> AugmentationSettings:
    return build(AugmentationSettings, given)


EVERYTHING = st.builds(
    settings,
    copies=st.integers(1, 4),
    word_dropout=st.sampled_from([0.0, 0.1, 0.9]),
    swap=st.sampled_from([0.1, 0.9]),
    masked_lm=st.sampled_from([0.0, 0.5]),
    masked_lm_model=st.just("m"),
)


def upper(
    given: Sequence[str], places: Sequence[Sequence[Span]], draws: Sequence[Sequence[float]]
) -> list[list[str | None]]:
    """Stands in for a masked language model: ``mask`` with the number drawn, nothing for every third place."""
    assert all(0 <= draw < 1 for each in draws for draw in each)
    assert [len(each) for each in places] == [len(each) for each in draws]
    return [[None if i % 3 == 2 else f"m{int(9 * draw)}" for i, draw in enumerate(each)] for each in draws]


@given(st.lists(st.text("ab \n.é", max_size=30), max_size=6, unique=True), EVERYTHING, st.integers(0, 99))
def test_laws(given: list[str], chosen: AugmentationSettings, seed: int) -> None:
    before = texts(*given)
    after, report = augment(before, chosen, seed, upper)
    assert list(after[: len(before)]) == list(before), "the rows themselves stay, and come first"
    assert len({row.id for row in after}) == len(after) == report.rows + report.added
    assert report.added + report.dismissed == len(before) * chosen.copies
    assert after.labels == before.labels
    source = {row.id: row for row in before}
    for row in after[len(before) :]:
        old = source[row.id.partition("#")[0]]
        assert row.text != old.text
        assert (row.target, row.where, row.text_pair) == (old.target, old.where, None)
        assert row.text
    assert report.added == 0 or sum(report.words.values()) > 0
    # A copy depends on its row alone: in another order, with rows missing, it is the same.
    kept = before.take(reversed(range(1, len(before))))
    again, _ = augment(kept, chosen, seed, upper)
    assert {*again} == {row for row in after if not row.id.startswith("0")}


def test_nothing_is_done_by_default() -> None:
    before = texts(LONG)
    assert augment(before, AugmentationSettings(), 1) == (before, AugmentationReport(1))
    assert augment(before, settings(swap=0.5, copies=0), 1)[0] is before


def test_the_rates_hold_and_are_counted() -> None:
    before = texts(*(f"{LONG} {i}" for i in range(500)))
    after, report = augment(before, settings(copies=2, word_dropout=0.3), 7)
    n_words = 11 * 1000
    lost = n_words - sum(len(row.text.split()) for row in after[500:]) - 11 * report.dismissed
    assert report.words == {"word_dropout": lost}
    assert 0.28 < lost / n_words < 0.32
    for row in after[500:]:  # in order, none new
        words = iter(before[int(row.id.partition("#")[0])].text.split())
        assert all(word in words for word in row.text.split())
    assert str(report) == (
        f"added {report.added:,} augmented copies of 500 training rows ({lost:,} words dropped); discarded "
        f"{report.dismissed} copies without changes or equal to another copy"
    )
    assert after.report.notes == ("read", f"a.csv: {report}")
    assert json.loads(json.dumps(report.to_dict()))["added"] == report.added
    other, _ = augment(before, settings(copies=2, word_dropout=0.3), 8)
    assert [row.text for row in other] != [row.text for row in after]


def test_these_very_copies() -> None:
    """Fixed for ever: copies that changed would make old runs unrepeatable."""
    after, report = augment(texts(LONG), settings(copies=2, word_dropout=0.2, swap=0.3), 0)
    assert [(row.id, row.text) for row in after[1:]] == [
        ("0#1", "one five seven nine ten"),
        ("0#2", "two one four three five nine"),
    ]
    assert report.words == {"word_dropout": 9, "swap": 4}


def test_swaps() -> None:
    after, report = augment(texts(*(f"{LONG} {i}" for i in range(100))), settings(swap=0.3), 1)
    moved = 0
    for row in after[100:]:
        old = f"{LONG} {row.id.partition('#')[0]}".split()
        new = row.text.split()
        assert sorted(new) == sorted(old)
        assert all(abs(old.index(word) - new.index(word)) <= 1 for word in old)
        moved += sum(a != b for a, b in zip(old, new, strict=True))
    assert report.words == {"swap": moved}
    assert moved > 100
    assert augment(texts("a a a", "a", ""), settings(swap=0.9), 1)[1] == AugmentationReport(3, 0, 3)


def test_something_is_left_of_every_text() -> None:
    after, _ = augment(texts(*(f"word{i} other{i}" for i in range(50))), settings(word_dropout=0.99), 0)
    assert len(after) > 90
    assert all(len(row.text.split()) == 1 for row in after[50:])


def test_both_texts_of_a_pair_change_and_unchanged_ones_stay_as_written() -> None:
    after, _ = augment(rows(*(Example(str(i), LONG, "a \n b", "x") for i in range(60))), settings(word_dropout=0.1), 0)
    seconds = Counter(row.text_pair for row in after[60:])
    assert set(seconds) == {"a \n b", "a", "b"}
    assert 20 < seconds["a \n b"] < 45
    assert len({row.text for row in after[60:]}) > 20


def test_ids_stay_unique() -> None:
    before = rows(Example("7", LONG, None, 1.5), Example("7#1", LONG, None, 2.5))
    after, _ = augment(before, settings(word_dropout=0.5), 0)
    assert [(row.id, row.target) for row in after[2:]] == [("7#1#", 1.5), ("7#1#1", 2.5)]


def test_tagged_words_keep_tags_and_entities_stay_whole_and_apart() -> None:
    text, tags = "He saw Al Bo , and then Cy the Dog or Ed", "O O B-P I-P O O O I-P O B-X O B-P"
    source = dict(zip(text.split(), tags.split(), strict=True))
    before = rows(tagged(text, tags))
    chosen = settings(copies=300, word_dropout=0.6, swap=0.5, masked_lm=0.3, masked_lm_model="m")
    after, report = augment(before, chosen, 3, upper)
    assert set(report.words) == {"word_dropout", "swap", "masked_lm"}
    for row in after[1:]:
        pairs = pairs_of(row)
        assert all(source.get(word, "O") == tag for word, tag in pairs)
        entities = [(word, tag) for word, tag in pairs if tag != "O"]
        assert entities == [(word, tag) for word, tag in source.items() if tag != "O"], "all there, in order"
        places = {word: i for i, (word, _) in enumerate(pairs)}
        assert places["Bo"] == places["Al"] + 1
        assert all(places[b] - places[a] > 1 for a, b in [("Bo", "Cy"), ("Cy", "Dog"), ("Dog", "Ed")]), "none touch"


def test_tags_of_every_word_leave_all_words_free() -> None:
    before = rows(tagged("dogs chase the red cats", "N V D A N"), Example("u", "no tags", words=((0, 2), (3, 7))))
    after, _ = augment(before, settings(copies=50, word_dropout=0.4, swap=0.9), 3)
    assert {row.target for row in after if row.id.startswith("u")} == {None}
    source = {"dogs": "N", "chase": "V", "the": "D", "red": "A", "cats": "N"}
    found = [pairs_of(row) for row in after[2:] if row.target]
    assert {word for pairs in found for word, _ in pairs} == set(source)
    assert all(source[word] == tag for pairs in found for word, tag in pairs)
    assert any(("chase", "V") not in pairs for pairs in found)


def test_synonyms(tmp_path: Path) -> None:
    file = tmp_path / "words.tsv"
    file.write_text("good\tgreat\tvery fine\n\nfilm\tmovie\n", encoding="utf-8")
    chosen = settings(copies=40, synonyms=0.9, synonym_file=str(file))
    after, report = augment(texts("GOOD (Good) films, film's good-film, film!"), chosen, 0)
    found = [
        set(words)
        for words in zip(
            *(row.text.replace("ery ", "ery_").replace("ERY ", "ERY_").split() for row in after), strict=True
        )
    ]
    assert found[0] <= {"GOOD", "GREAT", "VERY_FINE"}
    assert found[1] <= {"(Good)", "(Great)", "(Very_fine)"}
    assert found[2:5] == [{"films,"}, {"film's"}, {"good-film,"}], "other words"
    assert found[5] == {"film!", "movie!"}
    assert report.words["synonyms"] > report.added
    row = tagged("good film", "B-X O")
    after, _ = augment(rows(row), chosen, 0)
    assert {tuple(pairs_of(row)) for row in after[1:]} <= {
        (("great", "B-X"), ("movie", "O")),
        (("good", "B-X"), ("movie", "O")),
        (("great", "B-X"), ("film", "O")),
    }, "one word for one tag"


def test_files_of_synonyms(tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    file.write_text('{"good": ["great", "fine"], "l\'été": ["x"]}', encoding="utf-8")
    assert load_synonyms(file) == {"good": ("great", "fine"), "l'été": ("x",)}
    file = tmp_path / "words.txt"
    file.write_text("good\tgreat\n good\tfine \n", encoding="utf-8")
    assert load_synonyms(file) == {"good": ("great", "fine")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "good\tfine\nbad\n", r'a\.tsv:2: "bad" has no synonym; add at least one'),
        ("a.tsv", "New York\tYork\n", r'a\.tsv:1: "New York" is not a single word'),
        ("a.json", '{"a": []}', r'a\.json: "a" has no synonym'),
        ("a.json", '{"a": [1]}', r'a\.json: "a" has no synonym'),
        ("a.json", '{"a": "b"}', r"a\.json: is not a mapping of words to lists; write"),
        ("a.json", "{", r"a\.json: is not valid JSON \(.*\); write"),
    ],
)
def test_wrong_files_of_synonyms(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        augment(texts(LONG), settings(synonyms=0.1, synonym_file=str(tmp_path / name)), 0)


def test_masked_places() -> None:
    seen: list[tuple[str, list[str]]] = []

    def substitute(
        given: Sequence[str], places: Sequence[Sequence[Span]], draws: Sequence[Sequence[float]]
    ) -> list[list[str | None]]:
        seen.extend((text, [text[a:b] for a, b in spans]) for text, spans in zip(given, places, strict=True))
        return [["new" for _ in each] for each in draws]

    chosen = settings(copies=20, masked_lm=0.5, masked_lm_model="m")
    after, report = augment(rows(Example("0", "Big  (dogs), 42 -- BARK", "lone", "x")), chosen, 0, substitute)
    assert {text for text, _ in seen} == {"Big (dogs), 42 -- BARK"}, "a lone word has nothing to go by"
    assert {word for _, words in seen for word in words} == {"Big", "dogs", "BARK"}
    assert {row.text for row in after[1:]} <= {
        f"{a} {b} 42 -- {c}" for a in ("Big", "New") for b in ("(dogs),", "(new),") for c in ("BARK", "NEW")
    }
    assert {row.text_pair for row in after} == {"lone"}
    assert report.added == 7, "every other combination, once"
    assert report.dismissed == 13


def test_refusals() -> None:
    with pytest.raises(RecipeError, match=r"data\.augment: does not support question answering, .* remove it"):
        augment(rows(Example("0", "q", "c", ()), Example("1", "q", "c", (Answer("c", 0),))), settings(swap=0.1), 0)
    with pytest.raises(RecipeError, match=r"masked_lm: needs a masked language model; pass its method as substitute"):
        augment(texts(LONG), settings(masked_lm=0.1, masked_lm_model="m"), 0)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("synonyms=0.1", "synonyms is 0.1, but data.augment.synonym_file is not set; set it too"),
        ("masked_lm=0.1", "masked_lm is 0.1, but data.augment.masked_lm_model is not set; set it too"),
        ("copies=3", "copies is 3, but no method has a rate; set one, such as word_dropout"),
        ("swap=1", "swap must be a number of at least 0 and below 1; found 1"),
    ],
)
def test_settings_that_do_not_fit(pair: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, [f"data.augment.{pair}"])
    assert str(caught.value) == f"data.augment.{pair}: data.augment.{message}."


def test_sections_inside_the_data_of_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("sst2", ["data.normalize.unicode=NFC", "data.augment.swap=0.1"])
    assert "  normalize:\n    unicode: NFC\n  augment:\n    swap: 0.1\n" in recipe.to_yaml(only_differences=True)
    (tmp_path / "r.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert {"data.normalize.html", "data.augment.copies"} <= {setting.key for setting in list_settings(Recipe)}
    with pytest.raises(RecipeError, match=r'data\.normalize\.uncode is unknown; did you mean "unicode"\?'):
        load_recipe(None, ["data.normalize.uncode=NFC"])
