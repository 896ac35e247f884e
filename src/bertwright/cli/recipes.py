"""``bertwright recipe``: the shipped recipes and the settings of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.command import command, command_group

recipes = command_group()


@command(recipes, "list", epilog="Example:\n  bertwright recipe list")
def recipe_list() -> None:
    """List the shipped recipes."""
    from bertwright.recipe import list_shipped_recipes, load_recipe

    width = max(map(len, list_shipped_recipes()))
    for name in list_shipped_recipes():
        typer.echo(f"{name:<{width}}  {load_recipe(name).description}")


@command(recipes, "show", epilog="Example:\n  bertwright recipe show sst2")
def recipe_show(name: str) -> None:
    """Print a shipped recipe; all other settings keep their defaults."""
    from bertwright.recipe import recipe_text

    typer.echo(recipe_text(name), nl=False)


@command(recipes, "copy", epilog="Example:\n  bertwright recipe copy sst2 my.yaml")
def recipe_copy(name: str, file: Path) -> None:
    """Copy a shipped recipe to a new file that you can edit."""
    from bertwright.cli.console import out
    from bertwright.output.terminal import print_line
    from bertwright.recipe import copy_recipe

    path = copy_recipe(name, file)
    print_line(out(), f"{path}: a copy of {name}; edit it and run `bertwright train {path} --out DIR`", wrap=False)


@command(
    recipes,
    "import",
    epilog="""\
The importer reads the BERT configurations of Cerebras Model Zoo: files with
sections (1.9, 2.0) and files with a trainer (2.10). It lists every key as
mapped to a setting, not applicable, unusual (mapped, but check the value),
unsupported (no equivalent) or unknown. Defaults of Model Zoo that differ from
those of bertwright are written to the recipe.

Examples:
  bertwright recipe import params.yaml --out my.yaml
  bertwright recipe import params.yaml --model models/my-bert > my.yaml""",
)
def recipe_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A params.yaml file of Cerebras Model Zoo.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Recipe file to write; by default standard output.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Pre-trained encoder; by default BERT of that size.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail with exit code 2 if a key is unknown or unsupported.")
    ] = False,
) -> None:
    """Convert the configuration of another program to a recipe."""
    from bertwright.cli.import_recipe import import_recipe

    import_recipe(file, out, model, strict)


@command(recipes, "keys", epilog="Example:\n  bertwright recipe keys train")
def recipe_keys(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Words that the key must contain.")] = None,
) -> None:
    """List the settings of recipes with type, default and description."""
    from bertwright.config.sections import list_settings
    from bertwright.errors import RecipeError, did_you_mean
    from bertwright.recipe import Recipe

    settings = list_settings(Recipe)
    matches = [setting for setting in settings if all(word in setting.key for word in words or ())]
    if not matches:
        query = " ".join(words or ())
        raise RecipeError(f"{query}: matches no key; {did_you_mean(query, [setting.key for setting in settings])}")
    for setting in matches:
        default = f" = {setting.default}" if setting.default else ""
        typer.echo(f"{setting.key}{default}\n    {setting.description}\n    Takes {setting.type}.")


@command(recipes, "schema", epilog="Example:\n  bertwright recipe schema recipe.schema.json")
def recipe_schema(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="File to write; by default standard output.")
    ] = None,
) -> None:
    """Print the JSON schema of recipes for editors that complete and validate YAML."""
    from bertwright.config.sections import make_schema
    from bertwright.files.atomic import write_atomically
    from bertwright.files.strict_json import to_json
    from bertwright.recipe import Recipe

    text = to_json(make_schema(Recipe), indent=2) + "\n"
    if file is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(file, text)
