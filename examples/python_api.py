"""Fine-tune from Python, on rows in memory: lists, pandas DataFrames or datasets.Dataset.

    python examples/python_api.py MODEL OUT

MODEL is a Hub name or a directory, such as bert-base-uncased; OUT is a directory for the run.
"""

import sys

from bertwright import Bundle, Recipe, fine_tune

model, out = sys.argv[1:]

praise = ["a joy from start to end", "warm, funny and clever", "I would see it again", "superb acting"]
blame = ["a waste of two hours", "dull and far too long", "I left before the end", "clumsy, lifeless dialogue"]
rows = [(text, "good") for text in praise] + [(text, "bad") for text in blame]

unseen = [("a clever, warm film", "good"), ("superb from the start", "good"), ("lifeless", "bad"), ("too dull", "bad")]

recipe = Recipe(
    model={"base": model},
    tokens={"max_length": 32},
    train={"length": "20 epochs", "batch_size": 4, "learning_rate": 3e-4},
)
bundle = fine_tune(recipe, out, data={"train": rows, "dev": unseen})

for prediction in bundle.predict(["what a clever film", "what a dull film"]):
    print(prediction.label, f"{prediction.probabilities[prediction.label]:.2f}")

# The directory contains everything: you can move it and load it elsewhere.
measured = Bundle.load(out).evaluate(unseen)
print({name: round(value, 3) for name, value in measured.metrics.items()})
