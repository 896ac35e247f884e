"""The sections optimizer and runconfig of a Model Zoo file: how it trains, how long, what it evaluates and keeps."""

from __future__ import annotations

from bertwright.importers.cerebras.learning_rates import map_learning_rates
from bertwright.importers.cerebras.parameters import ModelZooParams
from bertwright.importers.imported_recipe import SourceSetting, format_value

LARGE_BATCH = 256
"""Rows a step above which a batch for fine-tuning is called large: Devlin et al. 2018 tried 16 and 32."""

MANY_EPOCHS = 10.0
"""Epochs of fine-tuning above which their number is called odd: Devlin et al. 2018 trained for 2 to 4."""


def map_optimizer(params: ModelZooParams) -> None:
    """AdamW and its settings, but for the learning rate."""
    draft = params.draft
    named = params.take("optimizer", "optimizer_type")
    kind = str(named.value).lower() if named else "adamw"
    decay = params.take("optimizer", "weight_decay", "weight_decay_rate")
    decays = decay is not None and decay.number() > 0
    if kind == "adamw":
        params.say(named, "mapped", "AdamW")
    elif kind == "adam" and not decays:
        params.say(named, "mapped", "AdamW, which without weight decay is Adam")
    elif kind == "adam":
        params.say(named, "not here", "AdamW: Adam adds weight decay to the gradient, AdamW takes it from the weights")
    else:
        params.say(named, "not here", "AdamW is the optimizer: it needs another learning rate")
    if decay is not None:
        draft.map(decay, "train.weight_decay", decay.number())
    else:
        params.default("optimizer", "weight_decay", "train.weight_decay", 0.0)
    params.map("optimizer", ("eps", "epsilon"), "train.eps", SourceSetting.number, 1e-6)
    betas = params.take("optimizer", "betas")
    if betas is not None and not (isinstance(betas.value, list) and len(betas.value) == 2):
        raise betas.wrong("a list of two numbers")
    for number, name in enumerate(("beta1", "beta2")):
        entry = params.take("optimizer", name)
        if entry is not None:
            draft.map(entry, f"train.{name}", entry.number())
        elif betas is not None:
            draft.set(f"train.{name}", betas.value[number], betas.path, betas.where)
    params.say(betas, "mapped", f"train.beta1, train.beta2 = {format_value(betas and betas.value)}")
    _bias(params)
    clip = params.take("optimizer", "max_gradient_norm")
    if clip is not None:
        draft.map(clip, "train.max_grad_norm", (clip.number() if clip.value is not None else 0.0) or None)
    else:
        params.default("optimizer", "max_gradient_norm", "train.max_grad_norm", None)


def _bias(params: ModelZooParams) -> None:
    """Whether AdamW corrects the bias of its means: by default, the trainer form does and 1.9 does not."""
    correct = params.take("optimizer", "correct_bias")
    if correct is None and params.has_trainer:
        return
    if correct is None or not correct.flag():
        off = "off there" if correct else "off by default in 1.9"
        text = f"{off}: the first steps are then too long; here the bias of the means is always corrected"
        params.say_or(correct, "optimizer.correct_bias", "odd", text)
    else:
        params.say(correct, "irrelevant here", "the bias of the means is always corrected")


def map_run(params: ModelZooParams) -> None:
    """Batch, length, learning rate, what is evaluated and what is kept."""
    draft = params.draft
    batch, many = params.take("train_input", "batch_size"), params.take("optimizer", "grad_accum_steps")
    rows = 0
    if batch is not None:
        rows = batch.whole() * (many.whole() if many is not None and many.value is not None else 1)
        large = not params.task.pretrains and rows > LARGE_BATCH
        note = "large for fine-tuning: Devlin et al. 2018 tried 16 and 32" if large else ""
        draft.map(batch, "train.batch_size", rows, note, "odd" if large else "mapped")
    params.say(many, "mapped", f"train.batch_size = {rows}; train.max_tokens splits it to fit memory")
    _rates(params, _length(params, rows))
    seed = params.take("runconfig", "seed")
    if seed is not None:
        draft.map(seed, "seed", seed.whole())
    _checkpoints(params)
    _evaluation(params)


