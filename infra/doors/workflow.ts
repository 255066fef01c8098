// The door `aios/workflow`: what a workflow of one's own may call.
// Owns: the list. Never imports anything that the workflow sandbox refuses.
// Others may assume: everything here is deterministic.

export { ask, type AskOptions } from '../../workflows/ask.ts';
