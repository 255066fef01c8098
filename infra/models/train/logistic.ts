// Multinomial logistic regression with an L2 penalty, by L-BFGS: small, deterministic, no dependency.
// Owns: the objective, its gradient and the optimiser. Never shuffles and never draws a random number: the problem is convex.
// Others may assume: the same rows in the same order give the same weights on one machine, and biases are not penalised.

export interface Fit {
  /** One row a class: weights, then the bias. */
  readonly rows: readonly Float64Array[];
  readonly loss: number;
  readonly iterations: number;
}
export interface FitOptions {
  readonly classes: number;
  /** Penalty on the mean loss: l2 / 2 times the squared length of the weights. */
  readonly l2: number;
  readonly iterationsMax?: number;
}

const MEMORY = 10;
const GRADIENT_MIN = 1e-5;

/** L-BFGS with backtracking (Nocedal & Wright, Numerical Optimization, alg. 7.4 and 3.1). */
export function fitLogistic(x: readonly Float32Array[], y: readonly number[], { classes, l2, iterationsMax = 200 }: FitOptions): Fit {
  const width = (x[0]?.length ?? 0) + 1;
  const objective = (theta: Float64Array): { readonly loss: number; readonly gradient: Float64Array } => evaluate(x, y, theta, { classes, width, l2 });
  let theta = new Float64Array(classes * width);
  let { loss, gradient } = objective(theta);
  const steps: { readonly s: Float64Array; readonly q: Float64Array; readonly rho: number }[] = [];
  let iterations = 0;
  for (; iterations < iterationsMax && norm(gradient) > GRADIENT_MIN; iterations++) {
    const direction = descent(gradient, steps);
    const next = backtrack(objective, theta, loss, gradient, direction);
    if (next === undefined) break;
    const s = minus(next.theta, theta);
    const q = minus(next.gradient, gradient);
    const curvature = dot(s, q);
    if (curvature > 1e-12) steps.push({ s, q, rho: 1 / curvature });
    if (steps.length > MEMORY) steps.shift();
    ({ theta, loss, gradient } = next);
  }
  return { rows: Array.from({ length: classes }, (_, k) => theta.slice(k * width, (k + 1) * width)), loss, iterations };
}

export function logitsOf({ rows }: Pick<Fit, 'rows'>, x: Float32Array): number[] {
  return rows.map((row) => x.reduce((sum, value, d) => sum + value * (row[d] as number), row[x.length] as number));
}

interface Shape { readonly classes: number; readonly width: number; readonly l2: number }

function evaluate(x: readonly Float32Array[], y: readonly number[], theta: Float64Array, { classes, width, l2 }: Shape): { loss: number; gradient: Float64Array } {
  const gradient = new Float64Array(theta.length);
  const logits = new Float64Array(classes);
  let loss = 0;
  x.forEach((row, i) => {
    for (let k = 0; k < classes; k++) logits[k] = affine(theta, k * width, row);
    loss += softmaxInPlace(logits, y[i] as number);
    for (let k = 0; k < classes; k++) addScaled(gradient, k * width, row, ((logits[k] as number) - (k === y[i] ? 1 : 0)) / x.length);
  });
  loss /= x.length;
  for (let j = 0; j < theta.length; j++) {
    if (j % width === width - 1) continue;
    loss += (l2 / 2) * (theta[j] as number) ** 2;
    gradient[j] = (gradient[j] as number) + l2 * (theta[j] as number);
  }
  return { loss, gradient };
}

function affine(theta: Float64Array, at: number, row: Float32Array): number {
  let sum = theta[at + row.length] as number;
  for (let d = 0; d < row.length; d++) sum += (theta[at + d] as number) * (row[d] as number);
  return sum;
}

function addScaled(gradient: Float64Array, at: number, row: Float32Array, scale: number): void {
  for (let d = 0; d < row.length; d++) gradient[at + d] = (gradient[at + d] as number) + scale * (row[d] as number);
  gradient[at + row.length] = (gradient[at + row.length] as number) + scale;
}

/** Turns logits into probabilities; returns the negative log of the true one. */
function softmaxInPlace(logits: Float64Array, truth: number): number {
  const top = Math.max(...logits);
  let sum = 0;
  for (let k = 0; k < logits.length; k++) sum += logits[k] = Math.exp((logits[k] as number) - top);
  for (let k = 0; k < logits.length; k++) logits[k] = (logits[k] as number) / sum;
  return -Math.log(Math.max(1e-300, logits[truth] as number));
}

/** The two-loop recursion: minus the inverse Hessian's estimate times the gradient. */
function descent(gradient: Float64Array, steps: readonly { readonly s: Float64Array; readonly q: Float64Array; readonly rho: number }[]): Float64Array {
  const r = gradient.slice();
  const alphas = steps.toReversed().map(({ s, q, rho }) => {
    const alpha = rho * dot(s, r);
    shift(r, q, -alpha);
    return alpha;
  }).toReversed();
  const last = steps.at(-1);
  if (last !== undefined) scaleBy(r, dot(last.s, last.q) / dot(last.q, last.q));
  steps.forEach(({ s, q, rho }, i) => shift(r, s, (alphas[i] as number) - rho * dot(q, r)));
  scaleBy(r, -1);
  return r;
}

function backtrack(objective: (theta: Float64Array) => { loss: number; gradient: Float64Array }, theta: Float64Array, loss: number, gradient: Float64Array, direction: Float64Array): { theta: Float64Array<ArrayBuffer>; loss: number; gradient: Float64Array } | undefined {
  const slope = dot(gradient, direction);
  for (let step = 1; step > 1e-8; step /= 2) {
    const next = theta.slice() as Float64Array<ArrayBuffer>;
    shift(next, direction, step);
    const at = objective(next);
    if (at.loss <= loss + 1e-4 * step * slope) return { theta: next, ...at };
  }
  return undefined;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
const norm = (a: Float64Array): number => Math.sqrt(dot(a, a));
const minus = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value - (b[i] as number));
function shift(a: Float64Array, b: Float64Array, scale: number): void {
  for (let i = 0; i < a.length; i++) a[i] = (a[i] as number) + scale * (b[i] as number);
}
function scaleBy(a: Float64Array, scale: number): void {
  for (let i = 0; i < a.length; i++) a[i] = (a[i] as number) * scale;
}
