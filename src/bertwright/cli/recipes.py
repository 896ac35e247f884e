"""``bertwright recipe``: the recipes that come with the package, and what there is to set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.command import HELP, Command, Group

recipes = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True, context_settings=HELP)


@recipes.command("list", cls=Command, context_settings=HELP, epilog="Example:\n  bertwright recipe list")
def recipe_list() -> None:
    """List the shipped recipes."""
    from bertwright.recipe import load_recipe, shipped

    width = max(map(len, shipped()))
    for name in shipped():
        typer.echo(f"{name:<{width}}  {load_recipe(name).description}")


@recipes.command("show", cls=Command, context_settings=HELP, epilog="Example:\n  bertwright recipe show sst2")
def recipe_show(name: str) -> None:
    """Print a shipped recipe; what it does not say is as by default."""
    from bertwright.recipe import recipe_text

    typer.echo(recipe_text(name), nl=False)


@recipes.command("copy", cls=Command, context_settings=HELP, epilog="Example:\n  bertwright recipe copy sst2 my.yaml")
def recipe_copy(name: str, file: Path) -> None:
    """Copy a shipped recipe to a new file, to be changed."""
    from bertwright.cli.console import out
    from bertwright.output.terminal import print_line
    from bertwright.recipe import copy_recipe

    path = copy_recipe(name, file)
    print_line(out(), f"{path}: a copy of {name}; change it and run `bertwright train {path} --out DIR`", wrap=False)


@recipes.command(
    "import",
    cls=Command,
    context_settings=HELP,
    epilog="""\
Reads Cerebras Model Zoo's files for BERT: with sections (1.9, 2.0) and with a
trainer (2.10). Every key is listed: mapped to a setting, irrelevant here, odd
(taken over, to be looked at), not here (no equivalent) or unknown. Settings
that a file leaves open are written out where their default is another.

Examples:
  bertwright recipe import params.yaml --out my.yaml
  bertwright recipe import params.yaml --model models/my-bert > my.yaml""",
)
def recipe_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A params.yaml of Cerebras Model Zoo.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the recipe goes; else standard output.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Encoder to start from; else BERT of its size.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 2 if a key is unknown or has no equivalent.")
    ] = False,
) -> None:
    """Make a recipe of another program's configuration."""
    from bertwright.cli.import_recipe import import_recipe

    import_recipe(file, out, model, strict)


@recipes.command("keys", cls=Command, context_settings=HELP, epilog="Example:\n  bertwright recipe keys train")
def recipe_keys(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Only keys with these words.")] = None,
) -> None:
    """List every setting of a recipe: what it takes, its default, what it does."""
    from bertwright.config.sections import describe
    from bertwright.errors import RecipeError, did_you_mean
    from bertwright.recipe import Recipe

    settings = describe(Recipe)
    found = [setting for setting in settings if all(word in setting.key for word in words or ())]
    if not found:
        wanted = " ".join(words or ())
        raise RecipeError(f"{wanted}: no key has it; {did_you_mean(wanted, [setting.key for setting in settings])}")
    for setting in found:
        default = f" = {setting.default}" if setting.default else ""
        typer.echo(f"{setting.key}{default}\n    {setting.description}\n    Takes {setting.type}.")


@recipes.command(
    "schema", cls=Command, context_settings=HELP, epilog="Example:\n  bertwright recipe schema recipe.schema.json"
)
def recipe_schema(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else standard output.")] = None,
) -> None:
    """Print the JSON schema of recipes, for editors that complete and check YAML."""
    from bertwright.config.sections import schema
    from bertwright.files.atomic import write_atomically
    from bertwright.files.strict_json import to_json
    from bertwright.recipe import Recipe

    text = to_json(schema(Recipe), indent=2) + "\n"
    if file is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(file, text)
