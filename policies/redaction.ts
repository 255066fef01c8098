// What is personal or secret in a text, and the text without it: the one function behind logs, traces and model input.
// Owns: the detectors (by form, and by check digits where a form has them) and the levels. Pure and linear: bounded patterns only.
// Never promises completeness: names and addresses are found by their surroundings, at the level `strict`, and no further.
// Others may assume: `standard` takes out secrets and the numbers and addresses that name a person; what it leaves is unchanged,
// byte for byte; each finding is replaced by `[redacted:<kind>]`; loopback and unspecified addresses are nobody's and stay.

import type { Redaction } from '../contracts/verdict.ts';

export const KINDS = ['pem', 'token', 'key', 'password', 'email', 'iban', 'card', 'ssn', 'phone', 'ip', 'mac', 'crypto', 'domain', 'date', 'address', 'person'] as const;
export type Kind = (typeof KINDS)[number];

export interface Finding {
  readonly kind: Kind;
  readonly start: number;
  readonly end: number;
}
export interface Redacted {
  readonly text: string;
  /** How many of each kind were taken out; empty when nothing was. */
  readonly counts: Readonly<Partial<Record<Kind, number>>>;
}

/** Longest text that is looked through at once; callers cut before. */
export const REDACTION_CHARS_MAX = 512 * 1024;

export function redactText(text: string, level: Redaction = 'standard'): Redacted {
  const findings = findSensitive(text, level);
  if (findings.length === 0) return { text, counts: NOTHING };
  const counts: Partial<Record<Kind, number>> = {};
  const parts: string[] = [];
  let at = 0;
  for (const { kind, start, end } of findings) {
    parts.push(text.slice(at, start), `[redacted:${kind}]`);
    counts[kind] = (counts[kind] ?? 0) + 1;
    at = end;
  }
  parts.push(text.slice(at));
  return { text: parts.join(''), counts };
}

const NOTHING = Object.freeze({});

/** Sorted by place, never overlapping: what starts first wins, and of those the longest. */
export function findSensitive(text: string, level: Redaction = 'standard'): readonly Finding[] {
  if (level === 'none' || text.length < 4) return [];
  const found: Finding[] = [];
  const hasDigit = DIGIT.test(text);
  for (const detector of DETECTORS) {
    if (detector.strict === true && level !== 'strict') continue;
    if (detector.digits === true && !hasDigit) continue;
    if (detector.needs !== undefined && !text.includes(detector.needs)) continue;
    collect(text, detector, found);
  }
  return found.length < 2 ? found : apart(found);
}

const DIGIT = /\d/;

interface Detector {
  readonly kind: Kind;
  /** Global. */
  readonly form: RegExp;
  /** Group 1 is what is taken out, not the whole. */
  readonly inner?: true;
  /** Whether it is what its form says, or how many characters of it are. */
  readonly right?: (match: string, text: string, start: number) => boolean | number;
  readonly digits?: true;
  /** A text without this has no match: looked for first, because that is quicker. */
  readonly needs?: string;
  readonly strict?: true;
}

function collect(text: string, { kind, form, inner, right }: Detector, found: Finding[]): void {
  form.lastIndex = 0;
  for (let match = form.exec(text); match !== null; match = form.exec(text)) {
    const whole = match[0];
    const taken = inner === true ? (match[1] ?? whole) : whole;
    const start = match.index + (taken === whole ? 0 : whole.lastIndexOf(taken));
    const verdict = right?.(taken, text, start) ?? true;
    if (verdict === false) form.lastIndex = match.index + 1 + skipOf(whole);
    else {
      const end = start + (verdict === true ? taken.length : verdict);
      found.push({ kind, start, end });
      form.lastIndex = Math.max(end, match.index + 1);
    }
  }
}

/** After a refused candidate the search goes on behind its first token, so that one wrong start costs no second match of the same text. */
const skipOf = (whole: string): number => {
  const gap = whole.search(/[\s,;]/);
  return gap < 0 ? whole.length - 1 : gap;
};

function apart(found: Finding[]): readonly Finding[] {
  const sorted = found.toSorted((a, b) => a.start - b.start || b.end - a.end);
  const kept: Finding[] = [];
  for (const one of sorted) {
    const last = kept.at(-1);
    if (last === undefined || one.start >= last.end) kept.push(one);
  }
  return kept;
}

// ---- check digits and ranges

const digitsOf = (text: string): string => text.replaceAll(/\D/g, '');

