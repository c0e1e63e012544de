// An agent made with a client library that others wrote, against server.mjs or the gateway in front of it.
//
// usage: node client.mjs NODE_MODULES sdk|client-legacy|client-modern URL
//
// Prints a JSON object: each step with null, or what went wrong. Steps go on after one that failed, as an agent would.

import assert from 'node:assert/strict';
import { TIMEOUT_MS, library } from './libraries.mjs';

const [, , modules, kind, url] = process.argv;
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

const agent = library(kind, modules, url);
const results = {};
for (const [name, step] of Object.entries(STEPS)) {
  results[name] = await step(agent).then(
    () => null,
    (error) => error.message,
  );
}
console.log(JSON.stringify(results));
process.exit(0); // whatever streams are open
