"""Everything that a run from a recipe to a bundle needs: data, plan, events, checkpoints, report and directory."""
