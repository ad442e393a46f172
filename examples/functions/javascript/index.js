// A program for Fastly Compute, with nothing in it that is not Fastly's: what the
// path says is what it shows. `npm run build` makes bin/main.wasm of it.
/// <reference types="@fastly/js-compute" />
import { CacheOverride } from "fastly:cache-override";
import { CoreCache, SimpleCache } from "fastly:cache";
import { ConfigStore } from "fastly:config-store";
import { EdgeRateLimiter, PenaltyBox, RateCounter } from "fastly:edge-rate-limiter";
import { env } from "fastly:env";
import { KVStore } from "fastly:kv-store";
import { Logger } from "fastly:logger";
import { SecretStore } from "fastly:secret-store";

const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");

// What is made here is made once for many requests.
const encoder = new TextEncoder();

const routes = {
  async "/hello"({ client }) {
    return new Response(`hello ${client.address} from ${env("FASTLY_SERVICE_ID")}\n`);
  },

  // Where a client is, and how its TLS began.
  async "/about"({ client }) {
    const tls = client.tlsProtocol && {
      protocol: client.tlsProtocol,
      ja3: client.tlsJA3MD5,
      ja4: client.tlsJA4,
      hello: client.tlsClientHello.byteLength,
      certificate: client.tlsClientCertificate.byteLength,
    };
    return Response.json({ city: client.geo?.city ?? null, tls: tls || null });
  },

  // An origin by its name. A path that no function has is passed to it as it is.
  async "/through"({ request }) {
    const answer = await fetch(request, { backend: "web", cacheOverride: new CacheOverride("pass") });
    const headers = new Headers(answer.headers);
    headers.set("x-seen-by", "javascript");
    return new Response(answer.body, { status: answer.status, headers });
  },

  // Three requests at once; the first that fails makes all fail.
  async "/all"() {
    const ask = (n) => fetch(`http://api.internal/part/${n}`, { backend: "web", cacheOverride: new CacheOverride("pass") });
    const answers = await Promise.all([1, 2, 3].map(ask));
    return Response.json(await Promise.all(answers.map((a) => a.text())));
  },

  // The answer of the origin, stored for a minute whatever it says itself.
  async "/cached"() {
    const kept = new CacheOverride("override", {
      ttl: 60,
      surrogateKey: "news",
      afterSend: (answer) => answer.headers.set("x-stored", new Date().toISOString()), // only of what comes from the origin
    });
    const answer = await fetch("http://api.internal/news", { backend: "web", cacheOverride: kept });
    return new Response(`${await answer.text()} ${answer.headers.get("x-stored")}\n`);
  },

  // A value that is dear to make, made once a minute.
  async "/simple"() {
    const entry = await SimpleCache.getOrSet("dear", async () => ({ value: `made ${crypto.randomUUID()}\n`, ttl: 60 }));
    return new Response(entry.body);
  },

  // The cache itself: of all who miss at once, one makes what all then get.
  async "/core"() {
    const entry = CoreCache.transactionLookup("core");
    if (!entry.state().mustInsertOrUpdate()) {
      return new Response(entry.body(), { headers: { "x-core": "hit" } });
    }
    const [writer, made] = entry.insertAndStreamBack({ maxAge: 60_000, surrogateKeys: ["core"] });
    writer.append(`made ${crypto.randomUUID()}\n`);
    writer.close();
    return new Response(made.body(), { headers: { "x-core": "miss" } });
  },

  // How often somebody was here, as long as the node lives. Two at once may count as one.
  async "/kv"({ request }) {
    const who = new URL(request.url).searchParams.get("who") ?? "anybody";
    const visits = new KVStore("visits");
    const entry = await visits.get(who);
    const n = entry ? Number(await entry.text()) + 1 : 1;
    await visits.put(who, String(n));
    return new Response(`${who} was here ${n} times\n`);
  },

  // Settings and secrets. A request is signed with the key, which nobody sees.
  async "/signed"({ request }) {
    const secret = await new SecretStore("keys").get("signing");
    const key = await crypto.subtle.importKey("raw", encoder.encode(secret.plaintext()), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    const path = new URL(request.url).pathname;
    const signature = hex(await crypto.subtle.sign("HMAC", key, encoder.encode(path)));
    return new Response(`${new ConfigStore("settings").get("greeting")} ${path} ${signature}\n`);
  },

  // The body as it comes, in capitals, and sent on as it comes.
  async "/upper"({ request }) {
    const upper = new TransformStream({
      transform(chunk, out) {
        out.enqueue(encoder.encode(new TextDecoder().decode(chunk).toUpperCase()));
      },
    });
    return new Response(request.body.pipeThrough(upper));
  },

  // A body that is made while it is sent.
  async "/count"() {
    let n = 0;
    const lines = new ReadableStream({
      pull(out) {
        if (n === 5) return out.close();
        out.enqueue(encoder.encode(`line ${n++}\n`));
      },
    });
    return new Response(lines);
  },

  async "/digest"({ request }) {
    return new Response(hex(await crypto.subtle.digest("SHA-256", await request.arrayBuffer())) + "\n");
  },

  // Five requests in ten seconds for each client, then a minute of rest. A log endpoint hears of it.
  async "/limited"({ client }) {
    const limiter = new EdgeRateLimiter(new RateCounter("requests"), new PenaltyBox("resting"));
    if (!limiter.checkRate(client.address, 1, 10, 0.5, 1)) return new Response("go on\n");
    new Logger("abuse").log(client.address);
    return new Response("rest\n", { status: 429 });
  },
};

addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  console.log(event.request.method, pathname);
  event.respondWith((routes[pathname] ?? routes["/through"])(event));
});
