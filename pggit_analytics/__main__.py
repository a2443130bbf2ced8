"""``python -m pggit_analytics``."""

from pggit_analytics.cli import main

main()
