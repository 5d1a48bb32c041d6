"""The MCP server: the tools and resources of one store behind the protocol, over stdio or HTTP."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import ValidationError

import featurestore
from featurestore.errors import FeatureStoreError, NotFound
from featurestore.interface import FeatureStore
from featurestore.mcp import answers
from featurestore.mcp.refused_calls import describe_refusal
from featurestore.mcp.resources import describe_feature_page, describe_schema
from featurestore.mcp.tools import Tools

INSTRUCTIONS = (
    "A store of features of sparse autoencoders and transcoders: directions in a language model's activations, with "
    "labels, examples and statistics. Begin with `dictionaries`; find features with `search` (by words), `nearest` (by "
    "geometry), `activating` and `contrast` (by running the model on texts); read one with `feature`, several with "
    "`compare`; count and join with `sql` (columns: featurestore://schema). Ids are model/source/index. A "
    "label is somebody's guess: check it against the feature's examples and scores before you rely on it. Answers are "
    "short: where `next` is given, repeat the call with it as `cursor` for more."
)
KEY_HINT = "; the service's key is taken from $FEATURESTORE_KEY where `featurestore mcp` runs"
READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
# Checks a call before its tool runs: takes the name of the tool and the call's context, raises what refuses it.
Admit = Callable[[str, Context[Any, Any]], None]


def create_server(
    store: FeatureStore, budget: int = answers.BUDGET, admit: Admit | None = None
) -> MCPServer[dict[str, Any]]:
    """Return the server of a store. Tools only read. Raises BadRequest for a budget that is too small or too large."""
    server: MCPServer[dict[str, Any]] = MCPServer(
        "featurestore",
        instructions=INSTRUCTIONS,
        version=featurestore.__version__,
        log_level="WARNING",
        tools=[_make_tool(method, admit) for method in Tools(store, budget).methods()],
    )
    _add_resources(server, store)
    return server


def _make_tool(method: Callable[..., str], admit: Admit | None) -> Tool:
    """Return the tool of a method. It refuses arguments that the method does not have."""
    call = _guard(method, admit)
    description = inspect.getdoc(method)
    tool = _Tool.from_function(
        call, description=description, context_kwarg="context", annotations=READS, structured_output=False
    )
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    tool.parameters = arguments.model_json_schema(by_alias=True)
    return tool


class _Tool(Tool):
    """A tool that refuses arguments in words of our own."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run the tool. Raises ToolError for arguments that it does not take, and as the tool does."""
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as exc:
            if not isinstance(exc.__cause__, ValidationError):
                raise
            reason = describe_refusal(exc.__cause__, self.parameters["properties"])
            raise ToolError(f"Error executing tool {self.name}: bad_request: {reason}") from None


def _guard(method: Callable[..., str], admit: Admit | None) -> Callable[..., str]:
    """Return a method that tells errors of the store as the tool's own."""
    name = method.__name__

    @functools.wraps(method)
    def _call(*, context: Context[Any, Any], **arguments: Any) -> str:
        try:
            if admit is not None:
                admit(name, context)
            return method(**arguments)
        except FeatureStoreError as exc:
            hint = KEY_HINT if exc.status == 401 else ""
            raise ToolError(f"{exc.code}: {exc}{hint}") from None

    return _call


def _add_resources(server: MCPServer[dict[str, Any]], store: FeatureStore) -> None:
    @server.resource(
        "featurestore://schema",
        name="schema",
        description="The views that SQL sees, with their columns and what these mean.",
        mime_type="text/markdown",
    )
    def schema() -> str:
        """Return the columns of every view."""
        return describe_schema()

    @server.resource(
        "featurestore://features/{model}/{source}/{index}",
        name="feature",
        description="A feature's whole page: statistics, labels, scores, logit effects and examples.",
        mime_type="text/markdown",
    )
    def feature(model: str, source: str, index: str) -> str:
        """Return a feature's page as text."""
        try:
            return describe_feature_page(store.feature(f"{model}/{source}/{index}"))
        except NotFound as exc:
            raise ResourceNotFoundError(str(exc)) from None
        except FeatureStoreError as exc:
            raise ResourceError(f"{exc.code}: {exc}") from None
