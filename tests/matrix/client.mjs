// An agent of the matrix, made with a client library of npm.
//
// usage: node client.mjs NODE_MODULES sdk|client-legacy|client-modern URL HEADERS PLAN      HEADERS is a JSON object; so is PLAN,
// with a tool and its arguments for each of call, progress, elicitation, cancel that is to be tried
//
// Prints a line of JSON for each step: its name, and what came of it or what went wrong. After the line `restart` it waits for a
// line, until the gateway is another one.

import { createInterface } from 'node:readline';
import { library } from '../conformance/libraries.mjs';

const [, , modules, kind, url, headers, planned] = process.argv;
const plan = JSON.parse(planned);
const connect = async () => {
  const agent = library(kind, modules, url, JSON.parse(headers));
  await agent.client.connect(agent.transport);
  return agent;
};
const line = new Promise((resolve) => createInterface({ input: process.stdin }).once('line', resolve));
const say = (value) => console.log(JSON.stringify(value));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = (result) => result.content.map((item) => item.text).join(' ');
const call = async (agent) => text(await agent.call(...plan.call));

const STEPS = {
  list: async ({ client }) => (await client.listTools()).tools.map(({ name }) => name).join(' '),
  call,
  async progress({ call }) {
    const heard = [];
    await call(...plan.progress, { onprogress: ({ progress }) => heard.push(progress) });
    return heard.join(' ');
  },
  elicitation: async ({ call }) => text(await call(...plan.elicitation)),
  async cancel({ call }) {
    const hangUp = new AbortController();
    setTimeout(() => hangUp.abort(), 1000);
    return call(...plan.cancel, { signal: hangUp.signal }).then(text, () => 'cancelled');
  },
  'call again': call,
};
const isPlanned = (name) => ['list', 'call again'].includes(name) || name in plan;

let agent = await connect();
for (const [name, step] of Object.entries(STEPS).filter(([name]) => isPlanned(name))) {
  await step(agent).then(
    (result) => say([name, result]),
    (error) => say([name, null, String(error)]),
  );
}
say(['restart']);
await line;
const errors = [];
let how = 'by itself';
for (let attempt = 0; ; attempt++) {
  try {
    await call(agent);
    break;
  } catch (error) {
    errors.push(String(error));
  }
  if (attempt === 2) break;
  how = attempt === 0 ? 'after an error' : 'connected again';
  if (attempt === 1) agent = await connect().catch((error) => errors.push(String(error)) && agent);
  await sleep(100);
}
say(['restarted', errors.length < 3 ? how : null, errors.join('; ')]);
process.exit(0); // whatever streams are open
