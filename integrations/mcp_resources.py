"""An MCP server's resources as documents: `memory.ingest(McpResources("https://…/mcp"))`, each with where it came from and who may see it."""

from __future__ import annotations

import asyncio
import base64
import queue
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from rag2_memory.config import MemoryConfig
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError, Rag2MemoryError
from rag2_memory.ingestion.files import UnreadableFileError, decode, read_document
from rag2_memory.ingestion.html import html_to_markdown
from rag2_memory.ingestion.markdown import first_heading
from rag2_memory.ingestion.media import HTML, MARKDOWN, MEDIA_TYPES, OFFICE_SUFFIXES, PLAIN, is_markdown, media_type_of
from rag2_memory.integrations.mcp_sdk import Peer, connected
from rag2_memory.memory import Memory
from rag2_memory.types import Document, IngestReport, SkippedSource, acl_of, utc

AHEAD = 8
"""Documents read from the server before the memory has taken them; bounds what is held at once."""

TIMEOUT_SECONDS = 60.0

_SUFFIX_OF = {media_type: suffix for suffix, media_type in MEDIA_TYPES.items() if suffix in OFFICE_SUFFIXES}

AclOf = Callable[[Mapping[str, Any]], Any]


class McpResources:
    """The resources that an MCP server lists, as an iterable of documents for `Memory.ingest`; iterating connects anew each time.

    A document's id is `mcp:NAME/URI`, its `uri` the resource's, and its metadata name the server. Text is taken as it is, HTML and Office files are converted; what has no
    text is skipped and reported. Who may see a document is said here alone: what a server claims in its texts is never believed.
    """

    def __init__(
        self,
        server: Any,
        *,
        name: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        acl: Any | AclOf = (),
        wanted: Callable[[Mapping[str, Any]], bool] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int | None = None,
    ) -> None:
        """Describe the source; nothing is connected yet.

        Args:
            server: The URL of a streamable HTTP endpoint, the words of a command that serves stdio, the SDK's `StdioServerParameters`, or a server in this process.
            name: Names the source in ids; default: what the server calls itself. Two servers need two names.
            token: Bearer token for HTTP.
            headers: Further HTTP headers.
            acl: Who may see the documents: entries for all, or a function of a resource (by the protocol's field names) that returns them. Empty: everyone in the namespace.
            wanted: Chooses resources before they are read.
            timeout_seconds: For each request.
            max_bytes: A larger resource is skipped; default as for files.

        Raises:
            InvalidRequestError: If the ACL is malformed, or the name is no plain word.
        """
        if name is not None and not re.fullmatch(r"[\w.@-]+", name):
            raise InvalidRequestError(f"got name={name!r}; needed letters, digits and . _ - @ alone, since ids begin with it.")
        self._server, self._name = server, name
        self._headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        self._acl: AclOf = acl if callable(acl) else _constant(acl_of(acl))
        self._wanted = wanted or (lambda resource: True)
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes or MemoryConfig().max_file_bytes
        self.prefix: str | None = None
        """What the ids of this source begin with; known once the server has been asked."""

    def __iter__(self) -> Iterator[Document | SkippedSource]:
        """Yield each resource as a document, or why it is left out.

        Raises:
            BackendUnavailableError: If the server is out of reach or breaks off.
        """
        found: queue.Queue[Any] = queue.Queue(maxsize=AHEAD)
        stopped = threading.Event()

        def put(item: Any) -> bool:
            while not stopped.is_set():
                try:
                    found.put(item, timeout=0.1)
                except queue.Full:
                    continue
                return True
            return False

        def work() -> None:
            try:
                asyncio.run(self._read(put))
            except BaseException as exc:  # handed to whoever iterates
                put(exc)
            else:
                put(None)

        reader = threading.Thread(target=work, name="rag2-mcp", daemon=True)
        reader.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise _translated(item)
                yield item
        finally:
            stopped.set()
            reader.join(timeout=5.0)

    async def _read(self, put: Callable[[Any], bool]) -> None:
        """Hand on every resource, until the last or until whoever takes them wants no more."""
        async with connected(self._server, headers=self._headers) as peer:
            name = self._name or re.sub(r"[^\w.@-]+", "-", str(peer.about.get("name") or "server"))
            self.prefix = f"mcp:{name}/"
            cursor: str | None = None
            while True:
                async with asyncio.timeout(self._timeout_seconds):
                    resources, cursor = await peer.page(cursor)
                for resource in filter(self._wanted, resources):
                    if not await asyncio.to_thread(put, await self._document(resource, peer, name)):
                        return
                if cursor is None:
                    return

    async def _document(self, resource: Mapping[str, Any], peer: Peer, name: str) -> Document | SkippedSource:
        uri = str(resource["uri"])
        document_id = f"mcp:{name}/{uri}"
        try:
            if int(resource.get("size") or 0) > self._max_bytes:
                raise UnreadableFileError(f"{int(resource['size']):,} bytes, more than {self._max_bytes:,}")
            acl = acl_of(self._acl(resource))
            async with asyncio.timeout(self._timeout_seconds):
                parts = await peer.read(uri)
            read = await asyncio.to_thread(self._text, parts, resource)
        except (UnreadableFileError, InvalidRequestError) as exc:
            return SkippedSource(source=document_id, reason=str(exc))
        except TimeoutError:
            return SkippedSource(source=document_id, reason=f"no answer within {self._timeout_seconds:g} s")
        except Exception as exc:
            if (
                type(exc).__name__.lower() != "mcperror"
            ):  # the SDK's own, spelled differently by its majors: the server refused this one resource
                raise
            return SkippedSource(source=document_id, reason=f"the server refused it: {exc}")
        text, title, media_type = read
        modified = (resource.get("annotations") or {}).get("lastModified")
        return Document(
            id=document_id,
            text=text,
            title=str(resource.get("title") or "")
            or title
            or (first_heading(text) if is_markdown(media_type) else "")
            or str(resource["name"]),
            uri=uri,
            acl=acl,
            modified_at=_moment(modified),
            metadata={"mcp_server": name, "mcp_endpoint": _endpoint(self._server), "mcp_media_type": resource.get("mimeType")},
            media_type=media_type,
        )

    def _text(self, parts: list[dict[str, Any]], resource: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return text, title and media type of a resource's contents."""
        texts: list[str] = []
        title, media_type = "", MARKDOWN
        for part in parts:
            declared = str(part.get("mimeType") or resource.get("mimeType") or "").partition(";")[0].strip().lower()
            media_type = (
                declared if declared not in ("", "application/octet-stream") else media_type_of(str(part.get("uri") or resource["uri"]))
            )
            if "text" in part:
                text, found = html_to_markdown(part["text"]) if media_type == HTML else (str(part["text"]), "")
            else:
                text, found = self._converted(base64.b64decode(part.get("blob") or ""), media_type)
            texts.append(text)
            title = title or found
        whole = "\n\n".join(text for text in texts if text.strip())
        if not whole:
            raise UnreadableFileError("no text in it")
        if len(whole.encode("utf-8", "surrogatepass")) > self._max_bytes:
            raise UnreadableFileError(f"more than {self._max_bytes:,} bytes of text")
        return whole, title, media_type if media_type.startswith(("text/", "application/")) else PLAIN

    def _converted(self, data: bytes, media_type: str) -> tuple[str, str]:
        if len(data) > self._max_bytes:
            raise UnreadableFileError(f"{len(data):,} bytes, more than {self._max_bytes:,}")
        suffix = _SUFFIX_OF.get(media_type)
        if suffix is None:
            text = decode(data, html=media_type == HTML)
            return html_to_markdown(text) if media_type == HTML else (text, "")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"resource{suffix}"
            path.write_bytes(data)
            read = read_document(path, document_id=path.name, acl=frozenset(), max_file_bytes=self._max_bytes)
        if isinstance(read, SkippedSource):
            raise UnreadableFileError(read.reason)
        return read.text, "" if read.title == "Resource" else read.title


def ingest_resources(
    memory: Memory, source: McpResources, *, namespace: str = "default", prune: bool = True, progress: Any = None
) -> IngestReport:
    """Ingest a server's resources, and hide what an earlier run brought and the server no longer lists.

    Args:
        memory: The memory.
        source: The server.
        namespace: The tenant.
        prune: Whether to hide what vanished; nothing is hidden where the server broke off.
        progress: As for `Memory.ingest`.

    Raises:
        BackendUnavailableError: If the server is out of reach or breaks off; what had come by then stays.
    """
    met: set[str] = set()

    def items() -> Iterator[Document | SkippedSource]:
        for item in source:
            met.add(item.id if isinstance(item, Document) else item.source)
            yield item

    report = memory.ingest(items(), namespace=namespace, progress=progress)
    if not prune or source.prefix is None:
        return report
    states = memory.documents(namespace=namespace)
    gone = [state.document_id for state in states if state.state == "live" and _vanished(state.document_id, source.prefix, met)]
    return replace(report, removed=(*report.removed, *memory.remove(gone, namespace=namespace))) if gone else report


def _vanished(document_id: str, prefix: str, met: set[str]) -> bool:
    return document_id.startswith(prefix) and document_id not in met


def _endpoint(server: Any) -> str | None:
    """Return where a server was asked, without what may be secret in a URL."""
    if isinstance(server, str):
        parts = urlsplit(server)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if isinstance(server, Sequence):
        return str(server[0])
    return None


def _constant(acl: frozenset[str]) -> AclOf:
    return lambda resource: acl


def _moment(value: Any) -> Any:
    try:
        return utc(value) if isinstance(value, str) else None
    except InvalidRequestError:
        return None


def _translated(error: BaseException) -> BaseException:
    """Return the error that a caller sees: ours as it is, what the connection threw as a backend's failure."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, (Rag2MemoryError, KeyboardInterrupt, SystemExit)):
        return error
    failure = BackendUnavailableError(
        f"the MCP server cannot be read ({type(error).__name__}: {error}). Check its address, its token and that it runs."
    )
    failure.__cause__ = error
    return failure
