// The tool server that the MCP conformance suite is run against, directly and behind the gateway.
//
// usage: node server.mjs 127.0.0.1:PORT
//
// It speaks both eras of MCP over Streamable HTTP at every path:
//   legacy  2024-11-05 to 2025-11-25: initialize, Mcp-Session-Id, a GET stream, requests to the client, resumable streams
//   modern  2026-07-28: no session; a result that asks for input is followed by the same request with the input in it
// Tools, prompts and resources are those that the suite's scenarios name, written once for both eras: they see a `Call`,
// and `call.ask` is a request to the client in one era and an `input_required` result in the other.
// It is strict where the specification says MUST, so that it also tests how the gateway behaves as a client.

import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const MODERN = '2026-07-28';
const LEGACY = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];
// Clients of earlier versions take an event without data for a broken message.
const PRIMED = ['2025-11-25'];

const INFO = { name: 'conformance-server', version: '1.0.0' };
const CAPABILITIES = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { subscribe: true },
  completions: {},
  logging: {},
};

const PREFIX = 'io.modelcontextprotocol/';
const LOG_LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const STATE_LIFETIME_MS = 10 * 60 * 1000;
const RETRY_MS = 100;
const STEP_MS = 20;
const SLOW_MS = 2000;

const Code = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  headerMismatch: -32020,
  missingCapability: -32021,
  unsupportedVersion: -32022,
};

/** A JSON-RPC error, with the HTTP status it has when the answer is not a stream. */
class RpcError extends Error {
  constructor(code, message, { data, status = 200 } = {}) {
    super(message);
    this.body = { code, message, ...(data !== undefined && { data }) };
    this.status = status;
  }
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// What the server offers
// ======================

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==';

const text = (text) => ({ type: 'text', text });
const image = () => ({ type: 'image', data: PNG, mimeType: 'image/png' });
const resource = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const says = (words) => ({ content: [text(words)] });

const string = (description) => ({ type: 'string', description });
const object = (properties = {}, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  ...(required.length > 0 && { required }),
});

const elicitation = (message, properties) => ({
  method: 'elicitation/create',
  params: { message, requestedSchema: object(properties) },
});
const sampling = (words, maxTokens = 100) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: text(words) }], maxTokens },
});
const roots = () => ({ method: 'roots/list', params: {} });

/** Which capability a client needs to be asked something. */
const CAPABILITY_OF = {
  'elicitation/create': 'elicitation',
  'sampling/createMessage': 'sampling',
  'roots/list': 'roots',
};

/** Whether an answer of the client has the form of the result that was asked for. */
const ANSWERS = {
  'elicitation/create': (answer) => ['accept', 'decline', 'cancel'].includes(answer.action),
  'sampling/createMessage': (answer) => isObject(answer.content) || Array.isArray(answer.content),
  'roots/list': (answer) => Array.isArray(answer.roots),
};

async function elicit(call, message, properties) {
  const { form } = await call.ask({ form: elicitation(message, properties) });
  return says(`Elicitation completed: action=${form.action}, content=${JSON.stringify(form.content ?? {})}`);
}

const choices = (prefix, ...words) => words.map((word, i) => ({ const: `${prefix}${i + 1}`, title: word }));

