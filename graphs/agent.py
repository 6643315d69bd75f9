"""A reference agent: recall → respond, with tools → remember → a person decides which names are one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolInvocationError
from langgraph.types import interrupt

from rag2_memory.context import Context, ContextBudget
from rag2_memory.errors import InvalidRequestError
from rag2_memory.graphs.scopes import scope_of_run
from rag2_memory.graphs.turns import asked, spoken
from rag2_memory.retrieval.merge_reviews import MergeReview
from rag2_memory.types import IngestReport, Scope

MERGE_ACTION = "merge_entities"
"""Name of the action that a person approves or rejects."""

DECISIONS: Mapping[str, Literal["merge", "rejected"]] = {"approve": "merge", "reject": "rejected"}
"""What a person answers, and what it means for a pair of entities."""


class AgentMemory(Protocol):
    """What the agent needs of a memory; `Memory` has it."""

    def recall(
        self, query: str, *, budget: ContextBudget | int | None, scope: Scope | None, history: Sequence[Any], guidelines: str
    ) -> Context:
        """Compile a context."""

    def remember(self, messages: Sequence[Any], *, thread_id: str, scope: Scope | None) -> IngestReport:
        """Keep what was said."""

    def merge_reviews(self, *, scope: Scope | None) -> list[MergeReview]:
        """List pairs of entities that wait for a decision."""

    def decide_merge(self, merge_id: int, decision: Literal["merge", "rejected"], *, scope: Scope | None) -> None:
        """Settle such a pair."""


class MergeDecision(TypedDict):
    """What became of a pair that a person was asked about."""

    merge_id: int
    kept: str
    absorbed: str
    outcome: str
    """`merge`, `rejected`, or `gone` where the pair no longer waited: somebody else had decided, or an answer before it ruled it out."""


class AgentState(TypedDict, total=False):
    """The agent's state; a checkpointer keeps all of it, so a past turn still shows what the model was given."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation: the caller adds questions, `respond` and `tools` the rest."""
    context: Context
    """Written by `recall`: what the memory gave for this turn."""
    waiting: list[dict[str, Any]]
    """Written by `remember`: the pairs that this turn touches and nobody has decided, as actions to approve; emptied by `approve_merges`."""
    decided: list[MergeDecision]
    """Written by `approve_merges`: what a person decided in this turn; emptied by `recall`."""


