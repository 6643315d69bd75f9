"""Questions about time: what was true then, what is true now, what was known then, and what a memory makes of "when the migration occurred".

python examples/temporal.py [--model openai:gpt-5-mini]      without a model the agent quotes what the memory ranks first
"""

import argparse
from datetime import datetime, timedelta, timezone

from langchain.chat_models import init_chat_model

from rag2_memory import AsOf, Document, Memory
from rag2_memory.integrations.quoting import QuotingChatModel

PAGES = [
    Document(
        id="handover",
        text="Vatsal Shah leads Project Alpha until 1 February 2026. Priya Raman took over Project Alpha on 1 February 2026.",
    ),
    Document(id="retro", text="On 14 March 2026 the database migration of Project Alpha was completed."),
]
LATE = Document(id="late", text="Tomas Lindqvist leads Project Alpha since 1 June 2026.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    model = init_chat_model(name) if name else QuotingChatModel()
    now = [datetime(2026, 7, 1, tzinfo=timezone.utc)]
    with Memory.in_memory(clock=lambda: now[0]) as memory:
        memory.ingest(PAGES)
        print("Who leads Project Alpha …")
        for moment in ("2026-01-15", "2026-03-14"):
            for fact in memory.facts("Project Alpha", predicate="LEAD_ARCHITECT_OF", as_of=moment):
                print(f"  on {moment}: {fact.subject}")
        question = "Who was leading Project Alpha when the database migration occurred in March?"
        context = memory.recall(question, budget=2_000)
        print(
            f"{question}\n  facts given to the model: {[str(fact) for fact in context.facts]}\n  answer: {model.invoke(context.messages()).text}"
        )

        known_before = now[0]
        now[0] += timedelta(days=30)
        memory.ingest(LATE)
        print("A page learned on 31 July says that the lead had changed on 1 June. The whole history, as known now:")
        for fact in memory.facts("Project Alpha", predicate="LEAD_ARCHITECT_OF"):
            print(f"  {fact}")
        june = datetime(2026, 6, 15, tzinfo=timezone.utc)
        for told, as_of in (("as known now", AsOf(valid=june)), ("as known on 1 July", AsOf(valid=june, recorded=known_before))):
            leads = [fact.subject for fact in memory.facts("Project Alpha", predicate="LEAD_ARCHITECT_OF", as_of=as_of)]
            print(f"Who led it on 15 June, {told}? {leads}")


if __name__ == "__main__":
    main()
