/** Serves the clone's JavaScript to a browser on this machine, with the headers that pages with shared memory need, or without. */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** A page of these headers is cross-origin isolated: only then a browser has SharedArrayBuffer. */
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const PAGE = '<!doctype html><title>iova</title><script type="module" src="/scripts/browser/page.js"></script>';

export interface Serving {
  /** A page with page.js that is cross-origin isolated. */
  readonly isolated: string;
  /** The same page, not isolated. */
  readonly plain: string;
  /** Paths that were asked for and not found. */
  readonly missing: readonly string[];
  readonly close: () => void;
}

export async function serve(root: string): Promise<Serving> {
  const missing: string[] = [];
  const server: Server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const page = /^\/(isolated|plain)$/.exec(pathname)?.[1];
    // Resources need the embedder policy too, else an isolated page may not start them as workers.
    const headers = page === "plain" ? {} : ISOLATION;
    if (page !== undefined) {
      response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end(PAGE);
    } else if (/^\/(dist|scripts\/browser)\/[\w./-]+\.js$/.test(pathname) && !pathname.includes("..")) {
      const text = await readFile(join(root, pathname)).catch(() => undefined);
      if (text === undefined) missing.push(pathname);
      response.writeHead(text === undefined ? 404 : 200, { ...headers, "Content-Type": "text/javascript" }).end(text);
    } else {
      if (pathname !== "/favicon.ico") missing.push(pathname);
      response.writeHead(404, headers).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { isolated: `${address}/isolated`, plain: `${address}/plain`, missing, close };
}
