// Mandates for tests: readable, sealed with a shared secret instead of signatures.
// Owns: narrowing by construction and refusal of wider caveats, like the real ones. Never for production: whoever has the secret can mint.
// Others may assume: a token that was changed anywhere does not verify, and neither does one past its time.

import { canonicalJson, digestOfText } from '../../contracts/canonical.ts';
import { fail } from '../../contracts/errors.ts';
import type { Grant, MandateToken, PresentedCall, VerifiedMandate } from '../../contracts/mandate.ts';
import type { Clock, Mandates } from '../../contracts/ports.ts';
import { narrow } from '../../policies/mandate.ts';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (text: string): Grant[] => JSON.parse(Buffer.from(text, 'base64url').toString()) as Grant[];

export function createTestMandates(clock: Clock, secret = 'test'): Mandates {
  const seal = (body: string): string => digestOfText(`${secret}/${body}`).slice(7, 39);
  const tokenOf = (grants: readonly Grant[]): MandateToken => {
    const body = encode(grants);
    return `${body}~${seal(body)}`;
  };
  const proof = (token: MandateToken, { audience, content }: PresentedCall): string => seal(`${token}\n${audience}\n${content}`);
  const cache = new Map<MandateToken, readonly Grant[]>();
  const verified = new Map<MandateToken, VerifiedMandate>();
  function open(token: MandateToken): readonly Grant[] {
    const known = cache.get(token);
    if (known !== undefined) return known;
    const [body, sealed] = token.split('~');
    if (body === undefined || sealed !== seal(body)) throw fail('AIOS_MANDATE_INVALID', 'the seal is wrong.');
    const grants = decode(body);
    if (cache.size >= 10_000) cache.clear();
    cache.set(token, grants);
    return grants;
  }
  return {
    mint: (grant) => tokenOf([grant]),
    attenuate(token, caveat) {
      const grants = open(token);
      return tokenOf([...grants, narrow(grants.at(-1) as Grant, caveat, grants.length)]);
    },
    present: (token, call) => {
      open(token);
      return `${token}~p.${proof(token, call)}`;
    },
    verifyPresented(token, call) {
      const cut = token.lastIndexOf('~p.');
      if (cut < 0 || token.slice(cut + 3) !== proof(token.slice(0, cut), call)) throw fail('AIOS_MANDATE_INVALID', 'it was not shown for this call.');
      return verify(token.slice(0, cut));
    },
    verify,
  };

  function verify(token: MandateToken): VerifiedMandate {
    if (token.includes('~p.')) throw fail('AIOS_MANDATE_INVALID', 'it was shown for one call.');
    const grants = open(token);
    const grant = grants.at(-1) as Grant;
    if (clock.now() >= grant.expiresAt || clock.now() < grant.notBefore) throw fail('AIOS_MANDATE_INVALID', 'it is not in its time.');
    const known = verified.get(token);
    if (known !== undefined) return known;
    const mandate: VerifiedMandate = { digest: digestOfText(token), grant, root: grants[0] as Grant, blockIds: grants.map((entry) => digestOfText(canonicalJson(entry)).slice(7, 19)), holder: 'test', depth: grants.length - 1 };
    if (verified.size >= 10_000) verified.clear();
    verified.set(token, mandate);
    return mandate;
  }
}
