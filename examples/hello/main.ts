// Hello world, the part that does I/O: everything it starts is closed at the end of the block.
// In this repository: npx node --conditions=aios-source examples/hello/main.ts
// The second ticket waits for a person; this program is that person too.

import { startHost } from 'aios/host';
import { connect } from 'aios/client';
import { answer, handleTicket, helloDesk } from './desk.ts';

await using host = await startHost({
  agents: [helloDesk],
  workflows: new URL('./desk.ts', import.meta.url),
  policies: new URL('./policies/', import.meta.url),
  groups: { 'hello-lead': ['ana'] },
  onProgress: (line) => console.error(line),
});

console.log(await host.run(handleTicket, [{ customer: 'c-7', question: 'Where is my order?' }]));

const { taskId } = await host.client.start(answer, { customer: 'c-8', question: 'hello' });
const ana = connect({ url: host.url, key: host.keys.ana });
for await (const { state, waiting } of ana.watch(taskId)) {
  console.log(taskId, state);
  if (waiting !== undefined) console.log((await ana.decide(taskId, { decision: 'approve', reason: 'fine' })).message);
}
console.log((await ana.wait<{ text: string }>(taskId)).output?.text);
