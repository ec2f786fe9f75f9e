/** Serves files to a browser on this machine, with the headers that pages with shared memory need, or without. */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** A page of these headers is cross-origin isolated: only then a browser has SharedArrayBuffer. */
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const PAGE = '<!doctype html><title>iova</title><script type="module" src="/scripts/browser/page.js"></script>';

export interface Serving {
  /** A page that is cross-origin isolated. */
  readonly isolated: string;
  /** The same page, not isolated. */
  readonly plain: string;
  /** Requested paths that were not found. */
  readonly missing: readonly string[];
  readonly close: () => void;
}

/** Serves the clone: page.js and its imports. */
export async function serve(root: string): Promise<Serving> {
  return serveBy((path) => {
    if (path === "/isolated" || path === "/plain") return PAGE;
    return /^\/(dist|scripts\/browser)\/[\w./-]+\.js$/.test(path) ? join(root, path) : undefined;
  });
}

/** Serves a folder with a page, index.html, twice: below /isolated/ with the headers, and below /plain/ without. */
export async function serveFolder(folder: string): Promise<Serving> {
  const { isolated, plain, ...serving } = await serveBy((path) => {
    const [, file] = /^\/(?:isolated|plain)\/([\w./-]*)$/.exec(path) ?? [];
    return file === undefined ? undefined : join(folder, file === "" ? "index.html" : file);
  });
  return { isolated: `${isolated}/`, plain: `${plain}/`, ...serving };
}

/** `find`: the file of a path, or the text of a page; undefined if there is none. */
async function serveBy(find: (path: string) => string | undefined): Promise<Serving> {
  const missing: string[] = [];
  const server: Server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const found = pathname.includes("..") ? undefined : find(pathname);
    // Resources need the embedder policy too, else an isolated page may not start them as workers.
    const headers = pathname.startsWith("/plain") ? {} : ISOLATION;
    const text = found === undefined || found === PAGE ? found : await readFile(found).catch(() => undefined);
    if (text === undefined && pathname !== "/favicon.ico") missing.push(pathname);
    const type = found === PAGE || found?.endsWith(".html") ? "text/html" : "text/javascript";
    response.writeHead(text === undefined ? 404 : 200, { ...headers, "Content-Type": type }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { isolated: `${address}/isolated`, plain: `${address}/plain`, missing, close };
}
