package config

// goodService is the service file of the architecture, without what it will do later.
const goodService = `service: shop
owner: checkout-team
tier: 1
hosts: [shop.example]
objectives: {availability: 99.9%, latency: {p99: 300ms}}
origins:
  web:
    endpoints: [http://10.0.0.1:8080, http://10.0.0.2:8080]
    host: keep                       # the Host sent on: keep, endpoint, or a name
    health: {path: /healthz, every: 2s}
    timeout: {connect: 1s, first_byte: 5s}
  static: {folder: .}
routes:                              # the first that matches wins; one that can never match is an error
  - match: {path: /old/*}
    redirect: {to: /new/$1, status: 308}
  - match: {path: /api/*, methods: [POST]}
    origin: web
    limit: {rate: 20/s, per: client}
  - match: {path: /*}
    origin: web
    cache: {ttl: 60s, stale_while_revalidate: 30s, stale_if_error: 1h, tags: {header: Surrogate-Key}}
    on_failure: [stale, {default: {status: 503, body: back soon}}]
`

// fullService sets every key at least once.
const fullService = `# every key
service: full
owner: "the \"team\"\n: # x"
tier: 3
hosts: [full.example, "*.full.example", "[::1]", 192.0.2.1]
objectives:
  availability: 99.95%
  latency:
    p99: 250ms
origins:
  web:
    endpoints:
      - https://a.example
      - https://b.example:8443/
    host: internal.example:8443
    protocol: h2
    tls: {server_name: internal.example}
    health: {path: /h?x=1, host: shop.example, every: 5s, timeout: 2s, status: 204, rise: 1, fall: 3}
    eject: {failures: 0, for: 1m}
    timeout: {connect: 500ms, first_byte: 0s, idle: 1m, total: 1d}
    retry: {attempts: 1, statuses: [], backoff: 0s, budget: 0%, body: 0B}
    connections: {max: 1, idle: 0, idle_timeout: 1s, resolve: 1m30s}
routes:
  - name: search
    match: {hosts: [full.example], path: /s/*/x/*, methods: [GET, POST]}
    origin: web
    access:
      allow: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7]
      deny: ["::1"]
      basic_auth:
        realm: staff
        users: {ann: $2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234}
    cors: {origins: ["https://app.example", "https://*.app.example:8443"], methods: [GET], headers: [X-A], expose: [ETag], credentials: true, max_age: 0s}
    limit: {rate: 600/m, burst: 10, per: header:X-Key}
    max_body: 10MB
    rewrite: {path: /v2/$2/$1}
    headers:
      request: {remove: [Cookie], set: {X-A: 1}, add: {X-B: "true"}}
      response: {remove: [Server], set: {X-Frame-Options: DENY}, add: {Vary: X-Plan}}
    cache: {ttl: 0s, stale_while_revalidate: 1m, stale_if_error: 7d, max_body: 1GiB, tags: {header: Cache-Tag}}
    on_failure:
      - stale
      - default:
          status: 200
          headers: {Retry-After: 30, X-Text: "${env:TOKEN}"}
          body: |
            <p>$${name}
              back soon ☕
    log: 1%
  - match: {path: /app/*}
    origin: web
    rewrite: {strip_prefix: /app}
    cache:
    log: none
  - match: {path: /*}
    redirect: {to: "https://$host/x$path?y=1", status: 302}
    log: errors
`

const goodNode = `name: ams-1
pop: ams
zone: eu
listen:
  - {address: ":8443", tls: true, proxy_protocol: [10.0.0.0/8]}
  - address: "[::1]:8080"
admin: {address: off, tokens: [0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef], open_metrics: no}
data: /var/lib/selvage
tls: {min_version: 1.3, development: true}
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
limits: {head: 64KiB, target: 8KB, fields: 1, body: 1GiB, connections: 10, handshakes: 1, streams: 1}
deadlines: {head: 1s, body: 1s, idle: 0s, write: 1s, total: 0s, drain: 5s}
cache: {memory: 1GB}
access_log: ./access.log
`
