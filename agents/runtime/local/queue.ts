// A bounded-by-its-user queue that costs nothing while empty and shifts in constant time.
// Owns: the array and its head. Never bounds itself: the mailbox does, because what happens at the bound is its policy.
// Others may assume: `shift` of an empty queue is undefined, and a drained queue keeps no memory beyond one small array.

export interface Queue<T> {
  push(item: T): void;
  shift(): T | undefined;
  /** Puts items before all others, in order. */
  prepend(items: readonly T[]): void;
  readonly length: number;
}

const COMPACT_AT = 1_024;

export function createQueue<T>(): Queue<T> {
  let items: (T | undefined)[] = [];
  let head = 0;
  return {
    push: (item) => void items.push(item),
    shift() {
      if (head >= items.length) return undefined;
      const item = items[head];
      items[head++] = undefined;
      if (head === items.length) {
        if (head > COMPACT_AT) items = [];
        else items.length = 0;
        head = 0;
      } else if (head > COMPACT_AT && head * 2 > items.length) {
        items = items.slice(head);
        head = 0;
      }
      return item;
    },
    prepend(first) {
      items = [...first, ...items.slice(head)];
      head = 0;
    },
    get length() {
      return items.length - head;
    },
  };
}
