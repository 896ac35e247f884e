"""A custom training loop, built from the parts of the library's own loop.

    python examples/own_loop.py MODEL ROWS.csv

It also shows how to use your own input function: ``Batch.from_features`` packs padded input_ids, attention_mask and
token_type_ids (int32 or int64).
"""

import sys

import torch

from bertwright import Batch, Classification, TokenSettings, iterate_batches, open_pretrained, read_dataset

base = open_pretrained(sys.argv[1])
rows = read_dataset(sys.argv[2], need_target=True)
task = Classification().infer_from_data(rows)
model, report = base.model(task.head(base.config, base.style(task.head_kind)))
print(report.summary())

encodings = task.encode(rows, base.tokenizer, TokenSettings(max_length=64))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
model.train()
for step, batch in enumerate(iterate_batches(encodings, batch_size=16, seed=0, epochs=1)):
    loss = task.loss(model(batch), batch)
    (loss.total / loss.count).backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, round(float(loss.total.detach() / loss.count), 4))

# Features that other code has padded: the padding is removed before anything is computed.
model.eval()
features = {
    "input_ids": torch.tensor([[base.tokenizer.cls_id, 7, 8, base.tokenizer.sep_id], [base.tokenizer.cls_id, 7, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}
with torch.no_grad():
    print(model(Batch.from_features(**features)))
