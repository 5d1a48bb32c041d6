"""The plan of the house: imports run downwards, heavy packages live in one place each, light doors stay light.

The path of a module tells its floor. `FLOORS` says which folders there are, from the top; a module may import from its
own folder and from floors below it.
"""

import ast
import functools
import subprocess
import sys

import pytest

import featurestore
from tests.support import ROOT

FLOORS = {
    "featurestore": [
        ["cli"],
        ["extension"],
        ["mcp"],
        ["web"],
        ["store", "client"],
        ["maintenance", "graphs", "lists"],
        ["search"],
        ["snapshot"],
        ["sql"],
        ["tables"],
        ["storage"],
        ["interface", "wire"],
        ["weights"],
        ["values"],
        ["query"],
        ["refusals"],
        ["display", "progress", "ids"],
        ["conventions", "errors", "notes", "retry_after"],
    ],
    "ingest": [
        ["cli"],
        ["harvest", "inspection", "activating", "formats"],
        ["dictionary_weights"],
        ["statistics"],
        ["weights", "corpus"],
        ["sae", "model"],
        ["sae_lens_object"],
    ],
    "labeler": [["cli"], ["runs"], ["scorers"], ["explainers"], ["replies"], ["llm"], ["prompts", "selection"]],
}
DOOR = "featurestore.extension"  # what siblings use beside the public names
HEAVY = {
    "duckdb": ["featurestore/sql", "featurestore/tables/schema.py"],
    "faiss": ["featurestore/search/vectors"],
    "openTSNE": ["featurestore/search/vectors/plane.py"],
    "tantivy": ["featurestore/search/keyword.py", "featurestore/search/words/word_query.py"],
    "httpx2": ["featurestore/client/transport.py"],
    "flask": ["featurestore/web"],
    "matplotlib": ["featurestore/display/plots.py"],
    "waitress": ["featurestore/web/serving"],
    "mcp": ["featurestore/mcp"],
    "uvicorn": ["featurestore/mcp/http.py"],
    "obstore": ["featurestore/storage/object_store.py"],
    "openai": ["featurestore/search/encoders/endpoint.py", "labeler/llm"],
}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def imported(path):
    """The dotted names a module imports, those inside functions and for type checkers alone included."""
    return tuple(_imported(path))


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                base = ROOT / full.replace(".", "/")
                yield (
                    full if base.is_dir() or base.with_suffix(".py").exists() or node.module in FLOORS else node.module
                )


def floor(package, name):
    """The number of a module's floor, counted from the top; None for the package's own public names."""
    part = name.split(".")[1] if "." in name else ""
    return next((n for n, folders in enumerate(FLOORS[package]) if part in folders), None)


@pytest.mark.parametrize("package", FLOORS)
def test_imports_run_downwards(package):
    for path in modules(package):
        mine = floor(package, ".".join(path.relative_to(ROOT).with_suffix("").parts))
        if path.parent == ROOT / package and path.name == "__init__.py":
            continue  # the public names; what is heavy is imported when it is asked for
        assert mine is not None, f"{path} stands on no floor"
        folder = path.relative_to(ROOT).parts[1]
        for name in imported(path):
            theirs = floor(package, name) if name.split(".")[0] == package else None
            if theirs is not None and name.split(".")[1] != folder.removesuffix(".py"):
                assert theirs > mine, f"{path.relative_to(ROOT)} imports {name}, which is not below it"


@pytest.mark.parametrize(("package", "others"), [("ingest", ["labeler"]), ("labeler", ["ingest"])])
def test_siblings_use_public_names_and_not_each_other(package, others):
    public = {f"featurestore.{name}" for name in [*featurestore.__all__, "__version__", "extension"]}
    for path in modules(package):
        for name in imported(path):
            assert name.split(".")[0] not in [*others, "featurestore_demo", "bench"], f"{path} imports {name}"
            if name.startswith("featurestore.") and not name.startswith(f"{DOOR}."):
                assert name in public, f"{path} imports {name}"


def test_the_database_knows_no_sibling():
    for path in modules("featurestore"):
        for name in imported(path):
            assert name.split(".")[0] not in ("ingest", "labeler", "featurestore_demo", "bench"), f"{path}: {name}"


def graph():
    """Which module imports which, over all packages: {name: {names}}."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in FLOORS
        for path in modules(package)
    }
    return {
        name: {other for other in imported(path) if other in names and other != name} for name, path in names.items()
    }


def test_no_circle_even_through_imports_inside_functions():
    arrows = {name: others for name, others in graph().items() if name not in FLOORS}
    done = set()

    def walk(name, way):
        assert name not in way, f"imports in a circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in sorted(arrows.get(name, ())):
                walk(other, [*way, name])
            done.add(name)

    for name in sorted(arrows):
        walk(name, [])


@pytest.mark.parametrize("heavy", HEAVY)
def test_one_heavy_dependency_lives_in_one_place(heavy):
    for package in FLOORS:
        for path in modules(package):
            if heavy in {name.split(".")[0] for name in imported(path)}:
                place = path.relative_to(ROOT).as_posix()
                assert any(place == home or place.startswith(f"{home}/") for home in HEAVY[heavy]), place


@pytest.mark.parametrize("package", [*FLOORS, "featurestore_demo", "tests"])
def test_no_folder_holds_more_than_a_reader_holds_in_mind(package):
    for folder in {path.parent for path in modules(package)}:
        assert len(list(folder.glob("[!_]*.py"))) <= 15, folder


# Runs a command over the store and looks what it has imported.
COMMAND = (
    "from click.testing import CliRunner; from featurestore.cli.main import main; "
    "result = CliRunner().invoke(main, [{}, '--store', sys.argv[1]]); assert result.exit_code == 0, result.output"
)


@pytest.mark.parametrize(
    ("code", "kept_out"),
    [
        ("import featurestore", ["torch", "transformers", "duckdb", "faiss", "flask", "openai", "tantivy", "pandas"]),
        ("import featurestore.client", ["torch", "transformers", "duckdb", "faiss", "flask", "openai", "tantivy"]),
        (
            "from click.testing import CliRunner; from featurestore.cli.main import main; "
            "assert 'harvest' in CliRunner().invoke(main, ['--help']).output",
            ["torch", "transformers", "duckdb", "faiss", "flask", "openai"],
        ),
        (
            "import featurestore; featurestore.connect(sys.argv[1]).nearest('tiny/0-res/3')",
            ["torch", "transformers", "flask"],
        ),
        (
            "import featurestore; assert featurestore.connect(sys.argv[1]).search('numbers', mode='hybrid')",
            ["torch", "transformers", "flask", "openai"],
        ),
        *(
            (COMMAND.format(arguments), [*kept_out, "torch", "transformers", "flask", "openai", "pandas", "httpx2"])
            for arguments, kept_out in (
                ("'info'", ["faiss", "tokenizers"]),
                ("'sql', 'SELECT 1'", ["faiss", "tokenizers"]),
                ("'feature', 'tiny/0-res/3'", ["faiss", "tokenizers"]),
                ("'nearest', 'tiny/0-res/3'", ["tokenizers"]),
                ("'search', 'numbers'", []),
            )
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
