// A program that uses what programs for Fastly Compute use. The path says what.
/// <reference types="@fastly/js-compute" />
import { env } from "fastly:env";
import { ConfigStore } from "fastly:config-store";
import { SecretStore } from "fastly:secret-store";
import { KVStore } from "fastly:kv-store";
import { CacheOverride } from "fastly:cache-override";
import { CoreCache } from "fastly:cache";
import { SimpleCache } from "fastly:cache";
import { Logger } from "fastly:logger";
import { getGeolocationForIpAddress } from "fastly:geolocation";
import { RateCounter, PenaltyBox, EdgeRateLimiter } from "fastly:edge-rate-limiter";

const hex = (buffer) => [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");

const routes = {
  async "/hello"(event) {
    return new Response("hello " + event.client.address, { headers: { "x-b": "2", "x-a": "1" } });
  },
  async "/env"() {
    return new Response(env("FASTLY_SERVICE_ID"));
  },
  async "/fetch"(event) {
    const up = await fetch("http://api.example/thing", { backend: "api", headers: { "x-from": "guest" } });
    return new Response(up.body, { status: up.status, headers: up.headers });
  },
  async "/stream"() {
    const encoder = new TextEncoder();
    let n = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (n === 5) {
          controller.close();
        } else {
          controller.enqueue(encoder.encode("chunk " + n++ + "\n"));
        }
      },
    });
    return new Response(body);
  },
  async "/echo"(event) {
    const up = await fetch("http://api.example/echo", { method: "POST", backend: "api", body: event.request.body, cacheOverride: new CacheOverride("pass") });
    return new Response((await up.text()).toUpperCase());
  },
  async "/both"() {
    const all = await Promise.all([1, 2, 3].map((n) => fetch("http://api.example/" + n, { backend: "api", cacheOverride: new CacheOverride("pass") })));
    return new Response((await Promise.all(all.map((r) => r.text()))).join(" "));
  },
  async "/kv"() {
    const store = new KVStore("kv");
    await store.put("key", "value");
    const entry = await store.get("key");
    const list = await store.list({});
    await store.delete("key");
    const gone = await store.get("key");
    return new Response([await entry.text(), list.list.join(), gone].join(" "));
  },
  async "/config"() {
    const secret = await new SecretStore("secrets").get("token");
    return new Response(new ConfigStore("conf").get("greeting") + " " + secret.plaintext());
  },
  async "/crypto"() {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("abc"));
    return new Response(hex(digest) + " " + crypto.randomUUID());
  },
  async "/simple"() {
    const entry = await SimpleCache.getOrSet("counted", async () => ({ value: "made at " + Date.now(), ttl: 60 }));
    return new Response(await entry.text());
  },
  async "/core"() {
    const entry = CoreCache.transactionLookup("core-key");
    let state = "hit";
    if (entry.state().mustInsertOrUpdate()) {
      state = "miss";
      const [writer, reader] = entry.insertAndStreamBack({ maxAge: 60 * 1000, surrogateKeys: ["k1"] });
      writer.append("stored");
      writer.close();
      const text = await new Response(reader.body()).text();
      return new Response(state + " " + text);
    }
    return new Response(state + " " + (await new Response(entry.body()).text()));
  },
  async "/cached"() {
    const up = await fetch("http://api.example/cached", {
      backend: "api",
      cacheOverride: new CacheOverride("override", {
        ttl: 60,
        afterSend(response) {
          response.headers.set("x-hook", "ran");
        },
      }),
    });
    return new Response((await up.text()) + " " + up.headers.get("x-hook"));
  },
  async "/limited"() {
    const limiter = new EdgeRateLimiter(new RateCounter("rc"), new PenaltyBox("pb"));
    return new Response(String(limiter.checkRate("client", 6, 1, 10, 1)));
  },
  async "/log"() {
    new Logger("access").log("a line");
    console.log("printed");
    return new Response(String(getGeolocationForIpAddress("192.0.2.1")?.city));
  },
};

addEventListener("fetch", (event) => {
  const route = routes[new URL(event.request.url).pathname];
  event.respondWith(
    route
      ? route(event).catch((e) => new Response("failed: " + e + "\n" + e.stack, { status: 500 }))
      : new Response("no such route", { status: 404 })
  );
});
