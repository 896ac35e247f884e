"""``python -m bertwright``: the command line."""

from __future__ import annotations

from bertwright.cli import main

if __name__ == "__main__":
    main()
