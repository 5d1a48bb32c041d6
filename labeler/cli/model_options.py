"""The options of `label` and `score` that say how a language model is asked, and what they come to: an Asker."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import click

from featurestore import BadRequest
from featurestore.extension.output import print_json_lines

_OPTIONS = (
    click.option(
        "--base-url",
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="URL",
        help="An OpenAI-compatible endpoint; repeated, several share the work. Default: the OpenAI API.",
    ),
    click.option(
        "--api-key-env", default="OPENAI_API_KEY", show_default=True, help="Environment variable that holds the key."
    ),
    click.option("--ray", metavar="ADDRESS", help="Serve the model on this Ray cluster: host:port, 'auto' or 'local'."),
    click.option(
        "--serve",
        metavar="COMMAND",
        help="With --ray, what serves the model: {model}, {host}, {port} and {key} are filled in.",
    ),
    click.option(
        "--servers", type=click.IntRange(1), help="With --ray, how many. Default: as many as the cluster's GPUs, or 1."
    ),
    click.option(
        "--gpus-per-server",
        type=click.FloatRange(0),
        metavar="N",
        help="With --ray. Default: 1, or 0 where the cluster has none.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1000),
        default=8,
        show_default=True,
        help="Requests at once, an endpoint.",
    ),
    click.option(
        "--budget", metavar="AMOUNT", help="The most to spend: money, as in 2.50, or tokens, as in 800ktokens."
    ),
    click.option("--price-in", type=click.FloatRange(0), metavar="MONEY", help="Price of a million tokens of prompts."),
    click.option(
        "--price-out", type=click.FloatRange(0), metavar="MONEY", help="Price of a million tokens of replies."
    ),
    click.option("--batch", is_flag=True, help="Ask through the Batch API: cheaper, and answered within a day."),
    click.option("--dry-run", is_flag=True, help="Say what the model would be asked and cost, and stop."),
    click.option(
        "--take", type=click.IntRange(1), default=1, show_default=True, help="Ask again, for further answers."
    ),
    click.option("--journal", metavar="FILE", help="Where answers are kept. Default: beside the store."),
)


def asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the model is to be asked, as the command line says; the fields are the options'."""

    model: str
    endpoints: tuple[str, ...]
    api_key_env: str
    ray: str | None
    serve: str | None
    servers: int | None
    gpus_per_server: float | None
    concurrency: int
    budget: str | None
    price_in: float | None
    price_out: float | None
    batch: bool
    dry_run: bool
    take: int
    journal: str | None

    @classmethod
    def of(cls, model: str, given: dict[str, Any]) -> Asking:
        """Takes its fields out of what was given. Raises BadRequest for options that do not go together."""
        made = cls(model, **{one.name: given.pop(one.name) for one in dataclasses.fields(cls) if one.name != "model"})
        if made.ray is None and (made.serve or made.servers or made.gpus_per_server is not None):
            raise BadRequest("--serve, --servers and --gpus-per-server go with --ray: name the cluster")
        if made.ray is not None and not made.serve:
            raise BadRequest(
                "--ray needs --serve: the command that serves the model, as in 'vllm serve {model} --port {port}'"
            )
        if made.ray is not None and (made.endpoints or made.batch):
            raise BadRequest("--ray serves the model itself: it goes without --endpoint and --batch")
        if made.batch and len(made.endpoints) > 1:
            raise BadRequest("--batch asks one endpoint: name one")
        if (made.price_in is None) != (made.price_out is None):
            raise BadRequest("--price-in and --price-out go together: what a million tokens of each kind cost")
        return made

    def account(self) -> Any:
        """What may be spent, at which prices. Raises BadRequest."""
        from labeler.llm.budget import Budget, Prices, parse_limit

        prices = None if self.price_in is None or self.price_out is None else Prices(self.price_in, self.price_out)
        return Budget(None if self.budget is None else parse_limit(self.budget, prices), prices)

    def told(self, about: Any, what: str, done: str, as_json: bool) -> bool:
        """Say what a run is about to ask and cost; whether that was all that was wanted."""
        from labeler.llm.budget import shown

        if self.dry_run and as_json:
            print_json_lines([about._asdict()])
            return True
        cost = "" if about.money is None else f", {shown(about.money)} at these prices"
        click.echo(
            f"{about.features:,} {what} to ask {self.model} about ({about.skipped:,} {done}): about "
            f"{about.tokens_in:,} tokens of prompts and {about.tokens_out:,} of replies{cost}",
            err=not self.dry_run,
        )
        return self.dry_run

    @contextlib.contextmanager
    def asker(self, location: str, account: Any) -> Iterator[Any]:
        """An Asker with the journal of the store at a location; servers it needs are started, and ended with it."""
        from labeler.llm import journal
        from labeler.llm.asker import Asker
        from labeler.llm.batch_api import Batches
        from labeler.llm.endpoint import Endpoint

        with contextlib.ExitStack() as held:
            kept = held.enter_context(journal.Journal(Path(self.journal or journal.beside(location))))
            if self.ray is not None:
                from labeler.llm.ray_replicas import served

                how = (self.servers, self.gpus_per_server, self.concurrency)
                fleet = held.enter_context(served(self.ray, self.serve or "", self.model, *how))
                yield Asker(fleet, kept, account, self.take)
                return
            endpoints = [
                Endpoint(self.model, url, self.api_key_env, concurrency=self.concurrency)
                for url in self.endpoints or (None,)
            ]
            if self.batch:
                yield held.enter_context(Batches(endpoints[0], kept, account, self.take))
            else:
                yield Asker(endpoints, kept, account, self.take)


def refuse_without_model(ctx: click.Context, further: Collection[str], why: str) -> None:
    """Raises BadRequest when an option was given that only a language model minds: those above, and `further` ones."""
    names = {one.name for one in dataclasses.fields(Asking)} | set(further)
    for option in ctx.command.params:
        source = ctx.get_parameter_source(option.name or "")
        if option.name in names and source is click.core.ParameterSource.COMMANDLINE:
            raise BadRequest(f"{option.opts[0]} goes with --model; {why}")


def tell_spent(report: Any) -> None:
    """Say what a run's answers cost."""
    from labeler.llm.budget import shown

    if report.paid or report.cached:
        money = "" if report.money is None else f", {shown(report.money)}"
        click.echo(
            f"{report.paid:,} answers paid: {report.tokens_in:,} tokens of prompts, {report.tokens_out:,} of "
            f"replies{money}; {report.cached:,} from the journal",
            err=True,
        )
