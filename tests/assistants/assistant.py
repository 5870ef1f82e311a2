"""An assistant with the Python SDK of the Model Context Protocol: on standard input and output and over HTTP, in the newest
version of the protocol and with a handshake, as older clients do it.

    assistant.py RUNLOG RUN_ID    RUNLOG_API_URL and RUNLOG_TOKEN name the service
"""

import asyncio
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

RUNLOG, RUN_ID = sys.argv[1:]
URL, TOKEN = os.environ["RUNLOG_API_URL"], os.environ["RUNLOG_TOKEN"]
TOOLS = {
    "find_runs", "find_problems", "explain_run", "compare_runs", "search_logs", "read_log", "query_sql",
    "collection_health",
}


async def ask(client):
    """Asks what failed and why, as an assistant does."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == TOOLS, set(tools)
    assert all(tool.annotations.read_only_hint for tool in tools.values())

    async def call(name, **arguments):
        result = await client.call_tool(name, arguments)
        assert len(result.content) == 1, result
        return result.is_error, result.content[0].text

    failed, found = await call("find_runs")
    assert not failed and RUN_ID in found, found
    failed, why = await call("explain_run", run_id=RUN_ID)
    assert not failed and "Connection refused" in why and f"{URL}/runs/{RUN_ID}" in why, why
    failed, lines = await call("read_log", run_id=RUN_ID, line=2)
    assert not failed and "| 2 | " in lines, lines
    failed, rows = await call("query_sql", query="SELECT count(*) AS n FROM records")
    assert not failed and '"n":2' in rows, rows
    failed, message = await call("explain_run", run_id="last night")
    assert failed and "find_runs" in message, message
    templates = (await client.list_resource_templates()).resource_templates
    assert len(templates) == 3, templates
    report = await client.read_resource(f"runlog://runs/{RUN_ID}/report")
    assert "Connection refused" in report.contents[0].text, report


async def main():
    program = StdioServerParameters(
        command=RUNLOG, args=["mcp"], env={"RUNLOG_API_URL": URL, "RUNLOG_TOKEN": TOKEN, "PATH": os.environ["PATH"]}
    )
    versions = set()
    for mode in ["auto", "legacy"]:
        async with Client(program, mode=mode) as client:
            await ask(client)
            versions.add(client.protocol_version)
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as http:
            async with Client(streamable_http_client(f"{URL}/mcp", http_client=http), mode=mode) as client:
                await ask(client)
                versions.add(client.protocol_version)
    assert len(versions) == 2, versions


asyncio.run(main())
