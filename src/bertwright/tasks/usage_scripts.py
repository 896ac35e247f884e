"""Python scripts for model cards: how to use a model with transformers."""

from __future__ import annotations

import json


def encoder_script(directory: str) -> str:
    """Runs the encoder alone, for models whose head transformers does not have."""
    return f"""from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({json.dumps(directory)})
encoder = AutoModel.from_pretrained({json.dumps(directory)}).eval()
print(encoder(**tokenizer("a text", return_tensors="pt")).last_hidden_state)"""


def text_script(directory: str, print_answer: str, max_length: int | None, pair: bool) -> str:
    """Classifies or rates a text, or a pair of texts.

    Args:
        directory: of the model.
        print_answer: the last line, which prints what ``scores`` and ``model`` give.
        max_length: tokens of a sequence; None for those of the encoder.
        pair: whether the model takes two texts.
    """
    arguments = ['"the first text"', '"the second text"'] if pair else ['"a text"']
    options = f", truncation=True, max_length={max_length}" if max_length else ", truncation=True"
    return f"""import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({json.dumps(directory)})
model = AutoModelForSequenceClassification.from_pretrained({json.dumps(directory)}).eval()
with torch.inference_mode():
    scores = model(**tokenizer({", ".join(arguments)}{options}, return_tensors="pt")).logits[0]
{print_answer}"""


def word_script(directory: str) -> str:
    """Tags the words of a text."""
    return f"""from transformers import pipeline

tagger = pipeline("token-classification", model={json.dumps(directory)}, aggregation_strategy="first")
print(tagger("a text"))"""


def mask_script(directory: str) -> str:
    """Fills a gap of a text."""
    return f"""from transformers import pipeline

filler = pipeline("fill-mask", model={json.dumps(directory)})
print(filler(f"a text with a {{filler.tokenizer.mask_token}}"))"""


def question_script(directory: str, max_length: int) -> str:
    """Finds the answer to a question in a text."""
    return f"""import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

question, text = "a question", "a text"
tokenizer = AutoTokenizer.from_pretrained({json.dumps(directory)})
model = AutoModelForQuestionAnswering.from_pretrained({json.dumps(directory)}).eval()
# for a text that is longer than a window, see return_overflowing_tokens
tokens = tokenizer(question, text, truncation="only_second", max_length={max_length}, return_tensors="pt")
with torch.inference_mode():
    scores = model(**tokens)
first = int(scores.start_logits.argmax())
last = first + int(scores.end_logits[0, first:].argmax())
print(tokenizer.decode(tokens.input_ids[0, first : last + 1]))"""


def choice_script(directory: str, max_length: int | None) -> str:
    """Chooses one of several texts."""
    options = f'truncation="only_first", max_length={max_length}' if max_length else 'truncation="only_first"'
    return f"""import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

context, choices = "a context", ["a question and its first choice", "a question and its second choice"]
tokenizer = AutoTokenizer.from_pretrained({json.dumps(directory)})
model = AutoModelForMultipleChoice.from_pretrained({json.dumps(directory)}).eval()
tokens = tokenizer([context] * len(choices), choices, {options}, padding=True, return_tensors="pt")
with torch.inference_mode():
    scores = model(**{{name: tensor[None] for name, tensor in tokens.items()}}).logits[0]
print(choices[int(scores.argmax())], scores.softmax(-1))"""
