"""Questions on the command line: `ask`, `search` and `facts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag2_memory.commands import options as opt
from rag2_memory.commands.opening import opened, waiting
from rag2_memory.commands.terminal import console, count, emit_json, harmless, note, say, say_indented, span, styled, table, to_json, when

if TYPE_CHECKING:
    from rag2_memory.context import Context, ContextBudget
    from rag2_memory.types import Fact, Passage

Route = Annotated[
    Literal["auto", "hybrid", "dense", "lexical", "graph"],
    typer.Option("--route", help="Force the arms that search instead of letting the question decide.", rich_help_panel=opt.WHO),
]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.", show_default=False)]

READING_TOKENS = 4_096
"""Default window where a person reads the context: some screens of it."""

MODEL_TOKENS = 32_000
"""Default window where a model reads it: every current model has more, and a quarter of it holds all that usually matters."""

SNIPPET_CHARACTERS = 240
"""Of a passage in a list; three lines of a terminal, enough to judge whether it is the right one."""


def ask(
    question: Question,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            "-b",
            metavar="TOKENS",
            help="The model's window in tokens, or 8k, 32k, 128k, 200k, 1M.",
            show_default="4096; 32000 with --model",
        ),
    ] = None,
    as_of: opt.When = None,
    known_at: opt.KnownAt = None,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    route: Route = "auto",
    form: Annotated[
        Literal["xml", "markdown", "json"], typer.Option("--format", help="How the context is written.", rich_help_panel=opt.HOW)
    ] = "xml",
    explain: Annotated[bool, typer.Option("--explain", help="Show how the context came about.", rich_help_panel=opt.HOW)] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="PROVIDER:NAME", help="Let a LangChain chat model answer, such as openai:gpt-5-mini.", show_default=False
        ),
    ] = None,
    guidelines: Annotated[
        str, typer.Option("--guidelines", metavar="TEXT", help="Instructions that go into the context.", show_default=False)
    ] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor fill the cache.")] = False,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Ask a question: prints the cited context that fits the budget or, with --model, the model's answer."""
    from rag2_memory.commands import answering, explaining
    from rag2_memory.commands.explained import print_explanation

    request = {
        "query": question,
        "scope": opt.scope_of(namespace, user, group),
        "as_of": opt.as_of_of(as_of, known_at),
        "guidelines": guidelines,
        "route": route,
        "format": form,
        "budget": budget_of(budget, default_tokens=MODEL_TOKENS if model else READING_TOKENS),
    }
    chat = answering.chat_model(model) if model else None
    with opened(memory, embedder=embedder, cache=not no_cache) as opened_memory, waiting("searching"):
        recall = explaining.recall_explained if explain else explaining.recall_plainly
        context, explanation = recall(opened_memory, request)
    if chat is not None:
        answer = answering.answer(chat, context, live=not as_json)
        if as_json:
            emit_json(answering.answer_json(answer, context) | ({"explanation": explanation} if explain else {}))
            return
        answering.print_sources(context, answer)
    elif as_json:
        emit_json(context_json(context) | ({"explanation": explanation} if explain else {}))
        return
    else:
        print_context(context)
    if explain:
        print_explanation(explanation)


def budget_of(value: str | None, *, default_tokens: int = READING_TOKENS) -> ContextBudget:
    """Read `--budget`: a number of tokens or the name of a preset.

    Raises:
        InvalidRequestError: If it is neither.
    """
    from rag2_memory.context import ContextBudget

    if value is None:
        return ContextBudget.of(default_tokens)
    digits = value.replace("_", "").replace(",", "")
    return ContextBudget.of(int(digits)) if digits.isdecimal() else ContextBudget.preset(value)


def print_context(context: Context) -> None:
    """Print a context as a model would be given it, then the list of its citations."""
    typer.echo(harmless(context.text.rstrip("\n")))
    if not context.citations:
        note("\nNothing in this memory that you may see answers the question.")
        return
    say("")
    console().print(citations_table(context))
    note(f"{context.tokens:,} of {context.budget.input_tokens:,} tokens; {count(len(context.dropped), 'candidate')} left out")


def citations_table(context: Context) -> Any:
    """Return what each citation stands for, passages from the best one down, then facts."""
    tokens = {block.citation_id: f"{block.tokens:,}" for block in context.blocks}
    listed = table("id", "document", "what", "tokens", right=["tokens"], whole=["document", "what"])
    for citation in sorted(context.citations.values(), key=lambda citation: (citation.kind == "fact", int(citation.id[1:]))):
        what = citation.statement or " › ".join(dict.fromkeys((citation.title, *citation.heading_path)))
        listed.add_row(citation.id, citation.document_id, what, tokens.get(citation.id, ""))
    return listed


