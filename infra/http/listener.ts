// The listening half of every HTTP server of ours: it is there when the port answers, and gone within a bounded time.
// Owns: opening and closing. Never knows a route.
// Others may assume: a port that is taken is an error that names the setting; requests under way get two seconds to end.

import { serve, type ServerType } from '@hono/node-server';
import { fail } from '../../contracts/errors.ts';

const CLOSE_MS_MAX = 2_000;

interface Served { readonly fetch: Parameters<typeof serve>[0]['fetch'] }

/** `what` and `setting` are for the person whose port is taken. @throws AIOS_CONFIG_INVALID */
export function listen(app: Served, http: { readonly host: string; readonly port: number }, what: string, setting: string): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: http.host, port: http.port }, () => resolve(server));
    server.once('error', (cause: Error) => reject(fail('AIOS_CONFIG_INVALID', `port ${http.port} of the ${what} is taken; set ${setting}.`, { cause })));
  });
}

export function close(server: ServerType): Promise<void> {
  return new Promise((resolve) => {
    const hard = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), CLOSE_MS_MAX);
    server.close(() => {
      clearTimeout(hard);
      resolve();
    });
    if ('closeIdleConnections' in server) server.closeIdleConnections();
  });
}
