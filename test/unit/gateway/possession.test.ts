// Proof of possession at the gateway: every call is shown a mandate proven by its last key, for this call, now, once.
// Owns: the attack matrix as the gateway sees it. The algebra of blocks is tested beside infra/crypto.
// Never trusts an error's words: refusals are told by code, and the provider must not have been called.

import { describe, expect, test } from 'vitest';
import type { Grant } from '../../../contracts/mandate.ts';
import type { Envelope, Reply } from '../../../contracts/message.ts';
import { toBytes } from '../../../contracts/parse.ts';
import { createKeys } from '../../../infra/crypto/keys.ts';
import { mandatesOf } from '../../../infra/crypto/mandates.ts';
import { PRESENTED_MS_MAX, presentedCall, SKEW_MS_DEFAULT } from '../../../policies/mandate.ts';
import { createFixture, envelope, fakeProvider, START } from './fixture.ts';

const SUBJECT = 'ai.v1.acme.cap.text_embed';
const INPUT = { texts: ['hello'] };
const codeOf = (reply: Reply): string => (reply.status === 'failed' ? reply.error.code : reply.status);
let ids = 0;

function scene() {
  const provider = fakeProvider();
  const fixture = createFixture({ providers: [provider] });
  const { mandates, gateway } = fixture;
  const plain = (mandate: string, over: Partial<Envelope> = {}): Envelope => envelope('text.embed', INPUT, { id: `possession-${String(++ids).padStart(8, '0')}`, mandate, ...over });
  const shown = (asked: Envelope, as: Pick<typeof mandates, 'present'> = mandates): Envelope => ({ ...asked, mandate: as.present(asked.mandate, presentedCall(asked)) });
  const send = async (asked: Envelope, subject = SUBJECT): Promise<string> => codeOf(await gateway.answer(subject, toBytes(asked)));
  return { ...fixture, provider, plain, shown, send };
}
type Scene = ReturnType<typeof scene>;

