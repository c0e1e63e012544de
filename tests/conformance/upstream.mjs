// An agent that makes the calls of one of the suite's client scenarios, through the gateway.
//
// usage: node upstream.mjs NODE_MODULES URL TOOLS      TOOLS is a JSON array of the names of the server's tools, approved or not

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [, , modules, url, toolNames] = process.argv;
const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_PROTOCOL_VERSION: version } = process.env;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const require = createRequire(`${modules}/`);
const INFO = { name: 'black-box', version: '1.0.0' };
const TIMEOUT = { timeout: 10_000 };

/** An agent of the scenario's era, made with a library that others wrote. It leaves out what has a default. */
async function connect() {
  const capabilities = { elicitation: { form: { applyDefaults: true } } };
  if (version === '2026-07-28') {
    const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
    const client = new Client(INFO, { capabilities, versionNegotiation: { mode: 'auto' } });
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { confirmed: true } }));
    await client.connect(new StreamableHTTPClientTransport(new URL(url)), TIMEOUT);
    assert.equal(client.getNegotiatedProtocolVersion(), version);
    return { client, call: (name, args = {}) => client.callTool({ name, arguments: args }, TIMEOUT) };
  }
  const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { ElicitRequestSchema } = require('@modelcontextprotocol/sdk/types.js');
  const client = new Client(INFO, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: {} }));
  await client.connect(new StreamableHTTPClientTransport(new URL(url)), TIMEOUT);
  return { client, call: (name, args = {}) => client.callTool({ name, arguments: args }, undefined, TIMEOUT) };
}

const SCENARIOS = {
  initialize: ({ client }) => client.listTools(),
  'json-schema-ref-no-deref': ({ client }) => client.listTools(),
  async tools_call({ call }) {
    assert.equal((await call('add_numbers', { a: 5, b: 3 })).content[0].text, 'The sum of 5 and 3 is 8');
  },
  'elicitation-sep1034-client-defaults': ({ call }) => call('test_client_elicitation_defaults'),
  async 'sse-retry'({ call }) {
    assert.match((await call('test_reconnection')).content[0].text, /completed/);
  },
  // The server has no tools: what matters is how it is asked.
  'request-metadata': ({ call }) => call('no_such_tool').catch(() => {}),
  async 'sep-2322-client-request-state'({ call }) {
    const waiting = [call('test_mrtr_echo_state'), call('test_mrtr_unrelated')];
    const answers = await Promise.all(waiting);
    for (const name of ['test_mrtr_no_state', 'test_mrtr_no_result_type']) answers.push(await call(name));
    assert.deepEqual(
      answers.map((answer) => answer.content[0].text),
      ['echo-state-ok', 'unrelated-ok', 'no-state-ok', 'no-result-type-test-ok'],
    );
  },
  async 'http-standard-headers'({ client, call }) {
    for (const { name } of (await client.listTools()).tools) await call(name);
    for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
    for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
  },
  async 'http-custom-headers'({ client, call }) {
    await client.listTools();
    for (const { name, arguments: args } of context.toolCalls) await call(name, args);
  },
  // What cannot be approved of is not forwarded.
  async 'http-invalid-tool-headers'({ client, call }) {
    const listed = (await client.listTools()).tools.map(({ name }) => name);
    assert.deepEqual(listed, ['valid_tool']);
    for (const name of JSON.parse(toolNames)) {
      if (listed.includes(name)) await call(name, { region: 'a' });
      else await assert.rejects(call(name, {}), /catalog/);
    }
  },
  async 'json-schema-2020-12-preservation'({ client, call }) {
    const { tools } = await client.listTools();
    const { inputSchema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
    await call('json_schema_echo', { schema: inputSchema });
  },
};

const agent = await connect();
await SCENARIOS[scenario](agent);
await agent.client.close();
process.exit(0); // whatever streams are open
