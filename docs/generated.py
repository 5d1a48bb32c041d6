"""Adds pages to the documentation site: the references of commands, tables and HTTP, generated from the program at each
build, and the files at the top of the repository. mkdocs.yml names this module as a hook.
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
# The pages to which links to files outside docs/ lead on the site; in the repository they lead to the file.
LINKS = {"schema.sql": "reference/tables.md", "README.md": "index.md"} | PAGES
# A block that the tests do not run gives the reason after its language. The site does not show the reason.
NOT_RUN = re.compile(r"^(\s*```\w+) not-run: .*$", re.M)


def on_config(config: Any) -> Any:
    """Hook of MkDocs: returns its settings, with pages that mkdocs.yml does not place at the end of the how-tos."""
    placed = set(_paths(config.nav))
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    how_to = next(section["How to"] for section in config.nav if "How to" in section)
    how_to += [path for path in pages if path not in placed]
    return config


def _paths(nav: Any) -> Iterator[str]:
    """Yield the paths of the pages in a part of the navigation."""
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from _paths(entry)


def on_files(files: Any, config: Any) -> Any:
    """Hook of MkDocs: returns the files of docs/ with the generated pages added."""
    from mkdocs.structure.files import File

    pages = {
        "reference/commands.md": commands_page(),
        "reference/tables.md": tables_page(),
        "reference/http.md": http_page(),
        "openapi.json": json.dumps(openapi(), indent=1),
    }
    pages |= {name: (ROOT / source).read_text("utf-8") for source, name in PAGES.items()}
    pages |= llms_files(config.site_name, pages)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def llms_files(site_name: str, generated: dict[str, str]) -> dict[str, str]:
    """Return /llms.txt, a list of the site's pages, and /llms-full.txt, all of their text, for language models."""
    docs = ROOT / "docs"
    texts = {path.relative_to(docs).as_posix(): path.read_text("utf-8") for path in docs.rglob("*.md")}
    texts |= {name: text for name, text in generated.items() if name.endswith(".md")}
    head = f"# {site_name}\n\n> A database and search service for the features of sparse autoencoders.\n"
    listed, whole = [head, "## Pages", ""], [head]
    for name, text in sorted(texts.items()):
        title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), name)
        listed.append(f"- [{title}]({name.removesuffix('.md')}.html)")
        whole.append(f"<!-- {name} -->\n\n" + NOT_RUN.sub(r"\1", text).strip() + "\n")
    return {"llms.txt": "\n".join([*listed, ""]), "llms-full.txt": "\n".join(whole)}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Hook of MkDocs: returns the Markdown of a page with all names and with links that work on the site."""
    if page.file.src_uri == "reference/python.md":
        markdown = add_missing_names(markdown)
    depth = page.file.src_uri.count("/")
    return NOT_RUN.sub(r"\1", relink(markdown, depth))


def add_missing_names(markdown: str) -> str:
    """Return the reference of Python, with the public names that it does not mention added at its end."""
    import featurestore

    placed = set(re.findall(r"^::: featurestore\.(\w+)$", markdown, re.MULTILINE))
    rest = [name for name in featurestore.__all__ if name not in placed]
    return markdown + "".join(["\n## More\n"] * bool(rest) + [f"\n::: featurestore.{name}\n" for name in rest])


def relink(markdown: str, depth: int) -> str:
    """Return the text with links to files outside docs/, and links from there into docs/, changed to links to pages."""

    def relink_one(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        name = target.removeprefix("../" * (depth + 1)).removeprefix("../").removeprefix("docs/")
        if name in LINKS:
            return f"]({'../' * depth}{LINKS[name]}{anchor})"
        return f"]({name}{anchor})" if target.startswith("docs/") else match[0]

    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", relink_one, markdown)


def commands_page() -> str:
    """Return the page of all commands, with the help that `featurestore COMMAND --help` prints."""
    from featurestore.cli.main import main

    parts = [
        "# Commands\n",
        "This is what `featurestore COMMAND --help` prints. Every command takes `--store`, or `$FEATURESTORE`; exit "
        "codes are those of the [errors](http.md#errors).\n",
    ]
    for path, command in _commands(main, "featurestore"):
        context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def tables_page() -> str:
    """Return the page of all views and stored tables of schema.sql, with columns, types and comments."""
    import duckdb

    from featurestore.tables import schema

    with duckdb.connect() as con:
        for statement in schema.statements():
            con.execute(statement)
        relations = con.execute(
            "SELECT schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' "
            "UNION ALL SELECT schema_name, table_name, comment FROM duckdb_tables() WHERE schema_name = 'stored' "
            "ORDER BY ALL"
        ).fetchall()
        stored = con.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE schema_name = 'stored'"
        ).fetchall()
    views = schema.columns()
    # A column that a view takes from another table has the comment of that table.
    comments = {column.column: column.comment for column in views if column.relation in ("dictionaries", "labels")}
    parts = [
        "# Tables\n",
        "The tables that SQL sees. Query the views; the `stored.` tables have the columns of the Parquet files. This "
        "page is generated from `schema.sql`.\n",
    ]
    for space, name, comment in relations:
        shown = name if space == "main" else f"{space}.{name}"
        parts.append(f"## {shown}\n\n{_escape(comment)}\n\n| column | type | |\n|---|---|---|")
        columns = (
            [
                (column.column, column.type, column.comment or comments.get(column.column))
                for column in views
                if column.relation == name
            ]
            if space == "main"
            else [row[1:] for row in stored if row[0] == name]
        )
        parts += [f"| `{column}` | `{type_}` | {_escape(text or '')} |" for column, type_, text in columns]
        parts.append("")
    return "\n".join(parts)


def openapi() -> dict[str, Any]:
    """Return the document that a service has at /openapi.json."""
    import featurestore
    from featurestore.web import create_app

    with tempfile.TemporaryDirectory() as folder, featurestore.create(Path(folder) / "empty") as store:
        return create_app(store).test_client().get("/openapi.json").json


def http_page() -> str:
    """Return the page of all routes, with parameters, body and answer from the OpenAPI document."""
    document = openapi()
    parts = [
        "# HTTP\n",
        "This page is generated from the OpenAPI 3.1 document that a service has at `/openapi.json` "
        "([here](../openapi.json)). The document is generated from the types that check the requests. "
        "[The service](../http.md) gives an overview.\n",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"## {method.upper()} {path}\n\n{_escape(route['summary'])}\n")
            fields = [
                (field["name"], field["schema"], field["required"], field.get("description"))
                for field in route.get("parameters", [])
            ]
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body is not None:
                fields += _properties(_resolve(body, document))
            if fields:
                parts.append("| field | type | |\n|---|---|---|")
                for name, schema, required, text in fields:
                    words = f"{'**needed** ' if required else ''}{_escape(text or schema.get('description') or '')}"
                    parts.append(f"| `{name}` | {_kind(schema)} | {words}{_default(schema)} |")
                parts.append("")
            content = next(answer for code, answer in route["responses"].items() if code < "300").get("content", {})
            forms = ", ".join(f"`{form}`" for form in content)
            answer = content.get("application/json", {}).get("schema")
            parts.append(f"Answers with {forms}{': ' + _kind(answer) if answer else ''}.\n" if forms else "")
    parts.append("## Errors\n\n| status | |\n|---|---|")
    parts += [
        f"| {code} | {_escape(error['description'])} |" for code, error in document["components"]["responses"].items()
    ]
    parts.append("\n## Values\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"### {name}\n\n{_escape(schema.get('description', ''))}\n")
        if schema.get("properties"):
            parts.append("| field | type | |\n|---|---|---|")
            for field, kind, _, text in _properties(schema):
                parts.append(f"| `{field}` | {_kind(kind)} | {_escape(text or '')}{_default(kind)} |")
            parts.append("")
    return "\n".join(parts)


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return the schema to which a reference leads, or the schema itself."""
    return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool, str | None]]:
    """Return name, schema, whether it is required, and description of each field."""
    required = schema.get("required", [])
    return [
        (name, field, name in required, field.get("description"))
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    """Return a type in words, with a link if the document defines it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kinds = schema.get("type", "anything")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _default(schema: dict[str, Any]) -> str:
    """Return a sentence with the default of a field; empty without one."""
    default = schema.get("default")
    return "" if default in (None, [], {}) else f" Default: `{json.dumps(default)}`."


def _escape(text: str) -> str:
    """Return a text as one line of Markdown that shows it unchanged; code in `ticks` stays code."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = [piece if piece.startswith("`") else re.sub(r"([*_<>\[\]\\])", r"\\\1", piece) for piece in pieces]
    return "".join(escaped).replace("|", "\\|")
