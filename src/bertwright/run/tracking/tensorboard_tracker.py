"""TensorBoard: scalars of a run, and its recipe, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bertwright.output.escaping import escape_markdown
from bertwright.run.tracking.spec import Outcome, TrackedResults, TrackedRun

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes to the folder ``tensorboard`` of the run directory, which one run or its resumed parts share."""

    has_parent_runs = False
    identity: Mapping[str, str] = {}

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make_writer: Any = SummaryWriter
        self._writer: Any = None

    def start(self, run: TrackedRun) -> str:
        """Open the folder; a resumed run repeats the steps after its checkpoint, so they are removed."""
        if self._writer is not None:
            self._writer.close()
        folder = run.directory / FOLDER
        self._writer = self._make_writer(str(folder), purge_step=run.step + 1)
        if not run.step:
            self._write_table("recipe", [{"setting": key, "value": value} for key, value in run.parameters.items()], 0)
        return f"recording in {folder}; open it with `tensorboard --logdir {folder.parent}`"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._open.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write buffered scalars to the disk."""
        self._open.flush()

    def finish(self, results: TrackedResults) -> None:
        """Write tables and, if Pillow is installed, pictures; TensorBoard cannot store other files."""
        for name, rows in results.tables.items():
            self._write_table(name, rows, results.step)
        with suppress(ImportError):
            import numpy as np
            from PIL import Image

            for path in results.pictures:
                pixels = np.asarray(Image.open(path).convert("RGB"))
                self._open.add_image(path.stem, pixels, results.step, dataformats="HWC")

    def close(self, outcome: Outcome) -> None:
        """Close the folder."""
        self._open.close()

    @property
    def _open(self) -> Any:
        if self._writer is None:
            raise RuntimeError("the recording has not started")
        return self._writer

    def _write_table(self, name: str, rows: Any, step: int) -> None:
        if rows:
            cells = [[*rows[0]], ["---"] * len(rows[0]), *([*map(_to_cell, row.values())] for row in rows)]
            self._open.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in cells), step)


def _to_cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape_markdown(str(value))
