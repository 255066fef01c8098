// SHA-256 of bytes already in memory, for the store and for the slots, which must not load more than they need.
// Owns: one function. Never reads a file.
// Others may assume: 64 lower-case hex digits.

import { createHash } from 'node:crypto';

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
