"""The matrix of docs/weights.md says what is read and what is refused."""

import pytest

from featurestore import BadRequest
from ingest import weights
from tests.ingest.weights import saelens_files
from tests.ingest.weights.format_matrix import WRITERS
from tests.ingest.weights.saelens_files import Case
from tests.support import ROOT


def read_matrix():
    """{(architecture, setting): read or refused} of the table."""
    text = (ROOT / "docs" / "weights.md").read_text("utf-8")
    rows = [line for line in text.partition("## SAELens: architecture by setting")[2].splitlines() if line[:1] == "|"]
    header, _, *body = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
    body = body[: next((n for n, row in enumerate(body) if len(row) != len(header)), len(body))]
    return {(row[0], setting): cell for row in body for setting, cell in zip(header[1:], row[1:], strict=True)}


def read_other_matrices():
    """{(format, architecture, setting): read or refused} of the tables of the other formats."""
    text = (ROOT / "docs" / "weights.md").read_text("utf-8")
    section = text.partition("## Other formats: architecture by setting")[2].partition("\n## ")[0]
    cells = {}
    for table in section.split("\n\n"):
        if table.lstrip().startswith("|"):
            header, _, *body = [
                [cell.strip() for cell in row.strip("|").split("|")] for row in table.strip().splitlines()
            ]
            format = next(name for name in WRITERS if header[0].startswith(name))
            for row in body:
                for setting, cell in zip(header[1:], row[1:], strict=True):
                    cells[format, row[0].strip("`"), setting.strip("`")] = cell
    return cells


MATRIX = read_matrix()
OTHERS = read_other_matrices()


def test_the_other_matrices_have_every_format_and_answer():
    assert {format for format, _, _ in OTHERS} == set(WRITERS)
    assert set(OTHERS.values()) == {"read", "refused"}
    assert len(OTHERS) == 5 * 7 + 8 * 4 + 3 * 4 + 3 * 5 + 3 * 3 + 3 * 2


@pytest.mark.parametrize(("format", "architecture", "setting"), OTHERS)
def test_what_the_other_matrices_say(tmp_path, format, architecture, setting):
    location = WRITERS[format](tmp_path, architecture, setting)
    if OTHERS[format, architecture, setting] == "read":
        assert weights.read(location).format == {"OpenAI": "OpenAI sparse_autoencoder"}.get(format, format)
        return
    with pytest.raises(BadRequest):
        weights.read(location)


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
