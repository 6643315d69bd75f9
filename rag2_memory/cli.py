"""`rag2`: the command line of rag2_memory. Commands live in `commands/`; this file names them, and turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rag2_memory.commands import asking, cache, consolidating, demonstrating, evaluating, graph, serving, upkeep, writing
from rag2_memory.commands.terminal import EXIT_CODES_HELP, ExitCode, exit_code_of, fail, note
from rag2_memory.errors import Rag2MemoryError

DEBUG = "RAG2_DEBUG"
"""Environment variable that shows tracebacks; set by `--debug`."""


QUIET = ("chromadb", "transformers", "sentence_transformers", "huggingface_hub", "httpx", "rag2_memory.context.tokens")
"""Loggers of engines that chat, and of the token counter: `rag2 status` names it, the other commands need not repeat it."""


class Rag2Group(TyperGroup):
    """The top group: whatever a command raises ends here as one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Rag2MemoryError as error:
            _trace()
            fail(str(error))
            raise typer.Exit(exit_code_of(error)) from error
        except KeyboardInterrupt as error:
            note("\nStopped. What was finished before stays; running the command again goes on from there.")
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(ExitCode.OK) from None
        except Exception as error:
            if _is_usage(error):
                raise
            _trace()
            fail(f"unexpected {type(error).__name__}: {error}. This is a defect in rag2; `rag2 --debug …` shows where.")
            raise typer.Exit(ExitCode.BUG) from error


def _is_usage(error: Exception) -> bool:
    """Whether typer itself reports it: a wrong option, an exit, an abort."""
    return isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "exit_code")


def _trace() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc(file=sys.stderr)


def _close_stdout() -> None:
    """Whoever read our output went away; have the interpreter's own flush at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="rag2",
    cls=Rag2Group,
    help="Layered memory for agents: take documents in, ask questions, get cited answers within a token budget.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from rag2_memory import __version__

        typer.echo(f"rag2 {__version__}")
        raise typer.Exit


@app.callback()
def rag2(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and what the library logs.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Layered memory for agents: take documents in, ask questions, get cited answers within a token budget."""
    if debug:
        os.environ[DEBUG] = "1"
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.NOTSET)


START, ASK, KEEP = "Start here", "Ask", "Look after a memory"

app.command(rich_help_panel=START)(demonstrating.demo)
app.command(rich_help_panel=START)(writing.ingest)
app.command(rich_help_panel=ASK)(asking.ask)
app.command(rich_help_panel=ASK)(asking.search)
app.command(rich_help_panel=ASK)(asking.facts)
graph.app.command()(consolidating.merges)
graph.app.command()(consolidating.decide)
app.add_typer(graph.app, name="graph", rich_help_panel=ASK)
app.command(rich_help_panel=ASK)(consolidating.communities)
app.command("eval", rich_help_panel=ASK)(evaluating.evaluate)
app.command(rich_help_panel=KEEP)(upkeep.status)
app.command(rich_help_panel=KEEP)(writing.remember)
app.command(rich_help_panel=KEEP)(writing.forget)
app.command(rich_help_panel=KEEP)(writing.acl)
app.command(rich_help_panel=KEEP)(writing.archive)
app.command(rich_help_panel=KEEP)(writing.restore)
app.command(rich_help_panel=KEEP)(upkeep.verify)
app.command(rich_help_panel=KEEP)(upkeep.repair)
app.command(rich_help_panel=KEEP)(upkeep.rebuild)
app.command(rich_help_panel=KEEP)(consolidating.consolidate)
app.add_typer(cache.app, name="cache", rich_help_panel=KEEP)
app.add_typer(serving.app, name="mcp", rich_help_panel=KEEP)


def quiet_libraries() -> None:
    """Keep the engines' own chatter (progress bars, advice, telemetry) off the terminal; their errors reach us as exceptions."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "false")
    warnings.simplefilter("ignore")
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    """Run `rag2`."""
    quiet_libraries()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character shows its code instead
    app(prog_name="rag2")


if __name__ == "__main__":
    main()
