// The door of ring 0: an explicit list, alphabetical by module.
// Owns nothing. Never holds code. Others may import from here or from the module itself.
// What is not listed is not part of the vocabulary.

export * from './address.ts';
export * from './agent.ts';
export * from './budget.ts';
export * from './bundle.ts';
export * from './canonical.ts';
export * from './capability.ts';
export * from './errors.ts';
export * from './governed.ts';
export * from './ids.ts';
export * from './mandate.ts';
export * from './message.ts';
export * from './model.ts';
export * from './parse.ts';
export * from './ports.ts';
export * from './receipt.ts';
export * from './record.ts';
export * from './task.ts';
export * from './verdict.ts';
