// An agent made with a client library that others wrote, against server.mjs or the gateway in front of it.
//
// usage: node client.mjs NODE_MODULES sdk|client-legacy|client-modern URL
//
// Prints a JSON object: each step with null, or what went wrong. Steps go on after one that failed, as an agent would.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [, , modules, kind, url] = process.argv;
const require = createRequire(`${modules}/`);
const TIMEOUT_MS = 5000;
const INFO = { name: 'black-box', version: '1.0.0' };
const CAPABILITIES = { elicitation: {}, sampling: {} };

const onElicitation = () => ({ action: 'accept', content: { username: 'ada', email: 'ada@example.com' } });
const onSampling = () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'forty-two' } });

/** Libraries and their modes, behind one interface. */
const LIBRARIES = {
  sdk: () => {
    const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const types = require('@modelcontextprotocol/sdk/types.js');
    const client = new Client(INFO, { capabilities: CAPABILITIES });
    const transport = new StreamableHTTPClientTransport(new URL(url));
    client.setRequestHandler(types.ElicitRequestSchema, onElicitation);
    client.setRequestHandler(types.CreateMessageRequestSchema, onSampling);
    return {
      client,
      transport,
      wanted: '2025-11-25',
      version: () => transport.protocolVersion,
      call: (name, args, options) =>
        client.callTool({ name, arguments: args }, undefined, { timeout: TIMEOUT_MS, ...options }),
      listen: (told) => client.setNotificationHandler(types.ToolListChangedNotificationSchema, told),
    };
  },
  'client-legacy': () => dualEra('legacy', '2025-11-25'),
  'client-modern': () => dualEra('auto', '2026-07-28'),
};

function dualEra(mode, wanted) {
  const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
  const client = new Client(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', onElicitation);
  client.setRequestHandler('sampling/createMessage', onSampling);
  return {
    client,
    transport: new StreamableHTTPClientTransport(new URL(url)),
    wanted,
    version: () => client.getNegotiatedProtocolVersion(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, { timeout: TIMEOUT_MS, ...options }),
    listen: async (told) => {
      client.setNotificationHandler('notifications/tools/list_changed', told);
      if (mode === 'auto') await client.listen({ toolsListChanged: true }, { timeout: TIMEOUT_MS });
    },
  };
}

const words = (result) => result.content.map((item) => item.text).join(' ');

const STEPS = {
  async connects({ client, transport, wanted, version }) {
    await client.connect(transport, { timeout: TIMEOUT_MS });
    assert.equal(version(), wanted);
  },
  async 'lists tools'({ client }) {
    const { tools } = await client.listTools();
    const { description, annotations } = tools.find((tool) => tool.name === 'test_simple_text');
    assert.equal(description, 'Returns one text');
    assert.equal(annotations.readOnlyHint, true);
  },
  async 'calls a tool'({ call }) {
    assert.equal(words(await call('test_simple_text', {})), 'This is a simple text response for testing.');
  },
  // The library checks it against the output schema that was listed.
  async 'gets structured content'({ call }) {
    const { structuredContent } = await call('test_structured_content', { city: 'Bern' });
    assert.deepEqual(structuredContent, { city: 'Bern', degrees: 21.5 });
  },
  async 'hears of progress'({ call }) {
    const heard = [];
    await call('test_tool_with_progress', {}, { onprogress: ({ progress }) => heard.push(progress) });
    assert.deepEqual(heard, [0, 50, 100]);
  },
  async 'is asked for the user'({ call }) {
    const result = await call('test_elicitation', { message: 'Who are you?' });
    assert.match(words(result), /accept.*ada@example\.com/);
  },
  async 'is asked for a model'({ call }) {
    assert.match(words(await call('test_sampling', { prompt: 'The answer?' })), /forty-two/);
  },
  async 'gets what the tool got wrong'({ call }) {
    assert.equal((await call('test_error_handling', {})).isError, true);
  },
  async 'is refused an unknown tool'({ call }) {
    await assert.rejects(call('no_such_tool', {}));
  },
  async 'calls a tool after the refusal'({ call }) {
    assert.equal(words(await call('test_simple_text', {})), 'This is a simple text response for testing.');
  },
  async 'reads a resource'({ client }) {
    const { contents } = await client.readResource({ uri: 'test://template/7/data' }, { timeout: TIMEOUT_MS });
    assert.equal(JSON.parse(contents[0].text).id, '7');
  },
  async 'gets a prompt'({ client }) {
    const { messages } = await client.getPrompt(
      { name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'b' } },
      { timeout: TIMEOUT_MS },
    );
    assert.equal(messages[0].content.text, "Prompt with arguments: arg1='a', arg2='b'");
  },
  async 'hears that tools changed'({ call, listen }) {
    const heard = new Promise((resolve, reject) => {
      Promise.resolve(listen(resolve))
        .then(() => call('test_trigger_tool_change', {}))
        .catch(reject);
      setTimeout(reject, TIMEOUT_MS, new Error('nothing was heard'));
    });
    await heard;
  },
};

const agent = LIBRARIES[kind]();
const results = {};
for (const [name, step] of Object.entries(STEPS)) {
  results[name] = await step(agent).then(
    () => null,
    (error) => error.message,
  );
}
console.log(JSON.stringify(results));
process.exit(0); // whatever streams are open
