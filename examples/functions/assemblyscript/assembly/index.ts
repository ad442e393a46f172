// A program for Fastly Compute in AssemblyScript: what the path says is what it shows.
// `npm run build` makes bin/main.wasm of it, of a few dozen kilobytes.
import { Fastly, Headers, Request, RequestInit, Response, ResponseInit } from "@fastly/as-compute";

// answer is a text with a status.
function answer(status: u16, text: string): Response {
  const headers = new Headers();
  headers.set("content-type", "text/plain; charset=utf-8");
  return new Response(String.UTF8.encode(text), { status, headers, url: null } as ResponseInit);
}

// path is the path of a URL: /a of http://host/a?b.
function path(url: string): string {
  const host = url.indexOf("//") + 2;
  const from = url.indexOf("/", host);
  if (from < 0) return "/";
  const query = url.indexOf("?", from);
  return query < 0 ? url.substring(from) : url.substring(from, query);
}

// through asks the origin with the client's request, and says so in its answer.
function through(request: Request): Response {
  request.headers.set("x-plan", "gold");
  const pending = Fastly.fetch(request, { backend: "web", cacheOverride: null });
  const found = pending.wait();
  found.headers.set("x-seen-by", "assemblyscript");
  return found;
}

const request = Fastly.getClientRequest();
const at = path(request.url);
if (at == "/hello") {
  Fastly.respondWith(answer(200, "hello " + Fastly.getClientIpAddressString() + "\n"));
} else if (at == "/greeting") {
  const greeting = new Fastly.Dictionary("settings").get("greeting");
  Fastly.respondWith(greeting ? answer(200, greeting + "\n") : answer(404, "there is none\n"));
} else {
  Fastly.respondWith(through(request));
}
