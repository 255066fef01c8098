// Ids of messages that a turn sends: the same each time the turn runs, and not to be guessed by who sees only the child.
// Owns: the derivation. Never random: a redelivered turn must send the same ids, or receivers could not dedup.
// Others may assume: 40 hex digits of SHA-256; the parent's id cannot be computed from the child's.

import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

const encoder = new TextEncoder();

/** `name` tells the messages of one turn apart, most often by the order the handler sent them. */
export const childId = (parent: string, name: string | number): string => bytesToHex(sha256(encoder.encode(`${parent}/${name}`))).slice(0, 40);
