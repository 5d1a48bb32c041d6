"""The map of the house: imports run downwards, heavy ones live in one module, light doors stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featurestore

ROOT = Path(__file__).parent.parent
# A module may import those of its own line and of lines below it.
LAYERS = [
    {"cli"},
    {"maintenance", "web", "commands", "graph_commands", "upkeep", "probes", "serving"},
    {"store", "client"},
    {"view"},
    {
        "annotate",
        "functions",
        "neighbours",
        "label_writing",
        "graph_store",
        "job_records",
        "check",
        "lifecycle",
        "migrate",
        "workers",
    },
    {"search"},
    {"why", "activating"},
    {"page", "label_index", "token_index"},
    {"feature_labels", "windows"},
    {"decoder_index", "label_vectors", "copies"},
    {"catalog", "rows"},
    {"grouping", "paging"},
    {"sql", "writer", "vectors", "text", "embed", "formats"},
    {"labelling", "tokens", "feature_rows", "gathered"},
    {"parts", "interface", "schema", "cells"},
    {"graph_naming"},
    {"relations", "graphs", "jobs"},
    {"log", "records"},
    {"notebook"},
    {"draw"},
    {"cluster", "query", "graph_files", "storage", "object_storage", "stream", "transport"},
    {"tabular", "histogram"},
    {"errors"},
]
DOORS = ("cli", "commands", "cluster")  # modules that siblings use beside the public names
HEAVY = {
    "duckdb": {"featurestore/schema.py", "featurestore/sql.py"},
    "faiss": {f"featurestore/vectors/{name}.py" for name in ("building", "clusters", "codes", "index", "plan", "rows")},
    "tantivy": {"featurestore/text.py"},
    "httpx2": {"featurestore/transport.py"},
    "openai": {"labeler/llm.py", "featurestore/embed.py"},
}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            if node.module == "featurestore":
                yield from (f"featurestore.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", modules("featurestore"), ids=lambda path: path.name)
def test_imports_run_downwards(path):
    def layer(name):
        return next(n for n, names in enumerate(LAYERS) if name in names)

    relative = path.relative_to(ROOT / "featurestore")
    mine = relative.parts[0].removesuffix(".py")
    if mine == "__init__":
        return  # the names of the public surface; what is heavy is imported when it is called for
    for name in imported(path):
        assert name.split(".")[0] not in ("ingest", "labeler", "demo"), f"{path} imports {name}"
        if name.startswith("featurestore.") and name.split(".")[1] in {one for names in LAYERS for one in names}:
            assert layer(name.split(".")[1]) >= layer(mine), f"{path} imports {name} from above it"


@pytest.mark.parametrize("package", ["ingest", "labeler"])
def test_siblings_use_public_names_and_not_each_other(package):
    public = {f"featurestore.{name}" for name in [*featurestore.__all__, "__version__", *DOORS]}
    for path in modules(package):
        for name in imported(path):
            assert name.split(".")[0] != {"ingest": "labeler", "labeler": "ingest"}[package], f"{path} imports {name}"
            if name.startswith("featurestore."):
                assert name in public, f"{path} imports {name}"


@pytest.mark.parametrize("heavy", HEAVY)
def test_one_heavy_dependency_lives_in_one_module(heavy):
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("featurestore", "ingest", "labeler")
        for path in modules(package)
        if heavy in {name.split(".")[0] for name in imported(path)}
    }
    assert found == HEAVY[heavy]


@pytest.mark.parametrize(
    ("code", "kept_out"),
    [
        ("import featurestore", ["torch", "transformers", "duckdb", "faiss", "flask", "openai", "tantivy", "pandas"]),
        ("import featurestore.client", ["torch", "transformers", "duckdb", "faiss", "flask", "openai", "tantivy"]),
        (
            "from click.testing import CliRunner; from featurestore.cli import main; "
            "assert 'harvest' in CliRunner().invoke(main, ['--help']).output",
            ["torch", "transformers", "duckdb", "faiss", "flask", "openai"],
        ),
        (
            "import featurestore; featurestore.connect(sys.argv[1]).nearest('tiny/0-res/3')",
            ["torch", "transformers", "flask"],
        ),
    ],
)
def test_doors_stay_light(tiny_store, code, kept_out):
    check = f"import sys\n{code}\nprint([name for name in {kept_out!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check, str(tiny_store)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_all_names_are_sorted_and_there():
    assert featurestore.__all__ == sorted(
        featurestore.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    )
    assert all(hasattr(featurestore, name) for name in featurestore.__all__)
