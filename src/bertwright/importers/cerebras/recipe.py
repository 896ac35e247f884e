"""Conversion of Cerebras Model Zoo's parameter files for BERT to recipes.

The flat format (1.9, 2.0) and the trainer format (2.10) are supported. Defaults of Model Zoo that differ from those of
bertwright are written to the recipe; unusual values are mapped and reported.
"""

from __future__ import annotations

import os
from pathlib import Path

from bertwright.config.yaml_tree import load_yaml
from bertwright.importers.cerebras.model_sections import map_data, map_kind, map_lengths, map_model, map_task
from bertwright.importers.cerebras.parameters import ModelZooParams
from bertwright.importers.cerebras.training_sections import map_optimizer, map_run
from bertwright.importers.imported_recipe import ImportedRecipe


def read_params(path: str | os.PathLike[str], model: str | None = None) -> ImportedRecipe:
    """Convert a Model Zoo file to a recipe, with the status of every key.

    Args:
        path: the YAML file.
        model: the encoder to start from; None: BERT of the size in the file.

    Raises:
        RecipeError: the file is no Model Zoo file, its task is not supported, or a value is invalid.
    """
    tree = load_yaml(path, aliases=True)
    params = ModelZooParams(tree, model)
    params.draft.set("description", f"Imported from {Path(tree.name).name} of Cerebras Model Zoo")
    for map_part in (map_kind, map_task, map_data, map_model, map_lengths, map_optimizer, map_run):
        map_part(params)
    params.finish()
    return params.draft.build(params.form)
