"""What the documentation site adds to the files of docs/: the reference of commands, tables and HTTP, made of the program
itself at each build, and the files at the top of the repository. mkdocs.yml names this module as a hook.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent
# Files outside docs/ as pages of the site.
PAGES = {"CHANGELOG.md": "changes.md", "SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md"}
# Where links that leave docs/ lead on the site; in the repository they lead to the file.
LINKS = {"schema.sql": "reference/tables.md", "README.md": "index.md"} | PAGES
# A block that the tests do not run says why behind its language; readers of the site need not see it.
NOT_RUN = re.compile(r"^(\s*```\w+) not-run: .*$", re.M)


def on_config(config: Any) -> Any:
    """MkDocs asks about its settings: pages that mkdocs.yml does not place stand at the end of what one can do."""
    placed = set(_paths(config.nav))
    found = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    how_to = next(section["How to"] for section in config.nav if "How to" in section)
    how_to += [path for path in found if path not in placed]
    return config


def _paths(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
        return
    for one in nav.values() if isinstance(nav, dict) else nav:
        yield from _paths(one)


def on_files(files: Any, config: Any) -> Any:
    """MkDocs asks which files the site has: those of docs/, and these."""
    from mkdocs.structure.files import File

    made = {
        "reference/commands.md": commands_page(),
        "reference/tables.md": tables_page(),
        "reference/http.md": http_page(),
        "openapi.json": json.dumps(openapi(), indent=1),
    }
    made |= {name: (ROOT / source).read_text("utf-8") for source, name in PAGES.items()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs gives each page's text before it becomes HTML."""
    if page.file.src_uri == "reference/python.md":
        markdown = with_all_names(markdown)
    depth = page.file.src_uri.count("/")
    return NOT_RUN.sub(r"\1", relinked(markdown, depth))


def with_all_names(markdown: str) -> str:
    """The reference of Python, with the public names that it does not place at its end."""
    import featurestore

    placed = set(re.findall(r"^::: featurestore\.(\w+)$", markdown, re.MULTILINE))
    rest = [name for name in featurestore.__all__ if name not in placed]
    return markdown + "".join(["\n## More\n"] * bool(rest) + [f"\n::: featurestore.{name}\n" for name in rest])


def relinked(markdown: str, depth: int) -> str:
    """The text with its links to files at the top of the repository, or from there into docs/, leading to pages."""

    def moved(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        name = target.removeprefix("../" * (depth + 1)).removeprefix("../").removeprefix("docs/")
        if name in LINKS:
            return f"]({'../' * depth}{LINKS[name]}{anchor})"
        return f"]({name}{anchor})" if target.startswith("docs/") else match[0]

    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", moved, markdown)


def commands_page() -> str:
    """Every command with its help, as `featurestore COMMAND --help` prints it."""
    from featurestore.cli.main import main

    parts = [
        "# Commands\n",
        "What `featurestore COMMAND --help` prints. Every command takes `--store`, or `$FEATURESTORE`; exit codes are those "
        "of the [errors](http.md#errors).\n",
    ]
    for path, command in _commands(main, "featurestore"):
        context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def tables_page() -> str:
    """Every view and stored table of schema.sql with its columns, types and comments."""
    import duckdb

    from featurestore.tables import schema

    with duckdb.connect() as con:
        for statement in schema.statements():
            con.execute(statement)
        relations = con.execute(
            "SELECT schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' "
            "UNION ALL SELECT schema_name, table_name, comment FROM duckdb_tables() WHERE schema_name = 'stored' ORDER BY ALL"
        ).fetchall()
        stored = con.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE schema_name = 'stored'"
        ).fetchall()
    views = schema.columns()
    # A view that joins another table's column in says of it what that table says.
    joined = {one.column: one.comment for one in views if one.relation in ("dictionaries", "labels")}
    parts = [
        "# Tables\n",
        "What SQL sees. Views are for questions; `stored.` tables are what lies in the Parquet files. All of it is said once, in "
        "`schema.sql`, of which this page is made.\n",
    ]
    for space, name, comment in relations:
        shown = name if space == "main" else f"{space}.{name}"
        parts.append(f"## {shown}\n\n{_escaped(comment)}\n\n| column | type | |\n|---|---|---|")
        columns = (
            [(one.column, one.type, one.comment or joined.get(one.column)) for one in views if one.relation == name]
            if space == "main"
            else [row[1:] for row in stored if row[0] == name]
        )
        parts += [f"| `{column}` | `{type_}` | {_escaped(said or '')} |" for column, type_, said in columns]
        parts.append("")
    return "\n".join(parts)


def openapi() -> dict[str, Any]:
    """The document that a service gives at /openapi.json."""
    import featurestore
    from featurestore.web import create_app

    with tempfile.TemporaryDirectory() as folder, featurestore.create(Path(folder) / "empty") as store:
        return create_app(store).test_client().get("/openapi.json").json


def http_page() -> str:
    """Every route with its parameters, body and answer, as the OpenAPI document has them."""
    document = openapi()
    parts = [
        "# HTTP\n",
        "Made of the OpenAPI 3.1 document that a service gives at `/openapi.json` ([here](../openapi.json)), which is made of the "
        "types that check the requests. [The service](../http.md) explains how they fit together.\n",
    ]
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            parts.append(f"## {method.upper()} {path}\n\n{_escaped(one['summary'])}\n")
            fields = [
                (field["name"], field["schema"], field["required"], field.get("description"))
                for field in one.get("parameters", [])
            ]
            body = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body is not None:
                fields += _properties(_resolved(body, document))
            if fields:
                parts.append("| field | type | |\n|---|---|---|")
                for name, schema, required, said in fields:
                    words = f"{'**needed** ' if required else ''}{_escaped(said or schema.get('description') or '')}"
                    parts.append(f"| `{name}` | {_kind(schema)} | {words}{_default(schema)} |")
                parts.append("")
            content = next(said for code, said in one["responses"].items() if code < "300").get("content", {})
            forms = ", ".join(f"`{form}`" for form in content)
            answer = content.get("application/json", {}).get("schema")
            parts.append(f"Answers with {forms}{': ' + _kind(answer) if answer else ''}.\n" if forms else "")
    parts.append("## Errors\n\n| status | |\n|---|---|")
    parts += [
        f"| {code} | {_escaped(one['description'])} |" for code, one in document["components"]["responses"].items()
    ]
    parts.append("\n## Values\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"### {name}\n\n{_escaped(schema.get('description', ''))}\n")
        if schema.get("properties"):
            parts.append("| field | type | |\n|---|---|---|")
            for field, kind, _, said in _properties(schema):
                parts.append(f"| `{field}` | {_kind(kind)} | {_escaped(said or '')}{_default(kind)} |")
            parts.append("")
    return "\n".join(parts)


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool, str | None]]:
    needed = schema.get("required", [])
    return [(name, one, name in needed, one.get("description")) for name, one in schema.get("properties", {}).items()]


def _kind(schema: dict[str, Any]) -> str:
    """A type in words, linked where it is one of the document's own."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kinds = schema.get("type", "anything")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _default(schema: dict[str, Any]) -> str:
    given = schema.get("default")
    return "" if given in (None, [], {}) else f" Default: `{json.dumps(given)}`."


def _escaped(text: str) -> str:
    """Text of one line as it stands, for a cell or a paragraph of Markdown: code in `ticks` stays code."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    kept = [one if one.startswith("`") else re.sub(r"([*_<>\[\]\\])", r"\\\1", one) for one in pieces]
    return "".join(kept).replace("|", "\\|")
