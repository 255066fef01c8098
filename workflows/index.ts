// The door of the workflows: what this file exports is what Temporal can start, by name.
// Owns: the list. Never holds code.
// Others may assume: an export here is a workflow type, a new solution adds one line.

export { approval } from './approval.ts';
export { governedTask } from './governed-task.ts';