def _length(params: ModelZooParams, batch: int) -> int | None:
    """How long to train, in steps where they are known."""
    steps, epochs = params.take("runconfig", "max_steps", "num_steps"), params.take("runconfig", "num_epochs")
    if steps is None or steps.value is None:
        params.say(steps, "irrelevant here", "num_epochs says it")
        if epochs is not None and epochs.value is not None:
            params.draft.map(epochs, "train.length", f"{epochs.whole()} epochs")
        else:
            params.say(epochs, "irrelevant here", "train.length is as by default")
        return None
    rows = params.rows("train")
    passes = steps.whole() * batch / rows if rows else 0.0
    odd = passes > MANY_EPOCHS
    note = f"{passes:,.0f} epochs of {rows:,} rows; Devlin et al. 2018 trained for 2 to 4" if odd else ""
    params.draft.map(steps, "train.length", f"{steps.whole()} steps", note, "odd" if odd else "mapped")
    params.say(epochs, "irrelevant here" if epochs and epochs.value is None else "odd", f"{steps.path} counts")
    return steps.whole()


def _rates(params: ModelZooParams, steps: int | None) -> None:
    schedulers = params.take("optimizer", "schedulers")
    rate = params.take("optimizer", "learning_rate", "lr")
    counted = params.take("optimizer", "disable_lr_steps_reset")
    counted_on = counted is not None and counted.flag()
    if found := schedulers or rate:
        map_learning_rates(params.draft, found, steps, counted_on)
        params.say(rate if schedulers else None, "irrelevant here", "the schedulers say it")
    else:
        params.draft.say("(optimizer.learning_rate)", "odd", "is not written; train.learning_rate is as by default")
    began = "the run began" if counted_on else "each began"
    params.say(counted, "mapped", f"train.schedule: schedulers count steps since {began}")


def _checkpoints(params: ModelZooParams) -> None:
    draft = params.draft
    saved, evaluated = params.take("runconfig", "checkpoint_steps"), params.take("runconfig", "eval_frequency")
    if saved is not None and saved.value:
        draft.map(saved, "train.save_every", f"{saved.whole()} steps")
    else:
        params.say(saved, "irrelevant here", "none are written")
    chosen = evaluated if evaluated is not None and evaluated.value else saved
    if chosen is not None and chosen.value:
        text = draft.set("train.evaluate_every", f"{chosen.whole()} steps", chosen.path, chosen.where)
        params.say(evaluated, "mapped", text)
    else:
        params.say(evaluated, "irrelevant here", "never there; here once an epoch")
    kept = params.take("runconfig", "keep_checkpoint_max")
    if kept is not None and kept.value is not None:
        draft.map(kept, "train.keep_checkpoints", kept.whole() or "all")
    elif kept is not None:
        draft.map(kept, "train.keep_checkpoints", "all")
    elif saved is not None and saved.value:
        params.default("runconfig", "keep_checkpoint_max", "train.keep_checkpoints", "all")
    strict = params.take("runconfig", "disable_strict_checkpoint_loading")
    if strict is not None:
        draft.map(strict, "model.strict", not strict.flag())
    start = params.take("runconfig", "checkpoint_path")
    if start is not None and start.value:
        text = "model.base, once `bertwright convert` has made a directory of it; --model names it"
        params.say(start, "mapped" if params.named_model else "not here", text)
    else:
        params.say(start, "irrelevant here", "model.base sets the initial weights")
    for name in ("is_pretrained_checkpoint", "load_checkpoint_states"):
        text = "model.base loads weights only; --resume restores the complete state"
        params.say(params.take("runconfig", name), "irrelevant here", text)


def _evaluation(params: ModelZooParams) -> None:
    steps, batch = params.take("runconfig", "eval_steps"), params.take("eval_input", "batch_size")
    params.say(batch, "irrelevant here", "scores do not depend on it, as there is no padding")
    if steps is None or not steps.value or batch is None:
        params.say(steps, "irrelevant here", "all dev rows are evaluated")
        return
    dev, seen = params.rows("dev"), steps.whole() * batch.whole()
    product = f"{steps.whole():,} × {batch.whole():,} = {seen:,}"
    if seen < dev:
        text = f"{product} of {dev:,} dev rows are evaluated there (drop_last drops an incomplete batch)"
        params.say(steps, "odd", f"{text}; here all of them")
    else:
        params.say(steps, "irrelevant here", f"{product} dev rows there; here all that there are")
