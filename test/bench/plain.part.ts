// The peer of the task bench: a plain Temporal workflow with one no-op activity, nothing of ours in it.
// Owns: the workflow. Never grows: it is what a governed task is compared with.
// Others may assume: it is bundled alone, by the bench.

import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities<{ nothing(text: string): Promise<string> }>({ startToCloseTimeout: '10 s' });

export async function plain(text: string): Promise<string> {
  return nothing(text);
}
