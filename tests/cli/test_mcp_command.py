"""`rag2 mcp`: the server as a process of its own, and taking another server's resources in."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rag2_memory.integrations.mcp_sdk import connected

pytest.importorskip("mcp")


ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-long-enough"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAG2_")}
    return kept | {"PYTHONPATH": str(ROOT), "RAG2_EMBEDDER": "rag2_memory.testing.fakes:FakeEmbedder"} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rag2_memory.cli", "mcp", *map(str, arguments)]


def over_stdio(*arguments: object) -> Any:
    stdio = pytest.importorskip("mcp.client.stdio")
    program, *words = command(*arguments)
    return stdio.StdioServerParameters(command=program, args=words, env=environment())


async def test_it_serves_over_stdio_under_the_scope_of_its_options(memory: Path) -> None:
    async with connected(over_stdio("--memory", memory, "--group", "hr")) as peer:
        assert {tool["name"] for tool in await peer.tools()} >= {"search", "remember", "forget"}
        assert "68,000" in str(await peer.call("search", query="What does a senior engineer earn?"))
        kept = await peer.call("remember", text="The auditors come in May.")
        assert not kept["isError"]
    async with connected(over_stdio("--memory", memory, "--read-only")) as peer:
        assert "remember" not in {tool["name"] for tool in await peer.tools()}
        assert "68,000" not in str(await peer.call("search", query="What does a senior engineer earn?"))
        assert "runbooks/err-5031.md" in {resource["name"] for resource in await peer.resources()}


async def test_it_serves_over_http_with_the_token_of_the_environment(memory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}/mcp", memory.parent / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command("--memory", memory, "--transport", "http", "--port", port),
            env=environment(RAG2_MCP_TOKEN=TOKEN),
            stdout=stream,
            stderr=stream,
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        async with connected(url, headers={"Authorization": f"Bearer {TOKEN}"}) as peer:
            assert "token cache" in str(await peer.call("search", query="ERR-5031"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/mcp", body="{}", headers={"Authorization": "Bearer something-else-here"})
        assert connection.getresponse().status == 401
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert TOKEN not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--transport", "http"], 1, "needs a token"),
        (["--transport", "http", "--no-token", "--host", "0.0.0.0"], 1, "without a token"),
        (["--transport", "http", "--token", "short"], 1, "at least 16"),
        (["--transport", "http", "--no-token", "--token", TOKEN], 1, "choose one"),
        (["--transport", "http", "--tokens", "missing.json"], 1, "cannot be read"),
        (["--no-token"], 2, "--transport http"),
        (["--memory", "nowhere", "--transport", "stdio"], 1, "does not exist"),
        (["ingest", ""], 1, "empty SERVER"),
        (["ingest", "http://127.0.0.1:9/mcp"], 3, "MCP server cannot be read"),
    ],
)
def test_a_door_left_open_or_a_wrong_address_is_refused(
    run: Callable[..., Result], memory: Path, arguments: list[str], code: int, problem: str
) -> None:
    place = [] if "--memory" in arguments or arguments[0] == "ingest" else ["--memory", str(memory)]
    result = run("mcp", *place, *arguments, *(["--memory", str(memory)] if arguments[0] == "ingest" else []), code=code)
    assert problem in result.stderr


def test_the_resources_of_another_memory_are_taken_in(run: Callable[..., Result], memory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    server = " ".join(command("--memory", memory, "--embedder", "rag2_memory.testing.fakes:FakeEmbedder", "--read-only"))
    options = ["--memory", copy, "--name", "wiki", "--acl", "user:ada", "--json"]
    report = json.loads(run("mcp", "ingest", server, *options).stdout)
    assert len(report["added"]) == 2 and all(name.startswith("mcp:wiki/memory://documents/") for name in report["added"])
    assert "Priya Raman" in run("search", "Who leads Project Alpha?", "--memory", copy, "--user", "ada").stdout
    assert "Priya Raman" not in run("search", "Who leads Project Alpha?", "--memory", copy, code=None).stdout
    assert len(json.loads(run("mcp", "ingest", server, *options).stdout)["unchanged"]) == 2