/** ISO/IEC 7812-1, annex B. */
export function luhn(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48;
    const value = i % 2 === 1 ? digit * 2 : digit;
    sum += value > 9 ? value - 9 : value;
  }
  return digits.length > 0 && sum % 10 === 0;
}

/** Issuer ranges in use: 2 (Mastercard), 3 (Amex, Diners, JCB), 4, 5, 6. */
const isCard = (text: string): boolean => {
  const digits = digitsOf(text);
  return digits.length >= 12 && digits.length <= 19 && /^[2-6]/.test(digits) && luhn(digits);
};

/** ISO 13616 lengths by country; a code that is not there is no IBAN. */
const IBAN_LENGTHS: Readonly<Record<string, number>> = {
  AD: 24, AE: 23, AL: 28, AT: 20, AZ: 28, BA: 20, BE: 16, BG: 22, BH: 22, BR: 29, BY: 28, CH: 21, CR: 22, CY: 28, CZ: 24, DE: 22, DK: 18, DO: 28, EE: 20, EG: 29, ES: 24, FI: 18, FO: 18, FR: 27, GB: 22, GE: 22, GI: 23, GL: 18, GR: 27, GT: 28,
  HR: 21, HU: 28, IE: 22, IL: 23, IQ: 23, IS: 26, IT: 27, JO: 30, KW: 30, KZ: 20, LB: 28, LC: 32, LI: 21, LT: 20, LU: 20, LV: 21, LY: 25, MC: 27, MD: 24, ME: 22, MK: 19, MR: 27, MT: 31, MU: 30, NL: 18, NO: 15, PK: 24, PL: 28, PS: 29, PT: 25, QA: 29,
  RO: 24, RS: 22, SA: 24, SC: 31, SE: 24, SI: 19, SK: 24, SM: 27, ST: 25, SV: 28, TL: 23, TN: 24, TR: 26, UA: 29, VA: 22, VG: 24, XK: 20,
};
/** How many characters the IBAN at the start takes; words after it may look like more of it. */
function isIban(text: string): number | false {
  const wanted = IBAN_LENGTHS[text.slice(0, 2).toUpperCase()] ?? 0;
  let seen = 0;
  let end = 0;
  while (end < text.length && seen < wanted) if (!/[\s-]/.test(text[end++] ?? '')) seen++;
  const iban = text.slice(0, end).replaceAll(/[\s-]/g, '');
  const whole = end === text.length || /[\s-]/.test(text[end] ?? '');
  return seen === wanted && wanted > 0 && whole && !/[a-z]/.test(iban.slice(2)) === !/[a-z]/.test(iban.slice(0, 2)) && mod97(iban.toUpperCase()) === 1 ? end : false;
}
function mod97(iban: string): number {
  let rest = 0;
  for (const c of iban.slice(4) + iban.slice(0, 4)) {
    const value = c >= 'A' ? c.charCodeAt(0) - 55 : Number(c);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest;
}

/** Numbers the US administration never issues: 000, 666 and 9xx areas, 00 groups, 0000 serials; and the two it once printed in advertisements. */
const isSsn = (text: string): boolean => {
  const digits = digitsOf(text);
  if (digits.length !== 9 || new Set(text.replaceAll(/\d/g, '')).size > 1) return false;
  return !/^(?:000|666|9)/.test(digits) && digits.slice(3, 5) !== '00' && digits.slice(5) !== '0000' && !/^(\d)\1{8}$/.test(digits) && digits !== '123456789' && digits !== '987654321' && digits !== '078051120';
};

/** Nobody's: all zeros, all ones; twelve digits without a letter are some other number. */
const isMac = (text: string): boolean => !/^(?:0[0:.-]*|[fF][fF:.-]*)+$/.test(text) && (/[:-]/.test(text) || /[a-f]/i.test(text));

const isIp4 = (text: string): boolean => text.split('.').every((part) => Number(part) <= 255) && !/^(?:127\.|0\.0\.0\.0$)/.test(text);
const isIp6 = (text: string): boolean => {
  const groups = text.split(':');
  const gap = text.includes('::');
  return groups.length >= 3 && (gap ? groups.length <= 8 && text.indexOf('::') === text.lastIndexOf('::') : groups.length === 8) && /[0-9a-f]/i.test(text) && text !== '::1' && (gap || groups.some((one) => one.length > 2));
};

/** What a run of digits and separators must be like to be somebody's number: an international prefix, or groups as people write them. */
const isPhone = (text: string, whole: string, start: number): boolean => {
  const digits = digitsOf(text);
  if (digits.length < 7 || digits.length > 15 || /^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}/.test(text) || /^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}$/.test(text) || /^(\d)\1+$/.test(digits)) return false;
  if (/[\w./=#-]/.test(whole[start - 1] ?? ' ') || /\d:$/.test(whole.slice(Math.max(0, start - 2), start))) return false;
  if (/^\+|^00[1-9]/.test(text)) return digits.length >= 8;
  if (/^\(\d{2,5}\)/.test(text)) return true;
  const groups = text.split(/[^\d]+/).filter((one) => one !== '');
  if (groups.some((one) => one.length > 8) || groups.length > 6) return false;
  if (/^(?:1[-. ])?\d{3}[-. /]\d{3}[-. ]\d{4}(?:x\d{1,6})?$/.test(text)) return true;
  if (groups.length >= 2 && /^0\d/.test(text) && digits.length >= 9 && digits.length <= 12) return true;
  return PHONE_WORDS.test(whole.slice(Math.max(0, start - 32), start));
};
const PHONE_WORDS = /(?:phone|tel|mobile|cell|call|fax|dial|whatsapp|number is|reach me at|text me at|contact)\D{0,16}$/i;

/** Bitcoin's alphabets; base58 addresses carry a check, whose shape is enough here. */
const isCrypto = (text: string): boolean => /\d/.test(text) && /[a-z]/.test(text) && (text.startsWith('bc1') || /[A-Z]/.test(text));

/** Documentation shows keys made of x; a name that happens to start like a key has no digit. */
const isVendorKey = (text: string): boolean => !/x{5}|X{5}|\*{3}|\.{3}/.test(text) && /\d/.test(text) && new Set(text).size > 7;

/** A value that a person has to fill in, or that names where the secret is, is no secret. */
const isSecretValue = (value: string): boolean => value.length >= 6 && !PLACEHOLDER.test(value) && !/^(.)\1+$/.test(value) && entropic(value);
const PLACEHOLDER = /x{5}|\.{2,}$|^(?:[$<{%*(@\\]|\.\.|xxx|\*\*\*|your|my[-_]|example|changeme|placeholder|redacted|\[redacted|null|none|undefined|true|false|string|number|boolean|secretref|required|optional|process\.env|os\.environ|env[.(]|get|self\.|this\.|config\.|var\.|data\.|local\.|module\.|await|new |function|async|string\()/i;
/** Words are not secrets: it takes a digit and a letter, or two kinds of letters and a sign. */
const entropic = (value: string): boolean => (/\d/.test(value) && /[A-Za-z]/.test(value)) || (/[a-z]/.test(value) && /[A-Z]/.test(value) && /[^A-Za-z]/.test(value)) || /^\d{6,}$/.test(value) || (value.length >= 7 && /[!@#$%^&*?]/.test(value));

// ---- forms, the surer ones first

const TLD = '(?:com|org|net|edu|gov|mil|int|info|biz|name|io|co|us|uk|de|fr|it|es|nl|be|at|ch|se|no|dk|fi|pl|cz|ie|pt|gr|ru|jp|cn|in|br|au|ca|nz|mx|za|eu|me|tv|app|dev|ai|online|shop|site|xyz)';
const MONTH = '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)';
const STREET = '(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|way|court|ct|place|pl|square|terrace|close|crescent|highway|hwy|parkway|pkwy|route|alley|circle|trail|loop|row|walk|strasse|straße|weg|platz|rue|via|calle|straat)';

const DETECTORS: readonly Detector[] = [
  { kind: 'pem', needs: '-----BEGIN', form: /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,16384}(?:-----END [A-Z0-9 ]{0,40}-----)?/g },
  // JSON web tokens, OpenID and the like: three base64url parts, the first a JSON object.
  { kind: 'token', needs: 'eyJ', form: /\b(?:ops_)?eyJ[A-Za-z0-9_-]{8,4096}(?:\.[A-Za-z0-9_-]{4,8192}){0,4}/g, right: (text) => (text.includes('.') || text.length > 60) && !/x{6}|\.{3}/.test(text) },
  { kind: 'token', inner: true, form: /\b(?:Bearer|Basic|Token) +([A-Za-z0-9._~+/-]{16,4096}={0,2})/gi, right: (text) => /\d/.test(text) && /[A-Za-z]/.test(text) },
  // Prefixes that vendors document for their credentials.
  { kind: 'key', form: /\b(?:(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AGPA|ANPA|ANVA|AIPA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64}|gl(?:dt|rt|ptt|soat|ft|cbt|imt|agent|oas)-[A-Za-z0-9_-]{20,64}|xox[abeoprs]-[A-Za-z0-9-]{10,255}|xapp-\d-[A-Za-z0-9-]{10,255}|(?:sk|rk|pk|whsec)[-_](?:live|test|prod|proj|ant|or|svcacct|admin)?[-_]?[A-Za-z0-9_-]{16,255}|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,40}|ya29\.[A-Za-z0-9_-]{20,512}|1\/\/0[A-Za-z0-9_-]{30,128}|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255}|do[opr]_v1_[a-f0-9]{64}|hf_[A-Za-z0-9]{30,40}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{22,43}|EAA[A-Za-z0-9]{40,255}|key-[a-z0-9]{32}|SK[a-f0-9]{32}|AC[a-f0-9]{32}|[MN][A-Za-z\d]{23,25}\.[\w-]{6}\.[\w-]{27,40}|\d{8,10}:AA[A-Za-z0-9_-]{32,34}|NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|dckr_pat_[A-Za-z0-9_-]{27}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,64}|hv[sbr]\.[A-Za-z0-9_-]{20,255}|[sb]\.[A-Za-z0-9]{24}(?![A-Za-z0-9])|atlasv1\.[A-Za-z0-9_=-]{60,70}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{32,400}|lin_(?:api|oauth)_[A-Za-z0-9]{32,40}|ATATT3[A-Za-z0-9_=-]{20,255}|ATBB[A-Za-z0-9]{32}|ATCTT3[A-Za-z0-9_=-]{20,255}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|rubygems_[a-f0-9]{48}|CCIPAT_[A-Za-z0-9_]{20,80}|sntrys_[A-Za-z0-9+/=_-]{40,400}|AGE-SECRET-KEY-1[A-Z0-9]{58}|A3-[A-Z0-9]{6}-[A-Z0-9]{5,11}(?:-[A-Z0-9]{5}){3,4}|EZ[AT]K[a-zA-Z0-9]{54}|sgp_(?:[a-f0-9]{16}_)?[a-f0-9]{40}|nvapi-[A-Za-z0-9_-]{60,70}|gsk_[A-Za-z0-9]{40,60}|r8_[A-Za-z0-9]{37}|xai-[A-Za-z0-9]{70,90}|pplx-[A-Za-z0-9]{40,56}|tskey-[a-z]{2,10}-[A-Za-z0-9-]{20,64}|figd_[A-Za-z0-9_-]{40}|secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,50}|dapi[a-f0-9]{32}|AVNS_[A-Za-z0-9_-]{19}|cio[A-Za-z0-9]{32}|waka_[a-f0-9-]{36}|aios_[A-Za-z0-9_-]{32}|akab-[a-z0-9-]{20,64}|amzn\.mws\.[a-z0-9-]{36}|[A-Za-z0-9_.~-]{3}\dQ~[A-Za-z0-9_.~-]{31,34}|CLOJARS_[a-f0-9]{60}|dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}|gl(?:ffct|rtr|wt)-[A-Za-z0-9_-]{20,64}|GR1348941[A-Za-z0-9_-]{20}|HRKU-[A-Za-z0-9_-]{36,64}|IGQV[A-Za-z0-9_-]{40,255}|cmVmdGtuO[A-Za-z0-9+/=]{40,80}|AKCp[A-Za-z0-9]{50,80}|[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}|nfp_[A-Za-z0-9]{30,40}|pscale_(?:pw|tkn|oauth)_[A-Za-z0-9_.-]{30,64}|PMAT-[A-Z0-9]{26}|oy2[a-z0-9]{43})(?![A-Za-z0-9])/g, right: isVendorKey },
  { kind: 'key', needs: 'hooks.', form: /https:\/\/hooks\.(?:slack|zapier)\.com\/[A-Za-z0-9/_-]{20,120}/g },
  { kind: 'key', needs: 'webhook', form: /https:\/\/[a-z0-9.-]{4,80}\/(?:api\/)?webhooks?[A-Za-z0-9]{0,4}\/[A-Za-z0-9/@_-]{20,300}/g },
  { kind: 'password', needs: '://', inner: true, form: /:\/\/[^\s:/@"'<>]{0,64}:([^\s/@"'<>]{3,128})@[A-Za-z0-9.[-]/g, right: (value) => !/^[$<{%*[]/.test(value) },
  // Names that say what the value is; the name may have more words before and after.
  { kind: 'password', inner: true, form: /(?:pass(?:word|wd|phrase|code)?|pwd|secret|credentials?|private[-_ ]?key|(?:api|access|auth|account|encryption|signing|client|master|service|shared|storage)[-_ ]?(?:key|token|secret)|apikey|token|nonce|salt)(?:[-_A-Za-z0-9]{0,24})["'`]?\]?\s{0,4}(?::=|=>|[:=]|,|\bis\b)\s{0,4}(?:u|b|r|f|@)?["'`]?([^\s"'`,;<>(){}[\]]{6,256})/gi, right: isSecretValue },
  { kind: 'email', needs: '@', form: /[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b/g, right: (text) => !text.startsWith('.') && !/\.{2}|-\./.test(text) },
  { kind: 'iban', digits: true, form: /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{1,4}){3,9}(?![A-Za-z0-9])/g, right: isIban },
  { kind: 'iban', digits: true, form: /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30}(?![A-Za-z0-9])/g, right: isIban },
  { kind: 'card', digits: true, form: /(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-]|\.\d)/g, right: isCard },
  { kind: 'ssn', digits: true, form: /(?<![\w.-])\d{3}([- .])\d{2}\1\d{4}(?![\w-]|\.\d)/g, right: isSsn },
  { kind: 'ssn', digits: true, form: /(?:\bssn|social security(?: number)?)\D{0,24}(\d{9})(?!\d)/gi, inner: true, right: isSsn },
  { kind: 'mac', form: /(?<![\w:-])(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w:.-])/g, right: isMac },
  { kind: 'ip', digits: true, form: /(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)/g, right: isIp4 },
  { kind: 'ip', needs: ':', form: /(?<![\w:.-])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)/g, right: isIp6 },
  { kind: 'crypto', digits: true, form: /(?<![A-Za-z0-9])(?:bc1[a-z0-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})(?![A-Za-z0-9])/g, right: isCrypto },
  { kind: 'phone', digits: true, form: /(?:\+|\(|(?<!\d))\d[\d ().\-/]{4,20}\d(?:x\d{1,6})?(?!\d|-\d)/g, right: isPhone },
  { kind: 'domain', strict: true, needs: '.', form: new RegExp(`(?<![\\w@.-])(?:https?://)?(?:[A-Za-z0-9-]{1,63}\\.){1,4}${TLD}(?:/[^\\s"'<>]{0,200})?(?![\\w-])`, 'gi') },
  { kind: 'date', strict: true, digits: true, form: new RegExp(`(?<![\\w./-])(?:\\d{1,2}[-/.]\\d{1,2}[-/.](?:\\d{4}|\\d{2})|\\d{4}[-/.]\\d{1,2}[-/.]\\d{1,2}|${MONTH}\\.? \\d{1,2}(?:st|nd|rd|th)?(?:,? \\d{4})?|\\d{1,2}(?:st|nd|rd|th)?(?: of)? ${MONTH}(?:,? \\d{4})?)(?![\\w/-])`, 'gi') },
  { kind: 'address', strict: true, digits: true, form: new RegExp(`(?<![\\w.-])\\d{1,5}[A-Za-z]? (?:[A-ZÀ-Þ][\\wÀ-ÿ.'-]{0,24} ){1,4}${STREET}\\b\\.?(?:,? (?:Apt|Suite|Unit|Apartment|Flat)\\.? ?#?\\w{1,6})?`, 'gi') },
  // A name is known by what stands before it; capital letters alone are no name.
  { kind: 'person', strict: true, inner: true, form: /\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|Herr|Frau|Mme|Sra?)\.? ((?:[A-ZÀ-Þ][\wÀ-ÿ'-]{1,24} ?){1,3})/g },
  { kind: 'person', strict: true, inner: true, form: /\b(?:[Mm]y name is|[Mm]y name's|I am called|[Tt]his is|[Dd]ear|[Ss]incerely,?|[Rr]egards,?|[Nn]ame ?:|[Aa]ttn:?|on behalf of|[Ss]igned,?)\s{1,3}((?:[A-ZÀ-Þ][\wÀ-ÿ'-]{1,24}[ ]?){1,4})/g },
];
