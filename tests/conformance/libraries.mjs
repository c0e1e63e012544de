// Client libraries that others wrote, and their modes, behind one interface.

import { createRequire } from 'node:module';

export const TIMEOUT_MS = 5000;
const INFO = { name: 'black-box', version: '1.0.0' };
const CAPABILITIES = { elicitation: {}, sampling: {} };

const ANSWER = { username: 'ada', email: 'ada@example.com', name: 'Ada', check: true };

// As a form does: what was asked for.
const onElicitation = ({ params }) => {
  const asked = Object.keys(params.requestedSchema.properties);
  return { action: 'accept', content: Object.fromEntries(Object.entries(ANSWER).filter(([key]) => asked.includes(key))) };
};
const onSampling = () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'forty-two' } });

/** A client, not yet connected: sdk, client-legacy or client-modern. Every request has these headers. */
export function library(kind, modules, url, headers = {}) {
  const require = createRequire(`${modules}/`);
  return LIBRARIES[kind](require, new URL(url), { requestInit: { headers } });
}

const LIBRARIES = {
  sdk: (require, url, options) => {
    const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const types = require('@modelcontextprotocol/sdk/types.js');
    const client = new Client(INFO, { capabilities: CAPABILITIES });
    const transport = new StreamableHTTPClientTransport(url, options);
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
  'client-legacy': (...where) => dualEra('legacy', '2025-11-25', ...where),
  'client-modern': (...where) => dualEra('auto', '2026-07-28', ...where),
};

function dualEra(mode, wanted, require, url, options) {
  const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
  const client = new Client(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', onElicitation);
  client.setRequestHandler('sampling/createMessage', onSampling);
  return {
    client,
    transport: new StreamableHTTPClientTransport(url, options),
    wanted,
    version: () => client.getNegotiatedProtocolVersion(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, { timeout: TIMEOUT_MS, ...options }),
    listen: async (told) => {
      client.setNotificationHandler('notifications/tools/list_changed', told);
      if (mode === 'auto') await client.listen({ toolsListChanged: true }, { timeout: TIMEOUT_MS });
    },
  };
}
