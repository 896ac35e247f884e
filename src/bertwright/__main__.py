"""``python -m bertwright``: the command line."""

from __future__ import annotations

import sys

from bertwright.import_path import safe_import_path

if __name__ == "__main__":
    sys.path[:] = safe_import_path()  # `python -m` puts the working directory first

    from bertwright.cli import main

    main()