describe('attack matrix at the gateway', () => {
  test('the holder of the last key is served, and so is a delegate with the key of the next block', async () => {
    const { plain, shown, send, mint, mandates } = scene();
    expect(await send(shown(plain(mint())))).toBe('done');
    expect(await send(shown(plain(mandates.attenuate(mint(), { callsMax: 5 }))))).toBe('done');
  });

  const attacks: Readonly<Record<string, (scene: Scene) => Promise<string>>> = {
    'unsealed - the token itself, with its key, is not taken: keys do not travel to the gateway': ({ plain, mint, send }) => send(plain(mint())),
    'sealed only - a token that anybody may have copied proves nothing': ({ plain, mint, send, mandates }) => send(plain(mandates.seal(mint()))),
    'blocks without an end': ({ plain, mint, send }) => { const token = mint(); return send(plain(token.slice(0, token.lastIndexOf('~')))); },
    'wrong key - a proof by a key of the attacker over the blocks of another': ({ plain, mint, send, mandates, shown }) => {
      const [blocks, own] = [mandates.seal(mint()).split('~s.')[0] ?? '', mint()];
      const proven = shown(plain(own)).mandate;
      return send(plain(`${blocks}${proven.slice(proven.lastIndexOf('~'))}`));
    },
    'wrong key - a parent proves for its child after it gave the child away': ({ plain, mint, send, mandates }) => {
      const parent = mint();
      const child = mandates.attenuate(parent, { callsMax: 1 });
      const asked = plain(`${child.slice(0, child.lastIndexOf('~'))}~k.${parent.slice(parent.lastIndexOf('~k.') + 3)}`);
      return send({ ...asked, mandate: mandates.present(asked.mandate, presentedCall(asked)) });
    },
    'wrong audience - a proof for another capability': ({ plain, mint, send, shown }) => {
      const other = shown(plain(mint(), { capability: 'text.classify' }));
      return send({ ...other, capability: 'text.embed' });
    },
    'wrong audience - a proof for another tenant': ({ plain, mint, send, mandates }) => {
      const asked = plain(mint());
      return send({ ...asked, mandate: mandates.present(asked.mandate, { ...presentedCall(asked), audience: 'other/text.embed' }) });
    },
    'moved - the proof of one question under another question': ({ plain, mint, send, shown }) => send({ ...shown(plain(mint())), input: { texts: ['give me the other thing'] } }),
    'moved - under another principal, who may see more': ({ plain, mint, send, shown }) => send({ ...shown(plain(mint())), principal: { id: 'ada', type: 'user', tenant: 'acme', roles: ['operator'] } }),
    'moved - under a later deadline, a lower depth or another rung': async ({ plain, mint, send, shown }) => {
      const codes = [await send({ ...shown(plain(mint())), deadline: START + 50_000 }), await send({ ...shown(plain(mint())), depth: 0 }), await send({ ...shown(plain(mint())), rung: 'cache' })];
      return [...new Set(codes)].join();
    },
    'replay - the same request again': async ({ plain, mint, send, shown }) => {
      const asked = shown(plain(mint()));
      expect(await send(asked)).toBe('done');
      return send(asked);
    },
    'replay - after the proof has grown old': async ({ plain, mint, send, shown, clock }) => {
      const asked = shown(plain(mint(), { deadline: START + 59_000 }));
      clock.advance(PRESENTED_MS_MAX + 1);
      return send(asked);
    },
    'expired - the mandate ended, the proof is fresh': async ({ plain, mint, send, shown, clock }) => {
      const token = mint({ expiresAt: START + 1_000 });
      clock.advance(1_000);
      return send(shown(plain(token, { deadline: START + 9_000 })));
    },
    'alg none - a root whose header says so': ({ plain, mint, send, shown }) => {
      const asked = shown(plain(mint()));
      const [header, ...rest] = asked.mandate.split('.');
      const none = Buffer.from(JSON.stringify({ ...(JSON.parse(Buffer.from(header ?? '', 'base64url').toString()) as object), alg: 'none' })).toString('base64url');
      return send({ ...asked, mandate: [none, ...rest].join('.') });
    },
    'forged root - minted by a brain nobody knows': ({ plain, send, shown, clock }) => {
      const stranger = mandatesOf(createKeys(), { clock, random: { bytes: (count) => new Uint8Array(count).fill(7) } });
      const grant: Grant = { tenant: 'acme', task: 't-1', capabilities: ['*'], dataClass: 'confidential', regions: ['*'], models: ['*'], spaces: ['*'], budgetMicroUsd: 1, callsMax: 9, depthMax: 3, notBefore: START - 1, expiresAt: START + 60_000, offline: false, policy: `sha256:${'0'.repeat(64)}` };
      return send(shown(plain(stranger.mint(grant)), stranger));
    },
  };
  for (const [name, attack] of Object.entries(attacks)) {
    test(name, async () => {
      const stage = scene();
      const before = name.startsWith('replay - the same') ? 1 : 0;
      expect(await attack(stage)).toBe('AIOS_MANDATE_INVALID');
      expect(stage.provider.calls.length).toBe(before);
    });
  }

  test('wider limit, wider resource, later block overriding - a proof by the right key does not help a block that widens', async () => {
    const { plain, shown, send, mint, mandates, provider } = scene();
    const child = mandates.attenuate(mint(), { capabilities: ['space.search'], callsMax: 1 });
    expect(() => mandates.attenuate(child, { capabilities: ['text.embed'] })).toThrow(expect.objectContaining({ code: 'AIOS_MANDATE_EXCEEDED' }));
    expect(await send(shown(plain(child)))).toBe('AIOS_MANDATE_EXCEEDED');
    expect(provider.calls).toEqual([]);
  });

  test('clock skew - a proof from a clock 5 s ahead is taken, one from further ahead is not', async () => {
    const { plain, mint, send, mandates, clock } = scene();
    const asked = plain(mint());
    const later = (ms: number): Envelope => {
      const ahead = { ...plain(asked.mandate), mandate: '' };
      clock.advance(ms);
      const mandate = mandates.present(asked.mandate, presentedCall(ahead));
      clock.advance(-ms);
      return { ...ahead, mandate };
    };
    expect(await send(later(SKEW_MS_DEFAULT))).toBe('done');
    expect(await send(later(SKEW_MS_DEFAULT + 1))).toBe('AIOS_MANDATE_INVALID');
  });

  test('what is shown once cannot be delegated, shown to another or verified as a mandate of its own', () => {
    const { plain, mint, shown, mandates } = scene();
    const { mandate } = shown(plain(mint()));
    expect(() => mandates.attenuate(mandate, {})).toThrow(expect.objectContaining({ code: 'AIOS_MANDATE_EXCEEDED' }));
    expect(() => mandates.present(mandate, { audience: 'a', content: 'b' })).toThrow(expect.objectContaining({ code: 'AIOS_MANDATE_EXCEEDED' }));
    expect(() => mandates.verify(mandate)).toThrow(expect.objectContaining({ code: 'AIOS_MANDATE_INVALID' }));
    expect(mandate).not.toContain('~k.');
  });
});
