// Ctrl-C and its like: one promise that resolves when somebody asks this program to end.
// Owns: the signal handlers and the deadline of the stop. Never stops anything itself.
// Others may assume: after the first signal the process ends within 10 s, whatever hangs.

const STOP_MS_MAX = 10_000;
/** One Ctrl-C arrives several times: from the terminal, from npm, from the program that started us. A later one means "now". */
const SAME_PRESS_MS = 1_000;

export interface Asked extends AsyncDisposable {
  /** Resolves at the first SIGINT, SIGTERM or SIGHUP. */
  readonly signal: Promise<void>;
  readonly aborted: AbortSignal;
}

/** Must be taken before the system is started, so that its disposal comes last and a signal during the start is not lost. */
export function untilAsked(): Asked {
  const asked = new AbortController();
  let first = 0;
  const onSignal = (): void => {
    if (asked.signal.aborted && performance.now() - first > SAME_PRESS_MS) process.exit(130);
    if (asked.signal.aborted) return;
    first = performance.now();
    asked.abort();
    setTimeout(() => process.exit(1), STOP_MS_MAX).unref();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    aborted: asked.signal,
    signal: new Promise((resolve) => asked.signal.addEventListener('abort', () => resolve(), { once: true })),
    async [Symbol.asyncDispose]() {
      for (const name of names) process.off(name, onSignal);
    },
  };
}
