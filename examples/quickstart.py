"""Documents in, a cited context out: no server, no network, no language model."""

from rag2_memory import Document, Memory

with Memory.in_memory() as memory:
    memory.ingest(
        [
            Document(
                id="handover",
                text="Vatsal Shah leads Project Alpha until 1 February 2026. Priya Raman took over Project Alpha on 1 February 2026.",
            ),
            Document(id="retro", text="On 14 March 2026 the database migration of Project Alpha was completed."),
            Document(id="pay", text="Salaries are reviewed in May.", acl=frozenset({"group:hr"})),
        ]
    )
    question = "Who was leading Project Alpha when the database migration occurred in March?"
    for passage in memory.search(question, k=2):
        print(f"{passage.score:.2f}  {passage.document_id:10} {passage.text}")
    for fact in memory.facts("Project Alpha", as_of="2026-03-14", predicate="LEAD_ARCHITECT_OF"):
        print(fact)
    context = memory.recall(question, budget=2_000)
    print(context.text)
    print(f"{context.tokens} tokens; citations: {', '.join(context.citations)}")
