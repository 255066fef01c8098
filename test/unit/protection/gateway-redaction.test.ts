// Redaction on the way to a model: what policy or the deployment wants taken out never reaches a provider.
// Owns: the gateway's obedience to `@redact`, and the counts in the receipt. What is found is redaction.test.ts.

import { describe, expect, test } from 'vitest';
import type { CedarPolicyJson } from '../../../contracts/bundle.ts';
import { createFixture, fakeProvider } from '../gateway/fixture.ts';

const permit = (annotations: Readonly<Record<string, string>>): CedarPolicyJson => ({ effect: 'permit', principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' }, conditions: [], annotations });
const prompt = 'Answer anna@example.org, who paid with 4242 4242 4242 4242.';
const generate = { system: 'Be kind to anna@example.org.', prompt, maxTokens: 5 };
const done = (reply: Awaited<ReturnType<ReturnType<typeof createFixture>['ask']>>) => {
  if (reply.status !== 'done') throw new Error(reply.error.message);
  return reply;
};

describe('gateway - redaction', () => {
  test('a permit that asks for it - the provider sees placeholders, and the receipt says how many of which kind', async () => {
    const { ask } = createFixture({ policies: { permit: permit({}), careful: permit({ redact: 'standard' }) } });
    const reply = done(await ask('text.generate', generate));
    expect(reply.output).toMatchObject({ text: 'ANSWER [REDACTED:EMAIL], WHO PAID WITH [REDACTED:CARD].' });
    expect(reply.receipts).toMatchObject([{ kind: 'model', redacted: { email: 2, card: 1 } }]);
  });

  test('the deployment asks for it - every text for a model is redacted, whatever policy says', async () => {
    const provider = fakeProvider();
    const { ask } = createFixture({ providers: [provider], redactAtLeast: 'standard' });
    await ask('text.embed', { texts: [prompt, 'plain'] });
    expect(provider.calls[0]?.texts).toEqual(['Answer [redacted:email], who paid with [redacted:card].', 'plain']);
    expect(done(await ask('text.classify', { texts: ['call +49 171 5550123'], head: 'intent' })).receipts).toMatchObject([{ redacted: { phone: 1 } }]);
  });

  test('nobody asks for it - the text goes as it is and the receipt says nothing', async () => {
    const { ask } = createFixture();
    const reply = done(await ask('text.generate', generate));
    expect(reply.output).toMatchObject({ text: prompt.toUpperCase() });
    expect(reply.receipts[0]).not.toHaveProperty('redacted');
  });

  test('the cache never mixes levels: the redacted text is what is remembered', async () => {
    const provider = fakeProvider();
    const { ask } = createFixture({ providers: [provider], redactAtLeast: 'standard' });
    await ask('text.embed', { texts: ['mail anna@example.org'] });
    const again = done(await ask('text.embed', { texts: ['mail bob@example.org'] }));
    expect(provider.calls, 'both say the same once the person is gone').toHaveLength(1);
    expect(again.receipts).toMatchObject([{ redacted: { email: 1 } }]);
  });
});