def build_agent_graph(
    memory: AgentMemory,
    model: BaseChatModel,
    *,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    budget: ContextBudget | int | None = 16_000,
    scope: Scope | None = None,
    guidelines: str = "",
    approve_merges: bool = True,
) -> StateGraph[Any, Any, Any, Any]:
    """Return the agent, not yet compiled; `build_agent_graph(memory, model).compile(checkpointer=…)` runs.

    A run needs `configurable={"thread_id": …}`, under which the conversation is remembered, and may name the `user`, `groups` and `namespace` that it acts for.
    Where names of the turn wait for a decision, it stops with an interrupt of the form of LangChain's `HumanInTheLoopMiddleware`; resume it with
    `Command(resume={"decisions": [{"type": "approve"}, {"type": "reject"}]})`, one per action, or with `Command(resume="approve")` for all.

    Args:
        memory: The memory.
        model: Any chat model; one that calls tools if there are tools.
        tools: What the model may call, such as `memory_tools(memory)`. Bad arguments go back to the model as the tool's answer.
        budget: The recalled context's budget, the conversation so far included; tool results come on top.
        scope: Who the agent acts for, unless a run's `configurable` says otherwise.
        guidelines: Instructions for the model.
        approve_merges: Whether a person is asked. An approved merge holds for the whole namespace, so leave it out where strangers use the agent.

    Raises:
        InvalidRequestError: If there are tools and the model cannot call any.
    """
    nodes = _Nodes(memory=memory, model=_with_tools(model, tools), budget=budget, scope=scope, guidelines=guidelines, asks=approve_merges)
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(AgentState)
    builder.add_node("recall", nodes.recall)
    builder.add_node("respond", RunnableLambda(nodes.respond, nodes.arespond, name="respond"))
    builder.add_node("remember", nodes.remember)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "respond")
    if tools:
        builder.add_node("tools", ToolNode(list(tools), handle_tool_errors=(ToolInvocationError, InvalidRequestError)))
        builder.add_conditional_edges("respond", _calls_tools, {True: "tools", False: "remember"})
        builder.add_edge("tools", "respond")
    else:
        builder.add_edge("respond", "remember")
    if approve_merges:
        builder.add_node("approve_merges", nodes.approve_merges)
        builder.add_conditional_edges("remember", _is_waiting, {True: "approve_merges", False: END})
        builder.add_edge("approve_merges", END)
    else:
        builder.add_edge("remember", END)
    return builder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nodes:
    """The nodes, with what they work on."""

    memory: AgentMemory
    model: Runnable[Any, AIMessage]
    budget: ContextBudget | int | None
    scope: Scope | None
    guidelines: str
    asks: bool

    def recall(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Compile a context for the latest question. Reads: messages. Writes: context, waiting, decided."""
        messages = state.get("messages") or []
        at = asked(messages)
        context = self.memory.recall(
            str(messages[at].text),
            budget=self.budget,
            scope=scope_of_run(self.scope, config),
            history=messages[:at],
            guidelines=self.guidelines,
        )
        return {"context": context, "waiting": [], "decided": []}

    def respond(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Have the model answer or call tools. Reads: messages, context. Writes: messages."""
        return {"messages": [self.model.invoke(_prompt(state), config)]}

    async def arespond(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Do as `respond` does, on the event loop: a model waits for a server."""
        return {"messages": [await self.model.ainvoke(_prompt(state), config)]}

    def remember(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Keep what was said, and look which of its names wait for a decision. Reads: messages, context. Writes: waiting."""
        thread = (config.get("configurable") or {}).get("thread_id")
        if not thread:
            raise InvalidRequestError("got no thread_id; run the agent with config={'configurable': {'thread_id': …}}.")
        who = scope_of_run(self.scope, config)
        self.memory.remember(spoken(state["messages"]), thread_id=str(thread), scope=who)
        if not self.asks:
            return {}
        return {"waiting": [_action(review) for review in _touched(self.memory.merge_reviews(scope=who), state)]}

    def approve_merges(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Ask a person which names are one, and settle them. Reads: waiting. Writes: waiting, decided."""
        actions = state["waiting"]
        request = {
            "action_requests": actions,
            "review_configs": [{"action_name": MERGE_ACTION, "allowed_decisions": list(DECISIONS)}],
        }
        answers = _answers(interrupt(request), len(actions))
        while isinstance(answers, str):  # said to the person, who is asked again
            answers = _answers(interrupt({**request, "error": answers}), len(actions))
        who = scope_of_run(self.scope, config)
        return {
            "waiting": [],
            "decided": [self._settled(action["args"], answer, who) for action, answer in zip(actions, answers, strict=True)],
        }

    def _settled(self, pair: Mapping[str, Any], answer: str, scope: Scope) -> MergeDecision:
        outcome: str = DECISIONS[answer]
        try:
            self.memory.decide_merge(pair["merge_id"], DECISIONS[answer], scope=scope)
        except InvalidRequestError:
            outcome = "gone"
        return {"merge_id": pair["merge_id"], "kept": pair["kept"], "absorbed": pair["absorbed"], "outcome": outcome}


def _with_tools(model: BaseChatModel, tools: Sequence[BaseTool | Callable[..., Any]]) -> Runnable[Any, AIMessage]:
    if not tools:
        return model
    try:
        return model.bind_tools(tools)
    except NotImplementedError as exc:
        raise InvalidRequestError(
            f"got the model {type(model).__name__}, which cannot call tools; needed one that can, or build the agent without tools."
        ) from exc


def _prompt(state: AgentState) -> list[BaseMessage]:
    """Return the context as messages, the question as it was asked, and what tools have answered since."""
    messages = state["messages"]
    return [*state["context"].messages()[:-1], *messages[asked(messages) :]]


def _calls_tools(state: AgentState) -> bool:
    latest = state["messages"][-1]
    return isinstance(latest, AIMessage) and bool(latest.tool_calls)


def _is_waiting(state: AgentState) -> bool:
    return bool(state.get("waiting"))


def _touched(reviews: Sequence[MergeReview], state: AgentState) -> list[MergeReview]:
    """Return the pairs of which the turn names one side: a person is asked about what is at hand, not about the whole queue."""
    messages, context = state["messages"], state["context"]
    said = "\n".join(str(message.text) for message in messages[asked(messages) :] if message.type != "tool")
    cited = {citation.id for citation in context.cite(said).citations}
    sources = [block.text for block in context.blocks if block.citation_id in cited]
    text = "\n".join([said, *sources, *(context.citations[name].statement for name in cited)])
    return [review for review in reviews if any(_names(text, name) for name in (*review.kept.names, *review.absorbed.names))]


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _action(review: MergeReview) -> dict[str, Any]:
    """Return a pair as an action that a person approves or rejects."""
    kept, absorbed = review.kept, review.absorbed
    lines = [f"Are {absorbed.names[0]!r} and {kept.names[0]!r} the same? They may be: {review.reason}."]
    lines += [f"- {fact}" for fact in (*kept.facts, *absorbed.facts)]
    return {
        "name": MERGE_ACTION,
        "args": {"merge_id": review.merge_id, "kept": kept.names[0], "absorbed": absorbed.names[0], "score": review.score},
        "description": "\n".join(lines),
    }


def _answers(resumed: Any, count: int) -> list[str] | str:
    """Return a person's answers, one per action, or what is wrong with them."""
    given = resumed.get("decisions") if isinstance(resumed, Mapping) else [resumed] * count
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != count:
        return f"got {resumed!r}; needed {{'decisions': […]}} with {count} of them, in the order of the action requests."
    words = [decision.get("type") if isinstance(decision, Mapping) else decision for decision in given]
    unknown = [word for word in words if word not in DECISIONS]
    return f"got the decisions {unknown!r}; needed each to be one of {', '.join(DECISIONS)}." if unknown else [str(word) for word in words]
