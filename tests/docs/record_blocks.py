"""python -m tests.docs.record_blocks DEMO_STORE: writes what the commands in README.md and docs/ print today.

Blocks of ```console have commands after `$`; the first says where the store is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner

from tests.support import doc_blocks


def main() -> None:
    """Record the blocks of all pages, with the store that is named as demo.features."""
    store = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "demo.features").symlink_to(store)
        os.chdir(folder)
        for page in doc_blocks.files():
            text = page.read_text("utf-8")
            reader = doc_blocks.Reader(CliRunner().invoke, os.environ.__setitem__, "")
            os.environ["FEATURESTORE"] = "demo.features"
            for block in doc_blocks.blocks(page):
                if block.language == "console":
                    text = text.replace(block.text, reader.record(block.text))
            page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
