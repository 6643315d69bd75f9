"""What a memory does at night, as `rag2 consolidate` does from cron: names are compared, related documents grouped and summarised, faded ones proposed for the archive.

python examples/nightly.py [--model openai:gpt-5-mini]      a model writes the summaries of the groups; without one they are extracts
"""

import argparse
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from langchain.chat_models import init_chat_model

from rag2_memory import Document, Memory

CORPUS = Path(__file__).parent / "corpus" / "adr"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LangChain's init_chat_model takes it, such as openai:gpt-5-mini")
    name = parser.parse_args().model
    now = [datetime(2026, 7, 1, tzinfo=timezone.utc)]
    options: dict[str, Any] = {"summarizer": init_chat_model(name)} if name else {}
    with Memory.in_memory(clock=lambda: now[0], **options) as memory:
        memory.ingest(CORPUS)
        memory.ingest(
            Document(id="menu", text="On Thursdays the canteen serves soup.", modified_at=datetime(2026, 6, 1, tzinfo=timezone.utc))
        )

        plan = memory.consolidate(dry_run=True, half_life_days=90)
        print(
            f"a dry run would form {len(plan.formed)} groups and propose {len(plan.proposed)} documents for the archive; it changes nothing"
        )

        report = memory.consolidate(half_life_days=90, progress=lambda step, update: print(f"  {step}"))
        print(f"formed {len(report.formed)} groups of related documents, {report.waiting} pairs of names wait for a person")
        for community in memory.communities()[:2]:
            print(f"- {', '.join(member.title for member in community.members)}\n  {community.summary[:300]}")
        print(f"again the same night: {memory.consolidate(half_life_days=90).kept} groups stay as they are")

        now[0] += timedelta(days=700)
        late = memory.consolidate(half_life_days=90, archive=True)
        print(
            f"two years later {len(late.archived)} faded documents go to the archive; {len(late.spared)} stay, since they alone state a fact that holds"
        )
        for document_id in late.archived[:1]:
            memory.restore(document_id)
            print(f"{document_id} is back, whole: {memory.document(document_id)[:60]!r} …")


if __name__ == "__main__":
    main()
