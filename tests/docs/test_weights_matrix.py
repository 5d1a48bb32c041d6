"""The matrix of docs/weights.md says what is read and what is refused."""

import pytest

from featurestore import BadRequest
from ingest import weights
from tests.ingest.weights import saelens_files
from tests.ingest.weights.saelens_files import Case
from tests.support import ROOT


def read_matrix():
    """{(architecture, setting): read or refused} of the table."""
    text = (ROOT / "docs" / "weights.md").read_text("utf-8")
    rows = [line for line in text.partition("## SAELens: architecture by setting")[2].splitlines() if line[:1] == "|"]
    header, _, *body = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
    body = body[: next((n for n, row in enumerate(body) if len(row) != len(header)), len(body))]
    return {(row[0], setting): cell for row in body for setting, cell in zip(header[1:], row[1:], strict=True)}


MATRIX = read_matrix()


def test_the_matrix_has_every_architecture_and_setting():
    settings = {*saelens_files.NORMS, "rescale_acts_by_decoder_norm"}
    assert {setting for _, setting in MATRIX} == settings
    assert {architecture for architecture, _ in MATRIX} == {
        *saelens_files.ARCHITECTURES,
        "temporal",
        "matching_pursuit",
    }


@pytest.mark.parametrize(("architecture", "setting"), MATRIX)
def test_what_the_matrix_says(tmp_path, architecture, setting):
    rescale = setting == "rescale_acts_by_decoder_norm"
    case = Case(architecture, "none" if rescale else setting, False, rescale)
    folder = saelens_files.write(tmp_path, case)
    if MATRIX[architecture, setting] == "read":
        weights.read(folder)
        return
    with pytest.raises(BadRequest):
        weights.read(folder)
