"""Self-contained HTML pages with SVG charts, readable on phones, in print and in dark mode."""
