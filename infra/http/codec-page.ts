// The one page of the codec server: sign in with an API key, and how to tell the Temporal UI to use the session.
// Owns: its words. No script, nothing loaded from anywhere.
// Others may assume: whatever is shown was escaped.

export interface SignInPage {
  readonly reader: string | undefined;
  /** Address of this server, as the browser knows it. */
  readonly endpoint: string;
  /** Address of the Temporal UI. */
  readonly ui: string | undefined;
  readonly problem: string | undefined;
}

export function signInPage({ reader, endpoint, ui, problem }: SignInPage): string {
  const body = reader === undefined ? FORM : signedIn(reader, endpoint, ui);
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Read encrypted payloads</title><style>${STYLE}</style></head><body><main><h1>Read encrypted payloads</h1>${problem === undefined ? '' : `<p class="problem" role="alert">${escapeHtml(problem)}</p>`}${body}</main></body></html>\n`;
}

const FORM = '<p>Tasks are stored encrypted. Who may read them signs in with their API key; the session lasts eight hours and stays in this browser.</p><form method="post" action="/sign-in"><label for="key">API key</label><input id="key" name="key" type="password" autocomplete="off" required autofocus><button>Sign in</button></form>';

const signedIn = (reader: string, endpoint: string, ui: string | undefined): string => `<p>Signed in as <strong>${escapeHtml(reader)}</strong>.</p><h2>Tell the Temporal UI, once a browser</h2><ol><li>Open ${ui === undefined ? 'the Temporal UI' : `<a href="${escapeHtml(ui)}">the Temporal UI</a>`} and click the glasses at the top right.</li><li>Choose <strong>Use my browser setting</strong> and paste <code>${escapeHtml(endpoint)}</code>.</li><li>Switch on <strong>Include cross-origin credentials</strong>, then <strong>Apply</strong>, and load the page of the task again.</li></ol><form method="post" action="/sign-out"><button>Sign out</button></form>`;

const STYLE = 'body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1b1f24}main{max-width:34rem;margin:4rem auto;padding:1.5rem 2rem;background:#fff;border:1px solid #d9dee5;border-radius:8px}h1{font-size:1.25rem;margin-top:0}h2{font-size:1rem}label{display:block;font-weight:600}input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.25rem 0 1rem}button{font:inherit;padding:.5rem 1rem}.problem{background:#fff1f0;border:1px solid #d1453b;border-radius:6px;padding:.5rem .75rem}';

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => escapes[c] ?? c);
