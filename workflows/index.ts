// The door of the workflows: what this file exports is what Temporal can start, by name.
// Owns: the list, and one setting of the sandbox. Never holds code.
// Others may assume: an export here is a workflow type, a new solution adds one line.

export { approval } from './approval.ts';
export { governedTask } from './governed-task.ts';

/**
 * The SDK records a stack for every promise a workflow makes, for one debugging query; that was the largest single cost of a
 * task in the brain. Failures carry codes of the table, so nobody misses the stacks. Where these modules are not the ones the worker
 * preloads, `Error` is frozen already: then the setting is left as it is.
 */
Reflect.set(Error, 'stackTraceLimit', 0);