/** Name: [description, input schema, what it does, further members of its definition]. In the order of tools/list. */
const TOOLS = {
  test_simple_text: [
    'Returns one text',
    object(),
    () => says('This is a simple text response for testing.'),
    { title: 'Simple text', annotations: { readOnlyHint: true, openWorldHint: false } },
  ],
  test_image_content: ['Returns an image', object(), () => ({ content: [image()] })],
  test_audio_content: [
    'Returns a sound',
    object(),
    () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }),
  ],
  test_embedded_resource: [
    'Returns a resource as content',
    object(),
    () => ({ content: [resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')] }),
  ],
  test_multiple_content_types: [
    'Returns text, an image and a resource',
    object(),
    () => ({
      content: [
        text('Multiple content types test:'),
        image(),
        resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
      ],
    }),
  ],
  test_structured_content: [
    'Returns structured content that its output schema describes',
    object({ city: string('Name of a city') }),
    (call, { city }) => {
      const structuredContent = { city, degrees: 21.5 };
      return { ...says(JSON.stringify(structuredContent)), structuredContent };
    },
    { title: 'Weather', outputSchema: object({ city: { type: 'string' }, degrees: { type: 'number' } }) },
  ],
  test_error_handling: [
    'Always fails',
    object(),
    () => {
      throw new Error('This tool intentionally returns an error for testing');
    },
  ],
  test_tool_with_logging: [
    'Logs three messages while it works',
    object(),
    async (call) => {
      call.log('info', 'Tool execution started');
      await call.sleep(STEP_MS);
      call.log('info', 'Tool processing data');
      await call.sleep(STEP_MS);
      call.log('info', 'Tool execution completed');
      return says('Logged three messages.');
    },
  ],
  test_logging_tool: [
    'Logs a message, if the client wants any',
    object(),
    (call) => {
      call.log('info', 'Logged by request only');
      return says('Logged one message.');
    },
  ],
  test_tool_with_progress: [
    'Reports progress three times while it works',
    object(),
    async (call) => {
      for (const progress of [0, 50, 100]) {
        call.progress(progress, 100);
        await call.sleep(STEP_MS);
      }
      return says('Reported progress three times.');
    },
  ],
  test_slow: [
    'Works for two seconds',
    object(),
    async (call) => {
      await call.sleep(SLOW_MS);
      return says('Worked for two seconds.');
    },
  ],
  test_sampling: [
    "Asks the client's model",
    object({ prompt: string('What to ask') }),
    async (call, { prompt }) => {
      const { answer } = await call.ask({ answer: sampling(prompt) });
      return says(`LLM response: ${answer.content.text}`);
    },
  ],
  test_elicitation: [
    'Asks the user',
    object({ message: string('What to ask') }),
    async (call, { message }) => {
      const { user } = await call.ask({
        user: elicitation(message, { username: string("User's response"), email: string("User's email address") }),
      });
      return says(`User response: action=${user.action}, content=${JSON.stringify(user.content ?? {})}`);
    },
  ],
  test_elicitation_sep1034_defaults: [
    'Asks the user with default values of every type',
    object(),
    (call) =>
      elicit(call, 'Please review the defaults', {
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      }),
  ],
  test_elicitation_sep1330_enums: [
    'Asks the user with every form of enumeration',
    object(),
    (call) =>
      elicit(call, 'Please choose', {
        untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
        titledSingle: { type: 'string', oneOf: choices('value', 'First Option', 'Second Option', 'Third Option') },
        legacyEnum: {
          type: 'string',
          enum: ['opt1', 'opt2', 'opt3'],
          enumNames: ['Option One', 'Option Two', 'Option Three'],
        },
        untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
        titledMulti: {
          type: 'array',
          items: { anyOf: choices('value', 'First Choice', 'Second Choice', 'Third Choice') },
        },
      }),
  ],
  test_streaming_elicitation: [
    'Asks the user on a stream',
    object(),
    (call) => {
      call.openStream();
      return elicit(call, 'What now?', { answer: { type: 'string' } });
    },
  ],
  test_reconnection: [
    'Drops the connection before it returns; the client has to come back for the result',
    object(),
    async (call) => {
      call.disconnect();
      await call.sleep(STEP_MS);
      return says('Returned after the connection was dropped.');
    },
  ],
  test_missing_capability: [
    'Needs a client that can sample',
    object(),
    (call) => {
      call.needs('sampling');
      return says('The client can sample.');
    },
  ],
  test_trigger_tool_change: [
    'Tells listeners that the list of tools changed',
    object(),
    () => {
      publish({ wish: 'toolsListChanged', method: 'notifications/tools/list_changed' });
      return says('Listeners were told.');
    },
  ],
  test_trigger_prompt_change: [
    'Tells listeners that the list of prompts changed',
    object(),
    () => {
      publish({ wish: 'promptsListChanged', method: 'notifications/prompts/list_changed' });
      return says('Listeners were told.');
    },
  ],
  test_trigger_resource_change: [
    'Tells subscribers that a resource changed',
    object({ uri: string('URI of the resource') }),
    (call, { uri }) => {
      publish({ uri, method: 'notifications/resources/updated', params: { uri } });
      return says('Subscribers were told.');
    },
  ],
  test_input_required_result_elicitation: [
    'Needs one answer of the user',
    object(),
    async (call) => {
      const { user_name } = await call.ask({
        user_name: elicitation('What is your name?', { name: { type: 'string' } }),
      });
      return says(`Hello, ${user_name.content?.name}!`);
    },
  ],
  test_input_required_result_sampling: [
    'Needs one answer of a model',
    object(),
    async (call) => {
      const { capital_question } = await call.ask({ capital_question: sampling('What is the capital of France?') });
      return says(`The model says: ${capital_question.content.text}`);
    },
  ],
  test_input_required_result_list_roots: [
    "Needs the client's roots",
    object(),
    async (call) => {
      const { client_roots } = await call.ask({ client_roots: roots() });
      return says(`Roots: ${client_roots.roots.map((root) => root.uri).join(', ')}`);
    },
  ],
  test_input_required_result_request_state: [
    'Needs its state back',
    object(),
    async (call) => {
      await call.ask({ confirm: elicitation('Please confirm', { ok: { type: 'boolean' } }) });
      call.needsState();
      return says('state-ok');
    },
  ],
  test_input_required_result_tampered_state: [
    'Needs its state back as it was',
    object(),
    async (call) => {
      await call.ask({ confirm: elicitation('Please confirm', { ok: { type: 'boolean' } }) });
      call.needsState();
      return says('The state is as it was.');
    },
  ],
  test_input_required_result_multiple_inputs: [
    'Needs three answers at once',
    object(),
    async (call) => {
      const { user_name, greeting, client_roots } = await call.ask({
        user_name: elicitation('What is your name?', { name: { type: 'string' } }),
        greeting: sampling('Generate a greeting', 50),
        client_roots: roots(),
      });
      return says(`${greeting.content.text} ${user_name.content?.name}, ${client_roots.roots.length} roots`);
    },
  ],
  test_input_required_result_multi_round: [
    'Needs two answers, one after the other',
    object(),
    async (call) => {
      const { step1 } = await call.ask({
        step1: elicitation('Step 1: What is your name?', { name: { type: 'string' } }),
      });
      const { step2 } = await call.ask({
        step2: elicitation('Step 2: What is your favorite color?', { color: { type: 'string' } }),
      });
      return says(`${step1.content?.name} likes ${step2.content?.color}.`);
    },
  ],
  test_input_required_result_capabilities: [
    'Asks for whatever the client can answer',
    object(),
    async (call) => {
      const all = {
        user: elicitation('What is your name?', { name: { type: 'string' } }),
        model: sampling('Say something'),
        roots: roots(),
      };
      const answers = await call.ask(
        Object.fromEntries(Object.entries(all).filter(([, { method }]) => call.can(CAPABILITY_OF[method]))),
      );
      return says(`Answered: ${Object.keys(answers).join(', ') || 'nothing was asked'}`);
    },
  ],
  test_custom_header: [
    'Has an argument that clients repeat in a header',
    object({ region: { type: 'string', description: 'Where to run', 'x-mcp-header': 'Region' } }),
    (call, { region }) => says(`Ran in ${region}.`),
  ],
  json_schema_2020_12_tool: [
    'Has an input schema that uses JSON Schema 2020-12',
    {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    (call, { name }) => says(`Saved ${name}.`),
  ],
};

const user = (content) => ({ role: 'user', content });
const argument = (name, description) => ({ name, description, required: true });

/** Name: [description, arguments, messages]. */
const PROMPTS = {
  test_simple_prompt: ['A prompt without arguments', [], () => [user(text('This is a simple prompt for testing.'))]],
  test_prompt_with_arguments: [
    'A prompt with two arguments',
    [argument('arg1', 'First test argument'), argument('arg2', 'Second test argument')],
    (call, { arg1, arg2 }) => [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  ],
  test_prompt_with_embedded_resource: [
    'A prompt that embeds a resource',
    [argument('resourceUri', 'URI of the resource to embed')],
    (call, { resourceUri }) => [
      user(resource(resourceUri, 'text/plain', 'Embedded resource content for testing.')),
      user(text('Please process the embedded resource above.')),
    ],
  ],
  test_prompt_with_image: [
    'A prompt with an image',
    [],
    () => [user(image()), user(text('Please analyze the image above.'))],
  ],
  test_input_required_result_prompt: [
    'A prompt that needs an answer of the user',
    [],
    async (call) => {
      const { user_context } = await call.ask({
        user_context: elicitation('What context should the prompt use?', { context: { type: 'string' } }),
      });
      return [user(text(`Use this context: ${user_context.content?.context}`))];
    },
  ],
};

/** What can be read: [uri or template, name, description, media type, contents]. */
const RESOURCES = [
  [
    'test://static-text',
    'Static text',
    'A text that never changes',
    'text/plain',
    () => ({ text: 'This is the content of the static text resource.' }),
  ],
  ['test://static-binary', 'Static image', 'An image that never changes', 'image/png', () => ({ blob: PNG })],
  [
    'test://watched-resource',
    'Watched text',
    'A text that can be subscribed to',
    'text/plain',
    () => ({ text: 'This is the content of the watched resource.' }),
  ],
];
const TEMPLATES = [
  [
    'test://template/{id}/data',
    'Data by id',
    'Data of the id in its URI',
    'application/json',
    (id) => ({ text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }),
  ],
];

function readResource(uri) {
  for (const [known, , , mimeType, contents] of [...RESOURCES, ...TEMPLATES]) {
    const [head, tail] = known.split('{id}');
    const id = tail === undefined ? '' : uri.slice(head.length, uri.length - tail.length);
    if (tail === undefined ? uri === known : uri === head + id + tail && /^[^/]+$/.test(id)) {
      return { contents: [{ uri, mimeType, ...contents(id) }] };
    }
  }
  throw new RpcError(Code.invalidParams, 'Resource not found', { data: { uri } });
}

const COMPLETIONS = {
  test_prompt_with_arguments: { arg1: ['paris', 'park', 'party', 'testing'], arg2: [] },
  'test://template/{id}/data': { id: ['123', '124'] },
};

function complete({ ref, argument }) {
  const known = isObject(ref) && isObject(argument) && COMPLETIONS[ref.name ?? ref.uri]?.[argument.name];
  if (!known) throw new RpcError(Code.invalidParams, 'Nothing is known to complete this');
  const values = known.filter((value) => value.startsWith(argument.value));
  return { completion: { values, total: values.length, hasMore: false } };
}

// Methods of both eras
// ====================

const listing = (name) => {
  const [description, inputSchema, , further] = TOOLS[name];
  return { name, description, inputSchema, ...further };
};

/** The entry of a table that a request names. */
function named(table, kind, { name }) {
  if (typeof name !== 'string' || !Object.hasOwn(table, name)) {
    throw new RpcError(Code.invalidParams, `Unknown ${kind}: ${name}`);
  }
  return table[name];
}

const METHODS = {
  'tools/list': () => ({ tools: Object.keys(TOOLS).map(listing) }),
  'tools/call': async (call, params) => {
    const [, , run] = named(TOOLS, 'tool', params);
    try {
      return await run(call, params.arguments ?? {});
    } catch (error) {
      // Only what goes wrong inside the tool is a result (MCP, "Error Handling" of tools).
      if (error instanceof RpcError || error instanceof InputRequired || call.signal.aborted) throw error;
      return { ...says(error.message), isError: true };
    }
  },
  'prompts/list': () => ({
    prompts: Object.entries(PROMPTS).map(([name, [description, args]]) => ({ name, description, arguments: args })),
  }),
  'prompts/get': async (call, params) => {
    const [description, , messages] = named(PROMPTS, 'prompt', params);
    return { description, messages: await messages(call, params.arguments ?? {}) };
  },
  'resources/list': () => ({
    resources: RESOURCES.map(([uri, name, description, mimeType]) => ({ uri, name, description, mimeType })),
  }),
  'resources/templates/list': () => ({
    resourceTemplates: TEMPLATES.map(([uriTemplate, name, description, mimeType]) => ({
      uriTemplate,
      name,
      description,
      mimeType,
    })),
  }),
  'resources/read': (call, { uri }) => readResource(String(uri)),
  'completion/complete': (call, params) => complete(params),
};

/** Results that may be cached, and in the modern era say so. */
const CACHEABLE = [
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
];

/** One request being worked on; each era has its own `ask`. */
class Call {
  constructor({ id, reply, meta, capabilities, logLevel, signal }) {
    Object.assign(this, { id, reply, meta, capabilities, logLevel, signal });
  }

  notify(method, params) {
    this.reply.send({ jsonrpc: '2.0', method, params });
  }

  log(level, data) {
    const wanted = LOG_LEVELS.indexOf(this.logLevel());
    if (wanted >= 0 && LOG_LEVELS.indexOf(level) >= wanted) {
      this.notify('notifications/message', { level, logger: INFO.name, data });
    }
  }

  progress(progress, total) {
    const progressToken = this.meta.progressToken;
    if (progressToken !== undefined) this.notify('notifications/progress', { progressToken, progress, total });
  }

  can(capability) {
    return isObject(this.capabilities[capability]);
  }

  sleep(ms) {
    return sleep(ms, undefined, { signal: this.signal });
  }

  openStream() {
    this.reply.open();
  }
}

// Changes that clients can listen to
// ==================================

const listeners = new Set();

/** Tells every listener; each decides whether its client asked for it. */
function publish(change) {
  for (const listener of listeners) listener(change);
}

// Answers: one JSON body, or a stream of events
// =============================================

/** A stream of server-sent events. With an id its events have ids, are kept, and can be asked for again. */
class EventStream {
  #response = null;
  #events = [];
  #ended = false;

  constructor({ id, primed = false } = {}) {
    this.id = id;
    this.primed = primed;
  }

  /** Sends what follows as this response. A client that knows no event yet gets one without data, to come back with. */
  attach(response) {
    const from = this.#events.length;
    if (this.primed) this.#events.push('');
    this.resume(response, from);
  }

  /** Sends the events from this one on, and all that follow, as this response. */
  resume(response, from) {
    this.#response?.end();
    this.#response = response;
    response.on('close', () => {
      if (this.#response === response) this.#response = null;
    });
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache',
      'X-Accel-Buffering': 'no',
    });
    response.flushHeaders();
    for (let i = from; i < this.#events.length; i += 1) this.#write(i);
    if (this.#ended) response.end();
  }

  send(message) {
    this.#events.push(JSON.stringify(message));
    this.#write(this.#events.length - 1);
  }

  /** Ends the response but not the stream. */
  disconnect() {
    this.#response?.end(`retry: ${RETRY_MS}\n\n`);
    this.#response = null;
  }

  end() {
    this.#ended = true;
    this.#response?.end();
  }

  #write(index) {
    const id = this.id === undefined ? '' : `id: ${this.id}/${index}\n`;
    this.#response?.write(`${id}data: ${this.#events[index]}\n\n`);
  }
}

/** The answer to one POST: a JSON body, unless something has to be sent before it or the client prefers a stream. */
class Reply {
  #response;
  #newStream;
  #stream = null;

  constructor(request, response, newStream) {
    this.#response = response;
    this.#newStream = newStream;
    // No weights: the order says what a client prefers.
    const accept = request.headers.accept ?? '';
    if (accept.indexOf('text/event-stream') < accept.indexOf('application/json')) this.open();
  }

  open() {
    if (this.#stream) return this.#stream;
    this.#stream = this.#newStream();
    this.#stream.attach(this.#response);
    return this.#stream;
  }

  send(message) {
    this.open().send(message);
  }

  disconnect() {
    this.open().disconnect();
  }

  finish(message, status = 200) {
    if (!this.#stream) return sendJson(this.#response, status, message);
    this.#stream.send(message);
    this.#stream.end();
  }

  /** Ends without an answer. */
  abandon() {
    if (!this.#response.destroyed) this.open().end();
  }
}

function sendJson(response, status, body, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

function sendStatus(response, status, headers = {}) {
  response.writeHead(status, headers);
  response.end();
}

const success = (id, result) => ({ jsonrpc: '2.0', id, result });
const failure = (id, error) => ({ jsonrpc: '2.0', id: id ?? null, error });

/** Runs a method and answers with what it returns or throws. */
async function answer(reply, id, signal, run) {
  try {
    const result = await run();
    if (signal.aborted) return reply.abandon();
    reply.finish(success(id, result));
  } catch (error) {
    if (signal.aborted) return reply.abandon();
    if (!(error instanceof RpcError)) console.error(error);
    const known = error instanceof RpcError ? error : new RpcError(Code.internal, 'Internal error', { status: 500 });
    reply.finish(failure(id, known.body), known.status);
  }
}

// Legacy era
// ==========

const sessions = new Map();

class LegacyCall extends Call {
  constructor(session, options) {
    super(options);
    this.session = session;
  }

  needs(capability) {
    if (!this.can(capability)) throw new Error(`The client does not support ${capability}`);
  }

  needsState() {}

  async ask(requests) {
    const answers = await Promise.all(
      Object.entries(requests).map(async ([key, { method, params }]) => {
        this.needs(CAPABILITY_OF[method]);
        const answer = await this.session.request(this.reply, method, params, this.signal);
        if (!isObject(answer) || !ANSWERS[method](answer)) throw new Error(`The client's answer to ${method} is invalid`);
        return [key, answer];
      }),
    );
    return Object.fromEntries(answers);
  }

  disconnect() {
    this.reply.disconnect();
  }
}

const LEGACY_METHODS = {
  ...METHODS,
  ping: () => ({}),
  'logging/setLevel': ({ session }, { level }) => {
    if (!LOG_LEVELS.includes(level)) throw new RpcError(Code.invalidParams, `Unknown level: ${level}`);
    session.logLevel = level;
    return {};
  },
  'resources/subscribe': ({ session }, { uri }) => {
    readResource(String(uri));
    session.subscribed.add(uri);
    return {};
  },
  'resources/unsubscribe': ({ session }, { uri }) => {
    session.subscribed.delete(uri);
    return {};
  },
};

class Session {
  id = randomUUID();
  logLevel = 'info';
  subscribed = new Set();
  #streams = [];
  #asked = new Map();
  #running = new Map();
  #nextRequest = 0;

  constructor({ protocolVersion, capabilities }) {
    this.version = LEGACY.includes(protocolVersion) ? protocolVersion : LEGACY[0];
    this.capabilities = isObject(capabilities) ? capabilities : {};
    this.general = this.#newStream();
    this.listener = ({ uri, method, params }) => {
      if (uri === undefined || this.subscribed.has(uri)) this.general.send({ jsonrpc: '2.0', method, params });
    };
    listeners.add(this.listener);
    sessions.set(this.id, this);
  }

  #newStream() {
    const stream = new EventStream({ id: this.#streams.length, primed: PRIMED.includes(this.version) });
    this.#streams.push(stream);
    return stream;
  }

  initialized() {
    return {
      protocolVersion: this.version,
      capabilities: CAPABILITIES,
      serverInfo: INFO,
      instructions: 'Tools, prompts and resources for conformance tests.',
    };
  }

  /** A GET: the stream of what belongs to no request, or the rest of the stream that a client was disconnected from. */
  listen(response, lastEventId) {
    if (lastEventId === undefined) return this.general.attach(response);
    const [stream, event] = lastEventId.split('/').map(Number);
    if (!this.#streams[stream] || !Number.isInteger(event)) return sendStatus(response, 400);
    this.#streams[stream].resume(response, event + 1);
  }

  /** A POST: a request, a notification or the answer to a request of ours. */
  receive(message, request, response) {
    if (message.method === undefined) {
      this.#asked.get(message.id)?.(message);
      return sendStatus(response, 202);
    }
    if (message.id === undefined) {
      if (message.method === 'notifications/cancelled') this.#running.get(message.params?.requestId)?.abort();
      return sendStatus(response, 202);
    }
    return this.#serve(message, new Reply(request, response, () => this.#newStream()));
  }

  // A client that hangs up has not cancelled (MCP 2025-11-25, Streamable HTTP); the answer is kept for when it is back.
  async #serve({ id, method, params = {} }, reply) {
    const cancel = new AbortController();
    this.#running.set(id, cancel);
    const call = new LegacyCall(this, {
      id,
      reply,
      meta: params._meta ?? {},
      capabilities: this.capabilities,
      logLevel: () => this.logLevel,
      signal: cancel.signal,
    });
    await answer(reply, id, cancel.signal, () => {
      if (!Object.hasOwn(LEGACY_METHODS, method)) throw new RpcError(Code.methodNotFound, `Method not found: ${method}`);
      return LEGACY_METHODS[method](call, params);
    });
    this.#running.delete(id);
  }

  /** Asks the client, on the stream of the request that this is asked for. */
  async request(reply, method, params, signal) {
    const id = this.#nextRequest++;
    const message = await new Promise((resolve, reject) => {
      signal.addEventListener('abort', reject);
      this.#asked.set(id, resolve);
      reply.send({ jsonrpc: '2.0', id, method, params });
    }).finally(() => this.#asked.delete(id));
    if (message.error) throw new Error(`The client answered ${method} with: ${message.error.message}`);
    return message.result;
  }

  end() {
    for (const cancel of this.#running.values()) cancel.abort();
    for (const stream of this.#streams) stream.end();
    listeners.delete(this.listener);
    sessions.delete(this.id);
  }
}

function serveLegacy(request, response, message) {
  if (message?.method === 'initialize' && message.id !== undefined) {
    const session = new Session(message.params ?? {});
    return sendJson(response, 200, success(message.id, session.initialized()), { 'Mcp-Session-Id': session.id });
  }
  const id = request.headers['mcp-session-id'];
  const session = sessions.get(id);
  if (!session) {
    const reason = id === undefined ? 'Mcp-Session-Id is missing' : 'Mcp-Session-Id is unknown';
    return sendJson(
      response,
      id === undefined ? 400 : 404,
      failure(message?.id, { code: Code.invalidRequest, message: reason }),
    );
  }
  switch (request.method) {
    case 'POST':
      return session.receive(message, request, response);
    case 'GET':
      return session.listen(response, request.headers['last-event-id']);
    default:
      session.end();
      return sendStatus(response, 204);
  }
}

// Modern era
// ==========

/** Not an error: the request has to be sent again, with answers. */
class InputRequired {
  constructor(result) {
    this.result = result;
  }
}

/** What was answered so far, kept by the client: it may read it, but not change it. */
const state = {
  key: randomBytes(32),

  seal(bound, answers) {
    return this.signed(JSON.stringify({ bound, answers, expires: Date.now() + STATE_LIFETIME_MS }));
  },

  open(bound, sealed) {
    const payload = Buffer.from(String(sealed).split('.')[0], 'base64url').toString();
    const [given, genuine] = [String(sealed), this.signed(payload)].map((text) => Buffer.from(text));
    if (given.length === genuine.length && timingSafeEqual(given, genuine)) {
      const { bound: found, answers, expires } = JSON.parse(payload);
      if (found === bound && Date.now() < expires) return answers;
    }
    throw new RpcError(Code.invalidParams, 'requestState is not what was returned');
  },

  signed(payload) {
    const signature = createHmac('sha256', this.key).update(payload).digest('base64url');
    return `${Buffer.from(payload).toString('base64url')}.${signature}`;
  },
};

class ModernCall extends Call {
  #answers;
  #known = {};
  #bound;
  #stateSent;

  constructor(options, method, { name, uri, inputResponses, requestState }) {
    super(options);
    if (inputResponses !== undefined && !isObject(inputResponses)) {
      throw new RpcError(Code.invalidParams, 'inputResponses must be an object');
    }
    this.#bound = `${method} ${name ?? uri}`;
    this.#stateSent = requestState !== undefined;
    const earlier = this.#stateSent ? state.open(this.#bound, requestState) : {};
    this.#answers = { ...inputResponses, ...earlier };
  }

  needs(capability) {
    if (this.can(capability)) return;
    throw new RpcError(Code.missingCapability, `The client does not support ${capability}`, {
      data: { requiredCapabilities: { [capability]: {} } },
      status: 400,
    });
  }

  needsState() {
    if (!this.#stateSent) throw new RpcError(Code.invalidParams, 'requestState is missing');
  }

  ask(requests) {
    const missing = {};
    for (const [key, { method, params }] of Object.entries(requests)) {
      this.needs(CAPABILITY_OF[method]);
      if (!Object.hasOwn(this.#answers, key)) {
        missing[key] = { method, params };
        continue;
      }
      const answer = this.#answers[key];
      if (!isObject(answer) || !ANSWERS[method](answer)) {
        throw new RpcError(Code.invalidParams, `inputResponses.${key} is no answer to ${method}`);
      }
      this.#known[key] = answer;
    }
    if (Object.keys(missing).length === 0) return this.#known;
    throw new InputRequired({ inputRequests: missing, requestState: state.seal(this.#bound, this.#known) });
  }

  // Streams cannot be resumed in this era: nothing to come back to.
  disconnect() {}
}

const MODERN_METHODS = {
  ...METHODS,
  'server/discover': () => ({
    supportedVersions: [MODERN],
    capabilities: CAPABILITIES,
    instructions: 'Tools, prompts and resources for conformance tests.',
  }),
  'subscriptions/listen': (call, { notifications }) => {
    if (!isObject(notifications)) throw new RpcError(Code.invalidParams, 'notifications must be an object');
    return listen(call, notifications);
  },
};

/** Sends what the client asked to hear of, until it hangs up. */
function listen(call, { toolsListChanged, promptsListChanged, resourceSubscriptions }) {
  const wishes = {
    ...(toolsListChanged === true && { toolsListChanged }),
    ...(promptsListChanged === true && { promptsListChanged }),
    ...(Array.isArray(resourceSubscriptions) && { resourceSubscriptions }),
  };
  const tagged = { _meta: { [`${PREFIX}subscriptionId`]: call.id } };
  const listener = ({ wish, uri, method, params }) => {
    if (wish ? wishes[wish] : wishes.resourceSubscriptions?.includes(uri)) call.notify(method, { ...params, ...tagged });
  };
  call.notify('notifications/subscriptions/acknowledged', { notifications: wishes, ...tagged });
  listeners.add(listener);
  return new Promise((resolve, reject) => {
    call.signal.addEventListener('abort', () => {
      listeners.delete(listener);
      reject(call.signal.reason);
    });
  });
}

/** Members that every modern result has. */
function modernResult(method, result) {
  return {
    resultType: 'complete',
    ...result,
    ...(CACHEABLE.includes(method) && { ttlMs: 1000, cacheScope: 'public' }),
    _meta: { [`${PREFIX}serverInfo`]: INFO, ...result._meta },
  };
}

async function serveModern(request, response, { id, method, params = {} }) {
  if (id === undefined) return sendStatus(response, 202);
  const hungUp = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) hungUp.abort();
  });
  const reply = new Reply(request, response, () => new EventStream());
  await answer(reply, id, hungUp.signal, async () => {
    const meta = checkMeta(params);
    checkHeaders(request.headers, method, params, meta);
    if (!Object.hasOwn(MODERN_METHODS, method)) {
      throw new RpcError(Code.methodNotFound, `Method not found: ${method}`, { status: 404 });
    }
    const options = {
      id,
      reply,
      meta,
      capabilities: meta[`${PREFIX}clientCapabilities`],
      logLevel: () => meta[`${PREFIX}logLevel`],
      signal: hungUp.signal,
    };
    const call = new ModernCall(options, method, params);
    try {
      return modernResult(method, await MODERN_METHODS[method](call, params));
    } catch (error) {
      if (!(error instanceof InputRequired)) throw error;
      return modernResult(method, { resultType: 'input_required', ...error.result });
    }
  });
}

function checkMeta({ _meta: meta }) {
  const valid =
    isObject(meta) &&
    typeof meta[`${PREFIX}protocolVersion`] === 'string' &&
    isObject(meta[`${PREFIX}clientCapabilities`]);
  if (valid) return meta;
  throw new RpcError(Code.invalidParams, '_meta must have protocolVersion and clientCapabilities', { status: 400 });
}

/** Headers repeat what the body says (MCP 2026-07-28, Streamable HTTP). */
function checkHeaders(headers, method, params, meta) {
  const version = meta[`${PREFIX}protocolVersion`];
  mustMatch(headers, 'mcp-protocol-version', version);
  if (version !== MODERN) {
    throw new RpcError(Code.unsupportedVersion, 'Unsupported protocol version', {
      data: { supported: [MODERN], requested: version },
      status: 400,
    });
  }
  mustMatch(headers, 'mcp-method', method);
  const name = { 'tools/call': params.name, 'prompts/get': params.name, 'resources/read': params.uri }[method];
  if (name !== undefined) mustMatch(headers, 'mcp-name', name);
  if (method !== 'tools/call' || !Object.hasOwn(TOOLS, name)) return;
  for (const [property, schema] of Object.entries(TOOLS[name][1].properties)) {
    const header = schema['x-mcp-header'];
    if (header) mustMatch(headers, `mcp-param-${header.toLowerCase()}`, params.arguments?.[property]);
  }
}

function mustMatch(headers, name, expected) {
  const found = headers[name];
  if (found === undefined ? expected === undefined : decodeHeader(found) === String(expected)) return;
  throw new RpcError(Code.headerMismatch, `Header ${name} does not match the body`, { status: 400 });
}

/** A header's value as it is, or out of =?base64?...?=; undefined if that is broken. */
function decodeHeader(value) {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.toString('base64') === encoded ? bytes.toString('utf8') : undefined;
}

// HTTP
// ====

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** Web pages of other hosts must not reach a server of this machine, whatever name they gave it. */
function isLocal({ host = '', origin }) {
  return LOCAL.test(host) && (origin === undefined || LOCAL.test(origin.replace(/^https?:\/\//, '')));
}

/** Which era a request is of: modern says so in each, and any version that is not legacy is modern. */
function isModern({ 'mcp-protocol-version': version }, message) {
  if (isObject(message?.params?._meta) && Object.hasOwn(message.params._meta, `${PREFIX}protocolVersion`)) return true;
  return version !== undefined && !LEGACY.includes(version);
}

async function readMessage(request) {
  const type = (request.headers['content-type'] ?? '').split(';')[0].trim();
  if (type !== 'application/json') throw new RpcError(Code.invalidRequest, 'Body must be JSON', { status: 415 });
  const accept = request.headers.accept ?? '';
  if (!accept.includes('application/json') || !accept.includes('text/event-stream')) {
    throw new RpcError(Code.invalidRequest, 'Accept must list JSON and event streams', { status: 406 });
  }
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_BODY_BYTES) throw new RpcError(Code.invalidRequest, 'Body is too long', { status: 413 });
  }
  return parseMessage(Buffer.concat(chunks).toString('utf8'));
}

function parseMessage(body) {
  let message;
  try {
    message = JSON.parse(body);
  } catch {
    throw new RpcError(Code.parse, 'Body is not JSON', { status: 400 });
  }
  const isMessage =
    isObject(message) &&
    message.jsonrpc === '2.0' &&
    (message.method === undefined ? message.id !== undefined : typeof message.method === 'string') &&
    (message.params === undefined || isObject(message.params));
  if (isMessage) return message;
  throw new RpcError(Code.invalidRequest, 'Body is not one JSON-RPC message', { status: 400 });
}

async function serve(request, response) {
  if (!isLocal(request.headers)) return sendStatus(response, 403);
  const allowed = ['POST', 'GET', 'DELETE'];
  if (!allowed.includes(request.method)) return sendStatus(response, 405, { Allow: allowed.join(', ') });
  try {
    const message = request.method === 'POST' ? await readMessage(request) : undefined;
    if (!isModern(request.headers, message)) return await serveLegacy(request, response, message);
    if (request.method !== 'POST') return sendStatus(response, 405, { Allow: 'POST' });
    return await serveModern(request, response, message);
  } catch (error) {
    if (error instanceof RpcError) return sendJson(response, error.status, failure(null, error.body));
    if (response.destroyed) return; // the client hung up in the middle of its request
    console.error(error);
    sendStatus(response, 500);
  }
}

const [, , address = ''] = process.argv;
const [host, port] = address.split(':');
if (!port) {
  console.error('usage: node server.mjs 127.0.0.1:PORT');
  process.exit(2);
}
createServer(serve).listen(Number(port), host);
