// One client of the budget chaos run, as a process: many askers at once that reserve, spend outside and settle.
// Owns: retries, repeats of requests that were answered, and forgetting. Never asks a host directly: it uses the port.
// Others may assume: an asker writes into the outside ledger before it settles, spends only well before its reservation ends,
// spends once, and after a crash settles again what the outside ledger says it spent.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAiosError } from '../../contracts/errors.ts';
import { connectPorts } from '../../infra/nats/index.ts';
import { systemClock, systemRandom } from '../../infra/telemetry/index.ts';
import { silentLogger, silentMetrics } from '../kit/silent.ts';

const { CHAOS_DIR: dir = '.', CHAOS_NATS: url = '', CHAOS_NAME: name = 'client', CHAOS_ASKERS: askers = '1', CHAOS_LIFE_MS: life = '10000' } = process.env;
const LIFE_MS = Number(life);
const PRICE = 100_000;
const FORGETS = 0.3;
const REPEATS = 0.2;
const ledger = `${dir}/${name}.ledger`;
const counts = { requests: 0, retries: 0, repeats: 0, forgotten: 0, spent: 0, refused: 0 };
let again = false;
let ending = false;

const ports = await connectPorts({ url, name: `${name}-${process.pid}`, logger: silentLogger, metrics: silentMetrics, clock: systemClock, random: systemRandom });
const budgets = await ports.budgets({ bundle: () => Promise.reject(new Error('clients hold nothing')) }, { holds: false });

/** Until it is answered; some requests are sent a second time although they were. */
async function surely<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      counts.requests++;
      const answer = await ask();
      if (systemRandom.next() >= REPEATS) return answer;
      counts.repeats++;
      await Promise.allSettled([ask(), ask()]);
      return answer;
    } catch (error) {
      if (!isAiosError(error)) throw error;
      counts.retries++;
      await sleep(20 + systemRandom.next() * 200);
    }
  }
}

const settled = (attempt: string): Promise<void> => surely(() => budgets.settle([{ tenant: 'acme', reservation: attempt, spentMicroUsd: PRICE }]));

async function asker(attempt: string): Promise<void> {
  // Or all of one process would travel in one message and take everything there is.
  await sleep(systemRandom.next() * 300);
  while (!ending) {
    const expiresAt = Date.now() + LIFE_MS;
    const [answer] = await surely(() => budgets.reserve([{ tenant: 'acme', task: attempt, attempt, capability: 'chaos.work', microUsd: PRICE, expiresAt }]));
    if (answer?.granted === true && Date.now() < expiresAt - (2 * LIFE_MS) / 3) {
      if (again || systemRandom.next() >= FORGETS) {
        appendFileSync(ledger, `${attempt}\n`);
        counts.spent++;
        return settled(attempt);
      }
      counts.forgotten++;
      await sleep(LIFE_MS);
    } else {
      counts.refused++;
    }
    while (!again && !ending) await sleep(100);
    await sleep(500 + systemRandom.next() * 1_500);
  }
}

const before = existsSync(ledger) ? new Set(readFileSync(ledger, 'utf8').trim().split('\n')) : new Set<string>();
process.on('message', (message: 'again' | 'end') => {
  again = true;
  ending = message === 'end';
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
await Promise.all(Array.from({ length: Number(askers) }, (_, i) => (before.has(`${name}-${i}`) ? settled(`${name}-${i}`) : asker(`${name}-${i}`))));
process.send?.({ done: true, counts });
