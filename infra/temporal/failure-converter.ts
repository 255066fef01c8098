// How failures are written when payloads are encrypted: message and stack go into a payload of their own, which the codec seals.
// Owns: that choice, for workers, clients and the workflow sandbox, which all load this file.
// In the clear stays only the fixed sentence of the error table for the code, so that an approver at the Temporal UI reads
// why a decision was refused; never the detail, which may repeat what somebody typed.
// Others may assume: who has the key reads the whole message, as without this file; both forms are read.

import { DefaultFailureConverter, type FailureConverter } from '@temporalio/common';
import { ERRORS, isErrorCode } from '../../contracts/errors.ts';

const sealing = new DefaultFailureConverter({ encodeCommonAttributes: true });

export const failureConverter: FailureConverter = {
  errorToFailure(error, payloadConverter, context) {
    const failure = sealing.errorToFailure(error, payloadConverter, context);
    const code = failure.applicationFailureInfo?.type;
    return isErrorCode(code) ? { ...failure, message: ERRORS[code].message } : failure;
  },
  failureToError: (failure, payloadConverter, context) => sealing.failureToError(failure, payloadConverter, context),
};
