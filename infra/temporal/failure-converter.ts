// How failures are written when payloads are encrypted: message and stack go into a payload of their own, which the codec seals.
// Owns: that choice, for workers, clients and the workflow sandbox, which all load this file.
// Never changes how failures are read: both forms are. Others may assume: with it a failure in history says "Encoded failure" only.

import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
