"""What tests share: small stores, models and weights made on the spot, and servers that stand for what cannot be had
here."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