def context_json(context: Context) -> dict[str, Any]:
    """Return a context for other programs."""
    return {
        "query": context.query,
        "format": context.format,
        "text": context.text,
        "tokens": context.tokens,
        "budget": to_json(context.budget.to_dict()),
        "citations": to_json(context.citations),
        "blocks": to_json(context.blocks),
        "facts": to_json(context.facts),
        "dropped": to_json(context.dropped),
    }


def search(
    question: Question,
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Passages wanted.")] = 5,
    as_of: opt.When = None,
    known_at: opt.KnownAt = None,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    route: Route = "auto",
    full: Annotated[
        bool, typer.Option("--full", help="Print whole passages instead of their beginnings.", rich_help_panel=opt.HOW)
    ] = False,
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Print the best passages with their scores and the arms that found them."""
    scope, moment = opt.scope_of(namespace, user, group), opt.as_of_of(as_of, known_at)
    with opened(memory, embedder=embedder) as opened_memory, waiting("searching"):
        passages = opened_memory.search(question, k=k, scope=scope, as_of=moment, route=route)
    if as_json:
        emit_json(passages)
        return
    if not passages:
        note("Nothing in this memory that you may see matches.")
    for rank, passage in enumerate(passages, start=1):
        print_passage(rank, passage, full=full)


def print_passage(rank: int, passage: Passage, *, full: bool) -> None:
    """Print one search result: where it stands, why it was found, how it begins."""
    place = " › ".join(dict.fromkeys((passage.title or passage.document_id, *passage.heading_path)))
    say_indented(
        (f"{rank}. ", "bold"), (place, "bold"), (f"  {passage.score:.4f}", "dim"), (f"  {'+'.join(passage.sources)}", "cyan"), by=0
    )
    where = passage.document_id + (f", {when(passage.modified_at)}" if passage.modified_at else "")
    say_indented((where, "dim"), by=3)
    for line in (passage.text.strip() if full else snippet(passage.text)).splitlines():
        say_indented(line, by=3)
    say("")


def snippet(text: str) -> str:
    """Return the beginning of a text on one line, without the headings it opens with, cut at a word."""
    body = text.lstrip()
    while body.startswith("#") and "\n" in body:
        body = body.split("\n", 1)[1].lstrip()
    line = " ".join(body.split())
    if len(line) <= SNIPPET_CHARACTERS:
        return line
    return line[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + " …"


def facts(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person, project, component, document …", show_default=False)],
    memory: opt.MemoryDir = opt.DEFAULT_MEMORY,
    predicate: Annotated[
        str | None, typer.Option("--predicate", "-p", metavar="NAME", help="Only this relation, such as LEADS.", show_default=False)
    ] = None,
    as_of: opt.When = None,
    known_at: opt.KnownAt = None,
    user: opt.User = None,
    group: opt.Groups = None,
    namespace: opt.Namespace = "default",
    embedder: opt.EmbedderName = None,
    as_json: opt.AsJson = False,
) -> None:
    """Print what the graph states about a name: when it held, and which documents say so."""
    scope, moment = opt.scope_of(namespace, user, group), opt.as_of_of(as_of, known_at)
    with opened(memory, embedder=embedder) as opened_memory:
        found = opened_memory.facts(name, predicate=predicate, as_of=moment, scope=scope)
    if as_json:
        emit_json([to_json(fact) | {"status": fact.status} for fact in found])
        return
    if not found:
        extra = f" of {predicate!r}" if predicate else ""
        note(f"No fact about {name!r}{extra} that you may see. `rag2 search {name!r}` finds passages that name it.")
        return
    console().print(facts_table(found))


def facts_table(found: list[Fact]) -> Any:
    """Return facts as a table, ended ones dimmed; below each fact stands who states it."""
    listed = table("held", "fact and where it stands", fixed=["held"], whole=["fact and where it stands"])
    for fact in found:
        properties = "; ".join(f"{key}: {value}" for key, value in fact.properties.items() if key != "observed_at")
        held = span(fact.valid_from, fact.valid_to) + (f" retracted {when(fact.retracted_at)}" if fact.retracted_at else "")
        statement = styled(
            fact.subject,
            (f" –{fact.predicate}→ ", "cyan"),
            fact.object,
            f" ({properties})" if properties else "",
            (f"\n{', '.join(fact.documents)}", "dim"),
        )
        listed.add_row(held, statement, style="dim" if fact.status == "inactive" else "")
    return listed
